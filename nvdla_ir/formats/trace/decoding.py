"""Register writes become named fields: steps of a trace as operations of the csb dialect.

Writes to one unit and register group are collected, whatever comes between for other units, until
something happens that they could matter to: a unit is enabled, a register is read, the host waits
or looks at memory. S_POINTER is not written but stated, as the group of what follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from attrs import define, field, frozen

from nvdla_ir.dialects.csb import (
    PRIMARY,
    CheckBytesOp,
    CheckCrcOp,
    ConfigureOp,
    EnableOp,
    ExpectOp,
    FillOp,
    LoadOp,
    PollOp,
    WaitAnyOp,
    WaitOp,
    WriteTableOp,
)
from nvdla_ir.formats.trace.steps import (
    BytesStep,
    CrcStep,
    Expectation,
    ExpectStep,
    FillStep,
    LoadStep,
    MemoryStep,
    PollStep,
    ReadStep,
    Step,
    WaitAnyStep,
    WriteStep,
)
from nvdla_ir.hw.registers import WORD_MASK, Block, Field, Register
from nvdla_ir.ir.attributes import Attribute, DenseResourceAttr, DictAttr, IntegerAttr, StringAttr
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.ir.types import I8
from nvdla_ir.resources import ResourceStore

_POINTER, _ENABLE = "S_POINTER", "D_OP_ENABLE"
_TABLE_ACCESS, _TABLE_DATA = "S_LUT_ACCESS_CFG", "S_LUT_ACCESS_DATA"
_ORDERED_BLOCKS = ("BDMA", "GLB")
"""Blocks without register groups, whose writes take effect at once."""
_LAUNCHES = ("CFG_LAUNCH0", "CFG_LAUNCH1")
_LAST_ENTRY = {"LE": 64, "LO": 256}
"""Of each look-up table: accesses go on with it when they reach it (sdp.md section 11)."""


@define(eq=False)
class _Fields:
    """Writes that become one csb.configure: words by register, in order of writing."""

    location: FileLineCol
    block: Block
    group: int | None
    words: dict[str, int] = field(factory=dict[str, int])
    last_offset: int = -1

    def accepts(self, register: Register, word: int) -> bool:
        """Whether a write may join: csb.configure writes each register once, by address."""
        if self.block.name in _ORDERED_BLOCKS:
            return register.offset > self.last_offset
        return self.words.get(register.name, word) == word

    def add(self, register: Register, word: int) -> None:
        self.words[register.name] = word
        self.last_offset = register.offset

    def emit(self, builder: Builder) -> None:
        entries: list[tuple[str, Attribute]] = []
        for register in self.block.registers.values():
            word = self.words.get(register.name)
            if word is None:
                continue
            for name, found in _named_fields(self.block)[register.name]:
                entries.append((name, _value(found, word)))
        builder.create(
            ConfigureOp,
            location=self.location,
            unit=self.block.name,
            group=self.group,
            fields=DictAttr(tuple(entries)),
        )


@define(eq=False)
class _Entries:
    """Look-up table entries that become one csb.write_table."""

    location: FileLineCol
    block: Block
    table: str
    first: int
    values: list[int] = field(factory=list[int])

    def emit(self, builder: Builder) -> None:
        builder.create(
            WriteTableOp,
            location=self.location,
            unit=self.block.name,
            table=self.table,
            first=self.first or None,
            values=self.values,
        )


@frozen
class _Access:
    """Where the next S_LUT_ACCESS_DATA of a unit goes."""

    table: str
    entry: int


@cache
def _named_fields(block: Block) -> Mapping[str, list[tuple[str, Field]]]:
    """The writable fields of each register, as csb.configure names them."""
    return {
        register.name: [
            (name if name in block.fields else f"{register.name}.{name}", found)
            for name, found in register.fields.items()
            if found.writable
        ]
        for register in block.registers.values()
    }


def _value(found: Field, word: int) -> Attribute:
    number = found.decode(word)
    name = found.value_name(number)
    return IntegerAttr(number) if name is None else StringAttr(name)


def _memory(step: MemoryStep) -> str | None:
    """The memory as an operation states it: the primary one goes unsaid."""
    return None if step.memory == PRIMARY else step.memory


@define(eq=False)
class Decoder:
    """Makes the operations of a trace at ``builder``; bytes go to ``resources``."""

    builder: Builder
    resources: ResourceStore
    _open: list[_Fields | _Entries] = field(factory=list["_Fields | _Entries"])
    # The register group of each unit that its D_* registers are of now.
    _groups: dict[str, int] = field(factory=dict[str, int])
    _access: dict[str, _Access] = field(factory=dict[str, _Access])
    _attributes: dict[int, DenseResourceAttr] = field(factory=dict[int, DenseResourceAttr])

    def add(self, step: Step) -> None:
        """Take over the next step."""
        if isinstance(step, WriteStep):
            self._write(step)
        elif not isinstance(step, ReadStep) or step.register.name == _TABLE_DATA:
            self.flush()
            self._act(step)

    def flush(self) -> None:
        """Make the operations of all writes so far."""
        for writes in self._open:
            writes.emit(self.builder)
        self._open = []

    def _act(self, step: Step) -> None:
        """Everything but a write: it comes after all writes before."""
        if isinstance(step, ReadStep | PollStep | ExpectStep):
            self._read(step)
        elif isinstance(step, Expectation):
            self._wait(step)
        elif isinstance(step, WaitAnyStep):
            self.builder.create(WaitAnyOp, location=step.location)
        elif isinstance(step, LoadStep):
            self._load(step)
        elif isinstance(step, FillStep):
            self._fill(step)
        elif isinstance(step, CrcStep):
            self._check_crc(step)
        elif isinstance(step, BytesStep):
            self._check_bytes(step)

    # -------------------------------------------------------------- writes

    def _write(self, step: WriteStep) -> None:
        block, register, word = step.block, step.register, step.word
        if register.name == _POINTER:
            self._groups[block.name] = word & 1
        elif register.name == _ENABLE:
            if word & 1:
                self.flush()
                self.builder.create(
                    EnableOp,
                    location=step.location,
                    unit=block.name,
                    group=self._groups.get(block.name, 0),
                )
        elif register.name == _TABLE_ACCESS:
            self._table_access(step)
        elif register.name == _TABLE_DATA:
            self._table_data(step)
        elif _named_fields(block)[register.name]:
            group = self._groups.get(block.name, 0) if register.grouped else None
            if register.name in _LAUNCHES:
                self._launch(step)
            else:
                self._fields(step, group)

    def _fields(self, step: WriteStep, group: int | None) -> None:
        for writes in reversed(self._open):
            if isinstance(writes, _Fields) and writes.block is step.block and writes.group == group:
                if writes.accepts(step.register, step.word):
                    writes.add(step.register, step.word)
                    return
                break
        writes = _Fields(step.location, step.block, group)
        writes.add(step.register, step.word)
        self._open.append(writes)

    def _launch(self, step: WriteStep) -> None:
        """Copies run at once: after all writes before, and before all that follow."""
        own = [
            writes
            for writes in self._open
            if isinstance(writes, _Fields) and writes.block is step.block
        ]
        self._open = [writes for writes in self._open if writes not in own] + own
        self._fields(step, None)
        self.flush()

    def _table_access(self, step: WriteStep) -> None:
        """Where accesses to a table start. A write access needs no operation of its own unless
        nothing is written."""
        values = step.register.decode_names(step.word)
        self._access.pop(step.block.name, None)
        if values["LUT_ACCESS_TYPE"] == "WRITE":
            entry = values["LUT_ADDR"]
            assert isinstance(entry, int)
            table = str(values["LUT_TABLE_ID"])
            self._access[step.block.name] = _Access(table, entry)
            self._open.append(_Entries(step.location, step.block, table, entry))
        else:
            self._fields(step, None)

    def _table_data(self, step: WriteStep) -> None:
        access = self._access.get(step.block.name)
        if access is None:
            return  # the hardware ignores data where a read access was set up
        value = step.word & 0xFFFF
        value -= (value & 0x8000) << 1
        writes = next(
            (
                writes
                for writes in reversed(self._open)
                if isinstance(writes, _Entries) and writes.block is step.block
            ),
            None,
        )
        if writes is None:
            writes = _Entries(step.location, step.block, access.table, access.entry)
            self._open.append(writes)
        writes.values.append(value)
        last = _LAST_ENTRY[access.table]
        self._access[step.block.name] = _Access(access.table, min(access.entry + 1, last))

    # -------------------------------------------------------------- reads

    def _read(self, step: ReadStep | PollStep | ExpectStep) -> None:
        if (
            isinstance(step, ExpectStep)
            and step.register.name == _ENABLE
            and step.value & step.mask & 1
        ):
            # That a unit is still enabled depends on how long its layer takes: here, no time.
            return
        fields: dict[str, Any] = {"unit": step.block.name, "register": step.register.name}
        if step.register.grouped or step.register.name == _POINTER:
            fields["group"] = self._groups.get(step.block.name, 0)
        if isinstance(step, ExpectStep):
            mask = None if step.mask == WORD_MASK else step.mask
            self.builder.create(
                ExpectOp, location=step.location, value=step.value, mask=mask, **fields
            )
        elif isinstance(step, PollStep):
            self.builder.create(PollOp, location=step.location, value=step.value, **fields)
        else:
            # Reading an entry of a table moves on to the next one.
            self.builder.create(PollOp, location=step.location, value=0, mask=0, **fields)

    def _wait(self, step: Expectation) -> None:
        interrupt = step.interrupt
        self.builder.create(
            WaitOp, location=step.location, unit=interrupt.source.name, group=interrupt.group
        )

    # -------------------------------------------------------------- memory

    def _load(self, step: LoadStep) -> None:
        self.builder.create(
            LoadOp,
            location=step.location,
            address=step.address,
            memory=_memory(step),
            value=self._bytes(step),
        )

    def _fill(self, step: FillStep) -> None:
        self.builder.create(
            FillOp,
            location=step.location,
            address=step.address,
            memory=_memory(step),
            size=step.size,
            pattern=step.pattern,
        )

    def _check_crc(self, step: CrcStep) -> None:
        self.builder.create(
            CheckCrcOp,
            location=step.location,
            address=step.address,
            memory=_memory(step),
            size=step.size,
            crc=step.crc,
            event=step.event,
        )

    def _check_bytes(self, step: BytesStep) -> None:
        self.builder.create(
            CheckBytesOp,
            location=step.location,
            address=step.address,
            memory=_memory(step),
            value=self._bytes(step),
            event=step.event,
        )

    def _bytes(self, step: LoadStep | BytesStep) -> DenseResourceAttr:
        key = id(step.data)
        found = self._attributes.get(key)
        if found is None:
            found = self.resources.attribute_for(step.name, step.data.view(np.int8), I8)
            self._attributes[key] = found
        return found
