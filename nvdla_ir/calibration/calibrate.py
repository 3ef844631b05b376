"""Calibration from end to end: images measured by an engine, thresholds, a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

from attrs import frozen

from nvdla_ir.calibration.datasets import Advance, DataSet, faults_diagnostic
from nvdla_ir.calibration.engines import Engine, Unit
from nvdla_ir.calibration.entry import INT8_MAXIMUM, CalibrationEntry
from nvdla_ir.calibration.measurement import Group, Measurement, Meter, NetworkSource
from nvdla_ir.calibration.methods import Method
from nvdla_ir.calibration.state_file import Identity, State, read_state
from nvdla_ir.calibration.table import CalibrationTable
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.interruption import signals_held
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import UNKNOWN
from nvdla_ir.resources import ResourceStore, resources_of
from nvdla_ir.text.printer import print_operation

DEFAULT_BATCH = 16
SECONDS_BETWEEN_SAVES = 30.0


@frozen(eq=False)
class Job:
    """What is to be measured.

    source:   the network, as workers open it
    meter:    the same, opened here
    engine:   who computes
    batch:    about how many images a worker gets at a time
    skip_bad: leave out images that cannot be used
    state_file: where the state is kept, to go on after an interruption; None: nowhere
    """

    source: NetworkSource
    meter: Meter
    data: DataSet
    engine: Engine
    batch: int = DEFAULT_BATCH
    skip_bad: bool = False
    state_file: Path | None = None


def usable_images(job: Job, diagnostics: DiagnosticCollector, advance: Advance) -> list[int]:
    """The numbers of the images that can be used; a warning about others.

    Raises: DiagnosticError for images that cannot be used, unless they are to be skipped, where no
    image is left, or where they do not fill the network's batches.
    """
    data = job.data
    faults = data.faults(advance)
    if faults:
        diagnostics.emit(
            faults_diagnostic(
                faults,
                data.count,
                skipped=job.skip_bad,
                hint="; --skip-bad leaves them out",
            )
        )
        diagnostics.raise_if_errors()
    bad = {fault.index for fault in faults}
    usable = [index for index in range(data.count) if index not in bad]
    func, batch = job.meter.func, job.meter.fixed_batch or 1
    if not usable or len(usable) % batch:
        what = f"takes batches of {batch}" if usable else "needs at least one to be calibrated"
        raise DiagnosticError.at(
            func.location, f"there are {len(usable)} images, but '@{func.sym_name}' {what}"
        )
    return usable


def measure(job: Job, usable: Sequence[int], advance: Callable[[int, int], None]) -> Measurement:
    """What the tensors of the network hold over the ``usable`` images. ``advance`` is told how many
    images are done, and how many of them just now.

    The result is the same to the bit for any engine, number of workers and batch: images are
    computed in groups that depend on the network and the data alone, and histograms are merged
    exactly.

    Raises: DiagnosticError; KeyboardInterrupt and Terminated, after the state is saved, if it is
    kept.
    """
    size = job.meter.group_size
    groups = [tuple(usable[start : start + size]) for start in range(0, len(usable), size)]
    state = _starting_state(job, usable, len(groups))
    done = sum(len(groups[number]) for number in state.done)
    advance(done, 0)
    saved = time.monotonic()
    try:
        # Closed at once, and workers with it, whatever ends this.
        with closing(job.engine.run(job.source, _units(job, groups, state.done))) as results:
            for unit, measured in results:
                # One step: an interruption finds all of a unit in the state, or nothing.
                state = state.after(measured, (group.number for group in unit.groups))
                done += unit.image_count
                advance(done, unit.image_count)
                if job.state_file is not None and time.monotonic() > saved + SECONDS_BETWEEN_SAVES:
                    state.write(job.state_file)
                    saved = time.monotonic()
    finally:
        # Also for another method, when all is done.
        if job.state_file is not None:
            with signals_held():
                state.write(job.state_file)
    histograms = state.measurement.histograms
    return Measurement({name: histograms[name] for name in job.meter.names})


def _starting_state(job: Job, usable: Sequence[int], groups: int) -> State:
    if job.state_file is None:
        return State(Identity("", ""))
    data = blake2b(f"{job.data.digest()} {list(usable)}".encode(), digest_size=16).hexdigest()
    identity = Identity(network_digest(*job.source.open()), data)
    return read_state(job.state_file, identity, groups)


def _units(job: Job, groups: Sequence[Sequence[int]], done: Set[int]) -> Iterator[Unit]:
    waiting = [number for number in range(len(groups)) if number not in done]
    in_unit = max(1, -(-job.batch // job.meter.group_size))
    for start in range(0, len(waiting), in_unit):
        yield Unit(
            tuple(
                Group(
                    number,
                    tuple(job.data.name(index) for index in groups[number]),
                    job.data.read(groups[number]),
                )
                for number in waiting[start : start + in_unit]
            )
        )


def network_digest(func: FuncOp, resources: ResourceStore) -> str:
    """Tells a network with its weights from any other. Raises: DiagnosticError"""
    state = blake2b(print_operation(func).encode(), digest_size=16)
    for op in func.walk():
        for attribute in resources_of(op):
            state.update(resources.tensor(attribute, op.location).digest)
    return state.hexdigest()


def thresholds_of(
    measurement: Measurement, method: Method, whole: Collection[str] = ()
) -> dict[str, float]:
    """The threshold of each tensor by ``method``; those in ``whole`` keep their largest magnitude.
    0 for a tensor that is always zero."""
    return {
        name: histogram.peak if name in whole else method.threshold(histogram)
        for name, histogram in measurement.histograms.items()
    }


def table_of(thresholds: Mapping[str, float], diagnostics: DiagnosticCollector) -> CalibrationTable:
    """A symmetric entry for each tensor; a warning for those that are always zero, which get the
    range -1 to 1.

    Raises: DiagnosticError for ranges that float32 scales cannot cover.
    """
    entries: list[CalibrationEntry] = []
    for name, threshold in thresholds.items():
        try:
            scale = (threshold or 1.0) / INT8_MAXIMUM
            entries.append(CalibrationEntry.from_scale(name, scale))
        except ValueError as error:
            diagnostics.error(UNKNOWN, f"{error}; its elements reach {threshold:.6g}")
    zeros = [name for name, threshold in thresholds.items() if threshold == 0]
    if zeros:
        listed = ", ".join(f"'{name}'" for name in zeros)
        diagnostics.warning(
            UNKNOWN, f"always zero in these images, given the range -1 to 1: {listed}"
        )
    diagnostics.raise_if_errors()
    return CalibrationTable(tuple(entries))
