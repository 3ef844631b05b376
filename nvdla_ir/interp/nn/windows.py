"""Sliding windows over floats: convolution and pooling of [N, C, H, W] arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]

COLUMN_BYTES = 4 << 20
"""About the largest matrix of input windows that is built at once; larger ones leave the cache."""


def pad(x: FloatArray, pads: Sequence[int], value: float) -> FloatArray:
    """``x`` with ``pads`` (top, left, bottom, right) rows and columns of ``value`` around it."""
    top, left, bottom, right = pads
    if not any(pads):
        return x
    n, c, height, width = x.shape
    padded = np.full((n, c, top + height + bottom, left + width + right), value, x.dtype)
    padded[:, :, top : top + height, left : left + width] = x
    return padded


def output_extent(size: int, taps: int, stride: int, dilation: int) -> int:
    """How many windows fit into ``size`` padded elements."""
    return (size - (taps - 1) * dilation - 1) // stride + 1


def window_view(
    padded: FloatArray,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> FloatArray:
    """[N, C, R, S, OH, OW]: what each tap reads for each output, without copying."""
    n, c, height, width = padded.shape
    image, channel, row, column = padded.strides
    return np.lib.stride_tricks.as_strided(
        padded,
        shape=(
            n,
            c,
            *kernel,
            output_extent(height, kernel[0], strides[0], dilations[0]),
            output_extent(width, kernel[1], strides[1], dilations[1]),
        ),
        strides=(
            image,
            channel,
            row * dilations[0],
            column * dilations[1],
            row * strides[0],
            column * strides[1],
        ),
        writeable=False,
    )


def convolve(
    x: FloatArray,
    w: FloatArray,
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    groups: int,
) -> FloatArray:
    """Cross-correlation of ``x`` [N, C, H, W] with ``w`` [K, C/groups, R, S]; [N, K, OH, OW].

    Pairs are (vertical, horizontal), ``pads`` top, left, bottom, right; padding is zero.
    """
    kernels = w.shape[0]
    if groups == 1 and w.shape[2:] == (1, 1) and tuple(strides) == (1, 1) and not any(pads):
        flat = np.matmul(w.reshape(kernels, -1), x.reshape(*x.shape[:2], -1))
        return flat.reshape(x.shape[0], kernels, *x.shape[2:])
    windows = window_view(pad(x, pads, 0.0), w.shape[2:], strides, dilations)
    if w.shape[1] == 1 and groups > 1:
        return _convolve_depthwise(windows, w)
    outputs = windows.shape[4:]
    weights = w.reshape(groups, kernels // groups, -1)
    result = np.empty((len(x), groups, kernels // groups, outputs[0] * outputs[1]), x.dtype)
    _multiply_columns(windows, weights, result)
    return result.reshape(len(x), kernels, *outputs)


def _multiply_columns(windows: FloatArray, weights: FloatArray, result: FloatArray) -> None:
    """``result`` [N, G, K/G, OH*OW] becomes ``weights`` [G, K/G, taps] times the windows, copied
    block by block into a matrix: several images, or some output rows of one."""
    images, height, width = len(windows), windows.shape[4], windows.shape[5]
    groups, taps = weights.shape[0], weights.shape[2]
    step = COLUMN_BYTES // (groups * taps * width * result.itemsize)
    if step >= height:
        step //= height
        for first in range(0, images, step):
            chunk = windows[first : first + step]
            columns = chunk.reshape(len(chunk), groups, taps, -1)
            np.matmul(weights, columns, out=result[first : first + step])
        return
    step = max(1, step)
    for image in range(images):
        for first in range(0, height, step):
            last = min(first + step, height)
            columns = windows[image, ..., first:last, :].reshape(groups, taps, -1)
            np.matmul(weights, columns, out=result[image, ..., first * width : last * width])


def _convolve_depthwise(windows: FloatArray, w: FloatArray) -> FloatArray:
    """One input channel for each group: a sum over the taps, each a scaled plane."""
    images, channels, rows, columns, *outputs = windows.shape
    multiplier = w.shape[0] // channels
    weights = w.reshape(channels, multiplier, rows, columns, 1, 1)
    result = np.zeros((images, channels, multiplier, *outputs), windows.dtype)
    for r in range(rows):
        for s in range(columns):
            result += windows[:, :, r, s][:, :, None] * weights[:, :, r, s]
    return result.reshape(images, channels * multiplier, *outputs)


def pool(
    combine: Callable[..., Any], padded: FloatArray, kernel: Sequence[int], strides: Sequence[int]
) -> FloatArray:
    """``combine`` (np.maximum, np.add) over each window of the padded [N, C, H, W] array."""
    rows = _combined(combine, padded, kernel[0], strides[0], 2)
    return _combined(combine, rows, kernel[1], strides[1], 3)


def _combined(
    combine: Callable[..., Any], x: FloatArray, taps: int, stride: int, axis: int
) -> FloatArray:
    outputs = output_extent(x.shape[axis], taps, stride, 1)
    before = (slice(None),) * axis

    def tap(index: int) -> FloatArray:
        return x[(*before, slice(index, index + (outputs - 1) * stride + 1, stride))]

    result = np.array(tap(0))
    for index in range(1, taps):
        combine(result, tap(index), out=result)
    return result


def window_counts(
    shape: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    counted: Sequence[int],
) -> NDArray[np.intp]:
    """[OH, OW]: how many elements of each window over the padded input [H, W] are inside the
    input or inside the ``counted`` part of its padding."""
    axes: list[NDArray[np.intp]] = []
    for axis in (0, 1):
        extent = shape[axis] + pads[axis] + pads[axis + 2]
        starts = np.arange(output_extent(extent, kernel[axis], strides[axis], 1)) * strides[axis]
        starts -= pads[axis]
        ends = np.minimum(starts + kernel[axis], shape[axis] + counted[axis + 2])
        axes.append(ends - np.maximum(starts, -counted[axis]))
    return axes[0][:, None] * axes[1][None, :]


def scatter(
    x: FloatArray,
    w: FloatArray,
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    groups: int,
    outputs: Sequence[int],
) -> FloatArray:
    """Transposed convolution of ``x`` [N, C, H, W] with ``w`` [C, K/groups, R, S]: [N, K,
    *outputs], where ``outputs`` includes what is padded at the bottom and right.

    Each tap adds the input, times its weights, to the places it reaches; ``pads`` are cut off.
    """
    images, channels, height, width = x.shape
    kernels, taps = w.shape[1], w.shape[2:]
    shape = (groups, channels // groups, kernels, int(taps[0]), int(taps[1]))
    weights = np.transpose(np.reshape(w, shape), (3, 4, 0, 2, 1))
    top, left = pads[:2]
    reach = [
        (size - 1) * stride + (tap - 1) * dilation + 1
        for size, stride, tap, dilation in zip(
            (height, width), strides, taps, dilations, strict=True
        )
    ]
    rows, columns = max(reach[0], top + outputs[0]), max(reach[1], left + outputs[1])
    result: FloatArray = np.zeros((images, groups, kernels, rows, columns), x.dtype)
    flat = x.reshape(images, groups, channels // groups, height * width)
    for r in range(taps[0]):
        for s in range(taps[1]):
            product: FloatArray = np.matmul(weights[r, s], flat)
            first_row, first_column = r * dilations[0], s * dilations[1]
            result[
                ...,
                first_row : first_row + (height - 1) * strides[0] + 1 : strides[0],
                first_column : first_column + (width - 1) * strides[1] + 1 : strides[1],
            ] += product.reshape(images, groups, kernels, height, width)
    cut = result[..., top : top + outputs[0], left : left + outputs[1]]
    return np.ascontiguousarray(cut).reshape(images, groups * kernels, *outputs)
