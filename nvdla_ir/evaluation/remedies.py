"""Other ranges for the tensors that cost a network most: what each would make of its logits.

A costly tensor's range is chosen anew by every method, from the histogram of its float values, and
the whole network is computed with it, fake-quantized. Costly tensors are mended one after the
other, each with the ranges that mended those before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from attrs import field, frozen

from nvdla_ir.calibration.histogram import Histogram
from nvdla_ir.calibration.methods import METHODS, Entropy
from nvdla_ir.evaluation.statistics import ErrorSums

COSTLY_SHARE = 0.25
FAIR_DB = 30.0
"""Units are tried that make such a share of the noise of all units, each alone in int8, and leave
the logits with an SQNR below this."""
MOST_COSTLY = 3
"""How many units are tried."""
WORTHWHILE_DB = 1.0
"""By how much the SQNR of the logits must rise for a range to mend them."""


@frozen
class Trial:
    """A fake-quantized network, but for this.

    thresholds: by name of a unit, the magnitude that code 127 of its output stands for; None where
                the output stays in reals
    exact:      the units whose weights stay in reals
    """

    thresholds: Mapping[str, float | None] = field(factory=dict[str, "float | None"])
    exact: frozenset[str] = frozenset()


@frozen
class TriedRange:
    """A ``method``'s threshold for the tensor, and the SQNR of the logits with it, in dB."""

    method: str
    threshold: float
    sqnr: float


@frozen
class Remedy:
    """What other ranges do for the output of a costly unit.

    share: of the noise of all units, each alone in int8, 0 to 1
    range: the reals of the codes -128 and 127
    sqnr:  of the logits with the range that it has, and those that mend the units before, in dB
    tried: the methods' ranges
    in_reals, exact_weights: SQNR of the logits where the output, or the unit's weights, are not
           rounded at all
    """

    name: str
    share: float
    range: tuple[float, float]
    sqnr: float
    tried: tuple[TriedRange, ...]
    in_reals: float
    exact_weights: float

    @property
    def best(self) -> TriedRange:
        """The range with which the logits come out best; of equals the first."""
        return max(self.tried, key=lambda tried: tried.sqnr)

    @property
    def mends(self) -> bool:
        """Whether that is better by a worthwhile amount."""
        return self.best.sqnr >= self.sqnr + WORTHWHILE_DB

    @property
    def blames_weights(self) -> bool:
        """Whether the logits lose by the unit's weights what no range gives back."""
        return self.exact_weights >= max(self.sqnr, self.in_reals) + WORTHWHILE_DB


def costly_units(alone: Mapping[str, ErrorSums]) -> dict[str, float]:
    """The shares of the noise of the units that cost most, the costliest first, where ``alone`` are
    the errors of the logits with each alone in int8."""
    total = math.fsum(errors.noise for errors in alone.values())
    if not math.isfinite(total) or not total:
        return {}
    shares = {name: errors.noise / total for name, errors in alone.items()}
    costliest = sorted(shares, key=lambda name: -shares[name])[:MOST_COSTLY]
    return {
        name: shares[name]
        for name in costliest
        if shares[name] >= COSTLY_SHARE and alone[name].sqnr < FAIR_DB
    }


def find_remedies(
    alone: Mapping[str, ErrorSums],
    ranges: Mapping[str, tuple[float, float]],
    histograms: Mapping[str, Histogram],
    run: Callable[[Sequence[Trial]], Sequence[float]],
) -> list[Remedy]:
    """What other ranges do for the costliest units.

    ``alone`` are the errors of the logits with each unit alone in int8, ``ranges`` the reals of its
    output's codes -128 and 127, ``histograms`` of its output in floats; ``run`` gives the SQNR of
    the logits in each trial.
    """
    mended: dict[str, float | None] = {}
    found: list[Remedy] = []
    for name, share in costly_units(alone).items():
        thresholds = _thresholds(histograms.get(name))
        if not thresholds:
            continue
        now = Trial(dict(mended))
        other = [Trial({**mended, name: threshold}) for threshold in thresholds.values()]
        sqnr, *tried, in_reals, exact = run(
            [now, *other, Trial({**mended, name: None}), Trial(dict(mended), frozenset({name}))]
        )
        results = tuple(
            TriedRange(method, threshold, result)
            for (method, threshold), result in zip(thresholds.items(), tried, strict=True)
        )
        remedy = Remedy(name, share, ranges[name], sqnr, results, in_reals, exact)
        if remedy.mends:
            mended[name] = remedy.best.threshold
        found.append(remedy)
    return found


def _thresholds(histogram: Histogram | None) -> dict[str, float]:
    """Of each method, by its name; none of a tensor that is always zero, or was not counted."""
    if histogram is None or histogram.peak == 0:
        return {}
    methods = {name: make() for name, make in METHODS.items()}
    methods["entropy, unguarded"] = Entropy()
    return {name: method.threshold(histogram) for name, method in methods.items()}
