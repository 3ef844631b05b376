"""The S_LUT_* registers of SDP and CDP from a table's descriptor. Sources: loadable.md section 4,
sdp.md sections 6 and 11, cdp.md section 4."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.frontends.loadable.cubes import Context, Fields
from nvdla_ir.frontends.loadable.network import Network, Operation
from nvdla_ir.frontends.loadable.structures import Record

_EXPONENTIAL = 0
_TABLES = {"LE": "linear_exp", "LO": "linear_only"}


@frozen(eq=False)
class TableProgram:
    """The entries of a unit's two tables, and the registers beside them."""

    unit: str
    index: int
    entries: dict[str, tuple[int, ...]]
    fields: Fields


def table_program(
    operation: Operation, network: Network, unit: str, context: Context
) -> TableProgram | None:
    """What must be written for the table that ``operation`` names; None where it names none.

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
    return TableProgram(
        unit,
        index,
        {name: table.array(f"{prefix}_table") for name, prefix in _TABLES.items()},
        _fields(table, unit),
    )


def _fields(table: Record, unit: str) -> Fields:
    exponential = table["method"] == _EXPONENTIAL
    bits = table.part("linear_exp_offset")["bits"]
    fields: Fields = {
        "LUT_LE_FUNCTION": table["method"],
        "LUT_UFLOW_PRIORITY": table["underflow_priority"],
        "LUT_OFLOW_PRIORITY": table["overflow_priority"],
        "LUT_HYBRID_PRIORITY": table["hybrid_priority"],
        "LUT_LE_INDEX_OFFSET": bits if exponential else 0,
        "LUT_LE_INDEX_SELECT": 0 if exponential else bits,
        "LUT_LO_INDEX_SELECT": table.part("linear_only_offset")["bits"],
    }
    for name, prefix in _TABLES.items():
        for end in ("start", "end"):
            value = table[f"{prefix}_{end}"]
            fields |= _limit(f"LUT_{name}_{end.upper()}", value, unit)
        for direction, flow in (("UFLOW", "underflow"), ("OFLOW", "overflow")):
            slope = table.part(f"{prefix}_{flow}_slope")
            fields[f"LUT_{name}_SLOPE_{direction}_SCALE"] = slope["scale"]
            fields[f"LUT_{name}_SLOPE_{direction}_SHIFT"] = _signed(slope["shifter"], 5)
    return fields


def _limit(name: str, value: int, unit: str) -> Fields:
    """A start or end: 32 bits in the SDP, 38 in the CDP; what is above is lost."""
    if unit == "SDP":
        return {name: _signed(value, 32)}
    return {f"{name}_LOW": value & 0xFFFF_FFFF, f"{name}_HIGH": _signed(value >> 32, 6)}


def _signed(value: int, bits: int) -> int:
    """The low bits of ``value``, as a signed number."""
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half
