"""The two look-up tables of SDP and CDP, as data.

Sources: sdp.md section 6, cdp.md section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen

LE_ENTRIES = 65
LO_ENTRIES = 257

ENTRIES = (-(1 << 15), (1 << 15) - 1)
INDICES = (-(1 << 7), (1 << 7) - 1)
SLOPE_SCALES = (-(1 << 15), (1 << 15) - 1)
SLOPE_SHIFTS = (-16, 15)
"""What registers hold, the lowest and the highest number."""

TableUnit = Literal["SDP", "CDP"]
"""The units that have tables."""

LIMIT_BITS: Mapping[TableUnit, int] = {"SDP": 32, "CDP": 38}
"""Bits of the signed numbers between which a table holds."""

TableName = Literal["LE", "LO"]
Function = Literal["EXPONENT", "LINEAR"]


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


@frozen(cache_hash=True)
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
