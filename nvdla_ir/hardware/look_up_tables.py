"""What the look-up tables of SDP and CDP must hold, and the registers beside them.

Sources: sdp.md sections 6 and 11, cdp.md sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Iterator

from nvdla_ir.hardware.faults import Fault, lacks, outside
from nvdla_ir.hardware.fields import Fields
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.look_up_tables import (
    ENTRIES,
    INDICES,
    LE_ENTRIES,
    LIMIT_BITS,
    LO_ENTRIES,
    SLOPE_SCALES,
    SLOPE_SHIFTS,
    LookUpTable,
    LookUpTables,
    TableName,
    TableUnit,
)

_CDP_SELECTS = (-32, 31)
"""Outside of this RTL and functional model differ."""
_LOW_BITS = 32


# -------------------------------------------------------------- limits


def table_faults(tables: LookUpTables, hw: HardwareConfiguration, unit: TableUnit) -> list[Fault]:
    """Every limit of the hardware that the tables break in ``unit``."""
    if unit == "SDP" and not hw.sdp.has_lut:
        return [lacks(hw, "a look-up table", "table in its SDP", "sdp.has_lut", "SDP.LUT_DATA")]
    return list(_faults(tables, unit))


def _faults(tables: LookUpTables, unit: TableUnit) -> Iterator[Fault]:
    sizes = {"LE": LE_ENTRIES, "LO": LO_ENTRIES}
    for name, table in tables.by_name.items():
        if len(table.entries) != sizes[name]:
            yield Fault(
                f"{len(table.entries)} entries for table {name}, which holds {sizes[name]}",
                f"{unit}.LUT_ADDR",
            )
        beyond = [entry for entry in table.entries if not ENTRIES[0] <= entry <= ENTRIES[1]]
        for entry in beyond[:1]:
            yield from outside(f"an entry of table {name}", entry, *ENTRIES, f"{unit}.LUT_DATA")
        yield from _parameter_faults(tables, name, table, unit)


def _parameter_faults(
    tables: LookUpTables, name: TableName, table: LookUpTable, unit: TableUnit
) -> Iterator[Fault]:
    half = 1 << (LIMIT_BITS[unit] - 1)
    suffix = "" if unit == "SDP" else "_LOW"
    for end, value in (("START", table.start), ("END", table.end)):
        register = f"{unit}.LUT_{name}_{end}{suffix}"
        yield from outside(
            f"the {end.lower()} of table {name}, a value", value, -half, half - 1, register
        )
    index = _index_register(tables, name)
    selects = unit == "CDP" and index.endswith("SELECT")
    limits = _CDP_SELECTS if selects else INDICES
    yield from outside(f"an index of table {name}", table.index, *limits, f"{unit}.{index}")
    for flow, slope in (("UFLOW", table.underflow), ("OFLOW", table.overflow)):
        register = f"{unit}.LUT_{name}_SLOPE_{flow}"
        yield from outside("a slope", slope.scale, *SLOPE_SCALES, f"{register}_SCALE")
        yield from outside("a slope's shift", slope.shift, *SLOPE_SHIFTS, f"{register}_SHIFT")


# -------------------------------------------------------------- registers


def _index_register(tables: LookUpTables, name: TableName) -> str:
    exponential = name == "LE" and tables.function == "EXPONENT"
    return f"LUT_{name}_INDEX_{'OFFSET' if exponential else 'SELECT'}"


def table_fields(tables: LookUpTables, unit: TableUnit) -> Fields:
    """The registers of ``unit`` beside the tables."""
    fields: Fields = {
        "LUT_LE_FUNCTION": tables.function,
        "LUT_UFLOW_PRIORITY": tables.underflow_priority,
        "LUT_OFLOW_PRIORITY": tables.overflow_priority,
        "LUT_HYBRID_PRIORITY": tables.hybrid_priority,
        "LUT_LE_INDEX_OFFSET": 0,
        "LUT_LE_INDEX_SELECT": 0,
    }
    for name, table in tables.by_name.items():
        fields[_index_register(tables, name)] = table.index
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
