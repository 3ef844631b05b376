"""Who computes: this process, a pool of processes, or the workers of a Dask cluster.

An engine measures units of work in any order and yields each result once. Since measurements are
merged exactly, the table does not depend on the engine.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from typing import Protocol

from attrs import field, frozen

from nvdla_ir.calibration.measurement import Group, Measurement, Meter, NetworkSource
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.location import UNKNOWN
from nvdla_ir.workers import worker_pool

_LONGEST_WAIT = 1.0
_UNITS_PER_WORKER = 2
_TRIES = 3


@frozen(eq=False)
class Unit:
    """Work for one worker at a time."""

    groups: tuple[Group, ...]

    @property
    def image_count(self) -> int:
        return sum(len(group.names) for group in self.groups)


Outcome = Measurement | tuple[Diagnostic, ...]


class Engine(Protocol):
    """A way to measure many units."""

    def run(
        self, source: NetworkSource, units: Iterable[Unit]
    ) -> Generator[tuple[Unit, Measurement], None, None]:
        """Measure all ``units``, which are asked for as workers become free.

        Raises: DiagnosticError from the network, or where workers keep failing.
        """
        ...


@frozen
class InProcess:
    """One unit after the other, here; ``meter`` is the network, opened."""

    meter: Meter = field(eq=False)

    def run(
        self, source: NetworkSource, units: Iterable[Unit]
    ) -> Generator[tuple[Unit, Measurement], None, None]:
        del source
        for unit in units:
            yield unit, self.meter.measure(unit.groups)


@frozen
class ProcessPool:
    """``jobs`` processes on this machine. The units of one that dies are done again by others."""

    jobs: int

    def run(
        self, source: NetworkSource, units: Iterable[Unit]
    ) -> Generator[tuple[Unit, Measurement], None, None]:
        waiting = iter(units)
        again: list[Unit] = []
        tries: dict[Unit, int] = {}
        exhausted = False
        while not exhausted or again:
            running: dict[Future[Outcome], Unit] = {}
            token = uuid.uuid4().hex
            try:
                with worker_pool(self.jobs) as pool:
                    while True:
                        while len(running) < self.jobs * _UNITS_PER_WORKER:
                            unit = again.pop() if again else next(waiting, None)
                            if unit is None:
                                exhausted = True
                                break
                            # Known as running before it is submitted, which fails in a broken pool.
                            tries[unit] = tries.get(unit, 0) + 1
                            if tries[unit] > _TRIES:
                                raise _workers_fail()
                            try:
                                running[pool.submit(measure_unit, source, token, unit)] = unit
                            except BrokenProcessPool:
                                again.append(unit)
                                raise
                        if not running:
                            return
                        # Now and then, since a signal just before an endless wait is not heard.
                        ended = wait(running, _LONGEST_WAIT, return_when=FIRST_COMPLETED)
                        for future in ended.done:
                            result = measurement_of(future.result())
                            yield running.pop(future), result
            except BrokenProcessPool:
                again += running.values()


def _workers_fail() -> DiagnosticError:
    return DiagnosticError.at(
        UNKNOWN,
        f"worker processes ended {_TRIES} times before their work was done; where memory ran out, "
        "take fewer --jobs or a smaller --batch",
    )


# -------------------------------------------------------------- in a worker


def measure_unit(source: NetworkSource, token: str, unit: Unit) -> Outcome:
    """The measurement of ``unit``, or what is wrong. ``token`` belongs to one run of an engine: a
    worker that lives longer opens the network again."""
    try:
        return _meter(source, token).measure(unit.groups)
    except DiagnosticError as error:
        return error.diagnostics


@lru_cache(maxsize=1)
def _meter(source: NetworkSource, token: str) -> Meter:
    del token
    return Meter.open(source)


def measurement_of(outcome: Outcome) -> Measurement:
    """Raises: DiagnosticError where a worker had something to say."""
    if isinstance(outcome, Measurement):
        return outcome
    raise DiagnosticError(*outcome)
