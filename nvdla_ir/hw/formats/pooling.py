"""How pooling is cut to PDP's line buffer (pdp.md section 5).

A pass holds few output columns. A wider output is made in segments of columns, each processed
completely before the next; the registers state the sizes of the first, the middle and the last.
"""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.hw.formats.sizes import LayoutError, ceil_div

MAX_SEGMENTS = 64
"""Segments that the driver allows (pdp.md section 5.2)."""

MAX_PARTIAL_WIDTH = 1024
"""Columns that a PARTIAL_WIDTH field can state."""

# output columns per pass by the number of output rows alive at once, L
LARGEST_POOLING_KERNEL = 8
"""Rows and columns of a window, at most (pdp.md section 3)."""

_WIDTHS = ((1, 128), (2, 64), (4, 32), (8, 16))


def max_output_width(kernel_height: int, stride_height: int) -> int:
    """Return the output columns that the line buffer holds in one pass (pdp.md section 5).

    Kernel heights are 1 to 8; raises LayoutError above.
    """
    rows_alive = ceil_div(kernel_height, stride_height)
    for rows, width in _WIDTHS:
        if rows_alive <= rows:
            return width
    raise LayoutError(
        f"pooling kernel height {kernel_height}: must be at most {LARGEST_POOLING_KERNEL}"
    )


@frozen
class Segment:
    """Columns of one pass: what it reads, its own padding, what it writes (pdp.md section 5.1)."""

    input_start: int
    input_columns: int
    pad_left: int
    pad_right: int
    output_start: int
    output_columns: int


@frozen
class WidthSplit:
    """The split that the registers state: columns per segment, in and out.

    ``count`` is SPLIT_NUM + 1 and at least 2. ``input_*`` are what PARTIAL_WIDTH_IN_* state (plus
    one); a segment that is not the first reads ``overlap`` = kernel width - stride columns more.
    """

    count: int
    input_first: int
    input_mid: int
    input_last: int
    output_first: int
    output_mid: int
    output_last: int

    def segments(
        self, kernel_width: int, stride_width: int, pad_left: int, pad_right: int
    ) -> tuple[Segment, ...]:
        """Return the passes in order (table of pdp.md section 5.1)."""
        overlap = kernel_width - stride_width
        found = [Segment(0, self.input_first, pad_left, 0, 0, self.output_first)]
        source, target = self.input_first, self.output_first
        for index in range(1, self.count):
            last = index == self.count - 1
            columns = self.input_last if last else self.input_mid
            output = self.output_last if last else self.output_mid
            found.append(
                Segment(
                    source - overlap,
                    columns + overlap,
                    0,
                    pad_right if last else 0,
                    target,
                    output,
                )
            )
            source += columns
            target += output
        return tuple(found)


def split_width(
    *,
    output_width: int,
    kernel_width: int,
    stride_width: int,
    pad_left: int,
    pad_right: int,
    limit: int,
) -> WidthSplit | None:
    """Cut a pooling's output columns to passes of at most ``limit`` (pdp.md section 5.2).

    ``pad_right`` is the padding that the last output column really uses:
    ``(output_width - 1) * stride + kernel - pad_left - input_width``. Returns None if one pass is
    enough. Raises LayoutError if no legal split exists.
    """
    if output_width <= limit:
        return None
    overlap = kernel_width - stride_width
    first_count = ceil_div(output_width, limit)
    for count in range(first_count, MAX_SEGMENTS + 1):
        # even out the segments until the last one has input of its own, beyond overlap and padding
        for width in range(limit, 0, -1):
            last = output_width - width * (count - 1)
            if last < 1:
                continue
            if last > limit:
                break
            split = WidthSplit(
                count,
                (width - 1) * stride_width + kernel_width - pad_left,
                width * stride_width,
                (last - 1) * stride_width + kernel_width - pad_right - overlap,
                width,
                width,
                last,
            )
            if _is_legal(split, overlap):
                return split
    raise LayoutError(
        f"pooling of {output_width} output columns (kernel {kernel_width}, stride {stride_width}) "
        f"cannot be cut into at most {MAX_SEGMENTS} passes of {limit} columns"
    )


def _is_legal(split: WidthSplit, overlap: int) -> bool:
    # the hardware ignores the middle of a split in two
    before_last = [split.input_first] + [split.input_mid] * (split.count > 2)
    inputs = [*before_last, split.input_last]
    return all(1 <= width <= MAX_PARTIAL_WIDTH for width in inputs) and overlap <= min(before_last)
