"""An evaluation in one process or in several: the same sums, merged in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol, TypeVar

from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.calibration.entry import INT8_MAXIMUM
from nvdla_ir.calibration.table import lines_of, read_table
from nvdla_ir.calibration.tensorrt_names import stated_names
from nvdla_ir.evaluation.evaluation import Evaluation, Evaluator
from nvdla_ir.evaluation.network import QuantizedNetwork
from nvdla_ir.evaluation.remedies import Trial
from nvdla_ir.evaluation.statistics import ErrorSums
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError
from nvdla_ir.workers import worker_pool

from .module_files import LoadedModule, load_module
from .plugin_files import context_with

Array = NDArray[Any]
Part = tuple[dict[str, Array], "Array | None"]
"""Some images by input, and their labels."""


@frozen
class NetworkSource:
    """What a network is made from, in this process and in others."""

    text: str
    file: str
    directory: Path
    calibration: str | None
    granularity: str
    plugins: tuple[str, ...] = ()

    def open(self) -> tuple[QuantizedNetwork, list[Diagnostic]]:
        """The network, quantized, and what there is to remark. Raises: DiagnosticError"""
        loaded = self._load()
        collector = DiagnosticCollector()
        network = QuantizedNetwork.make(
            loaded.module,
            loaded.resources,
            calibration=None if self.calibration is None else Path(self.calibration),
            granularity=self.granularity,
            diagnostics=collector,
        )
        return network, collector.diagnostics

    def _load(self) -> LoadedModule:
        return load_module(self.text, self.file, self.directory, context_with(self.plugins))

    def entries(self, thresholds: Mapping[str, float]) -> dict[str, list[str]]:
        """What the calibration table would say of tensors with these ``thresholds``, by what a
        table of this network calls them; nothing without a table. Raises: DiagnosticError"""
        if self.calibration is None or not thresholds:
            return {}
        table = read_table(self.calibration)
        module = self._load().module
        names = stated_names(table, module)
        return {
            name: lines_of(names.get(name, [name]), threshold / INT8_MAXIMUM, table.format)
            for name, threshold in thresholds.items()
        }


def evaluations(
    source: NetworkSource,
    network: QuantizedNetwork,
    parts: Sequence[Part],
    measured: int,
    jobs: int,
    advance: Callable[[int], None],
) -> Iterator[Evaluation]:
    """The evaluations of all ``parts`` of the data, in order; on the first ``measured`` of them
    the network's parts and single layers are measured, too. With ``jobs`` above 1 as many
    processes share the work.

    Raises: DiagnosticError
    """
    tasks = [_Evaluation(*part, index < measured) for index, part in enumerate(parts)]
    return _results(source, network, tasks, jobs, advance)


def trials(
    source: NetworkSource,
    network: QuantizedNetwork,
    parts: Sequence[Part],
    tried: Sequence[Trial],
    jobs: int,
    advance: Callable[[int], None],
) -> list[ErrorSums]:
    """The errors of the logits in each trial, on all ``parts``; see ``evaluations``."""
    sums = [ErrorSums() for _ in tried]
    tasks = [_Trials(inputs, tuple(tried)) for inputs, _ in parts]
    for errors in _results(source, network, tasks, jobs, advance):
        for total, error in zip(sums, errors, strict=True):
            total.merge(error)
    return sums


_Result = TypeVar("_Result", covariant=True)


class _Task(Protocol[_Result]):
    """Work on some images, which other processes can do."""

    def work(self, evaluator: Evaluator) -> _Result:
        """Raises: DiagnosticError"""
        ...


@frozen(eq=False)
class _Evaluation:
    inputs: dict[str, Array]
    labels: Array | None
    parts: bool

    def work(self, evaluator: Evaluator) -> Evaluation:
        return evaluator.evaluate(self.inputs, self.labels, parts=self.parts)


@frozen(eq=False)
class _Trials:
    inputs: dict[str, Array]
    tried: tuple[Trial, ...]

    def work(self, evaluator: Evaluator) -> list[ErrorSums]:
        return evaluator.try_ranges(self.inputs, self.tried)


def _results(
    source: NetworkSource,
    network: QuantizedNetwork,
    tasks: Sequence[_Task[_Result]],
    jobs: int,
    advance: Callable[[int], None],
) -> Iterator[_Result]:
    """In the order of ``tasks``."""
    jobs = min(jobs, len(tasks))
    if jobs <= 1:
        evaluator = Evaluator(network, advance)
        for task in tasks:
            yield task.work(evaluator)
        return
    try:
        with worker_pool(jobs, _start_worker, source) as pool:
            for runs, outcome in pool.map(_work, tasks):
                if outcome is None:
                    raise DiagnosticError(*runs)
                advance(runs)
                yield outcome
    except BrokenProcessPool:
        raise DiagnosticError.at(
            network.reals.func.location,
            "a worker process ended before its work was done; where memory ran out, take fewer "
            "--jobs or a smaller --batch",
        ) from None


_worker_source: NetworkSource | None = None
_worker: tuple[Evaluator, list[int]] | None = None
"""With the numbers of images that it has told of."""


def _start_worker(source: NetworkSource) -> None:
    global _worker_source
    _worker_source = source


def _work(task: _Task[Any]) -> tuple[Any, Any]:
    """In a worker process: how many images ran and the task's result, or what is wrong and None."""
    global _worker
    try:
        if _worker is None:
            assert _worker_source is not None
            told: list[int] = []
            _worker = Evaluator(_worker_source.open()[0], told.append), told
        evaluator, told = _worker
        told.clear()
        result = task.work(evaluator)
        return sum(told), result
    except DiagnosticError as error:
        return error.diagnostics, None
