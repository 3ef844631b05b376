"""PDP's line-buffer limit and width split."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nvdla_ir.hw.formats.pooling import Segment, WidthSplit, max_output_width, split_width
from nvdla_ir.hw.formats.sizes import LayoutError


@pytest.mark.parametrize(
    ("height", "stride", "width"),
    [
        (1, 1, 128),
        (2, 2, 128),
        (2, 3, 128),
        (3, 2, 64),
        (2, 1, 64),
        (3, 1, 32),
        (8, 2, 32),
        (4, 1, 32),
        (5, 1, 16),
        (8, 1, 16),
    ],
)
def test_line_buffer(height: int, stride: int, width: int) -> None:
    assert max_output_width(height, stride) == width


def test_kernels_beyond_the_line_buffer_are_refused() -> None:
    with pytest.raises(LayoutError, match="kernel height 9: must be at most 8"):
        max_output_width(9, 1)


def windows(
    output_width: int, kernel: int, stride: int, pad_left: int, input_width: int
) -> list[list[int | None]]:
    """For each output column the input columns of its window, None for padding."""
    columns = [[x * stride - pad_left + i for i in range(kernel)] for x in range(output_width)]
    return [[c if 0 <= c < input_width else None for c in window] for window in columns]


def windows_of_segment(segment: Segment, kernel: int, stride: int) -> list[list[int | None]]:
    local = windows(segment.output_columns, kernel, stride, segment.pad_left, segment.input_columns)
    return [[None if c is None else segment.input_start + c for c in window] for window in local]


@given(
    kernel=st.integers(1, 8),
    stride=st.integers(1, 8),
    pad_left=st.integers(0, 7),
    pad_right=st.integers(0, 7),
    output_width=st.integers(1, 300),
    limit=st.sampled_from([16, 32, 64, 128]),
)
def test_segments_compute_the_same_output(
    kernel: int, stride: int, pad_left: int, pad_right: int, output_width: int, limit: int
) -> None:
    assume(pad_left < kernel and pad_right < kernel)
    input_width = (output_width - 1) * stride + kernel - pad_left - pad_right
    assume(input_width >= 1)
    split = split_width(
        output_width=output_width,
        kernel_width=kernel,
        stride_width=stride,
        pad_left=pad_left,
        pad_right=pad_right,
        limit=limit,
    )
    if split is None:
        assert output_width <= limit
        return
    assert output_width > limit
    segments = split.segments(kernel, stride, pad_left, pad_right)
    assert 2 <= len(segments) == split.count <= 64
    found: list[list[int | None]] = []
    for segment in segments:
        assert segment.output_start == len(found)
        assert 1 <= segment.output_columns <= limit
        assert segment.input_columns >= 1 and segment.input_start >= 0
        assert segment.input_start + segment.input_columns <= input_width
        found += windows_of_segment(segment, kernel, stride)
    assert found == windows(output_width, kernel, stride, pad_left, input_width)
    mids = (split.count - 2) * split.input_mid
    assert split.input_first + mids + split.input_last == input_width
    stated = [split.input_first, split.input_last, *[split.input_mid] * (split.count > 2)]
    assert all(1 <= columns <= 1024 for columns in stated)


def test_split_by_hand() -> None:
    """3x3 kernel, stride 1, padding 1: 70 columns in passes of 32."""
    split = split_width(
        output_width=70, kernel_width=3, stride_width=1, pad_left=1, pad_right=1, limit=32
    )
    assert split == WidthSplit(3, 34 - 1, 32, 5, 32, 32, 6)
    assert split is not None
    assert split.segments(3, 1, 1, 1) == (
        Segment(0, 33, 1, 0, 0, 32),
        Segment(31, 34, 0, 0, 32, 32),
        Segment(63, 7, 0, 1, 64, 6),
    )


def test_last_segment_of_padding_only_is_evened_out() -> None:
    # 33 columns as 32 + 1 would leave the last one no input of its own
    split = split_width(
        output_width=33, kernel_width=8, stride_width=1, pad_left=0, pad_right=7, limit=32
    )
    assert split is not None
    assert split.count == 2
    assert split.output_first < 32
    assert split.input_last >= 1


def test_impossible_split_is_refused() -> None:
    with pytest.raises(LayoutError, match="cannot be cut into at most 64 passes of 16 columns"):
        split_width(
            output_width=1025, kernel_width=8, stride_width=1, pad_left=0, pad_right=0, limit=16
        )
