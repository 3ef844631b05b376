"""The kinds of tensors outside the text, by who owns the elements.

* ``MappedTensor``: a file does; arrays are views of its mapping, nothing is copied.
* ``ArrayTensor``: the tensor itself does.
* ``DerivedTensor``: nobody does; a recipe makes them of other tensors when somebody asks, and they
  are gone when he lets go. For what is large and quickly made again.

Equal are tensors of one element type and shape with equal contents, which digests tell.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN, Location

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

T = TypeVar("T")

Recipe = Callable[..., "Array | Iterable[Array]"]
"""Takes the arrays of the sources, and returns the elements: as one array, or, so that never all
of them are there at once, as several that follow one another."""


class Tensor(ABC):
    """Elements that do not change. ``dtype`` is numpy's name."""

    def __init__(self, dtype: str, shape: tuple[int, ...]) -> None:
        self.dtype = dtype
        self.shape = shape
        self._digest: bytes | None = None

    @abstractmethod
    def array(self) -> Array:
        """All elements; not to be written to."""

    def parts(self) -> Iterator[Array]:
        """The elements in C order, in arrays that follow one another."""
        yield self.array()

    @property
    def nbytes(self) -> int:
        import numpy as np

        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def digest(self) -> bytes:
        """Of the elements, computed once."""
        if self._digest is None:
            import numpy as np

            state = hashlib.sha256()  # which processors help with
            for part in self.parts():
                state.update(np.ascontiguousarray(part).data)
            self._digest = state.digest()
        return self._digest


class ArrayTensor(Tensor):
    """An array that was given."""

    def __init__(self, array: Array) -> None:
        super().__init__(str(array.dtype), tuple(array.shape))
        self._array = array

    def array(self) -> Array:
        return self._array


class MappedTensor(Tensor):
    """Elements at ``offset`` of a mapped file. What is read of it the system may drop, and read
    again, as it likes."""

    def __init__(self, file: mmap.mmap, offset: int, dtype: str, shape: tuple[int, ...]) -> None:
        super().__init__(dtype, shape)
        self._file = file
        self._offset = offset

    def array(self) -> Array:
        import numpy as np

        count = math.prod(self.shape)
        if not count:
            return np.empty(self.shape, self.dtype)
        return np.frombuffer(self._file, self.dtype, count, self._offset).reshape(self.shape)


class DerivedTensor(Tensor):
    """What ``recipe`` makes of the arrays of ``sources``, whenever it is asked for.

    Whoever holds an array shares it with those who ask meanwhile. ``name`` and ``location`` tell
    what is at fault where the recipe fails.
    """

    def __init__(
        self,
        dtype: str,
        shape: tuple[int, ...],
        recipe: Recipe,
        sources: Sequence[Tensor] = (),
        name: str = "",
        location: Location = UNKNOWN,
    ) -> None:
        super().__init__(dtype, shape)
        self._recipe = recipe
        self._sources = tuple(sources)
        self._name = name
        self._location = location
        self._made: weakref.ref[Array] | None = None

    def array(self) -> Array:
        """Raises: DiagnosticError where the recipe fails."""
        import numpy as np

        made = None if self._made is None else self._made()
        if made is not None:
            return made
        begin = 0
        for part in self._make():
            if part.size == math.prod(self.shape):
                made = part.reshape(self.shape)
                continue
            if made is None:
                made = np.empty(self.shape, self.dtype)
            made.reshape(-1)[begin : begin + part.size] = part.reshape(-1)
            begin += part.size
        if made is None:
            made = np.empty(self.shape, self.dtype)
        self._made = weakref.ref(made)
        return made

    def parts(self) -> Iterator[Array]:
        """Raises: DiagnosticError where the recipe fails."""
        made = None if self._made is None else self._made()
        yield from self._make() if made is None else [made]

    def _make(self) -> Iterator[Array]:
        import numpy as np

        size, begin = math.prod(self.shape), 0
        try:
            made = self._recipe(*(source.array() for source in self._sources))
            for part in cast("Iterable[Array]", [made] if isinstance(made, np.ndarray) else made):
                begin += part.size if str(part.dtype) == self.dtype else size + 1
                if begin > size:
                    break
                yield part
        except DiagnosticError:
            raise
        except Exception as error:
            raise self._failure(f"{type(error).__name__}: {error}") from error
        if begin != size:
            raise self._failure(f"its recipe does not make {size} elements of {self.dtype}")

    def _failure(self, reason: str) -> DiagnosticError:
        return DiagnosticError.at(
            self._location, f"resource '{self._name}' cannot be derived: {reason}"
        )


class EqualTensors(Generic[T]):
    """What was found of tensors, by tensor: equal ones share it.

    Digests are computed where type and shape alone do not tell two tensors apart.
    """

    def __init__(self) -> None:
        self._lone: dict[Hashable, tuple[Tensor, T]] = {}
        self._found: dict[Hashable, T] = {}

    def find(self, tensor: Tensor, kind: Hashable = None) -> T | None:
        """What was added for an equal tensor of the same ``kind``."""
        looks = (kind, tensor.dtype, tensor.shape)
        lone = self._lone.get(looks)
        if lone is None:
            return None
        if lone[0] is tensor:
            return lone[1]
        self._found.setdefault((looks, lone[0].digest), lone[1])
        return self._found.get((looks, tensor.digest))

    def add(self, tensor: Tensor, found: T, kind: Hashable = None) -> None:
        """``find`` finds what was added first."""
        looks = (kind, tensor.dtype, tensor.shape)
        lone = self._lone.setdefault(looks, (tensor, found))
        if lone[0] is not tensor:
            self._found.setdefault((looks, lone[0].digest), lone[1])
            self._found.setdefault((looks, tensor.digest), found)
