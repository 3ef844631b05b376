"""The tensors that ``dense_resource<key>`` attributes refer to, by key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvdla_ir.ir.attributes import (
    Blob,
    DenseElementsAttr,
    DenseResourceAttr,
    is_bare_identifier,
)
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.ir.location import UNKNOWN, Location
from nvdla_ir.ir.operation import Operation
from nvdla_ir.ir.types import FloatType, IntegerType, TensorType, Type
from nvdla_ir.resources.references import resources_of
from nvdla_ir.resources.safetensors_file import map_file
from nvdla_ir.resources.tensors import (
    ArrayTensor,
    DerivedTensor,
    EqualTensors,
    Recipe,
    Tensor,
)

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

LARGEST_SPLAT = 1 << 26
"""How many elements a constant of one repeated element may have where a pass computes with it: no
text, however short, fills the memory."""


def dtype_name(element: Type) -> str | None:
    """The numpy name of an element type, or None where numpy has none."""
    return _DTYPES.get(str(element)) if isinstance(element, FloatType | IntegerType) else None


class _Family:
    """The keys that were made of one key by numbers: how many of them were looked at, and which
    of them stands for which tensor."""

    def __init__(self) -> None:
        self.seen = 0
        self.keys: EqualTensors[str] = EqualTensors()


class ResourceStore:
    """The tensors of one module: those of its weights file, those that came in its text, those
    passes added."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._in_file: Mapping[str, Tensor] = {}
        # The module that refers to the file, until it is opened.
        self._waiting: Operation | None = None
        self._blobs: dict[str, Blob] = {}
        # The text does not say of which type a blob is; who refers to it does.
        self._typed_blobs: dict[DenseResourceAttr, Tensor] = {}
        self._added: dict[str, Tensor] = {}
        self._families: dict[str, _Family] = {}
        self._sources: dict[Path, None] = {}

    @property
    def keys(self) -> list[str]:
        self._open_waiting()
        return [*sorted(self._in_file), *self._blobs, *self._added]

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

    def copy(self) -> ResourceStore:
        """The same tensors for a copy of the module, to be added to and released apart."""
        copy = ResourceStore()
        copy._file, copy._in_file, copy._waiting = self._file, self._in_file, self._waiting
        copy._blobs.update(self._blobs)
        copy._typed_blobs.update(self._typed_blobs)
        copy._added.update(self._added)
        copy._sources.update(self._sources)
        return copy

    def attach(self, file: Path, location: Location = UNKNOWN) -> None:
        """Make the tensors of a safetensors file known.

        Raises: DiagnosticError at ``location`` where the file is missing or malformed.
        """
        self._in_file = map_file(file, location)
        self._file = file

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

    def add(self, key: str, elements: NDArray[Any] | Tensor) -> str:
        """Keep ``elements`` under ``key``, or, where that is taken by others, under ``key`` with
        a number. Returns the key."""
        self._open_waiting()
        tensor = elements if isinstance(elements, Tensor) else ArrayTensor(elements)
        if not self._is_taken(key):
            self._added[key] = tensor
            return key
        family = self._families.setdefault(key, _Family())
        chosen = family.keys.find(tensor)
        while chosen is None:
            candidate = f"{key}.{family.seen}" if family.seen else key
            if not self._is_taken(candidate):
                self._added[candidate] = tensor
                return candidate
            family.seen += 1
            known = self._added.get(candidate)
            if known is not None:
                family.keys.add(known, candidate)
            chosen = family.keys.find(tensor)
        return chosen

    def _is_taken(self, key: str) -> bool:
        return key in self._in_file or key in self._blobs or key in self._added

    def attribute_for(
        self, key: str, elements: NDArray[Any] | Tensor, element: Type
    ) -> DenseResourceAttr:
        """Keep ``elements`` and return the attribute that refers to them.

        The key is made a bare identifier, as MLIR demands of resources: names of layers often are
        none.
        """
        type = TensorType(tuple(elements.shape), element)
        return DenseResourceAttr(self.add(_bare(key), elements), type)

    def derive(
        self,
        key: str,
        type: TensorType,
        recipe: Recipe,
        sources: Sequence[Tensor] = (),
        location: Location = UNKNOWN,
    ) -> DenseResourceAttr:
        """Like ``attribute_for``, for elements of ``type`` that ``recipe`` makes of the arrays of
        ``sources`` whenever somebody asks for them, and that nobody keeps. Where that goes wrong,
        it is told at ``location``. ``type`` has a static shape and elements that can be stored.
        """
        dtype = dtype_name(type.element)
        assert dtype is not None, f"elements of type '{type.element}' cannot be stored"
        key = _bare(key)
        tensor = DerivedTensor(dtype, type.static_shape, recipe, sources, key, location)
        return DenseResourceAttr(self.add(key, tensor), type)

    def tensor(
        self, attribute: DenseResourceAttr | DenseElementsAttr, location: Location = UNKNOWN
    ) -> Tensor:
        """What ``attribute`` refers to, or lists itself, of its type's shape.

        Raises: DiagnosticError at ``location`` where the key, shape or element type do not fit,
        and for an element that the text repeats too often to compute with.
        """
        dtype = _stored_dtype(attribute, location)
        if isinstance(attribute, DenseElementsAttr):
            array = _listed(attribute, dtype)
            if len(attribute.values) == 1 and array.size > LARGEST_SPLAT:
                raise DiagnosticError.at(
                    location,
                    f"'{attribute.type}' repeats one element {array.size} times, but passes "
                    f"compute with at most {LARGEST_SPLAT} elements that the text does not list",
                )
            return ArrayTensor(array)
        self._open_waiting()
        found = self._find(attribute, dtype, location)
        fault = self._mismatch(attribute, found, dtype)
        if fault is not None:
            raise DiagnosticError.at(location, fault)
        return found

    def elements(
        self, attribute: DenseResourceAttr | DenseElementsAttr, location: Location = UNKNOWN
    ) -> NDArray[Any]:
        """The elements of ``attribute`` as an array of its type's shape; do not write to it.

        Raises: DiagnosticError as ``tensor``.
        """
        return self.tensor(attribute, location).array()

    def array(
        self, attribute: DenseResourceAttr | DenseElementsAttr, location: Location = UNKNOWN
    ) -> NDArray[Any]:
        """Like ``elements``, for whoever makes no other array of as many elements: one that the
        text repeats is there once.

        Raises: DiagnosticError where the key, shape or element type do not fit.
        """
        if isinstance(attribute, DenseElementsAttr):
            return _listed(attribute, _stored_dtype(attribute, location))
        return self.elements(attribute, location)

    def _mismatch(self, attribute: DenseResourceAttr, found: Tensor, wanted: str) -> str | None:
        key = attribute.key
        origin = f" of '{self._file}'" if self.is_in_file(key) else ""
        if found.shape != attribute.type.static_shape:
            return (
                f"resource '{key}'{origin} has shape {_shape(found.shape)}, but the text says "
                f"'{attribute.type}'"
            )
        if found.dtype != wanted:
            return (
                f"resource '{key}'{origin} holds {found.dtype}, but the text says "
                f"'{attribute.type}'"
            )
        return None

    def _find(self, attribute: DenseResourceAttr, dtype: str, location: Location) -> Tensor:
        key = attribute.key
        found = self._added.get(key) or self._typed_blobs.get(attribute)
        if found is not None:
            return found
        blob = self._blobs.get(key)
        if blob is not None:
            found = self._typed_blobs[attribute] = _typed(blob, attribute, dtype, location)
            return found
        found = self._in_file.get(key)
        if found is not None:
            return found
        if self._file is None:
            raise DiagnosticError.at(
                location,
                f"there is no resource '{key}': the module names no weights file "
                "('nvdla_ir.weights')",
            )
        hint = did_you_mean(key, sorted(self._in_file))
        raise DiagnosticError.at(
            location, f"weights file '{self._file}' has no tensor '{key}'{hint}"
        )

    def check(self, module: Operation) -> None:
        """See that every resource which ``module`` refers to is there and fits its type, without
        reading it. Raises: DiagnosticError with all faults, each at its operation."""
        self.tensors(module)

    def tensors(self, module: Operation) -> dict[str, Tensor]:
        """What ``module`` refers to, by key.

        Raises: DiagnosticError with all that are missing or do not fit, each at its operation.
        """
        self._open_waiting()
        faults: list[Diagnostic] = []
        found: dict[str, Tensor] = {}
        for operation in module.walk():
            for attribute in resources_of(operation):
                try:
                    found[attribute.key] = self.tensor(attribute, operation.location)
                except DiagnosticError as error:
                    faults += error.diagnostics
        if faults:
            raise DiagnosticError(*faults)
        return found

    def release(self, module: Operation) -> None:
        """Let go of all tensors outside the weights file that ``module`` does not refer to."""
        used = {a.key for operation in module.walk() for a in resources_of(operation)}
        self._added = {key: tensor for key, tensor in self._added.items() if key in used}
        self._blobs = {key: blob for key, blob in self._blobs.items() if key in used}
        self._typed_blobs = {a: tensor for a, tensor in self._typed_blobs.items() if a.key in used}
        self._families.clear()

    def is_in_file(self, key: str) -> bool:
        """Whether ``key`` stands for a tensor of the weights file, as far as it is open."""
        return key in self._in_file and not self.is_in_memory(key)

    def is_in_memory(self, key: str) -> bool:
        """Whether ``key`` came in the text or was added."""
        return key in self._added or key in self._blobs

    def size_bytes(self, attribute: DenseResourceAttr) -> int:
        """How many bytes a resource outside the file takes."""
        blob = self._blobs.get(attribute.key)
        return len(blob.data) if blob is not None else self._added[attribute.key].nbytes

    def blob_text(self, attribute: DenseResourceAttr) -> str:
        """The elements of a resource outside the file as they stand in text: hexadecimal,
        after four bytes that state the alignment."""
        blob = self._blobs.get(attribute.key)
        if blob is None:
            data = self._added[attribute.key].array().tobytes()
            blob = Blob(_alignment(attribute.type.element), data)
        return "0x" + (blob.alignment.to_bytes(4, "little") + blob.data).hex().upper()


def _bare(key: str) -> str:
    bare = re.sub(r"[^\w.$]", "_", key, flags=re.ASCII)
    return bare if is_bare_identifier(bare) else f"_{bare}"


def _stored_dtype(attribute: DenseResourceAttr | DenseElementsAttr, location: Location) -> str:
    dtype = dtype_name(attribute.type.element)
    if dtype is None:
        raise DiagnosticError.at(
            location, f"elements of type '{attribute.type.element}' cannot be stored"
        )
    return dtype


def _listed(attribute: DenseElementsAttr, dtype: str) -> NDArray[Any]:
    """The elements in the text; one that it repeats is in memory once."""
    import numpy as np

    values, shape = np.array(attribute.values, dtype), attribute.type.static_shape
    return np.broadcast_to(values.reshape(shape if values.size != 1 else ()), shape)


def _typed(blob: Blob, attribute: DenseResourceAttr, dtype: str, location: Location) -> Tensor:
    import numpy as np

    shape = attribute.type.static_shape
    if len(blob.data) != np.dtype(dtype).itemsize * int(np.prod(shape)):
        raise DiagnosticError.at(
            location,
            f"resource '{attribute.key}' has {len(blob.data)} bytes, which do not fit "
            f"'{attribute.type}'",
        )
    return ArrayTensor(np.frombuffer(blob.data, dtype).reshape(shape))


def _alignment(element: Type) -> int:
    digits = "".join(filter(str.isdecimal, str(element)))
    return max(int(digits) // 8, 1)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
