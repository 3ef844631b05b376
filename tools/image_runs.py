"""Running a program over many images: in batches, in one process or in several."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.evaluation.batches import LARGEST_BATCH, batch_of, image_count, split
from nvdla_ir.interp.machine import Mode
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.types import TensorType
from nvdla_ir.workers import worker_pool

from .loaded_program import Program
from .program_sources import ProgramSource

if TYPE_CHECKING:
    from rich.progress import Progress

Array = NDArray[Any]
Arrays = dict[str, Array]

LARGEST_TENSOR = 1 << 21
"""About how many elements of one tensor are computed at a time: more leave the cache."""
SECONDS_WITHOUT_PROGRESS = 2.0


class ImageProgress:
    """A progress bar on ``stream``, where that is a terminal and the work takes long."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._done = 0
        self._start = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> ImageProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, images: int) -> None:
        self._done += images
        waited = time.monotonic() - self._start
        if self._bar is None and waited > SECONDS_WITHOUT_PROGRESS and self._stream.isatty():
            self._bar = self._make_bar()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)

    def _make_bar(self) -> Progress:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TimeRemainingColumn,
        )
        from rich.text import Text

        start = self._start

        class Speed(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.completed / (time.monotonic() - start):,.1f} images/s")

        bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            Speed(),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
            transient=True,
        )
        bar.add_task("images", total=self._total)
        bar.start()
        return bar


def run_images(
    program: Program, inputs: Arrays, jobs: int, progress: ImageProgress
) -> dict[str, Array]:
    """The outputs for all images of ``inputs``, stacked along their leading axes. With ``jobs``
    above 1 as many processes share the work.

    Raises: DiagnosticError.
    """
    count = image_count(program.func, inputs)
    size = _images_at_a_time(program, count, jobs)
    parts = split(program.func, inputs, size)
    runs: list[Arrays] = []
    for outputs in _outputs(program, parts, min(jobs, -(-count // size))):
        runs.append(outputs)
        progress.advance(min(size, count - size * (len(runs) - 1)))
    return _stacked(program.func, runs)


def _images_at_a_time(program: Program, count: int, jobs: int) -> int:
    func = program.func
    if not program.machine.takes_any_batch(func):
        return batch_of(func)
    largest = max(
        (
            result.type.element_count
            for op in func.body.operations
            if op.operands
            for result in op.results
            if isinstance(result.type, TensorType) and result.type.has_static_shape
        ),
        default=1,
    )
    share = -(-count // jobs)
    return max(1, min(LARGEST_BATCH, share, LARGEST_TENSOR // max(largest, 1)))


def _outputs(program: Program, parts: Iterator[Arrays], jobs: int) -> Iterator[Arrays]:
    if jobs <= 1:
        for part in parts:
            yield program.machine.run(program.func, part)
        return
    settings = (program.source, program.mode, program.machine.lenient)
    try:
        with worker_pool(jobs, _start_worker, *settings) as pool:
            for outcome in pool.map(_work, parts):
                if isinstance(outcome, dict):
                    yield outcome
                else:
                    raise DiagnosticError(*outcome)
    except BrokenProcessPool:
        raise DiagnosticError.at(
            program.func.location,
            "a worker process ended before its work was done; where memory ran out, take fewer "
            "--jobs",
        ) from None


_worker_settings: tuple[ProgramSource, Mode, bool] | None = None
_worker_program: Program | None = None


def _start_worker(source: ProgramSource, mode: Mode, lenient: bool) -> None:
    global _worker_settings
    _worker_settings = (source, mode, lenient)


def _work(inputs: Arrays) -> Arrays | tuple[Diagnostic, ...]:
    """One batch in a worker process: the outputs, or what is wrong."""
    global _worker_program
    try:
        if _worker_program is None:
            assert _worker_settings is not None
            _worker_program = Program.load(*_worker_settings)
        return _worker_program.machine.run(_worker_program.func, inputs)
    except DiagnosticError as error:
        return error.diagnostics


def _stacked(func: FuncOp, runs: Sequence[Arrays]) -> Arrays:
    if len(runs) == 1:
        return runs[0]
    batch = batch_of(func)
    stacked: Arrays = {}
    for index, value in enumerate(func.return_op.operands):
        name = func.result_name(index)
        arrays = [run[name] for run in runs]
        keeps_batch = isinstance(value.type, TensorType) and value.type.shape[:1] == (batch,)
        stacked[name] = np.concatenate(arrays) if keeps_batch else np.stack(arrays)
    return stacked
