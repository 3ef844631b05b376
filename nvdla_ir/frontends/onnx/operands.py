"""What a tensor of the model is on the way in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.quant import QuantizedType, UniformPerAxisType, UniformType
from nvdla_ir.ir.types import F32, I8

if TYPE_CHECKING:
    from nvdla_ir.ir.operation import Value

Array = NDArray[Any]

_SIGN_CHANGE = {np.dtype(np.uint8): 128, np.dtype(np.int8): 0}


@frozen(eq=False)
class Constant:
    """Known elements. ``name`` is that of the tensor they came from."""

    array: Array
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape


@frozen(eq=False)
class QuantizedConstant:
    """Known integers that stand for reals: ``scale * (stored - zero_point)``, with one scale and
    zero point for all, or one a slice along ``axis``."""

    stored: Array
    scales: Array
    zero_points: Array
    axis: int | None
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    def reals(self) -> Array:
        """The float32 numbers, computed as ONNX defines it."""
        integers = self.stored.astype(np.int64) - self._along_axis(self.zero_points)
        return integers.astype(np.float32) * self._along_axis(self.scales.astype(np.float32))

    def constant(self) -> Constant:
        return Constant(self.reals(), self.name)

    def _along_axis(self, numbers: Array) -> Array:
        if self.axis is None:
            return numbers.reshape(())
        shape = [1] * self.stored.ndim
        shape[self.axis] = -1
        return numbers.reshape(shape)

    def transposed(self) -> QuantizedConstant:
        """Of two dimensions, the other way round."""
        axis = None if self.axis is None else 1 - self.axis
        turned: Array = np.transpose(self.stored)
        return QuantizedConstant(turned, self.scales, self.zero_points, axis, self.name)

    def int8(self) -> tuple[NDArray[np.int8], QuantizedType] | None:
        """The integers as int8, and their type; None where they are not 8 bits. Nothing is rounded:
        uint8 is moved by 128, with the zero points.

        Slices of scale 0, which a type cannot have, become zeros of another scale.
        """
        change = _SIGN_CHANGE.get(self.stored.dtype)
        if change is None:
            return None
        stored = self.stored
        if change:
            stored = (stored.astype(np.int16) - change).astype(np.int8)
        zero_points = self.zero_points.astype(np.int64).reshape(-1) - change
        scales = self.scales.astype(np.float64).reshape(-1)
        if (empty := scales == 0).any():
            along = zero_points if self.axis is None else self._along_axis(zero_points)
            zeros = empty if self.axis is None else self._along_axis(empty)
            stored = np.where(zeros, along, stored).astype(np.int8)
            scales = np.where(empty, scales.max() or 1.0, scales)
        if self.axis is None:
            return stored, UniformType(I8, F32, float(scales[0]), int(zero_points[0]))
        return stored, UniformPerAxisType(
            I8, F32, self.axis, tuple(scales.tolist()), tuple(zero_points.tolist())
        )


@frozen(eq=False)
class Activation:
    """Reals that the network computes."""

    value: Value

    @property
    def shape(self) -> tuple[int, ...]:
        return nn.shape_of(self.value)


@frozen(eq=False)
class Codes:
    """8-bit integers that the network computes: ``value`` are the reals they stand for, as
    ``zero_point`` and ``scale`` (of the model, uint8 not yet moved) say."""

    value: Value
    scale: float
    zero_point: int
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return nn.shape_of(self.value)


@frozen(eq=False)
class Integers:
    """Integers that the network computes and that stand for no reals: places of largest numbers."""

    value: Value

    @property
    def shape(self) -> tuple[int, ...]:
        return nn.shape_of(self.value)


@frozen(eq=False)
class RawInput:
    """Integers that are an input of the graph, before anything said what they stand for."""

    value: Value
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return nn.shape_of(self.value)


Tensor: TypeAlias = "Constant | QuantizedConstant | Activation | Codes | Integers | RawInput"
