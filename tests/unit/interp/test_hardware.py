"""Kernels of hardware layers against the formulas of the specification in plain Python integers,
element by element."""

# IR does not break well.
# ruff: noqa: E501

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.verifier import verify
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse

KINDS = ("random", "least", "largest", "ends")


def rha(value: int, shift: int) -> int:
    """``value / 2^shift``, rounded half away from zero."""
    magnitude = int(Fraction(abs(value), 1 << shift) + Fraction(1, 2))
    return magnitude if value >= 0 else -magnitude


def sat(value: int, bits: int) -> int:
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, value))


def integers(rng: np.random.Generator, kind: str, dtype: Any, shape: tuple[int, ...]) -> Any:
    limits = np.iinfo(dtype)
    if kind == "random":
        return rng.integers(limits.min, limits.max + 1, shape).astype(dtype)
    if kind == "ends":
        return rng.choice(np.array([limits.min, limits.max], dtype), shape)
    return np.full(shape, limits.min if kind == "least" else limits.max, dtype)


def run(text: str, inputs: dict[str, Any], **resources: Any) -> Any:
    """The one output of a function."""
    store = ResourceStore()
    for key, array in resources.items():
        store.add(key, array)
    (func,) = parse(text, default_context(), "test.ir").operations
    assert isinstance(func, FuncOp)
    verify(func)
    (output,) = Machine(store, Mode.INTEGER).run(func, inputs).values()
    return output


def convolved(
    x: Any, w: Any, strides: Any, pads: Any, dilations: Any, pad_value: int, size: Any
) -> Any:
    """Accumulators as Python integers, [K, OH, OW]. (convolution.md section 4.1)"""
    kernels, channels, rows, columns = w.shape
    out = np.zeros((kernels, *size), object)
    for k, oy, ox in np.ndindex(out.shape):
        total = 0
        for c, r, s in np.ndindex(channels, rows, columns):
            y = oy * strides[0] + r * dilations[0] - pads[0]
            z = ox * strides[1] + s * dilations[1] - pads[1]
            inside = 0 <= y < x.shape[1] and 0 <= z < x.shape[2]
            total += (int(x[c, y, z]) if inside else pad_value) * int(w[k, c, r, s])
        out[k, oy, ox] = total
    return out


def converted(accumulators: Any, offset: int, scale: int, shift: int) -> Any:
    """The output converter's bytes. (sdp.md section 7)"""
    flat = [sat(rha((int(a) - offset) * scale, shift), 8) for a in accumulators.ravel()]
    return np.array(flat, np.int8).reshape(1, *accumulators.shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clip", [0, 5])
def test_convolution(kind: str, clip: int) -> None:
    rng = np.random.default_rng(1)
    x, w = (
        integers(rng, kind, np.int8, (1, 3, 6, 7)),
        rng.integers(-128, 128, (5, 3, 3, 2), np.int8),
    )
    text = f"""
      func.func @main(%x: tensor<1x3x6x7xi8>) -> tensor<1x5x3x4xi8> {{
        %a = nvdla.upload %x -> tensor<1x3x6x7xi8>
        %w = nvdla.constant value=dense_resource<w> : tensor<5x3x3x2xi8>
        %c = nvdla.conv %a, %w strides=[2, 2] pads=[1, 2, 1, 0] dilations=[1, 2] pad_value=-9 clip_truncate={clip} -> !nvdla.stream<1x5x3x4xi32>
        %s = nvdla.sdp %c cvt_offset=-50 cvt_scale=30 cvt_shift={12 - clip} -> tensor<1x5x3x4xi8>
        %d = nvdla.download %s -> tensor<1x5x3x4xi8>
        func.return %d
      }}"""
    sums = convolved(x[0], w, (2, 2), (1, 2), (1, 2), -9, (3, 4))
    clipped = np.vectorize(lambda a: sat(rha(a, clip), 32), otypes=[object])(sums)
    np.testing.assert_array_equal(run(text, {"x": x}, w=w), converted(clipped, -50, 30, 12 - clip))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("converter", "offsets"),
    [
        ("cvt_offset=128 cvt_scale=1 cvt_truncate=0", [128] * 4),
        ("means=[3, -7, 200, 128] cvt_scale=-77 cvt_truncate=6", [3, -7, 200, 128]),
    ],
)
def test_pixels_go_through_the_input_converter(
    kind: str, converter: str, offsets: list[int]
) -> None:
    """Padding does not: it is in the converted domain already."""
    rng = np.random.default_rng(2)
    x, w = (
        integers(rng, kind, np.uint8, (1, 4, 4, 5)),
        rng.integers(-128, 128, (3, 4, 2, 2), np.int8),
    )
    text = f"""
      func.func @main(%x: tensor<1x4x4x5xui8>) -> tensor<1x3x4x5xi8> {{
        %a = nvdla.upload %x format="T_A8B8G8R8" -> tensor<1x4x4x5xui8>
        %w = nvdla.constant value=dense_resource<w> : tensor<3x4x2x2xi8>
        %c = nvdla.conv %a, %w pads=[1, 0, 0, 1] pad_value=11 pixel_format="T_A8B8G8R8" {converter} -> !nvdla.stream<1x3x4x5xi32>
        %s = nvdla.sdp %c cvt_scale=30 cvt_shift=13 -> tensor<1x3x4x5xi8>
        func.return %s
      }}"""
    scale, truncate = (1, 0) if converter.startswith("cvt_offset") else (-77, 6)
    pixels = np.zeros(x.shape[1:], np.int64)
    for c, y, z in np.ndindex(pixels.shape):
        pixels[c, y, z] = sat(rha((int(x[0, c, y, z]) - offsets[c]) * scale, truncate), 8)
    sums = convolved(pixels, w, (1, 1), (1, 0), (1, 1), 11, (4, 5))
    np.testing.assert_array_equal(run(text, {"x": x}, w=w), converted(sums, 0, 30, 13))


def test_bytes_without_converter_are_signed() -> None:
    text = """
      func.func @main(%x: tensor<1x1x1x4xui8>) -> tensor<1x1x1x4xi8> {
        %a = nvdla.upload %x format="T_R8" -> tensor<1x1x1x4xui8>
        %w = nvdla.constant value=dense<1> : tensor<1x1x1x1xi8>
        %c = nvdla.conv %a, %w pixel_format="T_R8" -> !nvdla.stream<1x1x1x4xi32>
        %s = nvdla.sdp %c -> tensor<1x1x1x4xi8>
        func.return %s
      }"""
    x = np.array([[[[0, 127, 128, 255]]]], np.uint8)
    assert run(text, {"x": x}).ravel().tolist() == [0, 127, -128, -1]


def x_unit(value: int, unit: dict[str, Any], alu: int, mul: int) -> int:
    """One X unit on one element. (sdp.md section 4)"""
    if not unit:
        return value
    if "alu" in unit:
        operand = sat(alu << unit.get("alu_shift", 0), 32)
        value = {"sum": value + operand, "max": max(value, operand), "min": min(value, operand)}[
            unit["alu"]
        ]
    shift = unit.get("mul_shift", 0)
    if not unit.get("mul"):
        value = sat(rha(value, shift), 32)
    elif unit.get("prelu") and value >= 0:
        value = (value + (1 << 31)) % (1 << 32) - (1 << 31)
    else:
        value = sat(rha(value * mul, shift), 32)
    return max(value, 0) if unit.get("relu") else value


UNITS: list[dict[str, Any]] = [
    {},
    {"relu": True},
    {"mul_shift": 2},
    {"alu": "sum", "alu_shift": 3, "mul": True, "mul_shift": 11, "relu": True},
    {"alu": "max", "alu_shift": 40},
    {"alu": "min", "mul": True, "mul_shift": 4},
    {"mul": True, "mul_shift": 9, "prelu": True},
    {"alu": "sum", "alu_shift": 63, "mul": True, "mul_shift": 24},
]


def attribute(unit: dict[str, Any], values: tuple[int, int] | None) -> str:
    """The unit as text; with ``values`` its operands are in registers."""
    entries = dict(unit)
    if values is not None and "alu" in unit:
        entries["alu_value"] = values[0]
    if values is not None and "mul" in unit:
        entries["mul_value"] = values[1]
    parts = (
        name if value is True else f'{name} = "{value}"' if name == "alu" else f"{name} = {value}"
        for name, value in entries.items()
    )
    return f"#nvdla.x_stage<{', '.join(parts)}>"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["registers", "channels", "elements"])
def test_units_in_each_pair(kind: str, source: str) -> None:
    """Every unit as BS before every unit as BN, with operands from registers, tables or cubes."""
    rng = np.random.default_rng(3)
    shape = (1, 4, 2, 3)
    x = integers(rng, kind, np.int8, shape)
    for bs, bn in itertools.product(UNITS, UNITS):
        inputs: dict[str, Any] = {"x": x}
        fields: list[str] = []
        arguments = ["%x: tensor<1x4x2x3xi8>"]
        operands: dict[str, Any] = {}
        resources: dict[str, Any] = {}
        constants = ""
        for name, unit in (("bs", bs), ("bn", bn)):
            reads = [key for key in ("alu", "mul") if key in unit]
            values = integers(rng, "random", np.int16, (4, 2))
            columns = {"alu": values[:, 0], "mul": values[:, 1]}
            if source == "elements" and len(reads) == 1:
                cube = integers(rng, kind, np.int8, shape)
                inputs[name] = cube
                arguments.append(f"%{name}: tensor<1x4x2x3xi8>")
                constants += f"%{name}_cube = nvdla.upload %{name} -> tensor<1x4x2x3xi8>\n"
                operands[name] = {reads[0]: cube[0]}
                fields.append(f"{name}_operand=%{name}_cube")
            elif source == "registers" or not reads:
                values[:] = values[0]
                operands[name] = {key: columns[key][:, None, None] for key in reads}
            else:
                table = values if len(reads) == 2 else columns[reads[0]]
                resources[f"t_{name}"] = np.ascontiguousarray(table)
                extents = "x".join(map(str, table.shape))
                constants += f"%{name}_t = nvdla.constant value=dense_resource<t_{name}> : tensor<{extents}xi16>\n"
                operands[name] = {key: columns[key][:, None, None] for key in reads}
                fields.append(f"{name}_operand=%{name}_t")
            pair = (int(values[0, 0]), int(values[0, 1])) if source == "registers" else None
            if unit:
                fields.append(f"{name}={attribute(unit, pair)}")
        text = f"""
          func.func @main({", ".join(arguments)}) -> tensor<1x4x2x3xi8> {{
            %a = nvdla.upload %x -> tensor<1x4x2x3xi8>
            {constants}
            %s = nvdla.sdp %a {" ".join(fields)} cvt_offset=3 cvt_scale=5 cvt_shift=4 -> tensor<1x4x2x3xi8>
            func.return %s
          }}"""
        wanted = np.zeros(shape, np.int8)
        for c, h, w in np.ndindex(shape[1:]):
            value = int(x[0, c, h, w])
            for name, unit in (("bs", bs), ("bn", bn)):
                found = {
                    key: int(np.broadcast_to(array, shape[1:])[c, h, w])
                    for key, array in operands[name].items()
                }
                value = x_unit(value, unit, found.get("alu", 0), found.get("mul", 0))
            wanted[0, c, h, w] = sat(rha((value - 3) * 5, 4), 8)
        np.testing.assert_array_equal(run(text, inputs, **resources), wanted, f"{bs}, {bn}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["max", "min", "average"])
def test_pooling(kind: str, method: str) -> None:
    """Padding never wins a maximum; in a mean it counts as its value. (pdp.md section 3)"""
    rng = np.random.default_rng(4)
    x = integers(rng, kind, np.int8, (1, 3, 6, 7))
    average = " pad_value=-5 reciprocals=[21845, 16000]" if method == "average" else ""
    text = f"""
      func.func @main(%x: tensor<1x3x6x7xi8>) -> tensor<1x3x3x4xi8> {{
        %a = nvdla.upload %x -> tensor<1x3x6x7xi8>
        %p = nvdla.pdp {method} %a kernel=[3, 4] strides=[2, 2] pads=[1, 2, 0, 1]{average} -> tensor<1x3x3x4xi8>
        func.return %p
      }}"""
    wanted = np.zeros((1, 3, 3, 4), np.int8)
    for c, oy, ox in np.ndindex(3, 3, 4):
        window = [
            int(x[0, c, y, z]) if 0 <= y < 6 and 0 <= z < 7 else None
            for y in range(oy * 2 - 1, oy * 2 + 2)
            for z in range(ox * 2 - 2, ox * 2 + 2)
        ]
        inside = [element for element in window if element is not None]
        if method == "average":
            total = sum(inside) - 5 * (len(window) - len(inside))
            mean = rha(rha(total * 16000, 16) * 21845, 16)
            wanted[0, c, oy, ox] = (mean + 128) % 256 - 128
        else:
            wanted[0, c, oy, ox] = (max if method == "max" else min)(inside)
    np.testing.assert_array_equal(run(text, {"x": x}), wanted)


def test_slices_and_joins() -> None:
    text = """
      func.func @main(%x: tensor<1x16x1x2xi8>) -> tensor<1x16x1x2xi8> {
        %a = nvdla.upload %x -> tensor<1x16x1x2xi8>
        %low = nvdla.slice %a begin=0 size=8 -> tensor<1x8x1x2xi8>
        %high = nvdla.slice %a begin=8 size=8 -> tensor<1x8x1x2xi8>
        %h = nvdla.sdp %high -> tensor<1x8x1x2xi8>
        %l = nvdla.sdp %low -> tensor<1x8x1x2xi8>
        %y = nvdla.concat %h, %l -> tensor<1x16x1x2xi8>
        %d = nvdla.download %y -> tensor<1x16x1x2xi8>
        func.return %d
      }"""
    x = np.arange(-16, 16, dtype=np.int8).reshape(1, 16, 1, 2)
    np.testing.assert_array_equal(run(text, {"x": x}), np.roll(x, 8, axis=1))


def test_several_images_run_at_once() -> None:
    text = """
      func.func @main(%x: tensor<1x2x3x3xi8>) -> tensor<1x2x2x2xi8> {
        %a = nvdla.upload %x -> tensor<1x2x3x3xi8>
        %w = nvdla.constant value=dense<[[[[1]], [[-2]]], [[[3]], [[4]]]]> : tensor<2x2x1x1xi8>
        %c = nvdla.conv %a, %w -> !nvdla.stream<1x2x3x3xi32>
        %s = nvdla.sdp %c cvt_shift=2 -> !nvdla.stream<1x2x3x3xi8>
        %p = nvdla.pdp max %s kernel=[2, 2] -> tensor<1x2x2x2xi8>
        func.return %p
      }"""
    x = np.random.default_rng(6).integers(-128, 128, (3, 2, 3, 3), np.int8)
    together = run(text, {"x": x})
    for index in range(3):
        np.testing.assert_array_equal(
            together[index : index + 1], run(text, {"x": x[index : index + 1]})
        )


def test_a_resource_that_is_missing_is_told_at_its_constant() -> None:
    text = """
      func.func @main(%x: tensor<1x2x3x3xi8>) -> tensor<1x2x3x3xi8> {
        %a = nvdla.upload %x -> tensor<1x2x3x3xi8>
        %t = nvdla.constant value=dense_resource<gone> : tensor<2xi16>
        %s = nvdla.sdp %a bs_operand=%t bs=#nvdla.x_stage<alu = "sum"> -> tensor<1x2x3x3xi8>
        func.return %s
      }"""
    with pytest.raises(DiagnosticError, match="there is no resource 'gone'") as caught:
        run(text, {"x": np.zeros((1, 2, 3, 3), np.int8)})
    position = caught.value.diagnostics[0].location.file_position()
    assert position is not None and position.line == 4
