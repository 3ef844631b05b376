"""Builtin types, in MLIR's words and spellings. Types are frozen values: equal means same."""

from __future__ import annotations

from typing import ClassVar, cast

from attrs import frozen


class Type:
    """Base of all types. ``str(type)`` is its textual form, which parses back to an equal type."""

    __slots__ = ()


@frozen(cache_hash=True)
class IntegerType(Type):
    """``i8`` (signless), ``si8`` (signed), ``ui8`` (unsigned)."""

    width: int
    signedness: str = ""

    def __str__(self) -> str:
        return f"{self.signedness}i{self.width}"


@frozen(cache_hash=True)
class FloatType(Type):
    """``f16``, ``bf16``, ``f32``, ``f64``."""

    name: str

    def __str__(self) -> str:
        return self.name


@frozen(cache_hash=True)
class IndexType(Type):
    """``index``: an integer as wide as an address."""

    def __str__(self) -> str:
        return "index"


@frozen(cache_hash=True)
class NoneType(Type):
    """``none``: the type with one value."""

    def __str__(self) -> str:
        return "none"


@frozen(cache_hash=True)
class TensorType(Type):
    """``tensor<1x3x32x32xf32>``; an extent of None is dynamic and prints as ``?``."""

    shape: tuple[int | None, ...]
    element: Type

    def __str__(self) -> str:
        dimensions = "".join(f"{'?' if extent is None else extent}x" for extent in self.shape)
        return f"tensor<{dimensions}{self.element}>"

    @property
    def has_static_shape(self) -> bool:
        return None not in self.shape

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape. Raises: ValueError where an extent is dynamic."""
        if None in self.shape:
            raise ValueError(f"{self} has a dynamic extent; give every extent a number")
        return cast("tuple[int, ...]", self.shape)

    @property
    def element_count(self) -> int:
        """Raises: ValueError where an extent is dynamic."""
        count = 1
        for extent in self.static_shape:
            count *= extent
        return count

    def with_element(self, element: Type) -> TensorType:
        return TensorType(self.shape, element)

    def with_shape(self, shape: tuple[int, ...]) -> TensorType:
        return TensorType(shape, self.element)


@frozen(cache_hash=True)
class FunctionType(Type):
    """``(tensor<4xf32>) -> tensor<4xf32>``"""

    inputs: tuple[Type, ...]
    results: tuple[Type, ...]

    def __str__(self) -> str:
        inputs = ", ".join(map(str, self.inputs))
        if len(self.results) == 1 and not isinstance(self.results[0], FunctionType):
            return f"({inputs}) -> {self.results[0]}"
        return f"({inputs}) -> ({', '.join(map(str, self.results))})"


@frozen(cache_hash=True)
class OpaqueType(Type):
    """A type of a dialect that is not registered: kept as its text."""

    text: str

    def __str__(self) -> str:
        return self.text


class DialectType(Type):
    """Base of the types that dialects define; ``mnemonic`` is e.g. ``quant.uniform``."""

    __slots__ = ()
    mnemonic: ClassVar[str]


F32 = FloatType("f32")
F64 = FloatType("f64")
I1 = IntegerType(1)
I8 = IntegerType(8)
I32 = IntegerType(32)
I64 = IntegerType(64)
UI8 = IntegerType(8, "u")
INDEX = IndexType()
