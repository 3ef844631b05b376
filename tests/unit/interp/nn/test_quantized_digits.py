"""The digits networks after quantization: accuracy, and what each kind of rounding costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import DIGITS, digits_images, function_of, parse_module
from numpy.typing import NDArray

from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.files import read_text
from nvdla_ir.interp.boundary import output_array
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.operation import Operation
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.canonicalize import Canonicalize
from nvdla_ir.passes.fold_batch_norm import FoldBatchNorm
from nvdla_ir.passes.import_calibration import ImportCalibration
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.quantize_weights import QuantizeWeights

Array = NDArray[Any]
IMAGES = 125


class Network:
    """A digits network that is quantized step by step."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.images, self.labels = digits_images(name)
        self.module, self.resources = parse_module(read_text(DIGITS / f"{name}.ir"))
        assert self.module.weights_file is not None
        self.resources.attach(DIGITS / self.module.weights_file)

    def apply(self, *passes: Any) -> None:
        session = Session(self.resources)
        for each in passes:
            each.run(self.module, session)
            session.diagnostics.raise_if_errors()

    def logits(self, mode: Mode) -> Array:
        """The reals that layer ``fc`` makes of the first images, whose labels are checked."""
        latest: list[Array] = []

        def observe(op: Operation, results: Any) -> None:
            if isinstance(op, LayerOp) and op.layers == ("fc",):
                latest[:] = [output_array(results[0], op.results[0].type, mode)]

        func = function_of(self.module)
        machine = Machine(self.resources, mode, observe)
        logits: list[Array] = []
        hits = 0
        for start in range(0, IMAGES, 25):
            batch = slice(start, start + 25)
            probabilities = machine.run(func, {"data": self.images[batch]})["prob"]
            hits += np.count_nonzero(probabilities.argmax(axis=1) == self.labels[batch])
            logits += latest
        assert hits >= IMAGES - 1
        return np.concatenate(logits)


def decibels(exact: Array, approximate: Array) -> float:
    exact = exact.astype(np.float64)
    return float(10 * np.log10(np.sum(exact**2) / np.sum((exact - approximate) ** 2)))


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("name", ["lenet", "resnet"])
def test_accuracy_of_each_mode(name: str, granularity: str) -> None:
    network = Network(name)
    exact = network.logits(Mode.FLOAT)
    network.apply(
        FoldBatchNorm(), ImportCalibration(file=str(DIGITS / f"{name}.calib.json")), Canonicalize()
    )
    assert decibels(exact, network.logits(Mode.FAKE_QUANTIZED)) >= 35
    network.apply(QuantizeWeights(granularity=granularity), InsertConverters())
    ideal = network.logits(Mode.FAKE_QUANTIZED)
    stored = network.logits(Mode.INTEGER)
    assert decibels(exact, stored) >= (33 if granularity == "per-channel" else 25)
    # Multipliers and shifts cost next to nothing beside the rounding to int8.
    assert decibels(exact, stored) >= decibels(exact, ideal) - 0.5
    weights_alone = network.logits(Mode.FLOAT)
    assert decibels(exact, weights_alone) > decibels(exact, ideal)
