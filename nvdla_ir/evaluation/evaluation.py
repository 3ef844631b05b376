"""What INT8 costs a network, measured on images.

Three networks run side by side: the floats, int8 as reals (fake-quantized: every tensor rounded,
the arithmetic exact) and int8 as the hardware computes it. On some of the images, single parts are
made int8 and single layers, each alone.

The parts:

* ``weights``: the weights of all layers rounded, nothing else;
* ``activations``: every tensor that int8 keeps in memory rounded, nothing else;
* ``bias``: the biases as the 16 bits with a shift that the hardware adds, with what else of the
  int8 network's constants reals see, nothing else;
* ``multipliers``: integers instead of reals in the pipeline: multipliers of 16 bits, shifts,
  reciprocals. They cannot be had alone: their noise is what the integers have more than the
  fake-quantized network. (The difference of these two would be no measure: one rounding that falls
  the other way changes all that follow, which adds no noise.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from nvdla_ir.calibration.entry import INT8_MAXIMUM
from nvdla_ir.calibration.histogram import Histogram
from nvdla_ir.dialects import nn
from nvdla_ir.dialects.quant import QuantizedType, UniformType
from nvdla_ir.evaluation.batches import batch_of, images_at_a_time, machine_inputs
from nvdla_ir.evaluation.network import QuantizedNetwork, Unit, logits_of, named_values
from nvdla_ir.evaluation.real_network import Environment, RealNetwork
from nvdla_ir.evaluation.recording import LayerOutput, Recorder, Recording
from nvdla_ir.evaluation.remedies import Trial
from nvdla_ir.evaluation.statistics import CodeCounts, ErrorSums, HitCounts, RangeCounts
from nvdla_ir.interp.machine import Mode
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Value

Array = NDArray[Any]

FLOAT, FAKE_QUANTIZED, INTEGER = "float", "fake-quantized", "integer"
VARIANTS = (FLOAT, FAKE_QUANTIZED, INTEGER)
WEIGHTS, ACTIVATIONS, BIAS, MULTIPLIERS = "weights", "activations", "bias", "multipliers"
PARTS = (WEIGHTS, ACTIVATIONS, BIAS, MULTIPLIERS)


@define(eq=False)
class LogitsSums:
    """How far the logits are from those of the floats, and how often they are right."""

    errors: ErrorSums = field(factory=ErrorSums)
    hits: HitCounts = field(factory=HitCounts)

    def merge(self, other: LogitsSums) -> None:
        self.errors.merge(other.errors)
        self.hits.merge(other.hits)


@define(eq=False)
class LayerSums:
    """One layer's output.

    operation:      of the float network
    fake_quantized, integer: how far each is from the floats
    codes, ranges:  what the integers and the floats are; None where the layer's output is not
                    kept in 8 bits but handed on inside the pipeline
    scale, zero_point: of its int8 type
    """

    operation: str
    scale: float | None = None
    zero_point: int | None = None
    fake_quantized: ErrorSums = field(factory=ErrorSums)
    integer: ErrorSums = field(factory=ErrorSums)
    codes: CodeCounts | None = None
    ranges: RangeCounts | None = None

    def merge(self, other: LayerSums) -> None:
        self.fake_quantized.merge(other.fake_quantized)
        self.integer.merge(other.integer)
        if self.codes is not None and other.codes is not None:
            self.codes.merge(other.codes)
        if self.ranges is not None and other.ranges is not None:
            self.ranges.merge(other.ranges)


@define(eq=False)
class Evaluation:
    """Sums over the images evaluated so far; those of two sets of images can be merged.

    layers:       by name, in the order of the network
    logits:       of each variant
    part_images:  how many images parts and single layers were measured on
    base:         on these images: the floats, fake-quantized and integers
    alone:        each part alone made int8, multipliers excepted
    without:      everything fake-quantized but this part
    sensitivity:  each unit alone made int8, by name; ``unit_layers`` are the layers in it
    histograms:   of each unit's output in floats, where it is finite and the network does not
                  quantize it itself
    """

    images: int = 0
    layers: dict[str, LayerSums] = field(factory=dict[str, LayerSums])
    logits: dict[str, LogitsSums] = field(factory=dict[str, LogitsSums])
    part_images: int = 0
    base: dict[str, LogitsSums] = field(factory=dict[str, LogitsSums])
    alone: dict[str, LogitsSums] = field(factory=dict[str, LogitsSums])
    without: dict[str, LogitsSums] = field(factory=dict[str, LogitsSums])
    sensitivity: dict[str, LogitsSums] = field(factory=dict[str, LogitsSums])
    unit_layers: dict[str, tuple[str, ...]] = field(factory=dict[str, "tuple[str, ...]"])
    histograms: dict[str, Histogram] = field(factory=dict[str, Histogram])

    def merge(self, other: Evaluation) -> None:
        """Add what other images gave."""
        self.images += other.images
        self.part_images += other.part_images
        self.unit_layers.update(other.unit_layers)
        for name, histogram in other.histograms.items():
            known_histogram = self.histograms.setdefault(name, histogram)
            if known_histogram is not histogram:
                known_histogram.merge(histogram)
        for name, layer in other.layers.items():
            known = self.layers.setdefault(name, layer)
            if known is not layer:
                known.merge(layer)
        for own, others in (
            (self.logits, other.logits),
            (self.base, other.base),
            (self.alone, other.alone),
            (self.without, other.without),
            (self.sensitivity, other.sensitivity),
        ):
            for name, sums in others.items():
                known_sums = own.setdefault(name, sums)
                if known_sums is not sums:
                    known_sums.merge(sums)


def _no_progress(runs: int) -> None:
    pass


class Evaluator:
    """Evaluates one quantized network, some images at a time."""

    def __init__(
        self, network: QuantizedNetwork, advance: Callable[[int], None] = _no_progress
    ) -> None:
        """``advance`` is told how many images have run through one more variant of the network.

        Raises: DiagnosticError for operations that cannot be executed.
        """
        self.network = network
        self._advance = advance
        self._reals = RealNetwork(network.reals)
        self._stored = RealNetwork(network.integers)
        self._real_logits = logits_of(network.reals.func)
        self._stored_logits = logits_of(network.integers.func)
        self._named = named_values(network.reals.func)
        self._stored_named = named_values(network.integers.func)
        self._recorder = Recorder(network.integers, self._named.keys(), self._stored_logits)
        self._rounded_weights: dict[Value, Array] = {
            weight.real: self._stored.constants[weight.stored] for weight in network.weights
        }
        self._exact_weights: dict[Value, Array] = {
            weight.stored: self._reals.constants[weight.real] for weight in network.weights
        }

    @property
    def images_at_a_time(self) -> int:
        """How many images ``evaluate`` should be given."""
        if self._reals.takes_any_batch:
            return images_at_a_time([self.network.reals.func, self.network.integers.func])
        return batch_of(self.network.reals.func)

    @property
    def runs(self) -> tuple[int, int]:
        """How many variants run on each image, and how many more for parts and layers."""
        return len(VARIANTS), 6 + len(self.network.units)

    def evaluate(
        self, inputs: Mapping[str, Array], labels: Array | None, *, parts: bool
    ) -> Evaluation:
        """Evaluate ``inputs``, by name [N, …] as users have them, with their labels [N] where
        there are any; ``parts`` says whether parts and single layers are measured too.

        Raises: DiagnosticError for unfitting inputs and labels.
        """
        func = self.network.reals.func
        given = machine_inputs(func, Mode.FLOAT, inputs)
        images = max((len(array) for array in given.values()), default=1)
        stored = machine_inputs(self.network.integers.func, Mode.INTEGER, inputs)
        real_inputs = machine_inputs(self.network.integers.func, Mode.FLOAT, inputs)

        found = Evaluation(images=images)
        reals = self._reals.run(given)
        self._advance(images)
        reference: Array = reals[self._real_logits]
        measure = _Measure(reference, _checked_labels(func.location, reference, labels))
        fake = self._stored.run(real_inputs, rounded=self.network.stored)
        self._advance(images)
        integers = self._recorder.run_all(stored)
        self._advance(images)
        variants = {
            FLOAT: measure(reference),
            FAKE_QUANTIZED: measure(fake[self._stored_logits]),
            INTEGER: measure(_real_array(integers.watched[-1])),
        }
        found.logits = variants
        found.layers = self._layers(reals, fake, integers)
        if parts:
            found.part_images = images
            # The same figures, but sums of their own: merging adds to them in place.
            found.base = {
                FLOAT: measure(reference),
                FAKE_QUANTIZED: measure(fake[self._stored_logits]),
                INTEGER: measure(_real_array(integers.watched[-1])),
            }
            self._measure_parts(found, reals, real_inputs, measure)
            self._measure_units(found, reals, measure)
        return found

    # -------------------------------------------------------------- layers

    def _layers(
        self, reals: Environment, fake: Environment, integers: Recording
    ) -> dict[str, LayerSums]:
        layers: dict[str, LayerSums] = {}
        for name, value in self._named.items():
            expected = reals[value]
            stored_value = self._stored_named.get(name)
            computed = integers.layers.get(name, {})
            size = expected.size // max(len(expected), 1) if expected.ndim else 1
            output = computed.get(size)
            if output is None or stored_value is None:
                continue
            numbers = output.reals()
            if numbers is None or fake[stored_value].size != expected.size:
                continue
            producer = value.defining_operation
            layer = LayerSums(producer.name if producer is not None else "input")
            layer.fake_quantized.add(expected, fake[stored_value])
            layer.integer.add(expected, numbers)
            element = self.network.tensors.get(value)
            if element is not None and output.stored:
                _measure_codes(layer, expected, output, element)
            layers[name] = layer
        return layers

    # -------------------------------------------------------------- parts

    def _measure_parts(
        self,
        found: Evaluation,
        reals: Environment,
        inputs: Mapping[str, Array],
        measure: _Measure,
    ) -> None:
        """Each part alone, and all but each."""

        def on_reals(**exchanged: Any) -> LogitsSums:
            sums = measure(self._reals.rerun(reals, **exchanged)[self._real_logits])
            self._advance(measure.images)
            return sums

        def on_stored(**exchanged: Any) -> LogitsSums:
            sums = measure(self._stored.run(inputs, **exchanged)[self._stored_logits])
            self._advance(measure.images)
            return sums

        weights, exact = self._rounded_weights, self._exact_weights
        tensors, stored = self.network.tensors, self.network.stored
        found.alone[WEIGHTS] = on_reals(replaced=weights)
        found.alone[ACTIVATIONS] = on_reals(rounded=tensors)
        found.alone[BIAS] = on_stored(replaced=exact)
        found.without[WEIGHTS] = on_stored(replaced=exact, rounded=stored)
        found.without[ACTIVATIONS] = on_stored()
        found.without[BIAS] = on_reals(replaced=weights, rounded=tensors)

    def _measure_units(self, found: Evaluation, reals: Environment, measure: _Measure) -> None:
        for unit in self.network.units:
            run = self._reals.rerun(
                reals, replaced=self._weights_of(unit), rounded={unit.output: unit.element}
            )
            found.sensitivity[unit.name] = measure(run[self._real_logits])
            found.unit_layers[unit.name] = unit.layers
            free = not nn.is_fake_quantized(unit.output.type)
            if free and np.isfinite(reals[unit.output]).all():
                found.histograms[unit.name] = Histogram()
                found.histograms[unit.name].add(reals[unit.output])
            self._advance(measure.images)

    def _weights_of(self, unit: Unit) -> dict[Value, Array]:
        return {weight.real: self._rounded_weights[weight.real] for weight in unit.weights}

    # -------------------------------------------------------------- other ranges

    def try_ranges(self, inputs: Mapping[str, Array], trials: Sequence[Trial]) -> list[ErrorSums]:
        """How far the logits are from those of the floats in each of ``trials``, for ``inputs`` as
        ``evaluate`` takes them.

        Raises: DiagnosticError for unfitting inputs.
        """
        reals = self._reals.run(machine_inputs(self.network.reals.func, Mode.FLOAT, inputs))
        reference: Array = reals[self._real_logits]
        found: list[ErrorSums] = []
        for trial in trials:
            weights, rounded = self._parts_of(trial)
            logits = self._reals.rerun(reals, replaced=weights, rounded=rounded)
            found.append(ErrorSums())
            found[-1].add(reference, logits[self._real_logits])
            self._advance(len(reference))
        return found

    def _parts_of(self, trial: Trial) -> tuple[dict[Value, Array], dict[Value, QuantizedType]]:
        weights, rounded = dict(self._rounded_weights), dict(self.network.tensors)
        for unit in self.network.units:
            if unit.name in trial.exact:
                for weight in unit.weights:
                    weights.pop(weight.real, None)
            if unit.name not in trial.thresholds:
                continue
            threshold = trial.thresholds[unit.name]
            for value in (unit.output, *unit.copies):
                rounded.pop(value, None)
                if threshold is not None:
                    element = unit.element
                    scale = threshold / INT8_MAXIMUM
                    rounded[value] = UniformType(element.storage, element.expressed, scale, 0)
        return weights, rounded


class _Measure:
    """Logits against those of the floats."""

    def __init__(self, reference: Array, labels: Array | None) -> None:
        self.reference = reference
        self.labels = labels
        self.images = len(reference)

    def __call__(self, logits: Array) -> LogitsSums:
        sums = LogitsSums()
        sums.errors.add(self.reference, logits)
        if _is_classifier(self.reference):
            shape = (len(self.reference), -1)
            sums.hits.add(logits.reshape(shape), self.reference.reshape(shape), self.labels)
        return sums


def _is_classifier(logits: Array) -> bool:
    """Whether there is one number a class: [N, classes], or that with extents of 1."""
    return logits.ndim >= 2 and logits.shape[1] > 1 and logits.size == len(logits) * logits.shape[1]


def _checked_labels(location: Any, logits: Array, labels: Array | None) -> Array | None:
    """Raises: DiagnosticError for labels that do not fit the logits."""
    if labels is None:
        return None
    if not _is_classifier(logits):
        raise DiagnosticError.at(
            location,
            "labels mean classes, but the first output has the shape "
            f"{'x'.join(map(str, logits.shape))}, not one number a class",
        )
    classes = logits.shape[1]
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise DiagnosticError.at(
            location,
            f"labels span {labels.min()} to {labels.max()}, but there are {classes} classes",
        )
    return labels


def _measure_codes(
    layer: LayerSums, expected: Array, output: LayerOutput, element: QuantizedType
) -> None:
    if not isinstance(element, UniformType) or element.storage.width != 8:
        return
    low, high = element.storage_range
    layer.scale, layer.zero_point = element.scale, element.zero_point
    layer.codes = CodeCounts(low)
    layer.codes.add(output.array)
    layer.ranges = RangeCounts(
        (low - element.zero_point) * element.scale, (high - element.zero_point) * element.scale
    )
    layer.ranges.add(expected)


def _real_array(output: LayerOutput) -> Array:
    reals = output.reals()
    assert reals is not None  # a network's logits have a type
    return np.asarray(reals)
