"""An evaluation in one process or in several: the same sums, merged in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.dialects import default_context
from nvdla_ir.evaluation.evaluation import Evaluation, Evaluator
from nvdla_ir.evaluation.network import QuantizedNetwork
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError
from nvdla_ir.workers import worker_pool

from .module_files import load_module

Array = NDArray[Any]
Part = tuple[dict[str, Array], "Array | None"]
"""Some images by input, and their labels."""
_Task = tuple[dict[str, Array], "Array | None", bool]


@frozen
class NetworkSource:
    """What a network is made from, in this process and in others."""

    text: str
    file: str
    directory: Path
    calibration: str | None
    granularity: str

    def open(self) -> tuple[QuantizedNetwork, list[Diagnostic]]:
        """The network, quantized, and what there is to remark. Raises: DiagnosticError"""
        loaded = load_module(self.text, self.file, self.directory, default_context())
        collector = DiagnosticCollector()
        network = QuantizedNetwork.make(
            loaded.module,
            loaded.resources,
            calibration=None if self.calibration is None else Path(self.calibration),
            granularity=self.granularity,
            diagnostics=collector,
        )
        return network, collector.diagnostics


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
    tasks = ((inputs, labels, index < measured) for index, (inputs, labels) in enumerate(parts))
    jobs = min(jobs, len(parts))
    if jobs <= 1:
        evaluator = Evaluator(network, advance)
        for inputs, labels, with_parts in tasks:
            yield evaluator.evaluate(inputs, labels, parts=with_parts)
        return
    variants, more = Evaluator(network).runs
    try:
        with worker_pool(jobs, _start_worker, source) as pool:
            for outcome in pool.map(_work, tasks):
                if not isinstance(outcome, Evaluation):
                    raise DiagnosticError(*outcome)
                advance(outcome.images * variants + outcome.part_images * more)
                yield outcome
    except BrokenProcessPool:
        raise DiagnosticError.at(
            network.reals.func.location,
            "a worker process ended before its work was done; where memory ran out, take fewer "
            "--jobs or a smaller --batch",
        ) from None


_worker_source: NetworkSource | None = None
_worker_evaluator: Evaluator | None = None


def _start_worker(source: NetworkSource) -> None:
    global _worker_source
    _worker_source = source


def _work(task: _Task) -> Evaluation | tuple[Diagnostic, ...]:
    """One part in a worker process: its evaluation, or what is wrong."""
    global _worker_evaluator
    inputs, labels, with_parts = task
    try:
        if _worker_evaluator is None:
            assert _worker_source is not None
            _worker_evaluator = Evaluator(_worker_source.open()[0])
        return _worker_evaluator.evaluate(inputs, labels, parts=with_parts)
    except DiagnosticError as error:
        return error.diagnostics
