"""Which method's ranges suit a network: tried on some of the images.

Thresholds that are good for every tensor alone need not be for the outputs: what saturates adds up
from layer to layer, what is rounded averages out. No method is the best for all networks, so the
outputs decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from nvdla_ir.calibration.calibrate import Job, thresholds_of
from nvdla_ir.calibration.datasets import Advance
from nvdla_ir.calibration.entry import INT8_MAXIMUM
from nvdla_ir.calibration.measurement import Group, Measurement, calibrated_tensors
from nvdla_ir.calibration.methods import Method
from nvdla_ir.dialects import nn
from nvdla_ir.dialects.calibrated import float_element
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.quant import CalibratedType
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.operation import Operation, Value

Array = NDArray[Any]

FEWEST_TRIALS, MOST_TRIALS = 32, 256
"""On how many images methods are tried, at least and at most (where there are so many)."""
_TRIAL_ELEMENTS = 1 << 26
"""About how many elements of all tensors these images make, between the two."""

_INSIDE_PIPELINE = (nn.BatchNormOp, nn.ScaleOp, nn.BiasAddOp, nn.ReluOp, nn.ClipOp, nn.LeakyReluOp)
"""A tensor that these alone read is never stored in 8 bits."""


def output_sqnr(
    job: Job, usable: Sequence[int], methods: Mapping[str, Method], advance: Advance
) -> dict[str, float]:
    """By name of each of ``methods``, the SQNR of the network's outputs in dB (of the mean noise to
    signal over the outputs): every tensor that int8 stores is rounded to its range, weights stay
    reals. Of outputs behind a softmax or argmax, what goes into that counts.

    Ranges come from every other of the images that are tried, and are judged by those between, then
    the other way round: images that had a say in a range saturate less than others will. The images
    depend on the network and the data alone.

    ``advance`` is told how many images ran through the network once more.
    """
    meter = job.meter
    floats = _Watched(meter.func, Machine(meter.resources, Mode.FLOAT))
    noise = {name: np.zeros(len(floats.values)) for name in methods}
    signal = np.zeros(len(floats.values))
    for measured, judging in _folds(job, usable):
        measurement = Measurement()
        for group in measured:
            named = Group(0, tuple(map(job.data.name, group)), job.data.read(group))
            measurement.merge(meter.measure([named]))
            advance(len(group))
        trials = {
            name: _Watched(
                _calibrated_copy(meter.func, thresholds_of(measurement, method, meter.inputs)),
                Machine(meter.resources, Mode.FAKE_QUANTIZED),
            )
            for name, method in methods.items()
        }
        for group in judging:
            inputs = job.data.read(group)
            reference = floats.run(inputs)
            signal += [float(np.vdot(array, array)) for array in reference]
            advance(len(group))
            for name, trial in trials.items():
                errors = [a - b for a, b in zip(trial.run(inputs), reference, strict=True)]
                noise[name] += [float(np.vdot(error, error)) for error in errors]
                advance(len(group))
    return {name: _decibels(signal, total) for name, total in noise.items()}


def trial_count(job: Job, usable: Sequence[int], methods: int) -> int:
    """How many images ``advance`` is told of in all."""
    return sum(
        sum(map(len, measured)) + sum(map(len, judging)) * (1 + methods)
        for measured, judging in _folds(job, usable)
    )


_Groups = Sequence[Sequence[int]]


def _folds(job: Job, usable: Sequence[int]) -> list[tuple[_Groups, _Groups]]:
    """Groups of images to measure and to judge by, twice; the same ones, once, where there are
    not enough for two."""
    batch, size = job.meter.fixed_batch or 1, job.meter.group_size
    wanted = max(FEWEST_TRIALS, min(MOST_TRIALS, _TRIAL_ELEMENTS // job.meter.image_elements))
    wanted = min(len(usable), max(wanted, 2 * batch))
    images = [usable[index * len(usable) // wanted] for index in range(wanted)]
    halves = [_groups(images[start::2], size, batch) for start in (0, 1)]
    if not all(halves):
        groups = _groups(images, size, batch)
        return [(groups, groups)]
    return [(halves[0], halves[1]), (halves[1], halves[0])]


def _groups(images: Sequence[int], size: int, batch: int) -> _Groups:
    whole = len(images) // batch * batch
    return [images[start : min(start + size, whole)] for start in range(0, whole, size)]


def _decibels(signal: Array, noise: Array) -> float:
    ratios = [float(n / s) for n, s in zip(noise, signal, strict=True) if s > 0]
    mean = math.fsum(ratios) / len(ratios) if ratios else 0.0
    return -10 * math.log10(mean) if mean > 0 else math.inf


def _calibrated_copy(func: FuncOp, thresholds: Mapping[str, float]) -> FuncOp:
    copy = func.clone()
    assert isinstance(copy, FuncOp)
    for value, name in calibrated_tensors(copy).items():
        element, users = float_element(value), list(value.users)
        inside = value.defining_operation is not None and users
        if inside and all(isinstance(user, _INSIDE_PIPELINE) for user in users):
            continue
        assert element is not None
        scale = (thresholds[name] or 1.0) / INT8_MAXIMUM
        value.type = nn.tensor_type(value).with_element(CalibratedType.of_scale(scale, 0, element))
    copy.update_function_type()
    return copy


@define(eq=False)
class _Watched:
    """A function of which the outputs are seen, as they are before a softmax or argmax."""

    func: FuncOp
    machine: Machine
    values: list[Value] = field(init=False)
    _seen: dict[Value, Array] = field(factory=dict[Value, Array])

    def __attrs_post_init__(self) -> None:
        self.values = [
            value
            for value in dict.fromkeys(map(nn.before_softmax, self.func.return_op.operands))
            if value.defining_operation is not None and float_element(value) is not None
        ]
        self.machine.observer = self._observe

    def run(self, inputs: Mapping[str, Array]) -> list[NDArray[np.float64]]:
        self._seen.clear()
        self.machine.run(self.func, inputs)
        return [self._seen[value].astype(np.float64).ravel() for value in self.values]

    def _observe(self, op: Operation, results: Sequence[Any]) -> None:
        for value, array in zip(op.results, results, strict=True):
            if value in self.values:
                self._seen[value] = array
