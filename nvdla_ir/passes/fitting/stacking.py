"""Pieces of fewer kernels than one memory atom has channels, put together.

The SDP writes whole atoms, so that such pieces go below each other in a cube of their own. A
convolution whose kernels have a single 1 then moves each to its channels: integers, nothing is
lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from nvdla_ir.dialects import nvdla
from nvdla_ir.dialects.nn.shapes import shape_of, tensor_type
from nvdla_ir.dialects.nvdla import ROWS
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import I8
from nvdla_ir.passes.settings.layers import HardwareLayer
from nvdla_ir.resources import ResourceStore


def unstack(
    parts: Sequence[Value],
    layer: HardwareLayer,
    hw: HardwareConfiguration,
    resources: ResourceStore,
    builder: Builder,
) -> list[Value]:
    """Cubes of a whole kernel group's channels each, of ``parts`` in order."""
    import numpy as np

    made: dict[tuple[int, int, int], Value] = {}
    groups: list[Value] = []
    pending: list[Value] = []
    for index, part in enumerate(parts):
        pending.append(part)
        channels = sum(shape_of(value)[1] for value in pending)
        if channels < hw.atomic_k and index < len(parts) - 1:
            continue
        count, (_, size, height, width) = len(pending), shape_of(pending[0])
        if count == 1:
            groups += pending
            pending = []
            continue
        key = channels, size, count
        if key not in made:
            weights = np.zeros((channels, size, count, 1), np.int8)
            for channel in range(channels):
                weights[channel, channel % size, channel // size, 0] = 1
            name = f"channels.{size}.of.{channels}"
            made[key] = builder.create(
                nvdla.ConstantOp, value=resources.attribute_for(name, weights, I8)
            ).output
        stack = builder.create(
            nvdla.ConcatOp,
            inputs=pending,
            axis=ROWS,
            layers=layer.names,
            result_types=[tensor_type(pending[0]).with_shape((1, size, count * height, width))],
        ).output
        stream = builder.create(
            nvdla.ConvOp,
            input=stack,
            weight=made[key],
            dilations=(height, 1),
            layers=layer.names,
        ).output
        groups.append(
            builder.create(
                nvdla.SdpOp,
                input=stream,
                layers=layer.names,
                result_types=[tensor_type(pending[0]).with_shape((1, channels, height, width))],
            ).output
        )
        pending = []
    return groups
