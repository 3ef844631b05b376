"""Random layers on random hardware: the same bytes before and after ``legalize-to-nvdla``, and as
registers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_legalize_to_nvdla import assert_equal, inputs_of, loaded, runs

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.legalize_to_nvdla import LegalizeToNvdla
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.set_target import SetTarget

ACCUMULATORS = "!quant.uniform<i32:f32, 0.25>"


def extent(size: int, taps: int, stride: int, before: int, after: int) -> int:
    return (size + before + after - taps) // stride + 1


@st.composite
def layers(draw: Any) -> str:
    """A convolution, up to six steps behind it, an output converter, and maybe a pool."""

    def number(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    groups = draw(st.sampled_from([1, 1, 2, 3, 4, 8, 16]))
    channels, kernels = groups * number(1, 5), groups * number(1, 5)
    size, taps, strides, dilations = (
        [number(low, high) for _ in range(2)] for low, high in ((1, 9), (1, 4), (1, 3), (1, 2))
    )
    spans = [(tap - 1) * dilation + 1 for tap, dilation in zip(taps, dilations, strict=True)]
    pads = [number(0, spans[side % 2] - 1) for side in range(4)]
    # An input large enough for the window.
    size = [max(size[axis], spans[axis] - pads[axis] - pads[axis + 2], 1) for axis in range(2)]
    plane = [
        extent(size[axis], spans[axis], strides[axis], pads[axis], pads[axis + 2])
        for axis in range(2)
    ]
    shape = f"1x{kernels}x{plane[0]}x{plane[1]}"
    int8 = f"!quant.uniform<i8:f32, 0.5:{number(-128, 127) or 1}>"
    lines = [
        f"%w = nn.constant value=dense_resource<w> : tensor<{kernels}x{channels // groups}x"
        f"{taps[0]}x{taps[1]}xi8> -> tensor<{kernels}x{channels // groups}x{taps[0]}x{taps[1]}x"
        "!quant.uniform<i8:f32, 0.5>>",
        f"%v = nn.conv %x, %w strides={strides} pads={pads} dilations={dilations} "
        f"groups={groups} -> tensor<{shape}x{ACCUMULATORS}>",
    ]
    value, arguments = "%v", [f"%x: tensor<1x{channels}x{size[0]}x{size[1]}x{int8}>"]
    waiting = "value"  # What the last step adds, where the unit that adds it may still multiply.
    for unit in range(number(0, 2)):
        operand = draw(st.sampled_from(["value", "table", "cube", "elements"]))
        added = draw(st.booleans())
        if added:
            lines, arguments, field = _operand(lines, arguments, operand, unit, kernels, shape)
            if field == "value":
                field = f" value={number(-32768, 32767)}"
            lines.append(
                f"%a{unit} = fixed.shift_add {value}{field} shift={number(0, 20)} -> "
                f"tensor<{shape}x{ACCUMULATORS}>"
            )
            value, waiting = f"%a{unit}", operand
        if draw(st.booleans()):
            # A unit reads one thing from memory, or two tables together.
            takes_table = waiting in ("value", "table") and draw(st.booleans())
            field = f" value={number(-32768, 32767)}"
            if (added and operand == "table") or (not added and takes_table):
                lines.append(
                    f"%m{unit} = nn.constant value=dense_resource<m{unit}> : tensor<{kernels}xi16>"
                )
                field = f", %m{unit}"
            lines.append(
                f"%r{unit} = fixed.rescale {value}{field} shift={number(0, 30)} -> "
                f"tensor<{shape}x{ACCUMULATORS}>"
            )
            value, waiting = f"%r{unit}", "value"
        if draw(st.booleans()):
            lines.append(f"%p{unit} = nn.relu {value} -> tensor<{shape}x{ACCUMULATORS}>")
            value, waiting = f"%p{unit}", "value"
    lines.append(
        f"%y = fixed.output_converter {value} offset={number(-(1 << 20), 1 << 20)} "
        f"scale={number(-32768, 32767)} shift={number(10, 30)} -> tensor<{shape}x{int8}>"
    )
    returned, result = "%y", f"{shape}x{int8}"
    if draw(st.booleans()):
        kernel = [number(1, min(8, plane[axis])) for axis in range(2)]
        steps = [number(1, 4) for _ in range(2)]
        margins = [number(0, kernel[side % 2] - 1) for side in range(4)]
        pooled = [
            extent(plane[axis], kernel[axis], steps[axis], margins[axis], margins[axis + 2])
            for axis in range(2)
        ]
        result = f"1x{kernels}x{pooled[0]}x{pooled[1]}x{int8}"
        kind = draw(st.sampled_from(["nn.max_pool", "fixed.average_pool"]))
        reciprocals = f"reciprocals=[{65536 // kernel[0]}, {65536 // kernel[1]}]"
        lines.append(
            f"%z = {kind} %y kernel={kernel} strides={steps} pads={margins} "
            f"{reciprocals if kind == 'fixed.average_pool' else ''} -> tensor<{result}>"
        )
        returned = "%z"
    body = "\n".join(lines)
    return (
        f"func.func @main({', '.join(arguments)}) -> tensor<{result}> "
        f"{{\n{body}\nfunc.return {returned}\n}}"
    )


def _operand(
    lines: list[str], arguments: list[str], kind: str, unit: int, kernels: int, shape: str
) -> tuple[list[str], list[str], str]:
    """Lines and arguments with what a step adds, and the field that says so."""
    if kind == "value":
        return lines, arguments, "value"
    name = f"b{unit}"
    if kind == "cube":
        argument = f"%{name}: tensor<{shape}x!quant.uniform<i8:f32, 0.5>>"
        return lines, [*arguments, argument], f", %{name}"
    extents = str(kernels) if kind == "table" else shape
    line = (
        f"%{name} = nn.constant value=dense_resource<{name}> : tensor<{extents}xi16> -> "
        f"tensor<{extents}x!quant.uniform<i16:f32, 0.5>>"
    )
    return [*lines, line], arguments, f", %{name}"


@st.composite
def configurations(draw: Any) -> str:
    """Hardware of any atoms, as a TOML file's text."""
    atom = draw(st.sampled_from([8, 16, 32]))
    kernels = atom * draw(st.sampled_from([1, 2]))
    entry = atom * draw(st.sampled_from([1, 2, 4]))
    channels = draw(st.sampled_from([size for size in (8, 16, 32, 64) if size <= entry]))
    banks = draw(st.sampled_from([4, 16, 32]))
    return (
        f'base = "nv_small"\nname = "random"\nmemory_atom = {atom}\natomic_k = {min(kernels, 64)}\n'
        f"atomic_c = {channels}\n[cbuf]\nbanks = {banks}\nentry_bytes = {entry}\n"
        "entries_per_bank = 128\n"
    )


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=layers(), configuration=configurations(), kind=st.sampled_from(["random", "ends"]))
def test_random_layers(text: str, configuration: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "random.toml"
    path.write_text(configuration)
    rng = np.random.default_rng(5)
    module, func, session = loaded(text, kind, rng)
    inputs = inputs_of(func, rng)
    expected = runs(func, session, inputs)
    try:
        Pipeline([SetTarget(str(path)), LegalizeToNvdla()]).run(module, session)
    except DiagnosticError as error:
        # The smallest buffers do not hold the largest kernels; nothing else may be refused.
        assert all("does not fit the convolution" in d.message for d in error.diagnostics), error
        return
    assert_equal(runs(func, session, inputs), expected, "hardware layers")
    Pipeline(layers_to_registers()).run(module, session)
    assert_equal(runs(func, session, inputs), expected, "registers")


def test_a_target_that_is_unknown_is_told_with_those_that_are_known() -> None:
    module, _, session = loaded(
        "func.func @main(%x: tensor<1x8x1x1x!quant.uniform<i8:f32, 0.5>>) -> "
        "tensor<1x8x1x1x!quant.uniform<i8:f32, 0.5>> { func.return %x }",
        "random",
        np.random.default_rng(1),
    )
    with pytest.raises(DiagnosticError, match=r"unknown hardware configuration 'nv_smal'.*nv_full"):
        Pipeline([SetTarget("nv_smal"), LegalizeToNvdla()]).run(module, session)
