"""Signals that end a command, and workers of processes that end: nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nvdla_ir.files import write_together
from nvdla_ir.interruption import Terminated, signals_held, termination_raises
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.workers import worker_pool

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX systems")


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What ``condition`` gives as soon as it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    pytest.fail("waited in vain")


# -------------------------------------------------------------- signals


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_termination_is_an_exception_once(name: str, code: int) -> None:
    number = signal.Signals[name]
    before = signal.getsignal(number)
    with pytest.raises(Terminated) as stop, termination_raises():
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)  # while cleaning up: not heard any more
    assert (stop.value.name, stop.value.exit_code) == (name, code)
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with termination_raises():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_held_signals_take_effect_at_the_end(number: int) -> None:
    reached = False
    with pytest.raises((KeyboardInterrupt, Terminated)), termination_raises():
        with signals_held():
            signal.raise_signal(number)
            reached = True
        reached = False
    assert reached


# -------------------------------------------------------------- files

WRITING = """
import os, sys
from nvdla_ir import files
real = os.fdopen
def slow(*arguments):
    file = real(*arguments)
    file.write(b"half")
    file.flush()
    print("there", flush=True)
    sys.stdin.read()
    return file
os.fdopen = slow
files.write_atomically("out", b"whole")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_process_that_is_ended_while_it_writes(tmp_path: Path, number: int) -> None:
    (tmp_path / "out").write_bytes(b"old")
    with subprocess.Popen(
        [sys.executable, "-c", WRITING],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        assert len(list(tmp_path.iterdir())) == 2
        process.send_signal(number)
        assert process.wait(30) == -number
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_bytes() == b"old"


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_of_several_files_all_are_replaced_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    old, new, last = (tmp_path / name for name in ("old", "new", "last"))
    old.write_text("old")
    last.write_text("last")
    replace = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target == last:
            raise fault
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises((DiagnosticError, KeyboardInterrupt)):
        write_together({old: "1", new: "2", last: "3"})
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"old": "old", "last": "last"}


# -------------------------------------------------------------- workers

PARENT = """
import sys, time
from nvdla_ir.interruption import termination_raises
from nvdla_ir.workers import worker_pool
import os
if __name__ == "__main__":
    with termination_raises(), worker_pool(2) as pool:
        running = [pool.submit(time.sleep, 600) for _ in range(2)]
        pids = list(pool._processes)
        print(*pids, flush=True)
        # A lock that is waited for without an end misses a signal that comes just before.
        while not running[0].done():
            time.sleep(0.05)
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path: Path, number: int) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        try:
            assert len(workers) == 2 and all(map(is_running, workers))
            parent.send_signal(number)
            parent.wait(30)
        finally:
            parent.kill()
    wait_for(lambda: not any(map(is_running, workers)))


def test_an_exception_ends_what_workers_are_at() -> None:
    start = time.monotonic()
    with pytest.raises(ZeroDivisionError), worker_pool(1) as pool:
        pool.submit(time.sleep, 600)
        assert pool.submit is not None
        raise ZeroDivisionError
    assert time.monotonic() - start < 60
