"""Two programs on the same inputs, layer by layer.

The two may be on any levels: floats, calibrated layers, int8, hardware layers, registers. What is
compared is what their layers of the same name stand for. Where both compute on stored integers, or
both on reals, layers of the same type are also compared bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from nvdla_ir.evaluation.batches import (
    batch_of,
    image_count,
    images_at_a_time,
    machine_inputs,
    split,
)
from nvdla_ir.evaluation.recording import Executable, LayerOutput, Recorder, Recording
from nvdla_ir.evaluation.statistics import ErrorSums
from nvdla_ir.interp.boundary import output_array
from nvdla_ir.interp.machine import Mode
from nvdla_ir.ir.diagnostics import DiagnosticError

Array = NDArray[Any]

LAYER, OUTPUT = "layer", "output"
_LISTED = 6


@frozen(eq=False)
class ComparedLayer:
    """One layer, or one output, that both programs have.

    name:       of the layer or the output
    kind:       ``"layer"`` or ``"output"``
    operations: what computes it in the first program and in the second
    errors:     how far the second is from the first
    """

    name: str
    kind: str
    operations: tuple[str, str]
    errors: ErrorSums = field(factory=ErrorSums)


@frozen(eq=False)
class ComparisonResult:
    """Two programs compared on ``images`` images.

    layers:    those both have, in the order of the first program
    unmatched: the names of layers that only the first has, and only the second has
    """

    images: int
    layers: tuple[ComparedLayer, ...]
    unmatched: tuple[tuple[str, ...], tuple[str, ...]]

    @property
    def first_difference(self) -> ComparedLayer | None:
        """The first layer that differs, of those that can be equal bit for bit."""
        return next((layer for layer in self.layers if layer.errors.differing), None)

    @property
    def bit_exact(self) -> bool | None:
        """Whether all that can be equal bit for bit is; None where nothing can."""
        answers = [layer.errors.is_equal for layer in self.layers]
        known = [answer for answer in answers if answer is not None]
        return all(known) if known else None


@define(eq=False)
class Comparison:
    """Compares two programs, some images at a time; memory does not grow with their number."""

    first: Executable
    second: Executable
    images: int = 0
    _layers: dict[tuple[str, str], ComparedLayer] = field(
        factory=dict[tuple[str, str], ComparedLayer], init=False
    )
    _unmatched: tuple[dict[str, None], dict[str, None]] = field(
        factory=lambda: (dict[str, None](), dict[str, None]()), init=False
    )
    _recorders: tuple[Recorder, Recorder] = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Raises: DiagnosticError where the programs take different inputs, or batches."""
        funcs = self.first.func, self.second.func
        names, others = (
            {func.argument_name(argument) for argument in func.body.arguments} for func in funcs
        )
        if names != others:
            raise DiagnosticError.at(
                funcs[1].location,
                f"the second program takes {_listed(sorted(others))}, but the first "
                f"{_listed(sorted(names))}: only programs with the same inputs can be compared",
            )
        if batch_of(funcs[0]) != batch_of(funcs[1]):
            raise DiagnosticError.at(
                funcs[1].location,
                f"the second program takes batches of {batch_of(funcs[1])} images, but the first "
                f"{batch_of(funcs[0])}",
            )
        self._recorders = Recorder(self.first), Recorder(self.second)

    @property
    def _is_mixed(self) -> bool:
        """Whether one program computes on stored integers and the other on reals: then nothing
        in them is the same calculation, not even what is float in both."""
        return (self.first.mode is Mode.INTEGER) != (self.second.mode is Mode.INTEGER)

    @property
    def images_at_a_time(self) -> int:
        """How many images ``add`` should be given. Raises: DiagnosticError"""
        if all(recorder.takes_any_batch for recorder in self._recorders):
            return images_at_a_time([self.first.func, self.second.func])
        return batch_of(self.first.func)

    def add(self, inputs: Mapping[str, Array]) -> None:
        """Run both programs on more images, given as users have them.

        Raises: DiagnosticError for unfitting inputs, what the machines find wrong, and where the
        programs have nothing in common.
        """
        first, second = (
            recorder.run_all(machine_inputs(e.func, e.mode, inputs))
            for recorder, e in zip(self._recorders, (self.first, self.second), strict=True)
        )
        self.images += max((len(array) for array in inputs.values() if array.ndim), default=1)
        self._compare_layers(first, second)
        self._compare_outputs(first, second)
        if all(name in inputs for _, name in self._layers):
            raise DiagnosticError.at(
                self.second.func.location,
                "the programs have no layer and no output in common: the first computes "
                f"{_listed([*first.layers, *first.outputs])}, the second "
                f"{_listed([*second.layers, *second.outputs])}",
            )

    def _compare_layers(self, first: Recording, second: Recording) -> None:
        for name, by_size in first.layers.items():
            pair = paired(by_size, second.layers.get(name, {}))
            if pair is None or not self._add((LAYER, name), *pair):
                self._unmatched[0][name] = None
        for name in second.layers:
            if (LAYER, name) not in self._layers:
                self._unmatched[1][name] = None

    def _compare_outputs(self, first: Recording, second: Recording) -> None:
        """Outputs that are no layer of the same name."""
        for name in first.outputs:
            if name not in second.outputs or (LAYER, name) in self._layers:
                continue
            pair = _output(self.first, name, first), _output(self.second, name, second)
            if pair[0].size == pair[1].size:
                self._add((OUTPUT, name), *pair)

    def _add(self, key: tuple[str, str], reference: LayerOutput, compared: LayerOutput) -> bool:
        """False where the two have no numbers to compare."""
        reference, compared = reference.typed_as(compared), compared.typed_as(reference)
        expected, found = reference.reals(), compared.reals()
        if expected is None or found is None or expected.size != found.size:
            return False
        layer = self._layers.get(key)
        if layer is None:
            operations = (reference.operation, compared.operation)
            layer = self._layers[key] = ComparedLayer(key[1], key[0], operations)
        differing = None if self._is_mixed else _differing(reference, compared)
        layer.errors.add(expected, found, differing)
        return True

    def result(self) -> ComparisonResult:
        """What was found so far."""
        unmatched = tuple(map(tuple, self._unmatched))
        return ComparisonResult(
            self.images, tuple(self._layers.values()), (unmatched[0], unmatched[1])
        )


def compare(
    first: Executable,
    second: Executable,
    inputs: Mapping[str, Array],
    *,
    batch: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> ComparisonResult:
    """Compare two programs on ``inputs``: by name, [N, …], as users have them.

    ``batch`` images are run at a time where the programs take that many; ``advance`` is told how
    many are done. Raises: DiagnosticError (see ``Comparison``)
    """
    comparison = Comparison(first, second)
    given = {
        name: array[None] if _lacks_batch(first, name, array) else array
        for name, array in inputs.items()
    }
    machine_inputs(first.func, first.mode, given)
    image_count(first.func, given)
    size = comparison.images_at_a_time
    if batch is not None and size != batch_of(first.func):
        size = min(size, batch)
    for part in split(first.func, given, size):
        comparison.add(part)
        if advance is not None:
            advance(max((len(array) for array in part.values()), default=1))
    return comparison.result()


def _lacks_batch(executable: Executable, name: str, array: Array) -> bool:
    """Whether ``array`` is a single image without the leading axis of its input."""
    for argument in executable.func.body.arguments:
        if executable.func.argument_name(argument) == name:
            shape = getattr(argument.type, "shape", ())
            return shape[:1] == (1,) and array.shape == shape[1:]
    return False


def paired(
    first: Mapping[int, LayerOutput], second: Mapping[int, LayerOutput]
) -> tuple[LayerOutput, LayerOutput] | None:
    """The last outputs of a layer that have equally many elements."""
    for size in reversed(list(first)):
        if size in second:
            return first[size], second[size]
    return None


def _output(executable: Executable, name: str, recording: Recording) -> LayerOutput:
    func = executable.func
    names = [func.result_name(index) for index in range(len(func.return_op.operands))]
    type = func.return_op.operands[names.index(name)].type
    array = output_array(recording.outputs[name], type, executable.mode)
    return LayerOutput(array, None, stored=False, operation=OUTPUT)


def _differing(first: LayerOutput, second: LayerOutput) -> int | None:
    """How many elements differ; None where the two are of different types."""
    if first.stored != second.stored or first.element != second.element:
        return None
    if first.array.dtype != second.array.dtype:
        return None
    return int(np.count_nonzero(np.ravel(first.array) != np.ravel(second.array)))


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in dict.fromkeys(names[:_LISTED])) or "nothing"
    return f"{shown} …" if len(names) > _LISTED else shown
