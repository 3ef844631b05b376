"""BDMA: queued copies between and within the memories. Source: rubik-bdma-glb.md section 3."""

from __future__ import annotations

from time import perf_counter

import numpy as np
from attrs import frozen

from nvdla_ir.hw.registers import Block, Register
from nvdla_ir.interp.device.areas import MemoryArea, MemoryLines
from nvdla_ir.interp.device.environment import Environment
from nvdla_ir.interp.device.errors import DeviceError
from nvdla_ir.interp.device.memory import Memory
from nvdla_ir.interp.device.overlaps import overlaps_itself
from nvdla_ir.interp.device.record import LayerNotes, LayerRecord
from nvdla_ir.interp.device.registers import Fields, RegisterFile

QUEUE_SLOTS = 20
_LINE_UNIT_BYTES = 32
LAUNCHES = {"CFG_LAUNCH0": 0, "CFG_LAUNCH1": 1}
"""The group of each register that launches what is queued."""

_IDLE = 1 << 8


@frozen
class _Copy:
    """One transfer of ``shape`` (surfaces, lines, bytes of a line), with a stride for each."""

    source: Memory
    source_base: int
    source_strides: tuple[int, int, int]
    destination: Memory
    destination_base: int
    destination_strides: tuple[int, int, int]
    shape: tuple[int, int, int]

    def note(self, notes: LayerNotes) -> None:
        """Note what will be read and written."""
        notes.reads.append(self._area("source", self.source, self.source_base, self.source_strides))
        notes.writes.append(
            self._area(
                "destination", self.destination, self.destination_base, self.destination_strides
            )
        )

    def run(self) -> None:
        data = self.source.read_strided(self.source_base, self.shape, self.source_strides)
        self.destination.write_strided(
            self.destination_base, self.destination_strides, np.array(data)
        )

    def _area(
        self, purpose: str, memory: Memory, base: int, strides: tuple[int, int, int]
    ) -> MemoryLines:
        blocks, lines, line_bytes = self.shape
        return MemoryLines(
            purpose, memory.name, base, line_bytes, lines, strides[1], blocks, strides[0]
        )


class BdmaRegisters(RegisterFile):
    """The BDMA block: CFG_OP queues the transfer that the CFG_* registers describe.

    Nothing is copied before a launch; both launch registers release all that is queued.
    """

    def __init__(self, block: Block) -> None:
        super().__init__(block)
        self._queue: list[Fields] = []
        self._launched: list[tuple[int, list[Fields]]] = []

    def write(self, register: Register, word: int) -> None:
        super().write(register, word)
        if register.name == "CFG_OP" and word & 1:
            if len(self._queue) == QUEUE_SLOTS:
                raise DeviceError(
                    self.block.name, register.name, word, f"the queue holds {QUEUE_SLOTS} transfers"
                )
            self._queue.append(Fields(self.block, dict(self.single), {}))
        elif register.name in LAUNCHES and word & 1:
            self._launched.append((LAUNCHES[register.name], self._queue))
            self._queue = []

    def read(self, register: Register) -> int:
        if register.name == "STATUS":
            return (QUEUE_SLOTS - len(self._queue)) | _IDLE
        return super().read(register)

    @property
    def queued(self) -> int:
        """Transfers that wait for a launch."""
        return len(self._queue)

    def run(self, environment: Environment) -> list[LayerRecord]:
        """Copy what was launched; returns a record of each launch."""
        launched, self._launched = self._launched, []
        return [_run(environment, group, queue) for group, queue in launched]


def _run(environment: Environment, group: int, queue: list[Fields]) -> LayerRecord:
    begin = perf_counter()
    notes = LayerNotes()
    moved = 0
    for fields in queue:
        copy = _copy(environment, fields)
        copy.note(notes)
        _check(environment, fields, notes.reads[-1], notes.writes[-1])
        copy.run()
        moved += copy.shape[0] * copy.shape[1] * copy.shape[2]
    notes.shape["transfers"] = (len(queue),)
    notes.shape["bytes"] = (moved,)
    return notes.record({"BDMA": group}, 0, perf_counter() - begin)


def _check(
    environment: Environment, fields: Fields, source: MemoryArea, destination: MemoryArea
) -> None:
    environment.require(
        not overlaps_itself(destination),
        fields,
        "CFG_DST_LINE.STRIDE",
        f"lines overlap at the destination: {destination}, with strides of "
        f"{fields['CFG_DST_LINE.STRIDE']} and {fields['CFG_DST_SURF.STRIDE']}",
    )
    environment.check_output(fields, "CFG_DST_ADDR_LOW.V32", destination, [source], in_place=True)


def _copy(environment: Environment, fields: Fields) -> _Copy:
    shape = (
        fields["CFG_SURF_REPEAT.NUMBER"] + 1,
        fields["CFG_LINE_REPEAT.NUMBER"] + 1,
        (fields["CFG_LINE.SIZE"] + 1) * _LINE_UNIT_BYTES,
    )
    memories = [environment.memory(fields, f"{end}_RAM_TYPE") for end in ("SRC", "DST")]
    bases = [
        environment.address(fields, f"CFG_{end}_ADDR_LOW.V32", f"CFG_{end}_ADDR_HIGH.V8")
        for end in ("SRC", "DST")
    ]
    strides = [
        (
            environment.stride(fields, f"CFG_{end}_SURF.STRIDE", used=shape[0] > 1),
            environment.stride(fields, f"CFG_{end}_LINE.STRIDE", used=shape[1] > 1),
            1,
        )
        for end in ("SRC", "DST")
    ]
    return _Copy(memories[0], bases[0], strides[0], memories[1], bases[1], strides[1], shape)
