"""What the CDMA puts into the buffer for Winograd convolution, INT8.

Source: convolution.md section 4.7.
"""

from __future__ import annotations

import numpy as np

from nvdla_ir.arith.errors import Int8Array


def extend_input(
    cube: Int8Array,
    *,
    lanes: int,
    padding: tuple[int, int],
    pad_value: int,
    stride: tuple[int, int],
    size: tuple[int, int],
) -> Int8Array:
    """What the CDMA puts into the buffer: padded, with strides folded into channels.

    ``cube`` is ``[channel, row, column]``; zeros fill it up to ``lanes`` channels. ``padding`` is
    that at the top and left, ``size`` the extended height and width. Extended channel
    ``(i * sx + j) * lanes + c`` at (y, x) is channel c at (y * sy + i, x * sx + j).
    """
    channels, height, width = cube.shape
    rows, columns = size[0] * stride[0], size[1] * stride[1]
    padded = np.full((lanes, rows, columns), pad_value, np.int8)
    bottom, right = (
        min(elements, max(whole - before, 0))
        for elements, whole, before in ((height, rows, padding[0]), (width, columns, padding[1]))
    )
    target = padded[:, padding[0] :, padding[1] :]
    target[:channels, :bottom, :right] = cube[:, :bottom, :right]
    padded[channels:] = 0
    folded = padded.reshape(lanes, size[0], stride[0], size[1], stride[1])
    return np.transpose(folded, (2, 4, 0, 1, 3)).reshape(-1, *size)
