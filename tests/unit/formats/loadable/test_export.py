"""Loadables out: read back they program the same registers and compute the same bytes, and what the
vendor's runtime or firmware cannot do is told."""

# What is found at run time only has no types here.
# pyright: reportMissingImports=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exporting import (
    PLACE,
    QUANTIZE,
    RoundTrip,
    main_of,
    require_same_bytes,
    require_same_registers,
    round_trip,
    run_passes,
)

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.formats.loadable import export_loadable
from nvdla_ir.formats.loadable.container import MemoryFlag, read_container
from nvdla_ir.hw.configuration import names
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.base import Session
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse

ROOT = Path(__file__).resolve().parents[4]
sys.path[:0] = [str(ROOT / "examples" / "digits"), str(ROOT / "tests" / "unit" / "passes")]

import digits  # noqa: E402
from random_networks import random_module  # noqa: E402


def placed_digits(network: str, target: str) -> tuple[ModuleOp, Session]:
    """A digits network as hardware layers with their places."""
    stage = digits.stage_named("calibrated", network, target)
    session = Session(stage.resources)
    run_passes(stage.module, session, f"{QUANTIZE},{PLACE}")
    return stage.module, session


@pytest.mark.parametrize(("target", "firmware"), [("nv_small", "0.12"), ("nv_full", "0.11")])
def test_a_network_computes_the_same(target: str, firmware: str) -> None:
    trip = round_trip(*placed_digits("lenet", target), firmware)
    assert require_same_registers(trip) > 20
    images, _ = digits.test_set("lenet")
    require_same_bytes(trip, {"data": images[:1]})


def test_a_residual_network_programs_the_same_registers() -> None:
    assert require_same_registers(round_trip(*placed_digits("resnet", "nv_large"))) > 100


# With padding, look-up tables, copies column by column, outputs that are parts of others.
SEEDS = (3, 5, 19, 40, 66, 74)


@pytest.mark.parametrize(("firmware", "seeds"), [("0.12", SEEDS), ("0.11", SEEDS[:3])])
def test_random_networks(firmware: str, seeds: tuple[int, ...]) -> None:
    targets = names()
    for seed in seeds:
        target = targets[seed % len(targets)]
        module, session = random_module(seed)
        run_passes(module, session, f"set-target{{target={target}}},{QUANTIZE},{PLACE}")
        trip = round_trip(module, session, firmware)
        require_same_registers(trip)
        (argument,) = main_of(trip.own).body.arguments
        type: Any = argument.type
        x = np.random.default_rng(seed).uniform(-2.5, 2.5, type.static_shape)
        require_same_bytes(trip, {"x": x.astype(np.float32)})


# -------------------------------------------------------------- the container


@pytest.fixture(scope="module")
def lenet() -> RoundTrip:
    return round_trip(*placed_digits("lenet", "nv_small"))


def test_memories_are_arranged_as_the_runtime_wants_them(lenet: RoundTrip) -> None:
    found = read_container(lenet.data, "net.nvdla")
    assert lenet.data[4:8] == b"NVDA"
    unused, constants, pool, data, result, *context = found.memory_list
    assert (unused.flags, unused.size) == (MemoryFlag.ALLOC, 4096)
    assert constants.flags == MemoryFlag.ALLOC | MemoryFlag.SET
    assert len(constants.contents) == len(constants.offsets) == 8
    assert pool.flags == MemoryFlag.ALLOC
    assert (data.flags, data.size) == (MemoryFlag.ALLOC | MemoryFlag.INPUT, 32 * 32)
    assert (result.flags, result.size) == (MemoryFlag.ALLOC | MemoryFlag.OUTPUT, 16)
    assert [memory.contents for memory in context] == [
        *((f"task-0-{name}",) for name in ("addr0", "dep_graph", "op_list", "surf_list")),
        ("task-0-lut_list",),
        (),
    ]
    assert {memory.alignment for memory in found.memory_list} == {4096}
    names = [blob.name for blob in found.blobs]
    assert names == sorted(names)
    (task,) = found.task_list
    # the network descriptor first, then the surfaces by their own numbers
    assert task.address_list == (5, 1, 2, 3, 4, 6, 7, 8, 9, 10)
    assert [blob.version for blob in found.blobs if blob.interface == 1] == [(0, 12, 5)] * 5
    assert found.reloc_list == ()


def test_tensors_are_described(lenet: RoundTrip) -> None:
    data, result = read_container(lenet.data, "net.nvdla").tensor_desc_list
    assert (data.name, data.c, data.h, data.w, data.stride_1) == ("data", 1, 32, 32, 32)
    assert (data.pixel_format, data.data_format, data.data_category) == (0, 1, 0)
    assert (result.pixel_format, result.data_format, result.data_category) == (37, 3, 2)
    assert (result.name, result.c, result.size, result.data_type) == ("fc", 10, 16, 4)


def test_scales_and_what_is_left_to_do_are_told(lenet: RoundTrip) -> None:
    assert lenet.remarks == (
        "input 'data' is int8 of shape 1x1x32x32, an image of format T_R8, real = 0.00787401572 * "
        "stored",
        "output 'fc' gives int8 of shape 1x10x1x1, a feature cube, real = 0.260457844 * stored; "
        "layer 'prob' behind it stays with the application",
    )


def test_the_same_module_makes_the_same_bytes(lenet: RoundTrip) -> None:
    assert round_trip(*placed_digits("lenet", "nv_small")).data == lenet.data


# -------------------------------------------------------------- several programs, and refusals

CUBE = "tensor<1x8x4x4x!quant.uniform<i8:f32, 0.5>>"


def network(
    body: str, *, arguments: str = "x", results: str = "y", target: str = "nv_small"
) -> str:
    given = ", ".join(f"%{name}: {CUBE}" for name in arguments.split())
    types = ", ".join([CUBE] * len(results.split()))
    returned = ", ".join(f"%{name}" for name in results.split())
    return (
        f'module attributes {{nvdla.target = "{target}"}} {{ func.func @main({given}) -> ({types})'
        f" {{ {body} func.return {returned} }} }}"
    )


def placed(text: str, passes: str = "") -> tuple[ModuleOp, Session]:
    (module,) = parse(text, default_context(), "test.ir").operations
    assert isinstance(module, ModuleOp)
    session = Session(ResourceStore())
    steps = passes or PLACE.partition(",")[2]
    run_passes(module, session, steps)
    return module, session


COPY = (
    "%{1}c = nvdla.upload %{0} -> " + CUBE + " %{1}s = nvdla.sdp %{1}c -> " + CUBE + " "
    "%{1} = nvdla.download %{1}s -> " + CUBE
)


def test_programs_beside_each_other_are_tasks() -> None:
    """Nothing of the host comes between them."""
    trip = round_trip(
        *placed(
            network(COPY.format("x", "a") + COPY.format("y", "b"), arguments="x y", results="a b")
        )
    )
    found = read_container(trip.data, "net.nvdla")
    count = len(found.task_list)
    assert [submit.task_id for submit in found.submit_list] == [(n,) for n in range(count)]
    require_same_registers(trip)
    codes = np.random.default_rng(1).integers(-128, 128, (2, 1, 8, 4, 4), np.int8)
    require_same_bytes(trip, {"x": codes[0], "y": codes[1]})


def refused(module: ModuleOp, session: Session) -> list[str]:
    with pytest.raises(DiagnosticError) as error:
        export_loadable(module, session.resources)
    return [diagnostic.message for diagnostic in error.value.diagnostics]


def test_work_of_the_host_between_layers_is_refused() -> None:
    real = CUBE.replace("!quant.uniform<i8:f32, 0.5>", "f32")
    body = (
        f"{COPY.format('x', 'a')} %r = quant.dcast %a -> {real}"
        f' %p = nn.softmax %r axis=1 layers=["soft"] -> {real} %m = quant.qcast %p -> {CUBE} '
    )
    (message,) = refused(*placed(network(body + COPY.format("m", "y"))))
    assert message.startswith("layer 'soft' is computed by the host between layers of the hardware")


def test_a_buffer_for_two_is_refused() -> None:
    body = (
        f"%xc = nvdla.upload %x -> {CUBE} %s = nvdla.sdp %xc -> {CUBE}"
        f" %y = nvdla.download %s -> {CUBE} %z = nvdla.download %s -> {CUBE}"
    )
    (message,) = refused(*placed(network(body, results="y z")))
    assert message.startswith("output 'z' and output 'y' lie in one tensor")


def test_memory_that_transfers_share_is_refused() -> None:
    passes = PLACE.partition(",")[2].replace("{transfers=apart}", "")
    body = (
        f"%xc = nvdla.upload %x -> {CUBE} %s = nvdla.sdp %xc -> {CUBE}"
        f" %t = nvdla.sdp %s bs=#nvdla.x_stage<relu> -> {CUBE}"
        f" %u = nvdla.pdp max %t kernel=[1, 1] -> {CUBE} %y = nvdla.download %u -> {CUBE}"
    )
    (message,) = refused(*placed(network(body), passes))
    assert "lies among other activations" in message
    assert "allocate-memory=transfers=apart" in message


def test_the_second_memory_is_refused() -> None:
    passes = PLACE.partition(",")[2].replace("apart", "apart,second-bytes=4096")
    body = (
        f"%xc = nvdla.upload %x -> {CUBE}"
        f' %s = nvdla.pdp max %xc kernel=[1, 1] layers=["one"] -> {CUBE}'
        f" %u = nvdla.sdp %s -> {CUBE} %y = nvdla.download %u -> {CUBE}"
    )
    text = network(body, target="nv_large").replace("x8x", "x32x")
    (message,) = refused(*placed(text, passes))
    assert message.startswith("layer 'one' is in the second memory, but loadables are written for")


def test_what_the_firmware_cannot_say_is_told_at_each_layer() -> None:
    body = (
        f"%xc = nvdla.upload %x -> {CUBE}"
        " %a = nvdla.pdp average %xc kernel=[3, 3] strides=[9, 1] pads=[1, 1, 1, 1]"
        ' reciprocals=[21846, 21845] layers=["mean"] -> tensor<1x8x1x4xi8>'
        " %s = nvdla.sdp %xc ew=#nvdla.y_stage<mul, mul_value = 3, truncate = 300>"
        f' layers=["scale"] -> {CUBE}'
        f" %y = nvdla.download %s -> {CUBE} %z = nvdla.download %a -> tensor<1x8x1x4xi8>"
    )
    text = network(body, target="nv_full")
    messages = refused(*placed(text))
    assert messages == [
        "layer 'mean' cannot be told to the vendor's firmware: it has pooling windows 9 apart, of "
        "which the firmware takes up to 8",
        "layer 'mean' cannot be told to the vendor's firmware: it has an average with the "
        "reciprocals (21846, 21845) of rows and columns, for which the firmware takes "
        "(21845, 21845), those of the window, rounded down",
        "layer 'scale' cannot be told to the vendor's firmware: it has 'y_op.truncate = 300, which "
        "holds 0 to 255' in its descriptor",
    ]


def test_two_inputs_of_one_name_are_refused() -> None:
    body = COPY.format("x", "a") + COPY.format("y", "b")
    module, session = placed(network(body, arguments="x y", results="a b"))
    main = main_of(module)
    for argument in main.body.arguments:
        argument.name_hint = "same"
    (message,) = refused(module, session)
    assert message.startswith("'@main' has 2 inputs named 'same'")


def test_a_register_program_is_refused() -> None:
    module, session = placed(network(COPY.format("x", "y")))
    run_passes(module, session, "emit-registers")
    (message,) = refused(module, session)
    assert "ahead of 'emit-registers'" in message


def test_images_of_two_planes_are_bound() -> None:
    """Their tensors tell where the second plane is."""
    image = "tensor<1x3x4x5x!quant.uniform<i8:f32, 0.5>>"
    text = f"""
      module attributes {{nvdla.target = "nv_small"}} {{
        func.func @main(%x: {image}) -> tensor<1x2x4x5xi8> {{
          %xc = nvdla.upload %x format="T_Y8___V8U8_N444" -> {image}
          %w = nvdla.constant value=dense<[[[[1]], [[0]], [[0]]], [[[0]], [[-1]], [[2]]]]>
            : tensor<2x3x1x1xi8>
          %c = nvdla.conv %xc, %w pixel_format="T_Y8___V8U8_N444" -> !nvdla.stream<1x2x4x5xi32>
          %y = nvdla.sdp %c -> tensor<1x2x4x5xi8>
          %z = nvdla.download %y -> tensor<1x2x4x5xi8>
          func.return %z
        }}
      }}"""
    trip = round_trip(*placed(text))
    (data, _) = read_container(trip.data, "net.nvdla").tensor_desc_list
    assert (data.pixel_format, data.data_format, data.c, data.stride_1) == (29, 2, 3, 8)
    assert (data.stride_2, data.size) == (64, 64 + 3 * 16 + 10)
    require_same_registers(trip)
    x = np.random.default_rng(2).integers(-128, 128, (1, 3, 4, 5), np.int8)
    require_same_bytes(trip, {"x": x})


def test_rubik_and_bdma_are_operations_too() -> None:
    wide = "tensor<1x128x2x3xi8>"
    text = f"""
      module attributes {{nvdla.target = "nv_full"}} {{
        func.func @main(%x: {wide}) -> tensor<1x32x4x6xi8> {{
          %xc = nvdla.upload %x -> {wide}
          %a = nvdla.bdma %xc -> {wide}
          %b = nvdla.bdma %a -> {wide}
          %y = nvdla.rubik contract %b strides=[2, 2] -> tensor<1x32x4x6xi8>
          %z = nvdla.download %y -> tensor<1x32x4x6xi8>
          func.return %z
        }}
      }}"""
    trip = round_trip(*placed(text))
    require_same_registers(trip)
    # transfers know no offset: places inside the pool have addresses of their own
    found = read_container(trip.data, "net.nvdla")
    assert {address.mem_id for address in found.address_list if address.offset} == {1}
    x = np.random.default_rng(3).integers(-128, 128, (1, 128, 2, 3), np.int8)
    require_same_bytes(trip, {"x": x})


def test_more_addresses_than_a_task_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nvdla_ir.formats.loadable.exporter._MOST_ADDRESSES", 10)
    module, session = placed_digits("lenet", "nv_small")
    assert export_loadable(module, session.resources)
    with pytest.raises(DiagnosticError, match=r"takes 1[1-9] addresses, .* 0.12 takes fewer"):
        export_loadable(module, session.resources, firmware="0.11")


def test_numbers_beside_tables_are_told_with_them() -> None:
    """A descriptor says one place for both operands of a stage."""
    body = (
        f"%xc = nvdla.upload %x -> {CUBE}"
        " %t = nvdla.constant value=dense<[3, -4, 5, 6, 0, 1, 2, -9]> : tensor<8xi16>"
        ' %s = nvdla.sdp %xc bs_operand=%t bs=#nvdla.x_stage<alu = "sum", mul, mul_value = 3,'
        f" prelu> -> {CUBE} %y = nvdla.download %s -> {CUBE}"
    )
    passes = PLACE.partition(",")[2]
    (message,) = refused(*placed(network(body), passes.replace("pair-operands,", "")))
    assert "one operand of BS in memory and the other in a register" in message
    x = np.random.default_rng(4).integers(-128, 128, (1, 8, 4, 4), np.int8)
    module, session = placed(network(body), passes)
    trip = round_trip(module, session)
    require_same_registers(trip)
    require_same_bytes(trip, {"x": x})
