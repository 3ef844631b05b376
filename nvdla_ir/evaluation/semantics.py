"""Whether passes keep what a module computes: it runs before and after each of them.

Reals may differ by what the pass states (``Pass.tolerance``), stored integers not at all. What the
outputs show decides; the layers, known by their names on each level, tell where it began.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp, entry_functions
from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.quant import GridType, QuantizedType, scales_of
from nvdla_ir.evaluation.batches import machine_inputs
from nvdla_ir.evaluation.comparison import paired
from nvdla_ir.evaluation.layerwise import AsItWas, LayerPair
from nvdla_ir.evaluation.recording import Executable, LayerOutput, Recorder, Recording
from nvdla_ir.interp.boundary import output_array
from nvdla_ir.interp.machine import Mode, default_mode
from nvdla_ir.interp.quantization import dequantize, dtype_of, element_of
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.location import Location
from nvdla_ir.ir.types import FloatType, TensorType, Type
from nvdla_ir.passes.base import Pass, Tolerance
from nvdla_ir.passes.pipeline import Instrumentation
from nvdla_ir.resources import ResourceStore

Array = NDArray[Any]
_Inputs = Mapping[str, Array]
_Ranges = Mapping[str, "tuple[float, float] | None"]
_State = dict[tuple[str, str, Mode], "Run"]

_UNKNOWN_RANGE = 4.0
"""The magnitude of extreme inputs whose range nothing states."""

INTEGER_TOLERANCE = Tolerance()


@frozen(eq=False)
class Run:
    """What a function computed of one input: on reals, or on stored integers."""

    types: Sequence[Type]
    recording: Recording

    def outputs(self, mode: Mode) -> list[LayerOutput]:
        """In their order: passes may call them otherwise."""
        found: list[LayerOutput] = []
        for array, type in zip(self.recording.outputs.values(), self.types, strict=True):
            element = element_of(type)
            if mode is Mode.INTEGER and isinstance(element, QuantizedType):
                found.append(LayerOutput(array, element, stored=True, operation="output"))
            else:
                reals = output_array(array, type, mode)
                found.append(LayerOutput(reals, None, stored=False, operation="output"))
        return found


@frozen
class _Difference:
    """An element that is not what it was."""

    place: tuple[int, ...]
    before: float
    after: float
    tolerated: float


@define(eq=False)
class SemanticsCheck(Instrumentation):
    """Runs all functions before and after each pass, on random and extreme inputs.

    A pass costs up to four runs of the module more, each with all results kept; with ranges that
    are calibrated twice as many. Functions that cannot run yet are left out.

    resources: the tensors that the module refers to
    seed:      of the random inputs
    """

    resources: ResourceStore
    seed: int = 0
    _state: _State = field(factory=dict[tuple[str, str, Mode], Run], init=False)
    _inputs: dict[str, Sequence[tuple[str, _Inputs]]] = field(
        factory=dict[str, "Sequence[tuple[str, _Inputs]]"], init=False
    )
    _ranges: dict[str, _Ranges] = field(factory=dict[str, "_Ranges"], init=False)
    _as_it_was: dict[str, AsItWas] = field(factory=dict[str, AsItWas], init=False)

    def before_pass(self, pass_: Pass, module: ModuleOp) -> None:
        if self._choose_inputs(module) or not self._state:
            self._state = self._run(module)
        self._as_it_was = {}
        for func in _functions(module) if pass_.tolerance.by_layer else ():
            if default_mode(func) is not Mode.INTEGER and any(
                key[0] == func.sym_name for key in self._state
            ):
                self._as_it_was[func.sym_name] = AsItWas(func, self.resources)

    def _choose_inputs(self, module: ModuleOp) -> bool:
        """Numbers for all inputs; others as soon as types say what range an input has. Returns
        whether they are others than before."""
        changed = False
        for func in _functions(module):
            name = func.sym_name
            ranges = {
                func.argument_name(argument): _range(argument.type)
                for argument in func.body.arguments
            }
            known = {key: one or self._ranges.get(name, {}).get(key) for key, one in ranges.items()}
            if name not in self._inputs or known != self._ranges[name]:
                self._ranges[name] = known
                self._inputs[name] = _inputs(func, known, self.seed)
                changed = True
        return changed

    def after_pass(self, pass_: Pass, module: ModuleOp) -> None:
        """Raises: DiagnosticError where ``pass_`` has changed what is computed."""
        after = self._run(module)
        faults = [
            fault
            for func in _functions(module)
            if (fault := self._fault(pass_, func, after)) is not None
        ]
        if faults:
            raise DiagnosticError(*faults)
        self._state = after

    # -------------------------------------------------------------- running

    def _run(self, module: ModuleOp) -> _State:
        state: _State = {}
        for func in _functions(module):
            name = func.sym_name
            types = [value.type for value in func.return_op.operands]
            for kind, inputs in self._inputs.get(name, ()):
                for mode in _modes(func):
                    try:
                        recorder = Recorder(Executable(func, self.resources, mode), every=True)
                        recording = recorder.run(machine_inputs(func, mode, inputs))
                    except DiagnosticError:
                        # Divisions by 0 and the like: this input says nothing.
                        continue
                    state[name, kind, mode] = Run(types, recording)
        return state

    # -------------------------------------------------------------- comparing

    def _fault(self, pass_: Pass, func: FuncOp, after: _State) -> Diagnostic | None:
        pairs = list(self._pairs(func, after))
        known = [key for key in self._state if key[0] == func.sym_name]
        if known and not pairs:
            return Diagnostic.error(
                func.location,
                f"pass '{pass_.name}' left '@{func.sym_name}' so that it cannot run, which it did "
                "before",
            )
        for kind, modes, before, now in pairs:
            changed = _changed_outputs(before, now)
            if changed is not None:
                return Diagnostic.error(
                    func.location, f"pass '{pass_.name}' changed '@{func.sym_name}': {changed}"
                )
            exact = modes == (Mode.INTEGER, Mode.INTEGER)
            tolerance = INTEGER_TOLERANCE if exact else pass_.tolerance
            if func.sym_name in self._as_it_was:
                inputs = dict(self._inputs[func.sym_name])[kind]
                as_it_was = self._as_it_was[func.sym_name]
                pairs_of_layers = as_it_was.compared(
                    inputs, now.recording, as_integers=modes[1] is Mode.INTEGER
                )
                found = _first_by_layer(pairs_of_layers, tolerance)
            else:
                found = _first_difference(before, now, modes, tolerance)
            if found is None:
                continue
            name, operations, difference = found
            of = f"of the layer '{name}' ({operations})" if operations else f"of output '{name}'"
            tolerated = (
                f"; the pass may change it by {difference.tolerated:.3g}"
                if difference.tolerated
                else ""
            )
            return Diagnostic.error(
                _location(func, name),
                f"pass '{pass_.name}' changed what '@{func.sym_name}' computes of {kind} inputs: "
                f"element {list(difference.place)} {of} is {difference.after:.9g}, and was "
                f"{difference.before:.9g} before{tolerated}",
            )
        return None

    def _pairs(
        self, func: FuncOp, after: _State
    ) -> Iterator[tuple[str, tuple[Mode, Mode], Run, Run]]:
        """Runs before and after on the same input, in the modes that compare best."""
        for mode_before, mode_after in (
            (Mode.INTEGER, Mode.INTEGER),
            (Mode.FLOAT, Mode.FLOAT),
            (Mode.FAKE_QUANTIZED, Mode.INTEGER),
            (Mode.FLOAT, Mode.INTEGER),
        ):
            found = [
                (key[1], (mode_before, mode_after), run, after[func.sym_name, key[1], mode_after])
                for key, run in self._state.items()
                if key[0] == func.sym_name
                and key[2] is mode_before
                and (func.sym_name, key[1], mode_after) in after
            ]
            if found:
                yield from found
                return


def _functions(module: ModuleOp) -> list[FuncOp]:
    """Those that can be given inputs; private ones run where they are called."""
    return [
        function
        for function in entry_functions(module)
        if all(
            isinstance(argument.type, TensorType) and argument.type.has_static_shape
            for argument in function.body.arguments
        )
    ]


def _modes(func: FuncOp) -> tuple[Mode, ...]:
    mode = default_mode(func)
    if mode is Mode.INTEGER:
        return (mode,)
    on_grid = any(
        isinstance(element_of(value.type), GridType)
        for op in func.body.operations
        for value in (*op.operands, *op.results)
    )
    return (Mode.FLOAT, Mode.FAKE_QUANTIZED) if on_grid else (Mode.FLOAT,)


# -------------------------------------------------------------- inputs


def _inputs(func: FuncOp, ranges: _Ranges, seed: int) -> list[tuple[str, _Inputs]]:
    """Random numbers over the range of each input, its ends by turns, and its ends alone."""
    rng = np.random.default_rng(seed)
    kinds: dict[str, Callable[[int], Array]] = {
        "random": rng.random,
        "alternating": _alternating,
        "largest": np.ones,
        "smallest": np.zeros,
    }
    made: list[tuple[str, _Inputs]] = []
    for kind, share in kinds.items():
        found: dict[str, Array] = {}
        for argument in func.body.arguments:
            name, type = func.argument_name(argument), argument.type
            assert isinstance(type, TensorType)
            low, high = ranges[name] or (-_UNKNOWN_RANGE, _UNKNOWN_RANGE)
            numbers: Array = low + share(math.prod(type.static_shape)) * (high - low)
            if isinstance(type.element, QuantizedType | GridType | FloatType):
                numbers = numbers.astype(np.float32)
            else:
                numbers = np.rint(numbers).astype(dtype_of(type.element))
            found[name] = numbers.reshape(type.static_shape)
        made.append((kind, found))
    return made


def _alternating(size: int) -> Array:
    return np.arange(size) % 2


def _range(type: Type) -> tuple[float, float] | None:
    """The least and the largest number of ``type``; None where they are any floats."""
    element = element_of(type)
    if isinstance(element, GridType):
        element = element.quantized()
    if element is None or isinstance(element, FloatType):
        return None
    dtype = dtype_of(element)
    ends = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
    reals = dequantize(ends, element) if isinstance(element, QuantizedType) else ends
    return float(reals.min()), float(reals.max())


# -------------------------------------------------------------- differences


def _first_difference(
    before: Run, after: Run, modes: tuple[Mode, Mode], tolerance: Tolerance
) -> tuple[str, str, _Difference] | None:
    """The name of the first layer, or of the output, that differs; what computes the layer before
    and after; and an element."""
    pairs = zip(before.outputs(modes[0]), after.outputs(modes[1]), strict=True)
    steps = [max(map(_step, types)) for types in zip(before.types, after.types, strict=True)]
    wrong = [
        (name, found)
        for name, (one, other), step in zip(after.recording.outputs, pairs, steps, strict=True)
        if (found := _difference(one, other, tolerance, step)) is not None
    ]
    if not wrong:
        return None
    for name, by_size in before.recording.layers.items():
        pair = paired(by_size, after.recording.layers.get(name, {}))
        if pair is None:
            continue
        one, other = pair[0].typed_as(pair[1]), pair[1].typed_as(pair[0])
        found = _difference(one, other, tolerance)
        if found is not None:
            operations = one.operation
            if other.operation != one.operation:
                operations += f", now {other.operation}"
            return name, operations, found
    name, found = wrong[0]
    return name, "", found


def _first_by_layer(
    pairs: Iterable[LayerPair], tolerance: Tolerance
) -> tuple[str, str, _Difference] | None:
    """The first layer that differs, each computed of what the layers ahead of it have become."""
    for pair in pairs:
        found = _difference(pair.expected, pair.found, tolerance, magnitude=pair.magnitude)
        if found is not None:
            operations = pair.operation
            if pair.found.operation != pair.operation:
                operations += f", now {pair.found.operation}"
            return pair.name, operations, found
    return None


def _changed_outputs(before: Run, after: Run) -> str | None:
    """What became of the outputs' number and shapes."""
    arrays, others = before.recording.outputs, after.recording.outputs
    if len(arrays) != len(others):
        return f"it has {len(others)} outputs, and had {len(arrays)}"
    for name, array, other in zip(others, arrays.values(), others.values(), strict=True):
        if array.shape != other.shape:
            return f"output '{name}' has the shape {list(other.shape)}, and had {list(array.shape)}"
    return None


def _step(type: Type) -> float:
    """Of the codes of ``type``, the largest where there are several; 0 for plain reals."""
    element = element_of(type)
    if isinstance(element, GridType):
        element = element.quantized()
    return max(scales_of(element)) if isinstance(element, QuantizedType) else 0.0


def _difference(
    one: LayerOutput,
    other: LayerOutput,
    tolerance: Tolerance,
    step: float = 0.0,
    magnitude: float = 0.0,
) -> _Difference | None:
    """The first element that differs by more than is tolerated; None where none does, or where the
    two are not the same tensor. ``step`` is that of codes which the reals have been, or become,
    ``magnitude`` what is known to be a usual one."""
    if one.array.shape != other.array.shape:
        return None
    if one.stored and other.stored and one.array.dtype == other.array.dtype:
        expected, found = one.array, other.array
    else:
        reals, others = one.reals(), other.reals()
        if reals is None or others is None:
            return None
        expected, found = reals, others
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    tolerated = tolerance.relative * float(np.abs(expected).max(initial=magnitude))
    steps = [max(scales_of(part.element)) for part in (one, other) if part.element is not None]
    tolerated += tolerance.steps * max([step, *steps])
    with np.errstate(invalid="ignore"):
        wrong = ~((np.abs(found - expected) <= tolerated) | (found == expected))
    if not wrong.any():
        return None
    place = np.unravel_index(int(np.flatnonzero(wrong)[0]), wrong.shape)
    place = tuple(int(index) for index in place)
    return _Difference(place, float(expected[place]), float(found[place]), tolerated)


def _location(func: FuncOp, name: str) -> Location:
    """Of the operation that computes the layer ``name``."""
    for op in func.body.operations:
        if isinstance(op, LayerOp) and op.layers and op.layers[-1] == name:
            return op.location
    return func.location
