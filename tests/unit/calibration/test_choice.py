"""The method that is tried out on the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from attrs import frozen

from nvdla_ir.calibration.calibrate import Job
from nvdla_ir.calibration.choice import output_sqnr, trial_count
from nvdla_ir.calibration.datasets import Advance, ImageFault
from nvdla_ir.calibration.engines import InProcess
from nvdla_ir.calibration.histogram import Histogram
from nvdla_ir.calibration.measurement import Meter
from nvdla_ir.calibration.methods import METHODS, Entropy, MinMax
from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse

TEXT = """
func.func @main(%x: tensor<BATCHx4x8x8xf32> {nvdla_ir.name = "data"})
    -> tensor<BATCHx4x8x8xf32> {
  %d = nn.add %x, %x layers=["double"] -> tensor<BATCHx4x8x8xf32>
  %r = nn.relu %d layers=["relu"] -> tensor<BATCHx4x8x8xf32>
  %y = nn.add %r, %x layers=["sum"] -> tensor<BATCHx4x8x8xf32>
  func.return %y
}
"""


@frozen(eq=False)
class Arrays:
    array: Any

    @property
    def count(self) -> int:
        return len(self.array)

    def name(self, index: int) -> str:
        return str(index)

    def faults(self, advance: Advance) -> list[ImageFault]:
        return []

    def read(self, indices: Sequence[int]) -> dict[str, Any]:
        return {"data": self.array[list(indices)]}

    def digest(self) -> str:
        return ""


class Source:
    def __init__(self, batch: int) -> None:
        self._text = TEXT.replace("BATCH", str(batch))

    def open(self) -> tuple[FuncOp, ResourceStore]:
        func = parse(self._text, default_context(), "t.ir").operations[0]
        assert isinstance(func, FuncOp)
        return func, ResourceStore()


def job_of(images: Any, batch: int = 1) -> Job:
    source = Source(batch)
    meter = Meter.open(source)
    return Job(source, meter, Arrays(images), InProcess(meter))


def heavy(count: int) -> Any:
    return np.random.default_rng(1).standard_t(3, (count, 4, 8, 8)).astype(np.float32)


def methods() -> dict[str, Any]:
    return {"unguarded": Entropy(), **{name: make() for name, make in METHODS.items()}}


def test_the_methods_are_ranked_by_the_outputs() -> None:
    job = job_of(heavy(40))
    done: list[int] = []
    found = output_sqnr(job, range(40), methods(), done.append)
    assert found["unguarded"] < found["minmax"] - 6
    assert found["mse"] > found["unguarded"] + 6
    assert sum(done) == trial_count(job, range(40), len(found)) == 40 * (2 + len(found))
    assert found == output_sqnr(job, range(40), methods(), done.append)


@pytest.mark.parametrize(("count", "batch"), [(1, 1), (2, 1), (3, 1), (2, 2), (4, 2), (6, 2)])
def test_few_images_are_enough(count: int, batch: int) -> None:
    images = heavy(count)
    found = output_sqnr(job_of(images, batch), range(count), methods(), lambda _: None)
    assert all(np.isfinite(value) for value in found.values())


def test_ranges_are_judged_by_other_images() -> None:
    class Narrow(MinMax):
        """The peak of the images that were measured, which the others exceed."""

        def threshold(self, histogram: Histogram) -> float:
            peaks.append(histogram.peak)
            return histogram.peak

    peaks: list[float] = []
    images = heavy(2)
    images[1] *= 100
    output_sqnr(job_of(images), range(2), {"narrow": Narrow()}, lambda _: None)
    small, large = (np.abs(image).max() for image in images)
    assert min(peaks) < 4 * small and max(peaks) > 2 * large
