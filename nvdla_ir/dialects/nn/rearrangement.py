"""Layers that put channels in another order, or move elements between channels and pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nvdla_ir.dialects.nn.base import NNOp, RearrangementOp, SameShapeOp
from nvdla_ir.dialects.nn.shapes import (
    ACTIVATION,
    like,
    rank_faults,
    shape_faults,
    shape_of,
    text_of,
)
from nvdla_ir.ir.attribute_kinds import INT, enumeration
from nvdla_ir.ir.definition import attribute, result, variadic_operand
from nvdla_ir.ir.traits import Pure
from nvdla_ir.ir.types import Type


class ChannelShuffleOp(RearrangementOp, SameShapeOp):
    """The channels of ``groups`` groups by turns: the first of each, then the second of each.

    With C channels, channel ``i * groups + g`` of the result is channel ``g * (C / groups) + i`` of
    the input.
    """

    name = "nn.channel_shuffle"
    traits = (Pure(),)

    groups = attribute(INT)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        shape = shape_of(self.input)
        if len(shape) < 2:
            yield f"has an input of shape {text_of(shape)}, which has no channels"
        elif self.groups < 1 or shape[1] % self.groups:
            yield f"has {self.groups} groups, which do not divide {shape[1]} channels"


class _BlockOp(RearrangementOp):
    block_size = attribute(INT)
    mode = attribute(enumeration("DCR", "CRD"), default="DCR")

    def _output_shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def _size_faults(self) -> Iterable[str]:
        raise NotImplementedError

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, self._output_shape())

    def verify(self) -> Iterable[str]:
        faults = list(rank_faults("input", self.input, 4))
        if self.block_size < 1:
            faults.append(f"has 'block_size = {self.block_size}', but it must be at least 1")
        if not faults:
            faults += self._size_faults()
        yield from faults or shape_faults(self.output, self._output_shape())


class DepthToSpaceOp(_BlockOp):
    """Channels become pixels: NxCxHxW to Nx(C / block_size^2)x(H * block_size)x(W * block_size).

    Of the input's channels, by ``mode``, channel

    DCR: ``(row * block_size + column) * C / block_size^2 + channel``
    CRD: ``channel * block_size^2 + row * block_size + column`` (PyTorch's pixel shuffle)

    is the pixel at ``row`` and ``column`` of each block of ``channel`` of the result.
    """

    name = "nn.depth_to_space"
    traits = (Pure(),)

    def _output_shape(self) -> tuple[int, ...]:
        (n, c, height, width), block = shape_of(self.input), self.block_size
        return n, c // block**2, height * block, width * block

    def _size_faults(self) -> Iterable[str]:
        channels = shape_of(self.input)[1]
        if channels % self.block_size**2:
            yield (
                f"has {channels} channels, which are no multiple of the {self.block_size**2} "
                "pixels of a block"
            )


class SpaceToDepthOp(_BlockOp):
    """Pixels become channels, the reverse of ``nn.depth_to_space`` with the same ``mode``:
    NxCxHxW to Nx(C * block_size^2)x(H / block_size)x(W / block_size)."""

    name = "nn.space_to_depth"
    traits = (Pure(),)

    def _output_shape(self) -> tuple[int, ...]:
        (n, c, height, width), block = shape_of(self.input), self.block_size
        return n, c * block**2, height // block, width // block

    def _size_faults(self) -> Iterable[str]:
        height, width = shape_of(self.input)[2:]
        if height % self.block_size or width % self.block_size:
            yield (
                f"has an image {height}x{width}, which blocks of {self.block_size}x"
                f"{self.block_size} do not fill"
            )


class InterleaveOp(NNOp):
    """Rows (``axis`` 2) or columns (3) of the inputs by turns: the first of each, then the second
    of each.

    Of ``n`` inputs, row ``r`` of input ``i`` is row ``n * r + i`` of the result.
    """

    name = "nn.interleave"
    traits = (Pure(),)

    inputs = variadic_operand(ACTIVATION, minimum=1)
    axis = attribute(INT, default=2)
    output = result(ACTIVATION)

    def _output_shape(self) -> tuple[int, ...]:
        shape, axis = shape_of(self.inputs[0]), self.axis
        return (*shape[:axis], shape[axis] * len(self.inputs), *shape[axis + 1 :])

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.inputs[0], self._output_shape())

    def verify(self) -> Iterable[str]:
        faults = [fault for value in self.inputs for fault in rank_faults("inputs", value, 4)]
        if self.axis not in (2, 3):
            faults.append(f"has 'axis = {self.axis}', but only rows (2) and columns (3) go")
        if not faults:
            shapes = dict.fromkeys(map(shape_of, self.inputs))
            if len(shapes) > 1:
                faults.append(f"has inputs of different shapes: {', '.join(map(text_of, shapes))}")
        yield from faults or shape_faults(self.output, self._output_shape())
