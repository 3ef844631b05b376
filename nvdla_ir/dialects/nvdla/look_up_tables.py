"""``#nvdla.lut<…>``: what the look-up tables of SDP or CDP hold::

    #nvdla.lut<le = {start = -128, end = -64, index = 0, entries = dense<0> : tensor<65xi16>},
               lo = {start = -128, end = 128, index = 0, entries = dense<[…]> : tensor<257xi16>},
               underflow_priority = "LO", overflow_priority = "LO", hybrid_priority = "LO">

``index`` is the exponent of the distance between two entries, or, with ``function =
"EXPONENT"``, that of the first entry of LE. Slopes beyond a table are ``underflow = [scale,
shift]`` and ``overflow``, ``[0, 0]`` unless they are told; priorities are then ``"LE"``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, cast

from attrs import frozen

from nvdla_ir.hw.look_up_tables import (
    INDICES,
    LE_ENTRIES,
    LIMIT_BITS,
    LO_ENTRIES,
    SLOPE_SCALES,
    SLOPE_SHIFTS,
    LookUpTable,
    LookUpTables,
    Slope,
)
from nvdla_ir.ir.attribute_kinds import AttributeKind
from nvdla_ir.ir.attributes import (
    ArrayAttr,
    Attribute,
    DenseElementsAttr,
    DictAttr,
    IntegerAttr,
    StringAttr,
    StructureAttr,
)
from nvdla_ir.ir.types import IntegerType, TensorType

if TYPE_CHECKING:
    from nvdla_ir.arith.parameters import LookUpTable as ArithmeticTable

_SIZES = {"le": LE_ENTRIES, "lo": LO_ENTRIES}
_CHOICES = {
    "function": ("LINEAR", "EXPONENT"),
    "underflow_priority": ("LE", "LO"),
    "overflow_priority": ("LE", "LO"),
    "hybrid_priority": ("LE", "LO"),
}
"""The first of each goes unsaid."""
_LIMIT = 1 << (max(LIMIT_BITS.values()) - 1)
_NUMBERS = {"start": (-_LIMIT, _LIMIT - 1), "end": (-_LIMIT, _LIMIT - 1), "index": INDICES}
_SLOPES = ("underflow", "overflow")
_I16 = IntegerType(16)


@frozen(cache_hash=True)
class LutAttr(StructureAttr):
    """Look-up tables as an attribute."""

    mnemonic: ClassVar[str] = "nvdla.lut"

    tables: LookUpTables

    @property
    def entries(self) -> Iterable[tuple[str, Attribute]]:
        for name in _SIZES:
            yield name, _written(getattr(self.tables, name))
        for name, (unsaid, _) in _CHOICES.items():
            choice: str = getattr(self.tables, name)
            if choice != unsaid:
                yield name, StringAttr(choice)

    @staticmethod
    def from_entries(entries: Mapping[str, Attribute]) -> LutAttr:
        """Raises: ValueError naming every entry that is unknown, absent or of another kind."""
        faults: list[str] = _names_faults(entries, (*_SIZES, *_CHOICES), _SIZES)
        found: dict[str, object] = {}
        for name, value in entries.items():
            if name in _SIZES:
                table = _table(name, value, faults)
                if table is not None:
                    found[name] = table
            elif name in _CHOICES:
                legal = _CHOICES[name]
                if not isinstance(value, StringAttr) or value.value not in legal:
                    choices = " or ".join(f'"{choice}"' for choice in legal)
                    faults.append(f"'{name} = {value}' must be {choices}")
                else:
                    found[name] = value.value
        if faults:
            raise ValueError("; ".join(faults))
        return LutAttr(LookUpTables(**found))  # pyright: ignore[reportArgumentType]


def _written(table: LookUpTable) -> DictAttr:
    values = table.entries
    if len(set(values)) == 1:
        values = values[:1]
    written: list[tuple[str, Attribute]] = [
        (name, IntegerAttr(getattr(table, name))) for name in _NUMBERS
    ]
    for name in _SLOPES:
        slope: Slope = getattr(table, name)
        if slope != Slope():
            numbers = IntegerAttr(slope.scale), IntegerAttr(slope.shift)
            written.append((name, ArrayAttr(numbers)))
    type = TensorType((len(table.entries),), _I16)
    return DictAttr((*written, ("entries", DenseElementsAttr(type, values))))


def _table(name: str, value: Attribute, faults: list[str]) -> LookUpTable | None:
    """The table, or None with its ``faults``."""
    if not isinstance(value, DictAttr):
        faults.append(f"'{name}' must be {{start = …, end = …, index = …, entries = …}}")
        return None
    required = (*_NUMBERS, "entries")
    count = len(faults)
    own = _names_faults(value.mapping, (*required, *_SLOPES), required)
    faults += [f"'{name}': {fault}" for fault in own]
    found: dict[str, object] = {}
    for key, entry in value.entries:
        where = f"'{name}': '{key}"
        if key in _NUMBERS:
            found[key] = _integer(entry, _NUMBERS[key])
            if found[key] is None:
                faults.append(f"{where} = {entry}' must be from {_between(_NUMBERS[key])}")
        elif key in _SLOPES:
            found[key] = _slope(entry)
            if found[key] is None:
                faults.append(
                    f"{where} = {entry}' must be [scale, shift], from {_between(SLOPE_SCALES)} and "
                    f"from {_between(SLOPE_SHIFTS)}"
                )
        elif key == "entries":
            type = TensorType((_SIZES[name],), _I16)
            if isinstance(entry, DenseElementsAttr) and entry.type == type:
                values = cast("tuple[int, ...]", entry.values)
                found[key] = values * _SIZES[name] if len(values) == 1 else values
            else:
                faults.append(f"{where}' must be dense<…> : {type}")
    return None if len(faults) > count else LookUpTable(**found)  # pyright: ignore[reportArgumentType]


def _names_faults(
    entries: Mapping[str, Attribute], known: Iterable[str], required: Iterable[str]
) -> list[str]:
    known = tuple(known)
    faults = [
        f"'{name}' is unknown; known are {', '.join(known)}"
        for name in entries
        if name not in known
    ]
    return faults + [f"'{name}' is missing" for name in required if name not in entries]


def _integer(value: Attribute, limits: tuple[int, int]) -> int | None:
    if isinstance(value, IntegerAttr) and limits[0] <= value.value <= limits[1]:
        return value.value
    return None


def _slope(value: Attribute) -> Slope | None:
    if not isinstance(value, ArrayAttr) or len(value.elements) != 2:
        return None
    scale = _integer(value.elements[0], SLOPE_SCALES)
    shift = _integer(value.elements[1], SLOPE_SHIFTS)
    return None if scale is None or shift is None else Slope(scale, shift)


def _between(limits: tuple[int, int]) -> str:
    return f"{limits[0]} to {limits[1]}"


def _tables(attribute: Attribute) -> LookUpTables:
    if not isinstance(attribute, LutAttr):
        raise ValueError(f"'{attribute}' is not #{LutAttr.mnemonic}<…>")
    return attribute.tables


LUT = AttributeKind[LookUpTables](
    f"look-up tables, #{LutAttr.mnemonic}<…>",
    lambda attribute: isinstance(attribute, LutAttr),
    _tables,
    LutAttr,
)


def arithmetic_table(tables: LookUpTables) -> ArithmeticTable:
    """``tables`` for the arithmetic.

    Raises: OperandError for numbers that no register holds.
    """
    from nvdla_ir.arith import parameters

    functions = {
        "LINEAR": parameters.LookUpFunction.LINEAR,
        "EXPONENT": parameters.LookUpFunction.EXPONENTIAL,
    }
    priorities = {"LE": parameters.LookUpPriority.LE, "LO": parameters.LookUpPriority.LO}
    le, lo = tables.le, tables.lo
    linear = tables.function == "LINEAR"

    def slope(of: Slope) -> parameters.Slope:
        return parameters.Slope(of.scale, of.shift)

    return parameters.LookUpTable(
        le_table=list(le.entries),
        lo_table=list(lo.entries),
        le_function=functions[tables.function],
        le_index_offset=0 if linear else le.index,
        le_index_select=le.index if linear else 0,
        lo_index_select=lo.index,
        le_start=le.start,
        le_end=le.end,
        lo_start=lo.start,
        lo_end=lo.end,
        le_underflow=slope(le.underflow),
        le_overflow=slope(le.overflow),
        lo_underflow=slope(lo.underflow),
        lo_overflow=slope(lo.overflow),
        underflow_priority=priorities[tables.underflow_priority],
        overflow_priority=priorities[tables.overflow_priority],
        hybrid_priority=priorities[tables.hybrid_priority],
    )
