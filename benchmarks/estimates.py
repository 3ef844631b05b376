"""How far estimates are from the cycles that RTL takes, and what one costs to make."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from measure import Row, best_seconds

from nvdla_ir.hardware.cost.model import CostModel
from nvdla_ir.hw.configuration import load_configuration

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "unit" / "hardware"))

from measured_layers import RECORDS, MeasuredLayer, layers_of, measured_layers  # noqa: E402


def rows() -> list[Row]:
    return list(_rows()) if RECORDS.is_file() else []


def _rows() -> Iterator[Row]:
    found = list(measured_layers())
    for latency in (50, 200):
        layers = [one for one in found if one.memory.latency == latency]
        memory = f"memory {latency}/{layers[0].memory.bytes_per_cycle:g}"
        long = sorted(100 * abs(one.error) for one in layers if one.cycles >= 1000)
        yield _row(f"median error, {len(long)} layers, {memory}", median(long), 1)
        yield _row(f"nine in ten within, {memory}", long[int(0.9 * len(long))], 5)
        yield _row(f"worst, {memory}", long[-1], 12)
        for network in ("digits_lenet", "digits_resnet"):
            yield _row(f"{network}, {memory}", _network_error(layers, network), 2)
    yield _speed()


def _row(name: str, value: float, target: float) -> Row:
    return Row("estimates against RTL", name, value, "%", target, "lower")


def _network_error(layers: list[MeasuredLayer], network: str) -> float:
    own = [one for one in layers if one.program == network]
    measured = sum(one.cycles for one in own)
    return 100 * abs(sum(one.cost.cycles for one in own) / measured - 1)


def _speed() -> Row:
    """Each layer's cost for the first time."""
    hw = load_configuration("nv_small")
    layers = list(layers_of(hw))
    seconds = best_seconds(
        lambda: [CostModel(hw).cost(layer) for layer in layers], time.process_time
    )
    return Row("estimates against RTL", "cost of a layer", 1e6 * seconds / len(layers), "µs")
