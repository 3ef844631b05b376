"""What the handler of a layer type works with: the layer, its inputs, its weights, a builder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.nn.base import NNOp
from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.frontends.caffe.net import Layer
from nvdla_ir.frontends.caffe.weights import Weights
from nvdla_ir.ir.attributes import DenseElementsAttr
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import F32, TensorType
from nvdla_ir.ir.verifier import input_faults
from nvdla_ir.resources import ResourceStore

MOST_ELEMENTS = 2**28
"""Of one tensor: a gigabyte of floats."""


class UnsupportedError(Exception):
    """The layer is correct, but says something that has no operation here."""


class LayerError(Exception):
    """The layer contradicts itself, its inputs or its weights."""


@define(eq=False)
class LayerContext:
    """One layer under construction. ``name`` is unique in the network."""

    layer: Layer
    name: str
    inputs: Sequence[Value]
    weights: Weights
    builder: Builder
    resources: ResourceStore
    faults: list[str] = field(factory=list[str])
    _parts: dict[str, int] = field(factory=dict[str, int])
    _blobs_read: int = 0

    @property
    def input(self) -> Value:
        return self.inputs[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first input."""
        return nn.shape_of(self.inputs[0])

    def parameters(self, name: str) -> Any:
        return self.layer.parameters(name)

    def require_image(self) -> tuple[int, int, int, int]:
        """The shape of the first input, NxCxHxW. Raises: UnsupportedError for other ranks."""
        shape = self.shape
        if len(shape) != 4:
            raise UnsupportedError(f"takes images NxCxHxW here, but its input is {text_of(shape)}")
        return shape[0], shape[1], shape[2], shape[3]

    def axis(self, value: int, rank: int | None = None) -> int:
        """``value`` as an axis of the first input, negative ones from the end.

        Raises: LayerError where there is no such axis.
        """
        rank = len(self.shape) if rank is None else rank
        if not -rank <= value < rank:
            raise LayerError(f"has 'axis: {value}', but its input is {text_of(self.shape)}")
        return value % rank

    # -------------------------------------------------------------- operations

    def create(self, op_class: type[NNOp], *, part: str | None = None, **fields: Any) -> Value:
        """The result of a new operation of this layer.

        A ``part`` is a step before the last one, which has a name of its own. Raises: LayerError
        for what its verifier says, and for tensors too large.
        """
        name = self.name
        if part is not None:
            name = f"{name}.{part}"
            self._parts[name] = self._parts.get(name, 0) + 1
            if self._parts[name] > 1:
                name = f"{name}{self._parts[name]}"
        # What is the default goes without saying.
        attributes = op_class.definition.attributes
        said = {
            key: value
            for key, value in fields.items()
            if key not in attributes or value != attributes[key].default
        }
        op = op_class.create(layers=(name,), location=self.builder.location, **said)
        result = op.results[0]
        shape = nn.shape_of(result)
        faults = input_faults(op) or list(op.verify())
        if faults:
            raise LayerError(f"cannot be made: '{op.name}' {'; '.join(faults)}")
        if math.prod(shape) > MOST_ELEMENTS:
            raise LayerError(
                f"makes a tensor of {text_of(shape)} elements, more than the {MOST_ELEMENTS} "
                "that are taken"
            )
        return self.builder.insert(op).results[0]

    def constant(self, suffix: str, array: NDArray[Any]) -> Value:
        """``array`` as a constant, kept under the layer's name and ``suffix``."""
        attribute = self.resources.attribute_for(f"{self.name}.{suffix}", array, F32)
        return self.builder.create(nn.ConstantOp, value=attribute).output

    def splat(self, number: float, shape: Sequence[int]) -> Value:
        """A constant that is ``number`` everywhere."""
        type = TensorType(tuple(shape), F32)
        value = DenseElementsAttr(type, (float(np.float32(number)),))
        return self.builder.create(nn.ConstantOp, value=value).output

    def per_channel(self, suffix: str, numbers: NDArray[np.float32]) -> Value:
        return self.constant(suffix, np.ascontiguousarray(numbers.reshape(-1)))

    # -------------------------------------------------------------- weights

    def blob(self, what: str, *shapes: Sequence[int]) -> NDArray[np.float32]:
        """The layer's next blob, in the first of the ``shapes`` that it fits.

        Where it is missing or does not fit, that is noted and zeros are returned, so that the
        layers behind it can be looked at.
        """
        index = self._blobs_read
        self._blobs_read += 1
        blobs = self.weights.of(self.layer.name)
        expected = shapes[0]
        if math.prod(expected) > MOST_ELEMENTS:
            raise LayerError(
                f"takes {what} of {text_of(expected)}, more than the {MOST_ELEMENTS} numbers that "
                "are taken"
            )
        if not self.weights.given:
            self.weights.missed[self.layer.name] = None
        elif index >= len(blobs):
            self.faults.append(f"has no {what} in the caffemodel: {text_of(expected)} is needed")
        else:
            for shape in shapes:
                if blobs[index].fits(shape):
                    return blobs[index].numbers.reshape(tuple(shape))
            self.faults.append(
                f"has {what} of {text_of(blobs[index].shape)} in the caffemodel, but "
                f"{' or '.join(map(text_of, shapes))} is needed"
            )
        return _zeros(expected)

    def check_blobs(self) -> None:
        """Note where the caffemodel has more blobs than the layer takes."""
        count = len(self.weights.of(self.layer.name))
        if count > self._blobs_read:
            self.faults.append(
                f"has {count} blobs in the caffemodel, but takes {self._blobs_read or 'none'}"
            )


def _zeros(shape: Sequence[int]) -> NDArray[np.float32]:
    """Zeros that take no memory."""
    return cast("NDArray[np.float32]", np.broadcast_to(np.float32(0), tuple(shape)))
