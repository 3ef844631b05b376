"""The two look-up tables of SDP and CDP: their contents, limits and registers.

Sources: sdp.md sections 6 and 11, cdp.md sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from attrs import field, frozen

from nvdla_ir.hardware.faults import Fault, lacks, outside
from nvdla_ir.hardware.fields import Fields
from nvdla_ir.hw.configuration import HardwareConfiguration

LE_ENTRIES = 65
LO_ENTRIES = 257

TableUnit = Literal["SDP", "CDP"]
"""The units that have tables."""

TableName = Literal["LE", "LO"]
Function = Literal["EXPONENT", "LINEAR"]

_INT16 = (-(1 << 15), (1 << 15) - 1)
_INT8 = (-(1 << 7), (1 << 7) - 1)
_SHIFT = (-16, 15)
LIMIT_BITS: Mapping[TableUnit, int] = {"SDP": 32, "CDP": 38}
"""Bits of the signed numbers between which a table holds."""
_LOW_BITS = 32


@frozen
class Slope:
    """How results go on beyond a table's end: ``x * scale >> shift`` (16 and 5 bits, signed)."""

    scale: int = 0
    shift: int = 0


@frozen
class LookUpTable:
    """One table of signed 16-bit entries, 65 for LE and 257 for LO.

    It holds from ``start`` to ``end``; ``index`` is the exponent of the distance between two
    entries, or that of the first entry where distances double (signed 8 bits).
    """

    entries: tuple[int, ...]
    start: int
    end: int
    index: int
    underflow: Slope = field(factory=Slope)
    overflow: Slope = field(factory=Slope)


@frozen
class LookUpTables:
    """Both tables, and which of them counts where both or neither hold the value.

    ``function``: how entries of LE are spaced; those of LO are always linear.
    """

    le: LookUpTable
    lo: LookUpTable
    function: Function = "LINEAR"
    underflow_priority: TableName = "LE"
    overflow_priority: TableName = "LE"
    hybrid_priority: TableName = "LE"

    @property
    def by_name(self) -> Mapping[TableName, LookUpTable]:
        """The tables in the order in which they are written."""
        return {"LE": self.le, "LO": self.lo}

    @property
    def entries(self) -> Mapping[TableName, tuple[int, ...]]:
        """The entries of each table."""
        return {name: table.entries for name, table in self.by_name.items()}

    # -------------------------------------------------------------- limits

    def faults(self, hw: HardwareConfiguration, unit: TableUnit) -> list[Fault]:
        """Every limit of the hardware that the tables break in ``unit``."""
        if unit == "SDP" and not hw.sdp.has_lut:
            return [lacks(hw, "a look-up table", "table in its SDP", "SDP.LUT_DATA")]
        return list(self._faults(unit))

    def _faults(self, unit: TableUnit) -> Iterator[Fault]:
        half = 1 << (LIMIT_BITS[unit] - 1)
        suffix = "" if unit == "SDP" else "_LOW"
        sizes = {"LE": LE_ENTRIES, "LO": LO_ENTRIES}
        for name, table in self.by_name.items():
            if len(table.entries) != sizes[name]:
                yield Fault(
                    f"{len(table.entries)} entries for table {name}, which holds {sizes[name]}",
                    f"{unit}.LUT_ADDR",
                )
            beyond = [entry for entry in table.entries if not _INT16[0] <= entry <= _INT16[1]]
            for entry in beyond[:1]:
                yield from outside(f"an entry of table {name}", entry, *_INT16, f"{unit}.LUT_DATA")
            for end, value in (("START", table.start), ("END", table.end)):
                register = f"{unit}.LUT_{name}_{end}{suffix}"
                yield from outside(
                    f"a {end.lower()} of table {name}", value, -half, half - 1, register
                )
            yield from outside(
                f"an index of table {name}",
                table.index,
                *_INT8,
                f"{unit}.{self._index_register(name)}",
            )
            for flow, slope in (("UFLOW", table.underflow), ("OFLOW", table.overflow)):
                register = f"{unit}.LUT_{name}_SLOPE_{flow}"
                yield from outside("a slope", slope.scale, *_INT16, f"{register}_SCALE")
                yield from outside("a slope's shift", slope.shift, *_SHIFT, f"{register}_SHIFT")

    # -------------------------------------------------------------- registers

    def _index_register(self, name: TableName) -> str:
        exponential = name == "LE" and self.function == "EXPONENT"
        return f"LUT_{name}_INDEX_{'OFFSET' if exponential else 'SELECT'}"

    def fields(self, unit: TableUnit) -> Fields:
        """The registers beside the tables."""
        fields: Fields = {
            "LUT_LE_FUNCTION": self.function,
            "LUT_UFLOW_PRIORITY": self.underflow_priority,
            "LUT_OFLOW_PRIORITY": self.overflow_priority,
            "LUT_HYBRID_PRIORITY": self.hybrid_priority,
            "LUT_LE_INDEX_OFFSET": 0,
            "LUT_LE_INDEX_SELECT": 0,
        }
        for name, table in self.by_name.items():
            fields[self._index_register(name)] = table.index
            fields |= _limit(f"LUT_{name}_START", table.start, unit)
            fields |= _limit(f"LUT_{name}_END", table.end, unit)
            for flow, slope in (("UFLOW", table.underflow), ("OFLOW", table.overflow)):
                fields[f"LUT_{name}_SLOPE_{flow}_SCALE"] = slope.scale
                fields[f"LUT_{name}_SLOPE_{flow}_SHIFT"] = slope.shift
        return fields


def _limit(name: str, value: int, unit: TableUnit) -> Fields:
    """A start or an end: one register in the SDP, two in the CDP."""
    if unit == "SDP":
        return {name: value}
    low = (1 << _LOW_BITS) - 1
    return {f"{name}_LOW": value & low, f"{name}_HIGH": value >> _LOW_BITS}
