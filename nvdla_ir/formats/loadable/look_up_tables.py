"""The look-up tables that operations name, read and written. Source: loadable.md section 4."""

from __future__ import annotations

from nvdla_ir.formats.loadable.cubes import ReadingContext
from nvdla_ir.formats.loadable.network import Network, Operation
from nvdla_ir.formats.loadable.structures import Record, Values
from nvdla_ir.hardware.look_up_tables import table_faults
from nvdla_ir.hardware.program import Tables
from nvdla_ir.hw.look_up_tables import (
    LIMIT_BITS,
    Function,
    LookUpTable,
    LookUpTables,
    Slope,
    TableName,
    TableUnit,
)

_FUNCTIONS: tuple[Function, ...] = ("EXPONENT", "LINEAR")
_NAMES: tuple[TableName, ...] = ("LE", "LO")
_SLOPE_SHIFT_BITS = 5
_ALL_BITS = (1 << 64) - 1
"""Of a limit, in which the firmware finds a signed number."""


def tables_of(
    operation: Operation, network: Network, unit: TableUnit, context: ReadingContext
) -> Tables | None:
    """The tables that ``operation`` names; None where it names none.

    Raises: DiagnosticError for tables that do not exist.
    """
    index = operation.descriptor["lut_index"]
    if index < 0:
        return None
    context.require(
        index < len(network.tables),
        operation,
        f"uses look-up table {index}, but there are {len(network.tables)}",
    )
    table = network.tables[index]
    names = ("method", "hybrid_priority", "underflow_priority", "overflow_priority")
    for name in names:
        context.has_known(operation, f"{name} of look-up table {index}", table[name], 2)
    contents = LookUpTables(
        le=_table(table, "linear_exp", unit),
        lo=_table(table, "linear_only", unit),
        function=_FUNCTIONS[table["method"]],
        underflow_priority=_NAMES[table["underflow_priority"]],
        overflow_priority=_NAMES[table["overflow_priority"]],
        hybrid_priority=_NAMES[table["hybrid_priority"]],
    )
    context.require_possible(operation, table_faults(contents, context.hw, unit))
    return Tables(unit, contents)


def _table(table: Record, prefix: str, unit: TableUnit) -> LookUpTable:
    """One of the tables; of its numbers the firmware writes as many bits as registers have."""
    start, end = (_signed(table[f"{prefix}_{end}"], LIMIT_BITS[unit]) for end in ("start", "end"))
    underflow, overflow = (
        Slope(slope["scale"], _signed(slope["shifter"], _SLOPE_SHIFT_BITS))
        for flow in ("underflow", "overflow")
        for slope in (table.part(f"{prefix}_{flow}_slope"),)
    )
    return LookUpTable(
        entries=table.array(f"{prefix}_table"),
        start=start,
        end=end,
        index=table.part(f"{prefix}_offset")["bits"],
        underflow=underflow,
        overflow=overflow,
    )


def table_values(tables: LookUpTables) -> Values:
    """The descriptor that holds ``tables``: the inverse of ``tables_of``."""
    values: dict[str, int | tuple[int, ...] | Values] = {
        "method": _FUNCTIONS.index(tables.function),
        "hybrid_priority": _NAMES.index(tables.hybrid_priority),
        "underflow_priority": _NAMES.index(tables.underflow_priority),
        "overflow_priority": _NAMES.index(tables.overflow_priority),
    }
    for prefix, table in (("linear_exp", tables.le), ("linear_only", tables.lo)):
        values |= {
            f"{prefix}_table": table.entries,
            f"{prefix}_offset": {"bits": table.index},
            f"{prefix}_start": table.start & _ALL_BITS,
            f"{prefix}_end": table.end & _ALL_BITS,
            f"{prefix}_underflow_slope": _slope(table.underflow),
            f"{prefix}_overflow_slope": _slope(table.overflow),
        }
    return values


def _slope(slope: Slope) -> Values:
    return {"scale": slope.scale, "shifter": slope.shift}


def _signed(value: int, bits: int) -> int:
    """The low bits of ``value``, as a signed number."""
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half
