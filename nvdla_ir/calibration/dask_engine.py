"""Calibration on a Dask cluster: one that is there already, or one on this machine."""

# dask.distributed has no types.
# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false

from __future__ import annotations

import logging
import signal
import threading
import uuid
import warnings
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import Any

from attrs import frozen

from nvdla_ir.calibration.engines import Unit, measure_unit, measurement_of
from nvdla_ir.calibration.measurement import Measurement, NetworkSource
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN

_UNITS_PER_WORKER = 2
_SECONDS_TO_CONNECT = 10


@frozen
class DaskEngine:
    """The workers of the cluster at ``scheduler`` (``tcp://host:port``), or without one ``jobs``
    worker processes on this machine, for as long as it takes.

    Workers need this package and the network's weights file under the same path; images are sent
    to them. The units of a worker that dies are done again by others: results count when they
    arrive here, and each once.
    """

    scheduler: str | None
    jobs: int

    def run(
        self, source: NetworkSource, units: Iterable[Unit]
    ) -> Generator[tuple[Unit, Measurement], None, None]:
        """See ``Engine.run``. Raises: DiagnosticError also where dask.distributed is not
        installed, the scheduler does not answer, or workers die again and again."""
        distributed = _distributed()
        with ExitStack() as stack:
            client = self._client(distributed, stack)
            completed: Any = distributed.as_completed()
            running: dict[Any, Unit] = {}
            waiting = iter(units)
            token = uuid.uuid4().hex

            def submit() -> None:
                limit = _UNITS_PER_WORKER * max(len(client.nthreads()), 1)
                while len(running) < limit:
                    unit = next(waiting, None)
                    if unit is None:
                        return
                    with warnings.catch_warnings():
                        # That images are large is no news.
                        warnings.simplefilter("ignore")
                        # pure: equal units, if any, are work of their own.
                        future = client.submit(measure_unit, source, token, unit, pure=False)
                    running[future] = unit
                    completed.add(future)

            submit()
            while running:
                future = next(completed)
                try:
                    outcome = future.result()
                except (distributed.KilledWorker, distributed.CancelledError) as error:
                    raise DiagnosticError.at(
                        UNKNOWN,
                        "workers of the cluster died again and again before their work was done; "
                        f"where memory ran out, take a smaller --batch ({error})",
                    ) from None
                except OSError as error:
                    raise DiagnosticError.at(
                        UNKNOWN, f"the connection to the cluster was lost: {error}"
                    ) from None
                yield running.pop(future), measurement_of(outcome)
                submit()

    def _client(self, distributed: Any, stack: ExitStack) -> Any:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        address: Any = self.scheduler
        if address is None:
            with _interrupts_ignored():
                address = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=self.jobs,
                        threads_per_worker=1,
                        processes=True,
                        dashboard_address=None,
                        silence_logs=logging.CRITICAL,
                    )
                )
        try:
            return stack.enter_context(distributed.Client(address, timeout=_SECONDS_TO_CONNECT))
        except (OSError, TimeoutError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else "it does not answer"
            raise DiagnosticError.at(
                UNKNOWN, f"cannot reach the scheduler '{self.scheduler}': {reason}"
            ) from None


@contextmanager
def _interrupts_ignored() -> Generator[None, None, None]:
    """Processes that are started meanwhile ignore Ctrl-C: this one stops them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise DiagnosticError.at(
            UNKNOWN,
            "the engine 'dask' needs dask.distributed: pip install 'nvdla-ir[calibrate]'",
        ) from None
    return distributed
