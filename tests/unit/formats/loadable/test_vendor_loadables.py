"""Loadables of the vendor, for the firmware before 0.12, against the images that it published."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from loadable_archives import members
from numpy.typing import NDArray

from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.formats.loadable import import_loadable
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.verifier import verify
from nvdla_ir.resources import ResourceStore

ARCHIVE = "loadables.tar.xz"

INT8 = {
    "BDMA_L0_0": "nv_large_b",
    "CDP_L0_0_large": "nv_medium_1024_full",
    "CDP_L0_0_small": "nv_small",
    "CONV_D_L0_0_large": "nv_large",
    "CONV_D_L0_0_small": "nv_small",
    "PDP_L0_0": "nv_medium_1024_full",
    "PDP_L0_0_large": "nv_medium_1024_full",
    "PDP_L0_0_small": "nv_small",
    "SDP_X1_L0_0_large": "nv_medium_1024_full",
    "SDP_X1_L0_0_small": "nv_small",
}
"""The loadables that this tool runs, and the first configuration that each fits."""

OTHERS = {
    "CDP_L0_0": "(INT16)",
    "CONV_D_L0_0": "(INT16)",
    "NN_L0_0": "FP16",
    "RBK_L0_0": "(INT16)",
    "SDP_X1_L0_0": "(INT16)",
}

_ATOM_BYTES = 32
"""Of the published images, whatever the hardware (loadable.md section 5)."""


def loadable(name: str) -> bytes:
    (data,) = [d for path, d in members(ARCHIVE).items() if path.endswith(f"/{name}_fbuf")]
    return data


def published(name: str, memory: NDArray[Any]) -> tuple[bytes, bytes]:
    """The published elements, and those that ``memory`` has in their places."""
    (image,) = [
        data
        for path, data in members(ARCHIVE).items()
        if path.endswith(".dimg") and path.split("/")[-3].rpartition("_")[0] == name
    ]
    _, _, width, height, channels, line, surface, _ = struct.unpack_from("<8I", image, 4)
    places = [
        c // _ATOM_BYTES * surface + y * line + x * _ATOM_BYTES + c % _ATOM_BYTES
        for c in range(channels)
        for y in range(height)
        for x in range(width)
    ]
    return image[36:], bytes(memory.view(np.uint8)[places])


def run(name: str, **options: Any) -> tuple[dict[str, NDArray[Any]], DiagnosticCollector]:
    resources, diagnostics = ResourceStore(), DiagnosticCollector()
    module = import_loadable(
        loadable(name), f"{name}.nvdla", resources, diagnostics=diagnostics, **options
    )
    verify(module)
    function = module.body.first_op
    assert isinstance(function, FuncOp)
    return Machine(resources, Mode.INTEGER).run(function, {}), diagnostics


@pytest.mark.parametrize("name", INT8)
def test_int8_loadables_give_the_published_bytes(name: str) -> None:
    output = next(iter(run(name)[0])) if name != "BDMA_L0_0" else "m5_BDMADst_i5"
    results, diagnostics = run(name, raw_outputs={output})
    expected, found = published(name, results[output])
    assert found == expected
    assert f"taken for {INT8[name]}" in diagnostics.diagnostics[0].message


@pytest.mark.parametrize("name", INT8)
def test_the_last_hardware_layer_is_the_output(name: str) -> None:
    (output,) = run(name)[0]
    whole = run(name, raw_outputs={output})[0][output]
    last = run(name, raw_outputs={"-"}, hardware_only=True)[0]["-"]
    np.testing.assert_array_equal(last, whole[: len(last)])


@pytest.mark.parametrize("name", ["CONV_D_L0_0_small", "PDP_L0_0_large"])
def test_typed_outputs_are_the_cubes_in_the_buffers(name: str) -> None:
    ((output, cube),) = run(name)[0].items()
    memory = run(name, raw_outputs={output})[0][output]
    atom = 8 if "small" in name else 32
    surfaces = memory.reshape(cube.shape[1] // atom, *cube.shape[2:], atom)
    np.testing.assert_array_equal(cube[0], surfaces.transpose(0, 3, 1, 2).reshape(cube.shape[1:]))


@pytest.mark.parametrize(("name", "precision"), OTHERS.items())
@pytest.mark.parametrize("target", [None, "nv_full"])
def test_other_precisions_are_refused(name: str, precision: str, target: str | None) -> None:
    with pytest.raises(DiagnosticError, match="this tool runs INT8") as caught:
        run(name, target=target)
    assert precision in str(caught.value)
    assert "task" in str(caught.value.diagnostics[0].location)


def test_a_target_that_does_not_fit_is_refused_at_the_operation() -> None:
    with pytest.raises(DiagnosticError, match="nv_small has no BDMA") as caught:
        run("BDMA_L0_0", target="nv_small")
    assert "operation 0 (BDMA)" in str(caught.value.diagnostics[0].location)
    with pytest.raises(DiagnosticError, match="takes 8000 bytes for 'src_data'"):
        run("PDP_L0_0_large", target="nv_small")
