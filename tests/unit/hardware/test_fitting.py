"""How a convolution shares out the buffer, and how its rows are cut. Source: convolution.md
section 3.5."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hardware.convolution_geometry import Banks, Window
from nvdla_ir.hardware.cost.model import CostModel
from nvdla_ir.hardware.fitting import Division, divide, split_rows
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.hardware.sdp import SdpSetting
from nvdla_ir.hw.configuration import load_configuration
from nvdla_ir.hw.formats.sizes import LayoutError


def window(size: int, taps: int, **fields: int) -> Window:
    values = {"stride": 1, "dilation": 1, "before": 0, "outputs": size - taps + 1, **fields}
    return Window.exact(size=size, taps=taps, **values)


@pytest.mark.parametrize(
    ("kernels", "kernel", "lines", "banks"),
    [
        # nv_small: 32 banks of 512 8-byte entries (4 KiB), 8 kernels a group; 256 entries a line
        (8, (3, 3), 4, Banks(2, 1)),
        (64, (8, 9), 16, Banks(8, 9)),
        # a surface of exactly one bank needs another for what must stay free beside a group
        (8, (1, 64), 4, Banks(2, 2)),
        # 256 kernels of 576 bytes are 36 banks; a group of 8 is 2
        (256, (8, 9), 56, Banks(28, 4)),
        (256, (8, 9), 58, Banks(29, 2)),
        (256, (8, 9), 60, Banks(30, 2)),
    ],
)
def test_banks_by_hand(kernels: int, kernel: tuple[int, int], lines: int, banks: Banks) -> None:
    """All weights where they fit, else two groups of kernels, else one."""
    rows, columns = window(lines, kernel[0]), window(256, kernel[1])
    setting = ConvolutionSetting(8, kernels, rows, columns)
    processor = SdpSetting(kernels, rows.outputs, columns.outputs, flying=True)
    found = divide(Layer(setting, processor, None), CostModel(load_configuration("nv_small")))
    assert isinstance(found, Division)
    assert [piece.setting.banks for piece in found.pieces] == [banks]


@given(
    size=st.integers(1, 40),
    taps=st.integers(1, 5),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    before=st.integers(0, 4),
    after=st.integers(0, 4),
    lines=st.integers(1, 20),
)
def test_row_pieces_compute_the_same_output(
    size: int, taps: int, stride: int, dilation: int, before: int, after: int, lines: int
) -> None:
    reach = (taps - 1) * dilation
    assume(before <= reach and after <= reach)
    assume(size + before + after > reach)
    outputs = (size + before + after - reach - 1) // stride + 1
    assume(lines > reach)
    whole = Window(size, taps, stride, dilation, before, after, outputs)
    read: list[list[int | None]] = []
    for part in split_rows(whole, lines):
        piece, inputs = part.window, part.inputs
        assert part.outputs.begin == len(read)
        assert inputs.size == piece.size <= lines
        assert 0 <= inputs.begin <= size - inputs.size
        for row in range(piece.outputs):
            rows = [row * stride + tap * dilation - piece.before for tap in range(taps)]
            assert max(rows) < piece.size + piece.after
            read.append([inputs.begin + y if 0 <= y < piece.size else None for y in rows])
    # None is padding; a real row that a piece lacks would show as None here but not below
    expected = [
        [y if 0 <= y < size else None for y in rows]
        for rows in (
            [output * stride + tap * dilation - before for tap in range(taps)]
            for output in range(outputs)
        )
    ]
    assert read == expected


def test_rows_by_hand_and_faults() -> None:
    parts = split_rows(Window(8, 3, 1, 1, 1, 1, 8), 5)
    assert [(p.outputs.begin, p.outputs.size, p.inputs.begin, p.inputs.size) for p in parts] == [
        (0, 4, 0, 5),
        (4, 4, 3, 5),
    ]
    assert [(p.window.before, p.window.after) for p in parts] == [(1, 0), (0, 1)]
    with pytest.raises(LayoutError, match="needs 3 lines, not 2"):
        split_rows(Window(8, 3, 1, 1, 0, 0, 6), 2)
    with pytest.raises(LayoutError, match="outputs 0 to 0 see only padding"):
        split_rows(Window(8, 1, 1, 1, 1, 0, 9), 2)


def test_a_last_row_is_left_alone_where_two_do_not_fit() -> None:
    """Three rows beside the padding take 7 lines; the last two, away from it, would take 8."""
    parts = split_rows(Window(8, 3, 1, 3, 2, 0, 4), 7)
    assert [part.outputs.size for part in parts] == [3, 1]
    assert [part.inputs.size for part in parts] == [7, 7]


def test_a_last_row_is_not_left_alone() -> None:
    """Of 9 rows, at most 4 at once: the last piece has two, for one takes no fewer runs."""
    parts = split_rows(Window(11, 3, 1, 1, 0, 0, 9), 6)
    assert [part.outputs.size for part in parts] == [4, 3, 2]
