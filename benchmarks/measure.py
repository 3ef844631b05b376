"""What every benchmark needs: CPU time of a child process, rows, and how they are shown."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Sequence

from attrs import frozen


@frozen
class Row:
    """One figure, with what it should be.

    better: "higher" or "lower"; target None: shown for information only
    """

    group: str
    name: str
    value: float
    unit: str
    target: float | None = None
    better: str = "higher"

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.better == "higher" else self.value <= self.target


def child_cpu_seconds(command: Sequence[str], runs: int = 10) -> float:
    """The least CPU time (user and system) of ``runs`` runs of ``command``.

    Raises: RuntimeError with what it printed where the command fails.
    """
    # Compiled modules are kept, as at a user's.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    times: list[float] = []
    for _ in range(1 + runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times[1:])


def best_seconds(work: Callable[[], object], clock: Callable[[], float], runs: int = 3) -> float:
    """The least time of ``runs`` runs of ``work`` by ``clock``."""
    times: list[float] = []
    for _ in range(runs):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)
