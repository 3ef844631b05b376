"""Grouped convolutions: the hardware has none, so each runs in slices of channels.

A slice holds as many groups as fill memory atoms, since it must begin at one; inside it the
weights are block-diagonal.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@frozen
class ChannelSlice:
    """Channels of the input and of the output that one convolution computes, and its groups."""

    input_begin: int
    input_size: int
    output_begin: int
    output_size: int
    first_group: int
    groups: int


def channel_slices(groups: int, inputs: int, outputs: int, atom: int) -> list[ChannelSlice]:
    """The slices of a convolution with ``groups`` groups of ``inputs`` to ``outputs`` channels
    each. One slice with all of them where there is no finer one."""
    per_slice = math.lcm(atom // math.gcd(atom, inputs), atom // math.gcd(atom, outputs))
    return [
        ChannelSlice(
            first * inputs,
            min(per_slice, groups - first) * inputs,
            first * outputs,
            min(per_slice, groups - first) * outputs,
            first,
            min(per_slice, groups - first),
        )
        for first in range(0, groups, per_slice)
    ]


def block_diagonal(weights: NDArray[np.int8], part: ChannelSlice) -> NDArray[np.int8]:
    """The dense weights of a slice; ``weights`` are those of the whole convolution,
    (K, C/groups, R, S)."""
    import numpy as np

    inputs = part.input_size // part.groups
    outputs = part.output_size // part.groups
    dense = np.zeros((part.output_size, part.input_size, *weights.shape[2:]), np.int8)
    for group in range(part.groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        columns = slice(group * inputs, (group + 1) * inputs)
        start = part.output_begin + group * outputs
        dense[rows, columns] = weights[start : start + outputs]
    return dense
