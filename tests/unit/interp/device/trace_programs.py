"""The programs of the traces in ``tests/traces``, to be changed and run on a device."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from attrs import evolve, frozen

sys.path.insert(0, str(Path(__file__).parents[3] / "traces"))

import generate
from trace_writer import PRIMARY, SECONDARY, Trace

from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.registers import register_map
from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.device.memory import Memory

LIMIT_BYTES = 1 << 24
FIXED = ("S_POINTER", "D_OP_ENABLE", "CFG_OP", "CFG_LAUNCH0", "CFG_LAUNCH1", "S_INTR_STATUS")
"""Registers that say when layers run, not what they are."""

_WAIT = re.compile(r"sync_wait\(NVDLA_\w+, (\w+)\);")
_SEEN = ("GLB", "S_INTR_STATUS", 0x3F03FF)
"""Where a trace waits for a layer: the host reads which interrupts there are and clears them."""

_WRITE = re.compile(r"reg_write\(NVDLA_(\w+)\.(\w+)_0, (\w+)\);")

Writes = tuple[tuple[str, str, int], ...]


@frozen
class Program:
    """The register writes of a trace, and the bytes that it loads."""

    name: str
    hardware: HardwareConfiguration
    writes: Writes
    data: tuple[tuple[str, int, bytes], ...]

    @classmethod
    def of(cls, trace: Trace) -> Program:
        writes: list[tuple[str, str, int]] = []
        waited = ""
        for line in trace.commands:
            if match := _WRITE.match(line):
                writes.append((match[1], match[2], int(match[3], 0)))
            elif (match := _WAIT.match(line)) and match[1] != waited:
                waited = match[1]
                writes.append(_SEEN)
        return cls(trace.name, trace.hw, tuple(writes), tuple(_runs(trace)))

    def device(self, *, lenient: bool = False, limit_bytes: int = LIMIT_BYTES) -> Device:
        """A new device with the program's data in memory."""
        memories = {
            name: Memory(kind, address_bits=self.hardware.address_bits, limit_bytes=limit_bytes)
            for name, kind in ((PRIMARY, "primary"), (SECONDARY, "secondary"))
        }
        for memory, address, data in self.data:
            memories[memory].write(address, data)
        return Device(
            self.hardware,
            primary=memories[PRIMARY],
            secondary=memories[SECONDARY],
            lenient=lenient,
        )

    def play(self, device: Device) -> None:
        """Write all registers."""
        for block, register, word in self.writes:
            if (block, register) == _SEEN[:2]:
                device.read(block, register)
            device.write(block, register, word)

    def run(self, writes: Writes, *, lenient: bool = False) -> Device:
        """Play other writes on a new device; returns it."""
        device = self.device(lenient=lenient)
        evolve(self, writes=writes).play(device)
        return device

    def changed(self, block: str, fields: dict[str, int]) -> Program:
        """The program with other values of the fields of one block, in all of its layers."""
        registers = register_map(self.hardware.register_map)[block]
        found = {name: registers.field(name) for name in fields}
        writes = list(self.writes)
        for name, field in found.items():
            word, places = registers.registers[field.register].reset, []
            for number, write in enumerate(writes):
                if write[:2] == (block, field.register):
                    places.append(number)
            if not places:
                # The register keeps its reset value: write it before all else.
                writes.insert(0, (block, field.register, word))
                places = [0]
            for number in places:
                word = writes[number][2] & ~field.mask | field.encode(fields[name])
                writes[number] = block, field.register, word
        return evolve(self, writes=tuple(writes))


def _runs(trace: Trace) -> list[tuple[str, int, bytes]]:
    """Contiguous bytes that a trace loads."""
    found: list[tuple[str, int, bytearray]] = []
    for memory, loaded in trace.loaded.items():
        for address, byte in sorted(loaded.items()):
            last = found[-1] if found else None
            if last is None or last[0] != memory or last[1] + len(last[2]) != address:
                found.append((memory, address, bytearray()))
            found[-1][2].append(byte)
    return [(memory, address, bytes(data)) for memory, address, data in found]


def programs() -> list[Program]:
    """All of them."""
    return [Program.of(trace) for trace in generate.traces()]
