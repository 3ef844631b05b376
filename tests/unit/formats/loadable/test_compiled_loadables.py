"""Loadables of the vendor's compiler: its results byte for byte, and the registers that its
firmware wrote."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from loadable_archives import only
from numpy.typing import NDArray

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import UnitOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nvdla import configuration_of
from nvdla_ir.formats.loadable import import_loadable
from nvdla_ir.formats.loadable.buffers import Buffers, allocate_buffers
from nvdla_ir.formats.loadable.container import read_container
from nvdla_ir.hw.registers import RegisterMap, register_map
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.location import UNKNOWN
from nvdla_ir.ir.verifier import verify
from nvdla_ir.resources import ResourceStore

ARCHIVE = "compiled.tar.xz"
IMAGES = 4

NAMES = [
    f"neta7.{calibration}.{target}.{granularity}"
    for calibration in ("maxabs", "kl")
    for target in ("nv_small", "nv_large", "nv_full")
    for granularity in ("per-kernel", "per-filter")
]

_LAYERS = {"CDMA": 4, "CSC": 4, "CMAC_A": 4, "CMAC_B": 4, "CACC": 4, "SDP_RDMA": 4, "SDP": 4} | {
    "PDP_RDMA": 2,
    "PDP": 2,
}
"""How many layers of each unit the network takes."""


def imported(name: str, **options: Any) -> tuple[ModuleOp, FuncOp, ResourceStore]:
    resources = ResourceStore()
    data = only(ARCHIVE, f"/{name}.nvdla")
    module = import_loadable(data, f"{name}.nvdla", resources, **options)
    verify(module)
    function = module.body.first_op
    assert isinstance(function, FuncOp)
    return module, function, resources


def entry(name: str) -> dict[str, Any]:
    (found,) = [e for e in json.loads(only(ARCHIVE, "manifest.json")) if e["tag"] == name]
    return found


def images() -> NDArray[np.int8]:
    """The four inputs as they lie in memory."""
    return np.frombuffer(only(ARCHIVE, "/inputs4_a8b8g8r8.bin"), np.int8).reshape(IMAGES, -1)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_the_vendors_to_the_byte(name: str) -> None:
    _, function, resources = imported(name, raw_inputs={"data"}, raw_outputs={"ip2"})
    expected = np.frombuffer(only(ARCHIVE, f"/{name}.out4.bin"), np.int8).reshape(IMAGES, -1)
    runner = Machine(resources, Mode.INTEGER)
    for image, output in zip(images(), expected, strict=True):
        np.testing.assert_array_equal(runner.run(function, {"data": image})["ip2"], output)


@pytest.mark.parametrize("name", NAMES)
def test_typed_inputs_and_outputs_are_images_and_logits(name: str) -> None:
    module, function, resources = imported(name)
    assert configuration_of(module.body.first_op or module).name == entry(name)["cfg"]
    pixels = images().reshape(IMAGES, 32, 32, 4).transpose(0, 3, 1, 2)
    runner = Machine(resources, Mode.INTEGER)
    for image, logits in zip(pixels, entry(name)["logits_int8"], strict=True):
        output = runner.run(function, {"data": image[np.newaxis]})["ip2"]
        assert output.shape == (1, 10, 1, 1)
        assert list(output.ravel()) == logits


# ---------------------------------------------------------------- registers

Registers = dict[str, int]


def enabled_layers(
    writes: list[tuple[int, int]], registers: RegisterMap
) -> dict[str, list[Registers]]:
    """The register group of every layer that is enabled, by unit, as it is then."""
    producer: dict[str, int] = defaultdict(int)
    groups: dict[tuple[str, int], Registers] = {}
    layers: dict[str, list[Registers]] = defaultdict(list)
    for address, word in writes:
        found = registers.at(address)
        assert found is not None
        block, register = found
        key = (block.name, producer[block.name])
        group = groups.setdefault(key, block.resets(grouped=True))
        if register.name == "S_POINTER":
            producer[block.name] = word & 1
        elif register.name == "D_OP_ENABLE":
            layers[block.name].append(dict(group))
        elif register.grouped:
            group[register.name] = word
    return layers


def addresses(registers: Registers) -> dict[str, int]:
    """Whole addresses by the names of their low halves."""
    found: dict[str, int] = {}
    for name, word in registers.items():
        if "ADDR_LOW" in name:
            found[name] = word | registers[name.replace("_LOW", "_HIGH")] << 32
    return found


def placed(name: str, module: ModuleOp) -> Buffers:
    buffers = allocate_buffers(read_container(only(ARCHIVE, f"/{name}.nvdla"), name), UNKNOWN)
    buffers.place(configuration_of(module.body.first_op or module))
    return buffers


@pytest.mark.parametrize("name", NAMES)
def test_registers_are_those_of_the_vendors_firmware(name: str) -> None:
    """Each layer's registers when it is enabled; addresses may differ by where buffers lie."""
    module, function, _ = imported(name)
    registers = register_map(configuration_of(function).register_map)
    trace = gzip.decompress(only(ARCHIVE, f"/{name}.regtrace.txt.gz")).decode()
    lines = [line.split() for line in trace.splitlines()]
    theirs = enabled_layers([(int(a, 16), int(w, 16)) for _, a, w in lines], registers)
    ours = enabled_layers(
        [
            (write.address, write.word)
            for op in function.body.operations
            if isinstance(op, UnitOp)
            for write in op.register_writes(registers)
        ],
        registers,
    )
    assert {unit: len(layers) for unit, layers in theirs.items()} == _LAYERS
    bases: dict[int, set[int]] = defaultdict(set)
    buffers = [buffer for buffer in placed(name, module).by_memory if buffer is not None]
    for unit, layers in theirs.items():
        assert len(ours[unit]) == len(layers)
        for index, (expected, found) in enumerate(zip(layers, ours[unit], strict=True)):
            for register, word in expected.items():
                if "ADDR_LOW" in register or "ADDR_HIGH" in register:
                    continue
                assert found[register] == word, f"{unit} layer {index}: {register}"
            for register, address in addresses(expected).items():
                own = addresses(found)[register]
                if address == own == 0:
                    continue  # of an operand that the layer does not have
                (home,) = [b for b in buffers if b.address <= own < b.address + b.size]
                bases[home.index].add(address - (own - home.address))
    # a constant distance for each buffer: the places in it are the same
    assert all(len(found) == 1 for found in bases.values())
    assert len(bases) == 4
    assert len({next(iter(found)) for found in bases.values()}) == 4
