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
from nvdla_ir.ir.definition import attribute, operand, optional_attribute, result
from nvdla_ir.ir.traits import Pure
from nvdla_ir.ir.types import Type


class _PoolOp(NNOp):
    input = operand(ACTIVATION)
    kernel = attribute(INTS)
    strides = attribute(INTS, default=(1, 1))
    pads = attribute(INTS, default=(0, 0, 0, 0))
    output = result(ACTIVATION)

    def _output_shape(self) -> tuple[int, ...]:
        shape = shape_of(self.input)
        return (*shape[:2], *window_shape(shape, self.kernel, self.strides, self.pads))

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, self._output_shape())

    def verify(self) -> Iterable[str]:
        faults = list(rank_faults("input", self.input, 4))
        faults += window_faults(self.kernel, self.strides, self.pads, (1, 1))
        if not faults:
            kernel, pads = self.kernel, self.pads
            if max(pads[0], pads[2]) >= kernel[0] or max(pads[1], pads[3]) >= kernel[1]:
                faults.append(
                    f"has 'pads = {list(pads)}', but they must be smaller than the kernel "
                    f"{kernel[0]}x{kernel[1]}"
                )
            elif min(self._output_shape()) < 1:
                faults.append(f"has a kernel {kernel[0]}x{kernel[1]} larger than its padded input")
            else:
                faults += shape_faults(self.output, self._output_shape())
        yield from faults


class MaxPoolOp(_PoolOp):
    """The maximum of each window; padding never wins."""

    name = "nn.max_pool"
    traits = (Pure(),)


class AveragePoolOp(_PoolOp):
    """The mean of each window, over the whole window or, without ``count_include_pad``, over
    what is inside the input.

    On quantized integers ``reciprocals`` are the two factors of the hardware's divider, height
    and width, in units of 2^-16: ``rha(rha(sum * width, 16) * height, 16)``.
    """

    name = "nn.average_pool"
    traits = (Pure(),)

    count_include_pad = attribute(BOOL, default=True)
    reciprocals = optional_attribute(INTS)

    def verify(self) -> Iterable[str]:
        yield from super().verify()
        reciprocals = self.reciprocals
        if reciprocals is not None and len(reciprocals) != 2:
            yield f"has {len(reciprocals)} reciprocals, but it takes 2: height and width"


class GlobalAveragePoolOp(NNOp):
    """The mean of each channel: NxCxHxW to NxCx1x1."""

    name = "nn.global_average_pool"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    output = result(ACTIVATION)

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, (*shape_of(self.input)[:2], 1, 1))

    def verify(self) -> Iterable[str]:
        faults = list(rank_faults("input", self.input, 4))
        yield from faults or shape_faults(self.output, (*shape_of(self.input)[:2], 1, 1))
