"""Register programs of every unit and configuration, with faults, against a small memory.

The programs are those of the traces in ``tests/traces``. Whatever the registers hold, a run ends
in a result or in an error of the device, and no memory grows beyond its limit.
"""

from __future__ import annotations

import contextlib
import re

import numpy as np
import pytest
from trace_programs import FIXED, LIMIT_BYTES, Program, Writes, programs

from nvdla_ir.hw.configuration import names
from nvdla_ir.hw.registers import Register, register_map
from nvdla_ir.interp.device.errors import DeadlockError, DeviceError, MemoryAccessError

RUNS = 1000
"""Of each configuration."""


def _faulty(program: Program, rng: np.random.Generator) -> Writes:
    """The writes with one to three registers changed."""
    writes = list(program.writes)
    blocks = register_map(program.hardware.register_map)
    changeable = [n for n, write in enumerate(writes) if write[1] not in FIXED]
    for number in rng.choice(changeable, rng.integers(1, 4)):
        block, register, word = writes[number]
        writes[number] = block, register, _changed(blocks[block].registers[register], word, rng)
    return tuple(writes)


def _changed(register: Register, word: int, rng: np.random.Generator) -> int:
    """Another word: one bit, one field at its limit, or anything."""
    fields = [field for field in register.fields.values() if field.writable]
    field = fields[rng.integers(len(fields))]
    kind = rng.integers(4)
    if kind == 0:
        return word ^ 1 << int(rng.integers(32))
    if kind == 1:
        return word | field.mask
    if kind == 2:
        return word & ~field.mask | int(rng.integers(1 << 32)) & field.mask
    return int(rng.integers(1 << 32))


PROGRAMS: dict[str, list[Program]] = {name: [] for name in names()}
for _program in programs():
    PROGRAMS[_program.hardware.name].append(_program)


@pytest.mark.parametrize("target", names())
def test_the_programs_without_faults_run(target: str) -> None:
    for program in PROGRAMS[target]:
        device = program.run(program.writes)
        assert device.records
        assert not device.remarks
        assert device.waiting_report() == "no unit is enabled"


@pytest.mark.parametrize("target", names())
def test_faults_end_in_errors_of_the_device(target: str) -> None:
    refused = 0
    for number in range(RUNS):
        rng = np.random.default_rng([names().index(target), number])
        program = PROGRAMS[target][number % len(PROGRAMS[target])]
        try:
            device = program.run(_faulty(program, rng), lenient=bool(number // 16 % 2))
        except (DeviceError, MemoryAccessError) as error:
            assert str(error)
            refused += 1
        else:
            assert device.primary.occupied_bytes <= LIMIT_BYTES
            assert device.secondary.occupied_bytes <= LIMIT_BYTES
    # Many faults are of no consequence: data that are other data, a bit that does not exist.
    assert RUNS / 5 < refused < RUNS


@pytest.mark.parametrize("target", names())
def test_missing_enables_are_told(target: str) -> None:
    """A unit that is not enabled is named by those that wait for it."""
    for program in PROGRAMS[target]:
        enables = [write for write in program.writes if write[1] == "D_OP_ENABLE"]
        if not enables:
            continue
        missing = enables[-1]
        last = max(n for n, write in enumerate(program.writes) if write == missing)
        device = program.run(program.writes[:last] + program.writes[last + 1 :])
        report = device.waiting_report()
        if len({block for block, *_ in enables}) > 1:
            assert re.search(rf"waits for [^;]*\b{missing[0]}\b", report), (program.name, report)
        with pytest.raises(DeadlockError, match="never comes"):
            device.poll(missing[0], "S_STATUS", 1 | 1 << 16)


@pytest.mark.parametrize("target", names())
def test_any_sequence_of_accesses(target: str) -> None:
    """Writes of anything anywhere, enables, pointers, reads, polls and waits."""
    blocks = register_map(PROGRAMS[target][0].hardware.register_map)
    registers = [(name, register) for name in blocks for register in blocks[name].registers]
    pointers = [(name, register) for name, register in registers if register == "S_POINTER"]
    enables = [(name, register) for name, register in registers if register in FIXED]
    for number in range(60):
        rng = np.random.default_rng([7, names().index(target), number])
        device = PROGRAMS[target][number % len(PROGRAMS[target])].device(lenient=bool(number % 2))
        for _ in range(150):
            kind = rng.integers(6)
            chosen = (registers, registers, enables, enables, pointers, registers)[kind]
            block, register = chosen[rng.integers(len(chosen))]
            word = int(rng.integers(4 if kind else 1 << 32))
            with contextlib.suppress(DeviceError, MemoryAccessError):
                if kind == 5:
                    device.poll(block, register, word)
                    device.wait(("SDP", "PDP", "CACC", "BDMA")[word], number % 2)
                else:
                    device.write(block, register, word)
            assert 0 <= device.read(block, register) < 1 << 32
        assert isinstance(device.waiting_report(), str)
