"""Plays the project's own register traces, and shows that faults in them do not pass."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import generate
import numpy as np
import pytest
from trace_writer import Trace

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "formats" / "trace"))

from trace_playing import play, write_files

from nvdla_ir.hw.configuration import load_configuration, names
from nvdla_ir.ir.diagnostics import DiagnosticError

TRACES = {f"{trace.target}/{trace.name}": trace for trace in generate.traces()}
BLOCKS = {"CDMA", "CSC", "CMAC_A", "CMAC_B", "CACC", "SDP", "SDP_RDMA", "PDP", "PDP_RDMA"}
BLOCKS |= {"CDP", "CDP_RDMA"}
LARGEST_ONLY = {"RBK", "BDMA"}

Files = dict[str, str]
Fault = Callable[[Files, Trace, np.random.Generator], Files]


def test_the_files_are_as_they_are_made() -> None:
    assert not generate.differences()


@pytest.mark.parametrize("target", names())
def test_every_configuration_runs_all_of_its_units(target: str) -> None:
    programmed = {
        block
        for trace in TRACES.values()
        if trace.target == target
        for block in re.findall(r"reg_write\(NVDLA_(\w+)\.", "\n".join(trace.commands))
    }
    hardware = load_configuration(target)
    assert programmed == BLOCKS | (LARGEST_ONLY if hardware.has_rubik else set())


def test_results_tell_apart() -> None:
    """Layers neither saturate nor repeat themselves."""
    for name, trace in TRACES.items():
        if not trace.informative or name.endswith("dc_one_signed"):
            continue
        values = np.concatenate([cube.ravel() for cube in trace.informative]).astype(int)
        assert np.mean((values == 127) | (values == -128)) < 0.35, name
        assert np.bincount(values + 128).max() / len(values) < 0.8, name
        assert len(set(values)) >= min(9, len(values)), name


@pytest.mark.parametrize("name", TRACES)
def test_every_check_passes(name: str) -> None:
    played = play(generate.FOLDER / name, name.partition("/")[0])
    assert played.checks
    assert not played.failures
    assert not played.device.remarks


def _changed_byte(files: Files, trace: Trace, rng: np.random.Generator) -> Files:
    """One byte of the data is another."""
    name = str(rng.choice([name for name in files if name.endswith(".dat")]))
    places = list(re.finditer(r"0x[0-9a-f]+(?=[ }])", files[name]))
    place = places[rng.integers(len(places))]
    text, byte = files[name], int(place[0], 16) ^ int(rng.integers(1, 256))
    return files | {name: f"{text[: place.start()]}{byte:#x}{text[place.end() :]}"}


def _changed_field(files: Files, trace: Trace, rng: np.random.Generator) -> Files:
    """One field that matters has another value."""
    (name,) = (name for name in files if name.endswith(".cfg"))
    blocks = trace.map
    lines = files[name].splitlines()
    writes = [
        (number, match)
        for number, line in enumerate(lines)
        if (match := re.match(r"reg_write\(NVDLA_(\w+)\.(\w+)_0, (\w+)\);", line))
        and not set(blocks[match[1]].registers[match[2]].fields)
        <= set(trace.ignored.get(match[1], ()))
        and match[1] != "GLB"
        and match[2] not in ("S_POINTER", "D_OP_ENABLE", "CFG_OP", "CFG_LAUNCH0", "CFG_LAUNCH1")
    ]
    number, match = writes[rng.integers(len(writes))]
    word = int(match[3], 0)
    fields = [f for f in blocks[match[1]].registers[match[2]].fields.values() if f.mask & word]
    fields = [f for f in fields if f.name not in trace.ignored.get(match[1], {})]
    mask = fields[rng.integers(len(fields))].mask if fields else 1
    bit = 1 << int(rng.choice([n for n in range(32) if mask >> n & 1][:12]))
    lines[number] = f"reg_write(NVDLA_{match[1]}.{match[2]}_0, {word ^ bit:#x});"
    return files | {name: "\n".join(lines) + "\n"}


def _is_noticed(files: Files, target: str, folder: Path) -> bool:
    try:
        return bool(play(write_files(folder, files), target).failures)
    except DiagnosticError:
        return True


@pytest.mark.parametrize(("fault", "least"), [(_changed_byte, 0.7), (_changed_field, 0.8)])
def test_faults_are_noticed(fault: Fault, least: float, tmp_path: Path) -> None:
    """The share of faults in sampled traces that a check or an error reveals.

    Not all can be: bytes that no window reads, bits that rounding drops, a line stride of one line.
    """
    noticed = [
        _is_noticed(
            fault(trace.files(), trace, np.random.default_rng(number)),
            trace.target,
            tmp_path / str(number),
        )
        for number, trace in enumerate(TRACES.values())
    ]
    print(f"{fault.__name__}: {sum(noticed)} of {len(noticed)} faults noticed")
    assert sum(noticed) >= least * len(noticed)
