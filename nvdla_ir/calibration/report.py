"""What a table does to each tensor, as its histogram tells."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from nvdla_ir.calibration.measurement import Measurement
from nvdla_ir.calibration.methods import quality

MUCH_SATURATED = 0.01
"""Above this share of saturated elements a tensor is suspicious."""
POOR_SQNR = 20.0
"""Below this, in dB, a tensor is suspicious: its error is a tenth of it."""


@frozen
class TensorReport:
    """One tensor.

    minimum, maximum: of its elements in the images
    threshold: the magnitude of code 127; 0 where all elements are zero
    saturated: the share of elements above it, 0 to 1
    sqnr:      that is to be expected of the tensor alone, in dB; infinite where nothing is lost
    """

    name: str
    minimum: float
    maximum: float
    threshold: float
    saturated: float
    sqnr: float

    @property
    def suspicion(self) -> str:
        """What is odd about it; empty where nothing is."""
        reasons: list[str] = []
        if self.saturated > MUCH_SATURATED:
            reasons.append(f"saturates {100 * self.saturated:.2g} % of its elements")
        if self.sqnr < POOR_SQNR:
            reasons.append(f"keeps {self.sqnr:.1f} dB")
        return " and ".join(reasons)


def reports(measurement: Measurement, thresholds: Mapping[str, float]) -> list[TensorReport]:
    """Of every tensor, in the order of computation."""
    found: list[TensorReport] = []
    for name, histogram in measurement.histograms.items():
        threshold = thresholds[name]
        of_it = quality(histogram, threshold or 1.0)
        found.append(
            TensorReport(
                name,
                histogram.minimum,
                histogram.maximum,
                threshold,
                of_it.saturated,
                of_it.sqnr,
            )
        )
    return found
