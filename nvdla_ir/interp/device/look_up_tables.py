"""The look-up tables of SDP and CDP: access protocol and parameters from registers.

Both units have the same S_LUT_* registers but for the width of starts and ends. There is one set
of tables per unit, shared by both register groups. Sources: sdp.md sections 6 and 11, cdp.md
section 4.
"""

from __future__ import annotations

import numpy as np

from nvdla_ir.arith.parameters import (
    LookUpCounters,
    LookUpFunction,
    LookUpPriority,
    LookUpTable,
    Slope,
)
from nvdla_ir.hw.registers import Block, Register
from nvdla_ir.interp.device.errors import Rules
from nvdla_ir.interp.device.registers import UnitRegisters

_LAST_ENTRY = (64, 256)


class LookUpUnitRegisters(UnitRegisters):
    """A unit with look-up tables behind S_LUT_ACCESS_CFG and S_LUT_ACCESS_DATA."""

    def __init__(self, block: Block) -> None:
        super().__init__(block)
        self.tables = tuple(np.zeros(last + 1, np.int16) for last in _LAST_ENTRY)
        self._written = [False for _ in _LAST_ENTRY]
        self._address = 0
        self._table: LookUpTable | None = None

    def write(self, register: Register, word: int) -> None:
        if register.grouped or not register.name.startswith("S_LUT_"):
            super().write(register, word)
            return
        self._table = None
        if register.name == "S_LUT_ACCESS_DATA":
            if self.fields["LUT_ACCESS_TYPE"]:
                table, entry = self._entry()
                self.tables[table][entry] = np.array(word & 0xFFFF, np.uint16).view(np.int16)
                self._written[table] = True
        else:
            super().write(register, word)
            if register.name == "S_LUT_ACCESS_CFG":
                self._address = self.fields["LUT_ADDR"]

    def read(self, register: Register) -> int:
        if register.name != "S_LUT_ACCESS_DATA":
            return super().read(register)
        table, entry = self._entry()
        return int(self.tables[table][entry]) & 0xFFFF

    def _entry(self) -> tuple[int, int]:
        """The table and entry to access now; the address advances and stays at the last entry."""
        table = self.fields["LUT_TABLE_ID"]
        entry = min(self._address, _LAST_ENTRY[table])
        self._address = entry + 1
        return table, entry

    @property
    def behind_table(self) -> bool:
        """Whether a write of S_LUT_ACCESS_DATA would not meet an entry of its own."""
        table = self.fields["LUT_TABLE_ID"]
        return bool(self.fields["LUT_ACCESS_TYPE"]) and self._address > _LAST_ENTRY[table]

    def check_written(self, rules: Rules, counters: LookUpCounters) -> None:
        """Report a layer that found something in a table that nobody wrote since the reset."""
        hits = ("LE", counters.le_hit), ("LO", counters.lo_hit)
        for (name, count), written in zip(hits, self._written, strict=True):
            rules.require(
                written or not count,
                self.block.name,
                "S_LUT_ACCESS_DATA",
                None,
                f"{count} elements are looked up in the table {name}, which was never written: "
                "what is in it after a reset is not defined",
            )

    def look_up_table(self) -> LookUpTable:
        """The tables with the parameters of the S_LUT_* registers, as they are now."""
        if self._table is None:
            self._table = self._build()
        return self._table

    def _build(self) -> LookUpTable:
        fields = self.fields
        return LookUpTable(
            le_table=self.tables[0],
            lo_table=self.tables[1],
            le_function=LookUpFunction(fields["LUT_LE_FUNCTION"]),
            le_index_offset=fields["LUT_LE_INDEX_OFFSET"],
            le_index_select=fields["LUT_LE_INDEX_SELECT"],
            lo_index_select=fields["LUT_LO_INDEX_SELECT"],
            le_start=self._limit("LUT_LE_START"),
            le_end=self._limit("LUT_LE_END"),
            lo_start=self._limit("LUT_LO_START"),
            lo_end=self._limit("LUT_LO_END"),
            le_underflow=self._slope("LUT_LE", "UFLOW"),
            le_overflow=self._slope("LUT_LE", "OFLOW"),
            lo_underflow=self._slope("LUT_LO", "UFLOW"),
            lo_overflow=self._slope("LUT_LO", "OFLOW"),
            underflow_priority=LookUpPriority(fields["LUT_UFLOW_PRIORITY"]),
            overflow_priority=LookUpPriority(fields["LUT_OFLOW_PRIORITY"]),
            hybrid_priority=LookUpPriority(fields["LUT_HYBRID_PRIORITY"]),
        )

    def _limit(self, name: str) -> int:
        """A start or end: one signed register in the SDP, low and signed high part in the CDP."""
        if name in self.block.fields:
            return self.fields[name]
        return (self.fields[f"{name}_HIGH"] << 32) | self.fields[f"{name}_LOW"]

    def _slope(self, table: str, end: str) -> Slope:
        return Slope(
            self.fields[f"{table}_SLOPE_{end}_SCALE"], self.fields[f"{table}_SLOPE_{end}_SHIFT"]
        )
