"""Pooling layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nvdla_ir.dialects.nn.base import NNOp
from nvdla_ir.dialects.nn.shapes import (
    ACTIVATION,
    like,
    rank_faults,
    shape_faults,
    shape_of,
    window_faults,
    window_shape,
)
from nvdla_ir.ir.attribute_kinds import BOOL, INTS
from nvdla_ir.ir.definition import attribute, operand, result
from nvdla_ir.ir.traits import Pure
from nvdla_ir.ir.types import Type


class PoolOp(NNOp):
    """Windows over each channel.

    ``ceil_extension`` are rows and columns behind the padding at the bottom and at the right, so
    that a last window fits which the padded input does not fill (the "ceil mode" of ONNX and
    Caffe): they are never part of a maximum, and never counted in a mean.
    """

    input = operand(ACTIVATION)
    kernel = attribute(INTS)
    strides = attribute(INTS, default=(1, 1))
    pads = attribute(INTS, default=(0, 0, 0, 0))
    ceil_extension = attribute(INTS, default=(0, 0))
    output = result(ACTIVATION)

    @property
    def extended_pads(self) -> tuple[int, int, int, int]:
        """``pads`` with the rows and columns of ``ceil_extension`` behind them."""
        (top, left, bottom, right), (rows, columns) = self.pads, self.ceil_extension
        return top, left, bottom + rows, right + columns

    @property
    def reached_pads(self) -> tuple[int, int, int, int]:
        """``extended_pads`` as far as windows reach behind the input: always less than they are."""
        top, left, *behind = self.extended_pads
        sizes, outputs = shape_of(self.input)[2:], self._output_shape()[2:]
        rows, columns = (
            min(pad, max(0, (count - 1) * stride + kernel - before - size))
            for pad, count, stride, kernel, before, size in zip(
                behind, outputs, self.strides, self.kernel, (top, left), sizes, strict=True
            )
        )
        return top, left, rows, columns

    def _output_shape(self) -> tuple[int, ...]:
        shape = shape_of(self.input)
        return (*shape[:2], *window_shape(shape, self.kernel, self.strides, self.extended_pads))

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, self._output_shape())

    def verify(self) -> Iterable[str]:
        faults = list(rank_faults("input", self.input, 4))
        faults += window_faults(self.kernel, self.strides, self.pads, (1, 1))
        extension = self.ceil_extension
        if len(extension) != 2:
            faults.append(f"has 'ceil_extension' of {len(extension)} numbers, but it takes 2")
        elif min(extension) < 0:
            faults.append(f"has 'ceil_extension = {list(extension)}', but it must not be negative")
        if not faults:
            kernel, pads = self.kernel, self.pads
            if max(pads[0], pads[2]) >= kernel[0] or max(pads[1], pads[3]) >= kernel[1]:
                faults.append(
                    f"has 'pads = {list(pads)}', but they must be smaller than the kernel "
                    f"{kernel[0]}x{kernel[1]}"
                )
            elif min(self._output_shape()) < 1:
                faults.append(f"has a kernel {kernel[0]}x{kernel[1]} larger than its padded input")
            elif self._last_window_is_outside():
                faults.append(
                    f"has 'ceil_extension = {list(extension)}', which lets the last window begin "
                    "behind the input"
                )
            else:
                faults += shape_faults(self.output, self._output_shape())
        yield from faults

    def _last_window_is_outside(self) -> bool:
        """Whether a window that ``ceil_extension`` lets in has no element of the input."""
        sizes, outputs = shape_of(self.input)[2:], self._output_shape()[2:]
        return any(
            self.ceil_extension[axis]
            and (outputs[axis] - 1) * self.strides[axis] - self.pads[axis] >= sizes[axis]
            for axis in (0, 1)
        )


class MaxPoolOp(PoolOp):
    """The maximum of each window; padding never wins."""

    name = "nn.max_pool"
    traits = (Pure(),)


class AveragePoolOp(PoolOp):
    """The mean of each window, over the window with its padding or, without
    ``count_include_pad``, over what is inside the input."""

    name = "nn.average_pool"
    traits = (Pure(),)

    count_include_pad = attribute(BOOL, default=True)


class _GlobalPoolOp(NNOp):
    input = operand(ACTIVATION)
    output = result(ACTIVATION)

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, (*shape_of(self.input)[:2], 1, 1))

    def verify(self) -> Iterable[str]:
        faults = list(rank_faults("input", self.input, 4))
        yield from faults or shape_faults(self.output, (*shape_of(self.input)[:2], 1, 1))


class GlobalAveragePoolOp(_GlobalPoolOp):
    """The mean of each channel: NxCxHxW to NxCx1x1."""

    name = "nn.global_average_pool"
    traits = (Pure(),)


class GlobalMaxPoolOp(_GlobalPoolOp):
    """The maximum of each channel: NxCxHxW to NxCx1x1."""

    name = "nn.global_max_pool"
    traits = (Pure(),)
