"""The tensors that ``dense_resource<key>`` attributes refer to.

They live in a safetensors file beside the text and are mapped into memory, not read, until a
pass or an interpreter asks for one. Passes add new ones under new keys.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvdla_ir.files import is_directory
from nvdla_ir.ir.attributes import (
    ArrayAttr,
    Attribute,
    Blob,
    DenseElementsAttr,
    DenseResourceAttr,
    DictAttr,
    is_bare_identifier,
)
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.ir.location import UNKNOWN, Location
from nvdla_ir.ir.operation import Operation, UnregisteredOp
from nvdla_ir.ir.types import FloatType, IntegerType, TensorType, Type

if TYPE_CHECKING:
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

# Safetensors' names of element types, as numpy's.
_SAFETENSORS_DTYPES = {
    "BOOL": "bool",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
}


LARGEST_SPLAT = 1 << 26
"""How many elements a constant of one repeated element may have where a pass computes with it: no
text, however short, fills the memory."""


def dtype_name(element: Type) -> str | None:
    """The numpy name of an element type, or None where numpy has none."""
    return _DTYPES.get(str(element)) if isinstance(element, FloatType | IntegerType) else None


class _Family:
    """The keys that were made of one key by numbers: how many of them were looked at, and which
    of them stands for which array, by digest."""

    def __init__(self) -> None:
        self.seen = 0
        self.by_digest: dict[bytes, str] = {}


class ResourceStore:
    """Tensors by key: those of a file, those that came in the text, those passes added."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._opened: Any = None
        self._keys: frozenset[str] = frozenset()
        self._blobs: dict[str, Blob] = {}
        self._arrays: dict[str, NDArray[Any]] = {}
        # The module that refers to the file, until it is opened.
        self._waiting: Operation | None = None
        self._sources: dict[Path, None] = {}
        self._families: dict[str, _Family] = {}

    @property
    def keys(self) -> list[str]:
        self._open_waiting()
        return [*sorted(self._keys), *self._blobs, *self._arrays]

    @property
    def file(self) -> Path | None:
        """The weights file."""
        return self._file

    @property
    def sources(self) -> list[Path]:
        """The files besides its own text that a module was made from, or will be when tensors are
        asked for: the weights file, an imported model and its data files, calibration tables. An
        output must not replace them."""
        own = [] if self._file is None else [self._file]
        return [*own, *self._sources]

    def add_source(self, file: Path) -> None:
        """Tell of a file that the module, or what passes make of it, was read from."""
        self._sources[file] = None

    def attach(self, file: Path, location: Location = UNKNOWN) -> None:
        """Make the tensors of a safetensors file known.

        Raises: DiagnosticError at ``location`` where the file is missing or malformed.
        """
        from safetensors import SafetensorError, safe_open

        if is_directory(file):
            raise DiagnosticError.at(location, f"weights file '{file}' is a directory")
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
        self._keys = frozenset(self._opened.keys())

    def attach_lazily(self, file: Path, module: Operation) -> None:
        """Like ``attach``, but the file is opened, and checked against all that ``module`` then
        refers to, when a tensor is asked for. Whoever asks gets the DiagnosticError."""
        self._file = file
        self._waiting = module

    def _open_waiting(self) -> None:
        module, file = self._waiting, self._file
        if module is None or file is None:
            return
        # While it cannot be opened, all who ask get the same error.
        self.attach(file, module.location)
        self._waiting = None
        self.check(module)

    def add_blobs(self, blobs: Mapping[str, Blob]) -> None:
        """Make tensors known that stood in the text."""
        self._blobs.update(blobs)

    def add(self, key: str, array: NDArray[Any]) -> str:
        """Keep ``array`` under ``key``, or, where that is taken by another, under ``key`` with a
        number. Returns the key."""
        import numpy as np

        self._open_waiting()
        array = np.asarray(array, order="C")
        chosen = key
        if self._is_taken(key):
            family = self._families.setdefault(key, _Family())
            digest = _digest(array)
            chosen = family.by_digest.get(digest)
            while chosen is None:
                candidate = f"{key}.{family.seen}" if family.seen else key
                if not self._is_taken(candidate):
                    chosen = candidate
                    break
                family.seen += 1
                known = self._arrays.get(candidate)
                if known is not None:
                    family.by_digest.setdefault(_digest(known), candidate)
                chosen = family.by_digest.get(digest)
        self._arrays.setdefault(chosen, array)
        return chosen

    def _is_taken(self, key: str) -> bool:
        return key in self._keys or key in self._blobs or key in self._arrays

    def attribute_for(self, key: str, array: NDArray[Any], element: Type) -> DenseResourceAttr:
        """Keep ``array`` and return the attribute that refers to it.

        The key is made a bare identifier, as MLIR demands of resources: names of layers often are
        none.
        """
        bare = re.sub(r"[^\w.$]", "_", key, flags=re.ASCII)
        if not is_bare_identifier(bare):
            bare = f"_{bare}"
        return DenseResourceAttr(self.add(bare, array), TensorType(tuple(array.shape), element))

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
            raise _not_stored(attribute, location)
        if isinstance(attribute, DenseElementsAttr):
            values = np.array(attribute.values, dtype)
            return np.broadcast_to(values.reshape(shape if values.size != 1 else ()), shape)
        self._open_waiting()
        found = self._find(attribute, dtype, shape, location)
        fault = self._mismatch(attribute, found.shape, str(found.dtype), dtype)
        if fault is not None:
            raise DiagnosticError.at(location, fault)
        return found

    def elements(
        self, attribute: DenseResourceAttr | DenseElementsAttr, location: Location = UNKNOWN
    ) -> NDArray[Any]:
        """Like ``array``, for passes, which make another array of as many elements.

        Raises: DiagnosticError as ``array``, and for an element that is repeated too often.
        """
        array = self.array(attribute, location)
        if (
            isinstance(attribute, DenseElementsAttr)
            and len(attribute.values) == 1
            and array.size > LARGEST_SPLAT
        ):
            raise DiagnosticError.at(
                location,
                f"'{attribute.type}' repeats one element {array.size} times, but passes compute "
                f"with at most {LARGEST_SPLAT} elements that the text does not list",
            )
        return array

    def _mismatch(
        self, attribute: DenseResourceAttr, shape: tuple[int, ...], dtype: str, wanted: str
    ) -> str | None:
        key = attribute.key
        origin = f" of '{self._file}'" if self.is_in_file(key) else ""
        if shape != attribute.type.static_shape:
            return (
                f"resource '{key}'{origin} has shape {_shape(shape)}, but the text says "
                f"'{attribute.type}'"
            )
        if dtype != wanted:
            return f"resource '{key}'{origin} holds {dtype}, but the text says '{attribute.type}'"
        return None

    def check(self, module: Operation) -> None:
        """See that every resource which ``module`` refers to is there and fits its type, without
        reading it. Raises: DiagnosticError with all faults, each at its operation."""
        faults: list[Diagnostic] = []
        for operation in module.walk():
            for attribute in resources_of(operation):
                try:
                    self._check(attribute, operation.location)
                except DiagnosticError as error:
                    faults += error.diagnostics
        if faults:
            raise DiagnosticError(*faults)

    def _check(self, attribute: DenseResourceAttr, location: Location) -> None:
        if not self.is_in_file(attribute.key):
            self.array(attribute, location)
            return
        wanted = dtype_name(attribute.type.element)
        tensor = self._opened.get_slice(attribute.key)
        stored: str = tensor.get_dtype()
        if wanted is None:
            raise _not_stored(attribute, location)
        fault = self._mismatch(
            attribute, tuple(tensor.get_shape()), _SAFETENSORS_DTYPES.get(stored, stored), wanted
        )
        if fault is not None:
            raise DiagnosticError.at(location, fault)

    def _find(
        self, attribute: DenseResourceAttr, dtype: str, shape: tuple[int, ...], location: Location
    ) -> NDArray[Any]:
        import numpy as np

        key = attribute.key
        array = self._arrays.get(key)
        if array is not None:
            return array
        blob = self._blobs.get(key)
        if blob is not None:
            if len(blob.data) != np.dtype(dtype).itemsize * int(np.prod(shape)):
                raise DiagnosticError.at(
                    location,
                    f"resource '{key}' has {len(blob.data)} bytes, which do not fit "
                    f"'{attribute.type}'",
                )
            return np.frombuffer(blob.data, dtype).reshape(shape)
        if key in self._keys:
            return self._opened.get_tensor(key)
        if self._file is None:
            raise DiagnosticError.at(
                location,
                f"there is no resource '{key}': the module names no weights file "
                "('nvdla_ir.weights')",
            )
        hint = did_you_mean(key, sorted(self._keys))
        raise DiagnosticError.at(
            location, f"weights file '{self._file}' has no tensor '{key}'{hint}"
        )

    def is_in_file(self, key: str) -> bool:
        """Whether ``key`` stands for a tensor of the weights file, as far as it is open."""
        return key in self._keys and not self.is_in_memory(key)

    def is_in_memory(self, key: str) -> bool:
        """Whether ``key`` came in the text or was added."""
        return key in self._arrays or key in self._blobs

    def size_bytes(self, attribute: DenseResourceAttr) -> int:
        """How many bytes a resource in memory takes."""
        blob = self._blobs.get(attribute.key)
        return len(blob.data) if blob is not None else self._arrays[attribute.key].nbytes

    def blob_text(self, attribute: DenseResourceAttr) -> str:
        """The elements of a resource in memory as they stand in text: hexadecimal,
        after four bytes that state the alignment."""
        blob = self._blobs.get(attribute.key)
        if blob is None:
            data = self._arrays[attribute.key].tobytes()
            blob = Blob(_alignment(attribute.type.element), data)
        return "0x" + (blob.alignment.to_bytes(4, "little") + blob.data).hex().upper()

    def collect(self, module: Operation) -> dict[str, NDArray[Any]]:
        """The arrays that ``module`` refers to, by key.

        Raises: DiagnosticError with all that are missing or do not fit, each at its operation.
        """
        self._open_waiting()
        self.check(module)
        return {
            attribute.key: self.array(attribute, operation.location)
            for operation in module.walk()
            for attribute in resources_of(operation)
        }


def resources_of(operation: Operation) -> Iterator[DenseResourceAttr]:
    """The resources that the attributes of ``operation`` refer to, not those of operations
    inside it."""
    properties = operation.properties if isinstance(operation, UnregisteredOp) else {}
    for attribute in (*operation.attributes.values(), *properties.values()):
        yield from _resources_in(attribute)


def _resources_in(attribute: Attribute) -> Iterator[DenseResourceAttr]:
    if isinstance(attribute, DenseResourceAttr):
        yield attribute
    elif isinstance(attribute, ArrayAttr):
        for element in attribute.elements:
            yield from _resources_in(element)
    elif isinstance(attribute, DictAttr):
        for _, value in attribute.entries:
            yield from _resources_in(value)


def _not_stored(
    attribute: DenseResourceAttr | DenseElementsAttr, location: Location
) -> DiagnosticError:
    return DiagnosticError.at(
        location, f"elements of type '{attribute.type.element}' cannot be stored"
    )


def _digest(array: NDArray[Any]) -> bytes:
    """Of the type, the shape and the bytes."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.blake2b(head + array.tobytes(), digest_size=16).digest()


def serialize(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a safetensors file with ``arrays``."""
    from safetensors.numpy import save

    return save(dict(arrays))


def _alignment(element: Type) -> int:
    digits = "".join(filter(str.isdecimal, str(element)))
    return max(int(digits) // 8, 1)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
