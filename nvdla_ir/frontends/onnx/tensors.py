"""Arrays from the tensors of a model: in place, from external files, or from their fields."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import define
from numpy.typing import NDArray

from nvdla_ir.files import is_regular_file
from nvdla_ir.frontends.onnx.limits import MOST_DIMENSIONS
from nvdla_ir.frontends.onnx.wire import Span

if TYPE_CHECKING:
    from onnx import TensorProto

Array = NDArray[Any]

# onnx.proto, TensorProto.DataType. Types that numpy lacks are read by the onnx package.
_FLOAT16, _BFLOAT16 = 10, 16
_DTYPES: dict[int, str] = {
    1: "<f4",
    2: "u1",
    3: "i1",
    4: "<u2",
    5: "<i2",
    6: "<i4",
    7: "<i8",
    9: "?",
    _FLOAT16: "<f2",
    11: "<f8",
    12: "<u4",
    13: "<u8",
}
_EXTERNAL = 1
FLOAT_TYPES = frozenset([1, _FLOAT16, 11, _BFLOAT16])
"""The numbers of element types that become float32."""
_LARGEST_ELEMENT_COUNT = 1 << 40
_LONGEST_NAME = 200


class TensorError(ValueError):
    """A tensor of the model has no elements that can be used: says why, without its name."""


@define(eq=False)
class StoredTensor:
    """A tensor of the model that becomes an array when it is asked for.

    proto:  everything but the elements that were left in place
    folder: where external data files are
    file:   the model file
    span:   where the elements are in the model file, if they were left there
    """

    name: str
    proto: TensorProto
    folder: Path
    file: Path
    span: Span | None = None
    _array: Array | None = None

    @property
    def external_file(self) -> str | None:
        """The name of the external data file, if the elements are in one."""
        if self.proto.data_location != _EXTERNAL:
            return None
        return self._external().get("location", "")

    def array(self) -> Array:
        """The elements, float16 and bfloat16 as float32; do not write to them.

        Raises: TensorError where they are missing, too few, too many or of a strange type.
        """
        if self._array is None:
            array = self._read()
            # What protobuf holds of it is not needed any longer.
            self.proto.ClearField("raw_data")
            self._array = array
        return self._array

    def _read(self) -> Array:
        shape = tuple(self.proto.dims)
        if any(extent < 0 for extent in shape) or math.prod(shape) > _LARGEST_ELEMENT_COUNT:
            raise TensorError(f"has the impossible shape {list(shape)}")
        if len(shape) > MOST_DIMENSIONS:
            raise TensorError(
                f"has {len(shape)} dimensions, but at most {MOST_DIMENSIONS} are supported"
            )
        dtype = _DTYPES.get(self.proto.data_type)
        if self.proto.HasField("segment"):
            raise TensorError("is one segment of a tensor, which nothing writes any longer")
        if self.span is None and self.proto.data_location != _EXTERNAL:
            return self._from_fields(shape, dtype)
        if self.proto.data_type == _BFLOAT16:
            bits = self._from_file(shape, np.dtype("<u2"))
            return (bits.astype(np.uint32) << 16).view(np.float32)
        if dtype is None:
            raise TensorError(f"holds elements of type {self._type_name()}, which are not read")
        return self._from_file(shape, np.dtype(dtype))

    def _type_name(self) -> str:
        from onnx import TensorProto

        known = {number: name for name, number in TensorProto.DataType.items()}
        return known.get(self.proto.data_type, f"number {self.proto.data_type}")

    def _from_fields(self, shape: tuple[int, ...], dtype: str | None) -> Array:
        proto = self.proto
        if dtype is not None and proto.HasField("raw_data"):
            raw = proto.raw_data
            self._check_size(len(raw), shape, np.dtype(dtype))
            return np.frombuffer(raw, dtype).reshape(shape)
        if dtype is None and proto.data_type != _BFLOAT16:
            raise TensorError(f"holds elements of type {self._type_name()}, which are not read")
        from onnx import numpy_helper

        try:
            array = np.asarray(numpy_helper.to_array(proto))
        except (ValueError, TypeError, OverflowError, AttributeError, KeyError) as error:
            raise TensorError(f"cannot be read: {error}") from error
        if array.shape != shape:
            raise TensorError(f"has elements of shape {list(array.shape)} instead of {list(shape)}")
        return array.astype(np.float32) if proto.data_type == _BFLOAT16 else array

    def _from_file(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        wanted = math.prod(shape) * dtype.itemsize
        if self.span is not None:
            self._check_size(self.span.size, shape, dtype)
            file, offset = self.file, self.span.start
        else:
            file, offset = self._external_place(wanted)
        try:
            flat = np.fromfile(file, dtype, math.prod(shape), offset=offset)
        except OSError as error:
            reason = error.strerror or error
            raise TensorError(
                f"has its elements in '{file}', which cannot be read: {reason}"
            ) from (error)
        if flat.size != math.prod(shape):
            raise TensorError(
                f"needs {wanted} bytes from byte {offset} of '{file}', which ends before that"
            )
        return np.reshape(flat, shape)

    def _check_size(self, size: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        wanted = math.prod(shape) * dtype.itemsize
        if size != wanted:
            raise TensorError(
                f"has {size} bytes, but its shape {list(shape)} of {dtype.name} needs {wanted}"
            )

    # -------------------------------------------------------------- external data

    def _external(self) -> dict[str, str]:
        return {entry.key: entry.value for entry in self.proto.external_data}

    def _external_place(self, wanted: int) -> tuple[Path, int]:
        entries = self._external()
        location = entries.get("location", "")
        path = Path(location)
        if not location or path.is_absolute() or ".." in path.parts:
            raise TensorError(
                f"has its elements in '{location}', but an external file must lie in the model's "
                "folder or below"
            )
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", str(wanted)))
        except ValueError:
            raise TensorError(
                f"has an offset or length in '{location}' that is no number"
            ) from None
        if length != wanted or offset < 0:
            raise TensorError(
                f"has {length} bytes from byte {offset} of '{location}', but its shape needs "
                f"{wanted}"
            )
        file = self.folder / path
        if not is_regular_file(file):
            raise TensorError(
                f"has its elements in '{_shortened(str(file))}', which does not exist"
            )
        return file, offset


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"…{name[-_LONGEST_NAME:]}"
