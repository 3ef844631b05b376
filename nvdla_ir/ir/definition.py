"""Declaring operations: one class states fields, traits, inference and invariants.

    class ConvOp(Op):
        name = "nn.conv"
        traits = (Pure(),)
        input = operand(ANY_TENSOR)
        weight = operand(ANY_TENSOR)
        bias = optional_operand(ANY_TENSOR)
        strides = attribute(INTS, default=(1, 1))
        output = result(ANY_TENSOR)

Fields read and write like plain attributes: ``op.strides``, ``op.bias``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast

from attrs import frozen

from nvdla_ir.ir.attribute_kinds import AttributeKind
from nvdla_ir.ir.attributes import Attribute, DenseArrayAttr
from nvdla_ir.ir.constraints import TypeConstraint
from nvdla_ir.ir.location import UNKNOWN, Location
from nvdla_ir.ir.operation import Operation, Region, Result, Trait, Value
from nvdla_ir.ir.types import I32, IntegerType, Type

T = TypeVar("T")
OpT = TypeVar("OpT", bound="Op")

OPERAND_SEGMENT_SIZES = "operandSegmentSizes"


class _Field:
    """A named part of an operation class."""

    name: str = ""

    def __set_name__(self, owner: type[Op], name: str) -> None:
        self.name = name


class OperandField(_Field):
    """One operand, an optional one, or any number (see the three functions below)."""

    def __init__(self, constraint: TypeConstraint, minimum: int, maximum: int | None) -> None:
        self.constraint = constraint
        self.minimum = minimum
        self.maximum = maximum

    @property
    def is_fixed(self) -> bool:
        return self.minimum == 1 and self.maximum == 1

    def values(self, op: Op) -> Sequence[Value]:
        start, size = op.operand_segment(self)
        return op._operands[start : start + size]  # pyright: ignore[reportPrivateUsage]


class _RequiredOperand(OperandField):
    def __get__(self, op: Op, owner: type[Op]) -> Value:
        position = op.definition.fixed_positions.get(self.name)
        if position is None:
            position = op.operand_segment(self)[0]
        return op._operands[position]  # pyright: ignore[reportPrivateUsage]

    def __set__(self, op: Op, value: Value) -> None:
        op.set_operand(op.operand_segment(self)[0], value)


class _OptionalOperand(OperandField):
    def __get__(self, op: Op, owner: type[Op]) -> Value | None:
        start, size = op.operand_segment(self)
        return op._operands[start] if size else None  # pyright: ignore[reportPrivateUsage]

    def __set__(self, op: Op, value: Value | None) -> None:
        op.set_operand_segment(self, [] if value is None else [value])


class _VariadicOperand(OperandField):
    def __get__(self, op: Op, owner: type[Op]) -> Sequence[Value]:
        return self.values(op)

    def __set__(self, op: Op, values: Sequence[Value]) -> None:
        op.set_operand_segment(self, values)


class ResultField(_Field):
    def __init__(self, constraint: TypeConstraint, variadic: bool) -> None:
        self.constraint = constraint
        self.variadic = variadic

    def __set__(self, op: Op, value: object) -> None:
        raise AttributeError(f"result '{self.name}' of '{op.name}' cannot be replaced")


class _RequiredResult(ResultField):
    def __get__(self, op: Op, owner: type[Op]) -> Result:
        return op.results[op.definition.results.index(self)]


class _VariadicResult(ResultField):
    def __get__(self, op: Op, owner: type[Op]) -> Sequence[Result]:
        return op.results[op.definition.results.index(self) :]


class RegionField(_Field):
    def __get__(self, op: Op, owner: type[Op]) -> Region:
        return op.regions[op.definition.regions.index(self)]

    def __set__(self, op: Op, value: object) -> None:
        raise AttributeError(f"region '{self.name}' of '{op.name}' cannot be replaced")


class AttributeField(_Field, Generic[T]):
    """An attribute that must be there."""

    def __init__(
        self, kind: AttributeKind[Any], default: T | None, required: bool, descriptive: bool = False
    ) -> None:
        self.kind = kind
        self.descriptive = descriptive
        self.default: T | None = (
            None if default is None else kind.to_python(kind.from_python(default))
        )
        self.required = required
        self._plain = kind.plain

    def __get__(self, op: Op, owner: type[Op]) -> T:
        attribute = op.attributes.get(self.name)
        if attribute is None:
            if self.required:
                raise ValueError(f"'{op.name}' has no attribute '{self.name}'")
            return self.default  # pyright: ignore[reportReturnType]
        if attribute.__class__ is self._plain:
            return attribute.value  # pyright: ignore
        return self.kind.to_python(attribute)

    def __set__(self, op: Op, value: T) -> None:
        if value is None:
            op.attributes.pop(self.name, None)
        else:
            op.attributes[self.name] = self.kind.from_python(value)


def operand(constraint: TypeConstraint) -> _RequiredOperand:
    """An operand that is always there."""
    return _RequiredOperand(constraint, 1, 1)


def optional_operand(constraint: TypeConstraint) -> _OptionalOperand:
    """An operand that may be absent. A class with several operands of varying number keeps
    their sizes in ``operandSegmentSizes``; in pretty form these are written ``name=%value``."""
    return _OptionalOperand(constraint, 0, 1)


def variadic_operand(constraint: TypeConstraint, minimum: int = 0) -> _VariadicOperand:
    """``minimum`` or more operands."""
    return _VariadicOperand(constraint, minimum, None)


def result(constraint: TypeConstraint) -> _RequiredResult:
    """A result."""
    return _RequiredResult(constraint, variadic=False)


def variadic_result(constraint: TypeConstraint) -> _VariadicResult:
    """Any number of results; the last result field only."""
    return _VariadicResult(constraint, variadic=True)


def region() -> RegionField:
    """A region."""
    return RegionField()


def attribute(kind: AttributeKind[T], default: T | None = None) -> AttributeField[T]:
    """An attribute. With a default it may be left out of the text and reads as the default."""
    return AttributeField[T](kind, default, required=default is None)


def optional_attribute(
    kind: AttributeKind[T], *, descriptive: bool = False
) -> AttributeField[T | None]:
    """An attribute that reads as None where it is absent. A ``descriptive`` one tells people
    something, and is no part of the operation's signature."""
    return AttributeField["T | None"](kind, None, required=False, descriptive=descriptive)


@frozen(eq=False)
class OperationDefinition:
    """The fields of an operation class, in order of declaration."""

    operands: tuple[OperandField, ...]
    results: tuple[ResultField, ...]
    attributes: dict[str, AttributeField[Any]]
    regions: tuple[RegionField, ...]
    has_operand_segments: bool
    # What ``create`` takes.
    field_names: frozenset[str]
    # The position of each operand as long as no operand of varying number comes before it, and of
    # each field of operands.
    fixed_positions: dict[str, int]
    operand_positions: dict[str, int]
    # What the verifier compares first, at the cost of no call: the fewest and the most operands
    # and results, and the constraint of each operand where their number is fixed.
    operand_counts: tuple[int, float]
    result_counts: tuple[int, float]
    fixed_constraints: tuple[TypeConstraint, ...] | None
    # The attributes that decide whether an operation is correct, and those that only describe.
    signature_attributes: tuple[str, ...]
    descriptive_attributes: tuple[str, ...]

    @staticmethod
    def of(op_class: type[Op]) -> OperationDefinition:
        fields: dict[str, object] = {}
        for base in reversed(op_class.__mro__):
            fields.update(vars(base))
        operands = tuple(f for f in fields.values() if isinstance(f, OperandField))
        varying = [f for f in operands if not f.is_fixed]
        positions: dict[str, int] = {}
        for index, field in enumerate(operands):
            if not field.is_fixed:
                break
            positions[field.name] = index
        # A class's own attributes come before those it inherits.
        attributes = {
            name: cast("AttributeField[Any]", f)
            for base in op_class.__mro__
            for name, f in vars(base).items()
            if isinstance(f, AttributeField)
        }
        results = tuple(f for f in fields.values() if isinstance(f, ResultField))
        variadic = any(f.variadic for f in results)
        return OperationDefinition(
            operands,
            results,
            attributes,
            tuple(f for f in fields.values() if isinstance(f, RegionField)),
            len(varying) > 1,
            frozenset(attributes).union(field.name for field in operands),
            positions,
            {field.name: position for position, field in enumerate(operands)},
            (
                sum(f.minimum for f in operands),
                sum(math.inf if f.maximum is None else f.maximum for f in operands),
            ),
            (len(results) - variadic, math.inf if variadic else len(results)),
            None if varying else tuple(f.constraint for f in operands),
            (
                *(name for name, f in attributes.items() if not f.descriptive),
                *([OPERAND_SEGMENT_SIZES] if len(varying) > 1 else []),
            ),
            tuple(name for name, f in attributes.items() if f.descriptive),
        )


class Op(Operation):
    """Base of registered operations.

    Class variables a subclass may set, besides its fields:

    name:       the full name, e.g. ``nn.conv``
    traits:     properties that hold for every instance and are verified
    positional: attributes (strings) written as bare words after the name in pretty form
    trailing:   the attribute (a dictionary) written ``{…}`` after the keyword attributes
    elide_result_types: leave result types out of the pretty form where they can be inferred
    verified_by_signature: what ``verify`` says follows from the types of operands and results, the
                attributes and ``surroundings`` alone, so that equal signatures are verified once

    A class with a syntax of its own has ``print_pretty(printer)`` and a grammar fragment.
    """

    definition: ClassVar[OperationDefinition]
    verified_traits: ClassVar[tuple[Trait, ...]] = ()
    positional: ClassVar[tuple[str, ...]] = ()
    trailing: ClassVar[str | None] = None
    elide_result_types: ClassVar[bool] = False
    verified_by_signature: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.definition = OperationDefinition.of(cls)
        cls.verified_traits = tuple(
            trait for trait in cls.traits if type(trait).verify is not Trait.verify
        )

    # The next two hooks are overridden where an operation needs them.

    def infer_result_types(self) -> Sequence[Type] | None:
        """The types of the results as they follow from operands and attributes, or None where
        they do not follow and must be given. Called on verified operands."""
        return None

    def verify(self) -> Iterable[str]:
        """What is wrong with this operation beyond its fields and traits, one sentence each."""
        return ()

    def surroundings(self) -> object:
        """What ``verify`` looks at outside this operation, such as the target. The verifier tells
        one from another by identity."""
        return None

    def operand_segment(self, field: OperandField) -> tuple[int, int]:
        """Where the operands of ``field`` start, and how many there are."""
        definition = self.definition
        position = definition.fixed_positions.get(field.name)
        if position is not None:
            return position, 1
        position = definition.operand_positions[field.name]
        sizes = self.operand_segment_sizes()
        return sum(sizes[:position]), sizes[position]

    def set_operand_segment(self, field: OperandField, values: Sequence[Value]) -> None:
        """Replace the operands of ``field`` by ``values``, of any number that the field allows."""
        start, size = self.operand_segment(field)
        definition = self.definition
        if definition.has_operand_segments:
            sizes = list(self.operand_segment_sizes())
            sizes[definition.operands.index(field)] = len(values)
            self.attributes[OPERAND_SEGMENT_SIZES] = DenseArrayAttr(I32, tuple(sizes))
        operands = self.operands
        self.set_operands([*operands[:start], *values, *operands[start + size :]])

    def operand_segment_sizes(self) -> Sequence[int]:
        """How many operands each operand field has."""
        definition = self.definition
        if definition.has_operand_segments:
            sizes = self.attributes.get(OPERAND_SEGMENT_SIZES)
            if (
                isinstance(sizes, DenseArrayAttr)
                and isinstance(sizes.element, IntegerType)
                and len(sizes.values) == len(definition.operands)
            ):
                return sizes.values  # pyright: ignore[reportReturnType]
            raise ValueError(
                f"'{self.name}' needs '{OPERAND_SEGMENT_SIZES} = array<i32: …>' with "
                f"{len(definition.operands)} numbers"
            )
        rest = len(self.operands) - sum(field.is_fixed for field in definition.operands)
        return [1 if field.is_fixed else rest for field in definition.operands]

    @classmethod
    def create(
        cls: type[OpT],
        *,
        location: Location = UNKNOWN,
        result_types: Sequence[Type] | None = None,
        regions: Sequence[Region] = (),
        discardable: Mapping[str, Attribute] | None = None,
        **fields: Any,
    ) -> OpT:
        """An operation from its fields by name.

        Operands take a Value (None where optional, a sequence where variadic), attributes their
        Python value. Without ``result_types`` they are inferred.

        Raises: TypeError on an unknown or missing field or where types cannot be inferred.
        """
        definition = cls.definition
        if not definition.field_names.issuperset(fields):
            unknown = fields.keys() - definition.field_names
            raise TypeError(f"'{cls.name}' has no field {', '.join(sorted(unknown))}")
        groups = [_operand_group(cls.name, field, fields) for field in definition.operands]
        attributes = dict(discardable) if discardable else {}
        for name, field in definition.attributes.items():
            value = fields.get(name)
            if value is not None:
                attributes[name] = field.kind.from_python(value)
            elif field.required:
                raise TypeError(f"'{cls.name}' needs '{name}'")
        if definition.has_operand_segments:
            attributes[OPERAND_SEGMENT_SIZES] = DenseArrayAttr(I32, tuple(map(len, groups)))
        op = cls([value for group in groups for value in group], (), attributes, regions, location)
        types = op.infer_result_types() if result_types is None else result_types
        if types is None:
            if definition.results:
                raise TypeError(f"'{cls.name}' needs result_types")
            types = ()
        op.set_result_types(types)
        return op

    def set_result_types(self, types: Iterable[Type]) -> None:
        """Give an operation that has no results yet its results."""
        assert not self.results
        self.results = [Result(self, index, type) for index, type in enumerate(types)]

    def inherent_attributes(self) -> Iterator[tuple[str, Attribute]]:
        """The attributes that belong to the class, in order of declaration."""
        for name in self.definition.attributes:
            value = self.attributes.get(name)
            if value is not None:
                yield name, value
        sizes = self.attributes.get(OPERAND_SEGMENT_SIZES)
        if sizes is not None and self.definition.has_operand_segments:
            yield OPERAND_SEGMENT_SIZES, sizes

    def discardable_attributes(self) -> Iterator[tuple[str, Attribute]]:
        """The attributes that anybody may add or drop, in the order they were added."""
        inherent = self.definition.attributes
        segments = self.definition.has_operand_segments
        for name, value in self.attributes.items():
            if name not in inherent and not (segments and name == OPERAND_SEGMENT_SIZES):
                yield name, value


def _operand_group(op_name: str, field: OperandField, fields: Mapping[str, Any]) -> list[Value]:
    value = fields.get(field.name)
    if value is None:
        if field.minimum:
            raise TypeError(f"'{op_name}' needs '{field.name}'")
        return []
    return [value] if isinstance(value, Value) else list(value)
