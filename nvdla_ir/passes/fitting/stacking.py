"""Pieces of fewer kernels than one memory atom has channels, put together.

The SDP writes whole atoms, so that such pieces go below each other in a cube of their own. A
convolution whose kernels have a single 1 then moves each to its channels, and another brings what
a piece adds to the first lanes of an atom: integers, nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from nvdla_ir.dialects import nvdla
from nvdla_ir.dialects.nn.shapes import shape_of, tensor_type
from nvdla_ir.dialects.nvdla import ROWS
from nvdla_ir.hardware.fitting import Span
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import I8
from nvdla_ir.passes.settings.layers import HardwareLayer
from nvdla_ir.resources import ResourceStore


@define(eq=False)
class Mover:
    """Moves channels inside memory atoms, for one layer."""

    layer: HardwareLayer
    hw: HardwareConfiguration
    resources: ResourceStore
    builder: Builder
    # The weights of each way of moving.
    _weights: dict[str, Value] = field(factory=dict[str, Value])

    def unstack(self, parts: Sequence[Value]) -> list[Value]:
        """Cubes of a whole kernel group's channels each, of ``parts`` in order."""
        groups: list[Value] = []
        pending: list[Value] = []
        for index, part in enumerate(parts):
            pending.append(part)
            channels = sum(shape_of(value)[1] for value in pending)
            if channels == self.hw.atomic_k or index == len(parts) - 1:
                groups.append(pending[0] if len(pending) == 1 else self._joined(pending, channels))
                pending = []
        return groups

    def take(self, value: Value, span: Span) -> Value:
        """Some channels of a cube, from the first lane of an atom on."""
        group = self.hw.atomic_k
        begin = span.begin // group * group
        size = min(group, shape_of(value)[1] - begin)
        if begin or size < shape_of(value)[1]:
            value = self.builder.create(nvdla.SliceOp, input=value, begin=begin, size=size).output
        if span == Span(begin, size):
            return value
        first = span.begin - begin
        name = f"channels.{first}.to.{first + span.size - 1}.of.{size}"
        ones = [(channel, first + channel, 0) for channel in range(span.size)]
        weights = self._ones(name, (span.size, size, 1, 1), ones)
        _, _, height, width = shape_of(value)
        return self._convolved(value, weights, (1, span.size, height, width), 1)

    def _joined(self, parts: Sequence[Value], channels: int) -> Value:
        """Parts below each other, then each part's rows at its channels."""
        count, (_, size, height, width) = len(parts), shape_of(parts[0])
        stack = self.builder.create(
            nvdla.ConcatOp,
            inputs=parts,
            axis=ROWS,
            layers=self.layer.names,
            result_types=[tensor_type(parts[0]).with_shape((1, size, count * height, width))],
        ).output
        ones = [(channel, channel % size, channel // size) for channel in range(channels)]
        weights = self._ones(f"channels.{size}.of.{channels}", (channels, size, count, 1), ones)
        return self._convolved(stack, weights, (1, channels, height, width), height)

    def _ones(
        self, name: str, shape: tuple[int, ...], ones: Sequence[tuple[int, int, int]]
    ) -> Value:
        """Weights that are 1 at some kernel, channel and row, else 0."""
        import numpy as np

        if name not in self._weights:
            weights = np.zeros(shape, np.int8)
            for kernel, channel, row in ones:
                weights[kernel, channel, row, 0] = 1
            attribute = self.resources.attribute_for(name, weights, I8)
            self._weights[name] = self.builder.create(nvdla.ConstantOp, value=attribute).output
        return self._weights[name]

    def _convolved(
        self, value: Value, weights: Value, shape: tuple[int, ...], dilation: int
    ) -> Value:
        stream = self.builder.create(
            nvdla.ConvOp,
            input=value,
            weight=weights,
            dilations=(dilation, 1) if dilation > 1 else None,
            layers=self.layer.names,
        ).output
        type = tensor_type(value).with_shape(shape)
        return self.builder.create(
            nvdla.SdpOp, input=stream, layers=self.layer.names, result_types=[type]
        ).output
