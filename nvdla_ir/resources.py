"""The tensors that ``dense_resource<key>`` attributes refer to.

They live in a safetensors file beside the text and are mapped into memory, not read, until a
pass or an interpreter asks for one. Passes add new ones under new keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvdla_ir.ir.attributes import DenseElementsAttr, DenseResourceAttr
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.ir.location import UNKNOWN, Location
from nvdla_ir.ir.types import FloatType, IntegerType, TensorType, Type

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DTYPES = {
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "i1": "bool",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "ui8": "uint8",
    "si8": "int8",
}


def dtype_name(element: Type) -> str | None:
    """The numpy name of an element type, or None where numpy has none."""
    return _DTYPES.get(str(element)) if isinstance(element, FloatType | IntegerType) else None


class ResourceStore:
    """Tensors by key: those of a file, those that came in the text, those passes added."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._opened: Any = None
        self._keys: list[str] = []
        self._blobs: dict[str, bytes] = {}
        self._arrays: dict[str, NDArray[Any]] = {}

    @property
    def keys(self) -> list[str]:
        return [*self._keys, *self._blobs, *self._arrays]

    def attach(self, file: Path, location: Location = UNKNOWN) -> None:
        """Make the tensors of a safetensors file known.

        Raises: DiagnosticError at ``location`` where the file is missing or malformed.
        """
        from safetensors import SafetensorError, safe_open

        try:
            self._opened = safe_open(file, framework="numpy")
        except FileNotFoundError:
            raise DiagnosticError.at(location, f"weights file '{file}' does not exist") from None
        except OSError as error:
            raise DiagnosticError.at(
                location, f"weights file '{file}' cannot be read: {error.strerror or error}"
            ) from None
        except SafetensorError as error:
            raise DiagnosticError.at(
                location, f"weights file '{file}' is no valid safetensors file: {error}"
            ) from None
        self._file = file
        self._keys = list(self._opened.keys())

    def add_blobs(self, blobs: Mapping[str, bytes]) -> None:
        """Make tensors known that stood in the text as bytes."""
        self._blobs.update(blobs)

    def add(self, key: str, array: NDArray[Any]) -> str:
        """Keep ``array`` under ``key``, or, where that is taken, under ``key`` with a number.
        Returns the key."""
        import numpy as np

        taken = set(self.keys)
        chosen, number = key, 0
        while chosen in taken:
            number += 1
            chosen = f"{key}.{number}"
        self._arrays[chosen] = np.ascontiguousarray(array)
        return chosen

    def attribute_for(self, key: str, array: NDArray[Any], element: Type) -> DenseResourceAttr:
        """Keep ``array`` and return the attribute that refers to it."""
        return DenseResourceAttr(self.add(key, array), TensorType(tuple(array.shape), element))

    def array(
        self, attribute: DenseResourceAttr | DenseElementsAttr, location: Location = UNKNOWN
    ) -> NDArray[Any]:
        """The elements of ``attribute`` as an array of its type's shape; do not write to it.

        Raises: DiagnosticError at ``location`` where the key, shape or element type do not fit.
        """
        import numpy as np

        type = attribute.type
        shape = type.static_shape
        dtype = dtype_name(type.element)
        if dtype is None:
            raise DiagnosticError.at(
                location, f"elements of type '{type.element}' cannot be stored"
            )
        if isinstance(attribute, DenseElementsAttr):
            values = np.array(attribute.values, dtype)
            return np.broadcast_to(values.reshape(shape if values.size != 1 else ()), shape)
        found = self._find(attribute.key, dtype, shape, location)
        if found.shape != shape:
            raise DiagnosticError.at(
                location,
                f"resource '{attribute.key}'{self._origin(attribute.key)} has shape "
                f"{_shape(found.shape)}, but the text says '{type}'",
            )
        if found.dtype != np.dtype(dtype):
            raise DiagnosticError.at(
                location,
                f"resource '{attribute.key}'{self._origin(attribute.key)} holds {found.dtype}, "
                f"but the text says '{type}'",
            )
        return found

    def _find(
        self, key: str, dtype: str, shape: tuple[int, ...], location: Location
    ) -> NDArray[Any]:
        import numpy as np

        array = self._arrays.get(key)
        if array is not None:
            return array
        blob = self._blobs.get(key)
        if blob is not None:
            if len(blob) != np.dtype(dtype).itemsize * int(np.prod(shape)):
                raise DiagnosticError.at(
                    location, f"resource '{key}' has {len(blob)} bytes, which do not fit its type"
                )
            return np.frombuffer(blob, dtype).reshape(shape)
        if key in self._keys:
            return self._opened.get_tensor(key)
        if self._file is None:
            raise DiagnosticError.at(
                location,
                f"there is no resource '{key}': the module names no weights file "
                "('nvdla_ir.weights')",
            )
        raise DiagnosticError.at(
            location,
            f"weights file '{self._file}' has no tensor '{key}'{did_you_mean(key, self._keys)}",
        )

    def _origin(self, key: str) -> str:
        return f" of '{self._file}'" if key in self._keys and key not in self._arrays else ""

    def is_in_file(self, key: str) -> bool:
        """Whether the weights file holds ``key`` already."""
        return key in self._keys and key not in self._arrays and key not in self._blobs

    def collect(self, attributes: Iterable[DenseResourceAttr]) -> dict[str, NDArray[Any]]:
        """The arrays that ``attributes`` refer to, by key. Raises: DiagnosticError as ``array``."""
        return {attribute.key: self.array(attribute) for attribute in attributes}

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys)


def serialize(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a safetensors file with ``arrays``."""
    from safetensors.numpy import save

    return save(dict(arrays))


def as_blob(array: NDArray[np.generic]) -> str:
    """An array as the text of a resource: hexadecimal, four bytes of alignment first."""
    alignment = max(array.dtype.itemsize, 1)
    return "0x" + (alignment.to_bytes(4, "little") + array.tobytes()).hex().upper()


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
