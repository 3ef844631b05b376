"""How the SDP's stages are set up. ``#nvdla.x_stage<…>`` is BS or BN (sdp.md section 4), ``#nvdla
.y_stage<…>`` is EW (section 5)::

    #nvdla.x_stage<alu = "sum", alu_shift = 3, mul, mul_value = 7, mul_shift = 14, relu>
    #nvdla.y_stage<mul, mul_converter = [0, 3, 1], truncate = 4, alu = "max", alu_value = -500>
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, ClassVar, TypeAlias

import attrs
from attrs import frozen

from nvdla_ir.ir.attribute_kinds import AttributeKind
from nvdla_ir.ir.attributes import (
    ArrayAttr,
    Attribute,
    IntegerAttr,
    StringAttr,
    StructureAttr,
    UnitAttr,
)

_Range: TypeAlias = "tuple[int, int]"
_INT16: _Range = (-(1 << 15), (1 << 15) - 1)
_INT32: _Range = (-(1 << 31), (1 << 31) - 1)
_SHIFT: _Range = (0, 63)
_CONVERTER = (_INT32, _INT16, _SHIFT)

Converter: TypeAlias = "tuple[int, int, int]"
"""Offset, scale and truncation of an operand converter."""


class _Stage(StructureAttr):
    """What both kinds of stages have in common: entries are checked once, when one is made.

    numbers: the range of each number
    choices: of each name
    needed:  by entries that mean nothing without another one
    """

    __slots__ = ()
    numbers: ClassVar[Mapping[str, _Range]]
    choices: ClassVar[Mapping[str, tuple[str, ...]]]
    needed: ClassVar[Mapping[str, str]]

    alu: str | None
    alu_value: int | None
    mul: bool
    mul_value: int | None

    def __attrs_post_init__(self) -> None:
        fields = {name: getattr(self, name) for name in _defaults(type(self))}
        faults = list(self._faults(fields))
        if faults:
            raise ValueError("; ".join(faults))

    @classmethod
    def _faults(cls, fields: Mapping[str, Any]) -> Iterable[str]:
        defaults = _defaults(cls)
        for name, value in fields.items():
            if value == defaults[name]:
                continue
            if name in cls.choices and value not in cls.choices[name]:
                legal = ", ".join(map(repr, cls.choices[name]))
                yield f"'{name} = \"{value}\"' must be one of {legal}"
            if name in cls.numbers:
                low, high = cls.numbers[name]
                if not low <= value <= high:
                    yield f"'{name} = {value}' must be from {low} to {high}"
            if name.endswith("_converter"):
                yield from _converter_faults(name, value)
            owner = cls.needed.get(name)
            if owner is not None and not fields.get(owner):
                yield f"'{name}' needs '{owner}'"

    @property
    def alu_from_memory(self) -> bool:
        return self.alu is not None and self.alu_value is None

    @property
    def mul_from_memory(self) -> bool:
        return self.mul and self.mul_value is None

    @property
    def needs_operand(self) -> bool:
        """Whether it reads an operand tensor."""
        return self.alu_from_memory or self.mul_from_memory

    @property
    def is_bypassed(self) -> bool:
        return self == _bypassed(type(self))

    @property
    def entries(self) -> Iterable[tuple[str, Attribute]]:
        for name, default in _defaults(type(self)).items():
            value: bool | int | str | Converter | None = getattr(self, name)
            if value is True:
                yield name, UnitAttr()
            elif isinstance(value, str):
                yield name, StringAttr(value)
            elif isinstance(value, tuple):
                yield name, ArrayAttr(tuple(map(IntegerAttr, value)))
            elif value is not None and value != default:
                yield name, IntegerAttr(value)

    @classmethod
    def _fields_of(cls, entries: Mapping[str, Attribute]) -> dict[str, Any]:
        """Raises: ValueError naming every entry that is unknown, of another kind, or faulty."""
        known = _defaults(cls)
        faults: list[str] = []
        fields: dict[str, Any] = {}
        for name, value in entries.items():
            if name not in known:
                faults.append(f"'{name}' is unknown; known are {', '.join(known)}")
            elif known[name] is False:
                fields[name] = True
                if not isinstance(value, UnitAttr):
                    faults.append(f"'{name}' stands alone, without '= {value}'")
            elif name in cls.numbers:
                if isinstance(value, IntegerAttr):
                    fields[name] = value.value
                else:
                    faults.append(f"'{name} = {value}' must be a number")
            elif name in cls.choices:
                if isinstance(value, StringAttr):
                    fields[name] = value.value
                else:
                    legal = ", ".join(map(repr, cls.choices[name]))
                    faults.append(f"'{name} = {value}' must be one of {legal}")
            elif isinstance(value, ArrayAttr):
                fields[name] = tuple(getattr(item, "value", None) for item in value.elements)
            else:
                faults.append(f"'{name} = {value}' must be [offset, scale, truncate]")
        faults += cls._faults(fields)
        if faults:
            raise ValueError("; ".join(faults))
        return fields


@cache
def _defaults(stage: type[_Stage]) -> Mapping[str, Any]:
    """The value of each entry that is not given."""
    return {field.name: field.default for field in attrs.fields(stage)}


@cache
def _bypassed(stage: type[_Stage]) -> _Stage:
    return stage()


def _converter_faults(name: str, value: tuple[object, ...]) -> Iterable[str]:
    if len(value) != len(_CONVERTER) or not all(type(item) is int for item in value):
        yield f"'{name}' must be [offset, scale, truncate]"
        return
    for part, item, (low, high) in zip(
        ("offset", "scale", "truncate"), value, _CONVERTER, strict=True
    ):
        if not isinstance(item, int) or not low <= item <= high:
            yield f"'{name}' has {part} {item}, which must be from {low} to {high}"


@frozen(cache_hash=True)
class XStageAttr(_Stage):
    """ALU, then multiplier with its shift, then ReLU.

    alu:       "sum", "max", "min", or None: bypassed
    alu_value: the operand of all elements (16 bits); None: it comes from memory
    alu_shift: left shift of the operand, 0 to 63
    mul:       whether the multiplier works
    mul_value: as alu_value
    mul_shift: right shift of the product, 0 to 63
    prelu:     multiply negative values only
    relu:      clamp at zero

    Raises: ValueError for numbers out of range, and for parts of an ALU or a multiplier that is
    not there.
    """

    mnemonic: ClassVar[str] = "nvdla.x_stage"
    numbers = {"alu_value": _INT16, "alu_shift": _SHIFT, "mul_value": _INT16, "mul_shift": _SHIFT}
    choices = {"alu": ("sum", "max", "min")}
    needed = {"alu_value": "alu", "mul_value": "mul", "prelu": "mul"}

    alu: str | None = None
    alu_value: int | None = None
    alu_shift: int = 0
    mul: bool = False
    mul_value: int | None = None
    mul_shift: int = 0
    prelu: bool = False
    relu: bool = False

    @staticmethod
    def from_entries(entries: Mapping[str, Attribute]) -> XStageAttr:
        """Raises: ValueError naming entries that are unknown, of another kind or out of range."""
        return XStageAttr(**XStageAttr._fields_of(entries))


@frozen(cache_hash=True)
class YStageAttr(_Stage):
    """Multiplier with its shift, then ALU; the look-up table behind them is the operation's.

    mul:           whether the multiplier works
    mul_value:     the operand of all elements (32 bits); None: it comes from memory
    mul_converter: of an operand from memory, ``sat32((x - offset) * scale >> truncate)``
    truncate:      right shift of the product, 0 to 1023
    prelu:         multiply negative values only
    alu:           "sum", "max", "min", or None: bypassed
    alu_value, alu_converter: as of the multiplier

    Raises: ValueError for numbers out of range, and for parts of an ALU or a multiplier that is
    not there.
    """

    mnemonic: ClassVar[str] = "nvdla.y_stage"
    numbers = {"alu_value": _INT32, "mul_value": _INT32, "truncate": (0, 1023)}
    choices = {"alu": ("sum", "max", "min")}
    needed = {
        "alu_value": "alu",
        "alu_converter": "alu",
        "mul_value": "mul",
        "mul_converter": "mul",
        "truncate": "mul",
        "prelu": "mul",
    }

    mul: bool = False
    mul_value: int | None = None
    mul_converter: Converter | None = None
    truncate: int = 0
    prelu: bool = False
    alu: str | None = None
    alu_value: int | None = None
    alu_converter: Converter | None = None

    @staticmethod
    def from_entries(entries: Mapping[str, Attribute]) -> YStageAttr:
        """Raises: ValueError naming entries that are unknown, of another kind or out of range."""
        return YStageAttr(**YStageAttr._fields_of(entries))


StageAttr: TypeAlias = "XStageAttr | YStageAttr"


def _x_stage(attribute: Attribute) -> XStageAttr:
    assert isinstance(attribute, XStageAttr)
    return attribute


def _y_stage(attribute: Attribute) -> YStageAttr:
    assert isinstance(attribute, YStageAttr)
    return attribute


X_STAGE = AttributeKind[XStageAttr](
    "#nvdla.x_stage<…>", lambda found: isinstance(found, XStageAttr), _x_stage, lambda stage: stage
)
Y_STAGE = AttributeKind[YStageAttr](
    "#nvdla.y_stage<…>", lambda found: isinstance(found, YStageAttr), _y_stage, lambda stage: stage
)
