"""Plays register traces (``.cfg`` with ``.dat`` files) on a device, line by line.

The format is the one of the hardware release's trace tests. Lines are executed in order, which is
right for every trace whose commands stand in an order that a sequential player can follow.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
from attrs import define, field

from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.device.memory import Memory

_COMMAND = re.compile(r"(\w+)\((.*)\);?$")
_REGISTER = re.compile(r"NVDLA_(\w+)\.(\w+)_0$")
_SOURCE = re.compile(r"(\w+)_([01])$")
_PATTERNS = {"ALL_ZERO": 0x00, "ONES": 0xFF, "AFIVE": 0xA5, "FIVEA": 0x5A}


@define
class TraceResult:
    """What a trace checked: the events that were awaited and every wrong checksum."""

    checks: int = 0
    failures: list[str] = field(factory=list[str])


def load_data(memory: Memory, base: int, path: Path) -> None:
    """Store the packets of a ``.dat`` file at ``base`` plus their offsets."""
    for line in path.read_text().splitlines():
        head, found, payload = line.partition("payload:")
        if not found:
            continue
        numbers = dict(re.findall(r"(offset|size):\s*(\w+)", head))
        data = bytes(int(word, 0) for word in payload.rstrip(" },\t").split())
        memory.write(base + int(numbers["offset"], 0), data.ljust(int(numbers["size"], 0), b"\0"))


class TracePlayer:
    """Executes one trace file; ``play`` returns its checks."""

    def __init__(self, device: Device, path: Path) -> None:
        self.device = device
        self.path = path
        self.result = TraceResult()
        self.events: set[str] = set()

    def play(self) -> TraceResult:
        for line in self.path.read_text().splitlines():
            text = line.partition("//")[0].strip()
            if not text:
                continue
            match = _COMMAND.match(text)
            if match is None:
                raise ValueError(f"{self.path.name}: not a command: {text}")
            arguments = [argument.strip() for argument in match[2].split(",")]
            getattr(self, f"_{match[1]}")(*arguments)
        return self.result

    def _memory(self, name: str) -> Memory:
        return self.device.secondary if name == "sec_mem" else self.device.primary

    def _register(self, name: str) -> tuple[str, str]:
        match = _REGISTER.match(name)
        if match is None:
            raise ValueError(f"{self.path.name}: not a register: {name}")
        return match[1], match[2]

    def _mem_load(self, memory: str, base: str, name: str) -> None:
        load_data(self._memory(memory), int(base, 0), self.path.parent / name.strip('"'))

    def _mem_init(self, memory: str, base: str, size: str, pattern: str) -> None:
        first, count = int(base, 0), int(size, 0)
        if pattern == "ADDR":
            data = ((np.arange(count) + first) & 0xFF).astype(np.uint8)
            self._memory(memory).write(first, data)
        else:
            self._memory(memory).fill(first, count, _PATTERNS[pattern])

    def _reg_write(self, name: str, word: str) -> None:
        block, register = self._register(name)
        self.device.write(block, register, int(word, 0))

    def _reg_read_check(self, name: str, word: str) -> None:
        block, register = self._register(name)
        value = self.device.read(block, register)
        self.result.checks += 1
        if value != int(word, 0):
            self.result.failures.append(f"{name} reads {value:#x}, not {word}")

    def _reg_read(self, name: str, _variable: str) -> None:
        self.device.read(*self._register(name))

    def _poll_reg_equal(self, name: str, word: str) -> None:
        block, register = self._register(name)
        self.device.poll(block, register, int(word, 0))

    def _intr_notify(self, source: str, event: str) -> None:
        match = _SOURCE.match(source)
        if match is None:
            raise ValueError(f"{self.path.name}: not an interrupt: {source}")
        self.device.wait(match[1].upper(), int(match[2]))
        self.events.add(event)

    def _sync_wait(self, _block: str, event: str) -> None:
        self._check_nothing(event)

    def _sync_notify(self, _block: str, event: str) -> None:
        self.events.add(event)

    def _check_nothing(self, event: str) -> None:
        self.result.checks += 1
        if event not in self.events:
            self.result.failures.append(f"event {event} never came")

    def _check_crc(self, event: str, memory: str, base: str, size: str, crc: str) -> None:
        self._check_nothing(event)
        found = zlib.crc32(self._memory(memory).read(int(base, 0), int(size, 0)).tobytes())
        if found != int(crc, 0):
            self.result.failures.append(f"{base} +{size}: CRC {found:#010x}, not {crc}")
