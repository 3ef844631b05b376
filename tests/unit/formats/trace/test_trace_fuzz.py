"""Ten thousand garbled traces: each is refused with a diagnostic, or runs, with checks that hold or
fail. Nothing else is raised, nothing hangs, and memory stays bounded."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from small_traces import convolution, copy_twice, copy_txn
from trace_playing import run

from nvdla_ir.formats.trace import import_trace
from nvdla_ir.interp.device.memory import Memory
from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.resources import ResourceStore

# ``make fuzz`` asks for more.
SHARDS = int(os.environ.get("GARBLED_THOUSANDS", "1"))
CASES_PER_SHARD = 1000
MEMORY_LIMIT_BYTES = 1 << 22

NUMBERS = (
    *("0", "1", "2", "3", "4", "7", "8", "0x1f", "0x1fff", "0x2000", "0x80000000", "0x80000100"),
    *("0x80001008", "0x7fffffff", "0xffffffff", "0x100000000", "0xffffffffffffffff", "-1", "1e9"),
    *("0x", "09", "99999999999999999999", "0x80002000", "512", "0x0x1", "1_0"),
)
WORDS = (
    *("SDP_0", "SDP_1", "PDP_0", "cdma_wt_1", "CACC_2", "first", "second", "pri_mem", "sec_mem"),
    *("ONES", "RANDOM", "X", "ADDR", "reg_write", "sync_wait", "sync_notify", "check_crc"),
    *("mem_load", "mem_init", "poll_reg_equal", "reg_read_check", "intr_notify", "check_file"),
    *("NVDLA_SDP.S_POINTER_0", "NVDLA_GLB.S_INTR_SET_0", "NVDLA_CDMA.D_OP_ENABLE_0", "NVDLA_BDMA"),
    *("NVDLA_PDP.D_OP_ENABLE_0", "NVDLA_SDP.S_STATUS_0", "NVDLA_SDP.D_DST_LINE_STRIDE_0"),
    *('"copy_in.dat"', '"../copy_in.dat"', '"/etc/passwd"', '"."', '"copy.cfg"', "offset", "size"),
    *("payload", "wait", "dump_mem", "load_mem", "read_reg", "write_reg", "{", "}", "(", ")", ","),
)


def garbled(text: str, rng: random.Random) -> str:
    """``text`` with one to four changes."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        text = rng.choice(CHANGES)(text, rng)
    return text


def _change_line(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    here, there = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        del lines[here]
    elif kind == 1:
        lines.insert(here, lines[there])
    elif kind == 2:
        lines[here], lines[there] = lines[there], lines[here]
    else:
        lines[here] = lines[here][: rng.randrange(len(lines[here]) + 1)]
    return "\n".join(lines)


def _change_character(text: str, rng: random.Random) -> str:
    here = rng.randrange(len(text) + 1)
    new = rng.choice(("", chr(rng.randrange(128)), rng.choice('(){},;:"#/ \t\r\n\0é\u2028')))
    return text[:here] + new + text[here + rng.randrange(3) :]


def _change_word(text: str, rng: random.Random) -> str:
    here = rng.randrange(len(text) + 1)
    end = here
    while end < len(text) and (text[end].isalnum() or text[end] in "_."):
        end += 1
    while here and (text[here - 1].isalnum() or text[here - 1] in "_."):
        here -= 1
    return text[:here] + rng.choice(rng.choice((NUMBERS, WORDS))) + text[end:]


def _change_value(text: str, rng: random.Random) -> str:
    """Another value for a register, size or address."""
    found = list(re.finditer(r"0x[0-9a-f]+", text))
    if not found:
        return text
    match = rng.choice(found)
    old = int(match[0], 16)
    new = rng.choice(
        (old ^ 1 << rng.randrange(32), rng.randrange(1 << rng.randrange(1, 33)), old + 1, 0)
    )
    return f"{text[: match.start()]}{new:#x}{text[match.end() :]}"


def _truncate(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text) + 1)]


CHANGES = (
    *(_change_value,) * 8,
    *(_change_word,) * 3,
    *(_change_line,) * 2,
    _change_character,
    _truncate,
)


def play_garbled(folder: Path, files: Mapping[str, str], seed: int) -> str:
    """Garble one of ``files``, import and run; returns what became of it."""
    rng = random.Random(seed)
    name = rng.choice((*files, next(iter(files))))
    (folder / name).write_bytes(garbled(files[name], rng).encode())
    resources = ResourceStore()
    try:
        module = import_trace(folder, "nv_small", resources)
    except DiagnosticError as error:
        assert all(len(render(diagnostic)) < 2000 for diagnostic in error.diagnostics)
        outcome = "refused"
    else:
        try:
            run(module, resources)
            outcome = "ran"
        except DiagnosticError as error:
            assert all(render(diagnostic) for diagnostic in error.diagnostics)
            outcome = "stopped"
    (folder / name).write_bytes(files[name].encode())
    return outcome


@pytest.mark.parametrize("shard", range(SHARDS))
def test_garbled_traces(shard: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Memory.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "limit_bytes", MEMORY_LIMIT_BYTES)
    bases = (copy_twice(), copy_txn(), convolution())
    folders: list[Path] = []
    for index, files in enumerate(bases):
        folders.append(tmp_path / str(index))
        folders[-1].mkdir()
        for name, text in files.items():
            (folders[-1] / name).write_bytes(text.encode())
    outcomes = {"refused": 0, "stopped": 0, "ran": 0}
    for number in range(CASES_PER_SHARD):
        index = number % len(bases)
        seed = shard * CASES_PER_SHARD + number
        try:
            outcomes[play_garbled(folders[index], bases[index], seed)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed} of base {index}") from error
    assert min(outcomes.values()) >= CASES_PER_SHARD // 50, outcomes
