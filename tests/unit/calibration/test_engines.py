"""Engines: the same measurement from all of them, also where workers die in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen

from nvdla_ir.calibration.dask_engine import DaskEngine
from nvdla_ir.calibration.engines import Engine, InProcess, ProcessPool, Unit
from nvdla_ir.calibration.measurement import Group, Measurement, Meter
from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse

TEXT = """
module {
  func.func @main(%x: tensor<1x50xf32> {nvdla_ir.name = "data"}) -> tensor<1x50xf32> {
    %y = nn.add %x, %x layers=["double"] -> tensor<1x50xf32>
    %z = nn.relu %y layers=["relu"] -> tensor<1x50xf32>
    func.return %z
  }
}
"""
FAULTY = TEXT.replace(' layers=["relu"]', "")


@frozen
class Network:
    """``dies``: the process that opens the network first ends at once, and leaves this file."""

    text: str = TEXT
    dies: Path | None = None
    always: bool = False

    def open(self) -> tuple[FuncOp, ResourceStore]:
        if self.dies is not None and (self.always or not self.dies.exists()):
            self.dies.write_text("died")
            os.kill(os.getpid(), signal.SIGKILL)
        module = parse(self.text, default_context(), "network.ir").operations[0]
        assert isinstance(module, ModuleOp)
        func = module.body.first_op
        assert isinstance(func, FuncOp)
        return func, ResourceStore()


def units(count: int = 12) -> Iterator[Unit]:
    for number in range(count):
        values = np.random.default_rng(number).standard_normal((3, 50)) * 1.3**number
        names = tuple(f"image {3 * number + row}" for row in range(3))
        yield Unit((Group(number, names, {"data": values.astype(np.float32)}),))


def measured(engine: Engine, network: Network) -> dict[str, tuple[Any, ...]]:
    whole, seen = Measurement(), list[int]()
    for unit, measurement in engine.run(network, units()):
        seen += [group.number for group in unit.groups]
        whole.merge(measurement)
    assert sorted(seen) == list(range(12))
    return {
        name: (h.exponent, h.counts.tolist(), h.minimum, h.maximum)
        for name, h in whole.histograms.items()
    }


def expected() -> dict[str, tuple[Any, ...]]:
    return measured(InProcess(Meter.open(Network())), Network())


def test_all_elements_of_all_tensors_are_counted() -> None:
    assert {name: sum(state[1]) for name, state in expected().items()} == {
        "data": 1800,
        "double": 1800,
        "relu": 1800,
    }


@pytest.mark.parametrize("jobs", [1, 3])
def test_processes(jobs: int) -> None:
    assert measured(ProcessPool(jobs), Network()) == expected()


def test_a_process_that_dies_loses_nothing(tmp_path: Path) -> None:
    network = Network(dies=tmp_path / "died")
    assert measured(ProcessPool(2), network) == expected()
    assert (tmp_path / "died").exists()


def test_processes_that_always_die_end_the_work(tmp_path: Path) -> None:
    network = Network(dies=tmp_path / "died", always=True)
    with pytest.raises(DiagnosticError, match="ended 3 times before their work was done"):
        measured(ProcessPool(1), network)


def test_what_a_worker_finds_wrong_arrives() -> None:
    with pytest.raises(DiagnosticError, match="has no layer's name"):
        measured(ProcessPool(1), Network(FAULTY))


def test_a_cluster_of_two_workers_of_which_one_dies(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is not installed")
    network = Network(dies=tmp_path / "died")
    assert measured(DaskEngine(None, 2), network) == expected()
    assert (tmp_path / "died").exists()


def test_a_cluster_that_is_there_already() -> None:
    distributed: Any = pytest.importorskip(
        "distributed", reason="dask.distributed is not installed"
    )
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        engine = DaskEngine(cluster.scheduler_address, 1)
        assert measured(engine, Network()) == expected()
        with pytest.raises(DiagnosticError, match="has no layer's name"):
            measured(engine, Network(FAULTY))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "tcp://127.0.0.1"])
def test_a_scheduler_that_is_not_there(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is not installed")
    monkeypatch.setattr("nvdla_ir.calibration.dask_engine._SECONDS_TO_CONNECT", 1)
    with pytest.raises(DiagnosticError, match=f"cannot reach the scheduler '{address}': "):
        measured(DaskEngine(address, 1), Network())
