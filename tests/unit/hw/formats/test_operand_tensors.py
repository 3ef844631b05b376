"""SDP operand tensors against the address formulas, written as plain loops."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.hw.formats.operands import OperandLayout
from nvdla_ir.hw.formats.sizes import LayoutError
from nvdla_ir.hw.registers import register_map


@st.composite
def operand_layouts(draw: st.DrawFn) -> OperandLayout:
    least = OperandLayout.packed(
        draw(st.integers(1, 40)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 4)),
        draw(st.sampled_from([8, 16, 32])),
        draw(st.sampled_from(["MUL", "ALU", "BOTH"])),
        draw(st.sampled_from(["ONE_BYTE", "TWO_BYTE"])),
        draw(st.sampled_from(["PER_KERNEL", "PER_ELEMENT"])),
    )
    if least.contiguous:
        return least
    line = least.line_stride + draw(st.integers(0, 2)) * least.atom
    surface = line * least.height + draw(st.integers(0, 2)) * least.atom
    return OperandLayout(
        least.channels,
        least.height,
        least.width,
        least.atom,
        least.use,
        least.size,
        least.mode,
        line,
        surface,
    )


@given(operand_layouts(), st.integers(0, 2**32), st.integers(0, 3))
def test_operands_against_the_address_formula(
    layout: OperandLayout, seed: int, offset: int
) -> None:
    rng = np.random.default_rng(seed)
    limit = 128 if layout.size == "ONE_BYTE" else 32768
    per_kernel = layout.mode == "PER_KERNEL"
    shape = (layout.channels,) if per_kernel else (layout.channels, layout.height, layout.width)
    alu = rng.integers(-limit, limit, shape) if layout.use != "MUL" else None
    mul = rng.integers(-limit, limit, shape) if layout.use != "ALU" else None
    packed = layout.pack(alu, mul)

    expected = bytearray(layout.size_bytes)
    size = 1 if layout.size == "ONE_BYTE" else 2
    record = size * layout.components
    height, width = (1, 1) if per_kernel else (layout.height, layout.width)
    for c in range(layout.channels):
        for y in range(height):
            for x in range(width):
                group, lane = divmod(c, layout.atom)
                if height == width == 1:
                    address = c * record
                else:
                    address = (
                        group * layout.surface_stride
                        + y * layout.line_stride
                        + (x * layout.atom + lane) * record
                    )
                index = (c,) if per_kernel else (c, y, x)
                values = [int(array[index]) for array in (alu, mul) if array is not None]
                data = struct.pack(f"<{len(values)}{'b' if size == 1 else 'h'}", *values)
                expected[address : address + record] = data
    assert packed.tobytes() == bytes(expected)

    memory = np.concatenate([np.zeros(offset, np.int8), packed])
    for given_array, found in zip((alu, mul), layout.unpack(memory, offset), strict=True):
        if given_array is None:
            assert found is None
            continue
        assert found is not None
        assert found.shape == (layout.surfaces, height, width, layout.atom)
        lanes = np.transpose(found, (0, 3, 1, 2)).reshape(-1, height, width)
        assert np.array_equal(lanes[: layout.channels], given_array.reshape(-1, height, width))
        assert not lanes[layout.channels :].any()


def test_an_eltwise_operand_is_a_feature_cube() -> None:
    cube = np.random.default_rng(5).integers(-128, 128, (21, 3, 4), np.int8)
    feature = FeatureLayout.packed(21, 3, 4, 8)
    operand = OperandLayout.packed(21, 3, 4, 8, "ALU", "ONE_BYTE", "PER_ELEMENT")
    assert (operand.line_stride, operand.surface_stride) == (
        feature.line_stride,
        feature.surface_stride,
    )
    assert np.array_equal(operand.pack(alu=cube), feature.pack(cube))


def test_bias_and_scale_by_hand() -> None:
    layout = OperandLayout.packed(3, 5, 5, 8, "BOTH", "TWO_BYTE", "PER_KERNEL")
    packed = layout.pack(alu=np.array([1, -2, 300]), mul=np.array([-1, 256, 7]))
    assert packed.tobytes().hex() == "0100fffffeff00012c010700" + "00000000" * 5
    # strides to program: those of a 1x1 cube
    assert (layout.line_stride, layout.surface_stride) == (32, 32)


def test_options_are_those_of_the_registers() -> None:
    rdma = register_map("master")["SDP_RDMA"]
    assert list(rdma.field("BRDMA_DATA_USE").enum) == ["MUL", "ALU", "BOTH"]
    assert list(rdma.field("NRDMA_DATA_SIZE").enum) == ["ONE_BYTE", "TWO_BYTE"]
    assert list(rdma.field("ERDMA_DATA_MODE").enum) == ["PER_KERNEL", "PER_ELEMENT"]


def test_operand_faults() -> None:
    layout = OperandLayout.packed(3, 2, 2, 8, "ALU", "ONE_BYTE", "PER_KERNEL")
    three = np.array([1, 2, 3])
    with pytest.raises(LayoutError, match="use ALU needs alu operand"):
        layout.pack()
    with pytest.raises(LayoutError, match="use ALU takes no mul operand"):
        layout.pack(three, three)
    with pytest.raises(LayoutError, match="values 1 to 128 do not fit ONE_BYTE, -128 to 127"):
        layout.pack(np.array([1, 2, 128]))
    with pytest.raises(LayoutError, match=r"expected shape \(3,\), got \(4,\)"):
        layout.pack(np.array([1, 2, 3, 4]))
    with pytest.raises(LayoutError, match="outside the memory"):
        layout.unpack(np.zeros(7, np.int8))
    with pytest.raises(LayoutError, match=r"line_stride = 8: must be .* at least 16"):
        OperandLayout(3, 2, 2, 8, "ALU", "ONE_BYTE", "PER_ELEMENT", 8, 16)
    with pytest.raises(LayoutError, match=r"surface_stride = 24: must be .* at least 32"):
        OperandLayout(9, 2, 2, 8, "ALU", "ONE_BYTE", "PER_ELEMENT", 16, 24)
    with pytest.raises(LayoutError, match="channels = 0"):
        OperandLayout.packed(0, 2, 2, 8, "ALU", "ONE_BYTE", "PER_ELEMENT")
