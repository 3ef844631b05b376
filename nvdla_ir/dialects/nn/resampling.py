"""Layers that make images larger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nvdla_ir.dialects.nn.base import NNOp
from nvdla_ir.dialects.nn.shapes import ACTIVATION, like, rank_faults, shape_faults, shape_of
from nvdla_ir.ir.attribute_kinds import FLOAT, INTS, enumeration
from nvdla_ir.ir.definition import attribute, operand, result
from nvdla_ir.ir.traits import Pure
from nvdla_ir.ir.types import Type


class PadOp(NNOp):
    """Rows and columns around each channel: ``pads`` are top, left, bottom and right.

    What is in them, by ``mode``:

    constant: ``value``
    edge:     the nearest row or column
    reflect:  the image mirrored at its outermost row or column, which is not repeated
    """

    name = "nn.pad"
    traits = (Pure(),)

    input = operand(ACTIVATION)
    pads = attribute(INTS)
    mode = attribute(enumeration("constant", "edge", "reflect"), default="constant")
    value = attribute(FLOAT, default=0.0)
    output = result(ACTIVATION)

    def _output_shape(self) -> tuple[int, ...]:
        n, c, height, width = shape_of(self.input)
        top, left, bottom, right = self.pads
        return n, c, top + height + bottom, left + width + right

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, self._output_shape())

    def verify(self) -> Iterable[str]:
        faults = list(rank_faults("input", self.input, 4))
        if len(self.pads) != 4:
            faults.append(f"has 'pads' of {len(self.pads)} numbers, but it takes 4")
        elif min(self.pads) < 0:
            faults.append(f"has 'pads = {list(self.pads)}', but each must be at least 0")
        if not faults:
            faults += self._mode_faults()
        yield from faults or shape_faults(self.output, self._output_shape())

    def _mode_faults(self) -> Iterable[str]:
        if self.mode != "constant" and self.value:
            yield f"has 'value = {self.value}', but mode '{self.mode}' takes none"
        sizes = shape_of(self.input)[2:]
        if self.mode == "reflect" and any(self.pads[side] >= sizes[side % 2] for side in range(4)):
            yield (
                f"has 'pads = {list(self.pads)}', but with mode 'reflect' they must be smaller "
                f"than the image {sizes[0]}x{sizes[1]}"
            )


class _EnlargingOp(NNOp):
    input = operand(ACTIVATION)
    scales = attribute(INTS)
    output = result(ACTIVATION)

    def _output_shape(self) -> tuple[int, ...]:
        n, c, height, width = shape_of(self.input)
        return n, c, height * self.scales[0], width * self.scales[1]

    def infer_result_types(self) -> Sequence[Type] | None:
        return like(self.input, self._output_shape())

    def verify(self) -> Iterable[str]:
        faults = list(rank_faults("input", self.input, 4))
        if len(self.scales) != 2:
            faults.append(f"has 'scales' of {len(self.scales)} numbers, but it takes 2")
        elif min(self.scales) < 1:
            faults.append(f"has 'scales = {list(self.scales)}', but each must be at least 1")
        yield from faults or shape_faults(self.output, self._output_shape())


class UpsampleOp(_EnlargingOp):
    """Each element ``scales[0]`` times below one another and ``scales[1]`` times side by side:
    the nearest neighbour by whole factors."""

    name = "nn.upsample"
    traits = (Pure(),)


class InterpolateOp(_EnlargingOp):
    """Rows and columns in whole numbers, by linear interpolation between the two neighbours
    (bilinear), at the edge the outermost one.

    Where element ``x`` of the result lies in the input, by ``coordinates`` (ONNX's
    coordinate_transformation_mode):

    half_pixel:    ``(x + 0.5) / scale - 0.5``
    asymmetric:    ``x / scale``
    align_corners: ``x * (size - 1) / (size * scale - 1)``
    """

    name = "nn.interpolate"
    traits = (Pure(),)

    coordinates = attribute(
        enumeration("half_pixel", "asymmetric", "align_corners"), default="half_pixel"
    )
