"""Grouped convolutions: the hardware has none, so each runs in slices of channels.

A slice holds as many groups as fill memory atoms, since it must begin at one; inside it the
weights are block-diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.hardware.convolution_limits import LARGEST_STRIDE
from nvdla_ir.hardware.faults import LARGEST_EXTENT
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.operation import Value
from nvdla_ir.passes.legalization.chains import Unit

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


_SHARE_OF_BUFFER = 4
"""Weights that are to stay in the convolution buffer take up to one in so many of its bytes."""


def is_alike_by_surface(
    op: nn.ConvOp,
    weights: NDArray[np.int8],
    units: Sequence[Unit],
    cube: Value,
    hw: HardwareConfiguration,
) -> bool:
    """Whether a depthwise convolution is the same for all channels, as that of a mean, with windows
    over all rows: then the surfaces of the input, which follow each other in memory, can be read as
    rows of one."""
    _, channels, height, _ = nvdla.cube_shape(cube.type)
    surface_bytes = hw.memory_atom**2 * math.prod(weights.shape[2:])
    return (
        channels == op.groups == weights.shape[0]
        and channels % hw.memory_atom == 0
        and weights.shape[2] == height <= LARGEST_STRIDE
        and channels // hw.memory_atom * height <= LARGEST_EXTENT
        and not (op.pads[0] or op.pads[2])
        and surface_bytes * _SHARE_OF_BUFFER <= hw.cbuf.total_bytes
        and all(unit.alu_operand is None is unit.mul_operand for unit in units)
        and bool((weights == weights[:1]).all())
        and _follow_each_other(cube)
    )


def _follow_each_other(cube: Value) -> bool:
    """Whether the surfaces of a cube lie one behind the other: not of some rows of another, nor of
    what becomes rows or columns of another."""
    source = cube.defining_operation
    while isinstance(source, nvdla.SliceOp) and source.axis == nvdla.CHANNELS:
        cube = source.input
        source = cube.defining_operation
    if isinstance(source, nvdla.SliceOp):
        return False
    joins = (nvdla.ConcatOp, nvdla.InterleaveOp)
    return all(
        not isinstance(user, joins)
        or (user.axis == nvdla.CHANNELS and _follow_each_other(user.output))
        for user in cube.users
    )
