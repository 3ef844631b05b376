"""A network as floats and as int8, and which parts of the one belong to which of the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp, entry_functions
from nvdla_ir.dialects.layer import LayerOp, layers_of
from nvdla_ir.dialects.quant import GridType, QuantizedType, scales_of, zero_points_of
from nvdla_ir.evaluation.recording import Executable, output_name
from nvdla_ir.interp.machine import Mode, default_mode
from nvdla_ir.interp.quantization import element_of
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import FloatType, TensorType
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.canonicalize import Canonicalize
from nvdla_ir.passes.decompose_layers import DecomposeLayers
from nvdla_ir.passes.fold_batch_norm import FoldBatchNorm
from nvdla_ir.passes.import_calibration import ImportCalibration
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.quantize_weights import QuantizeWeights
from nvdla_ir.resources import ResourceStore

PER_CHANNEL = "per-channel"
_WEIGHT_WIDTH = 8


@frozen(eq=False)
class StoredWeight:
    """One constant of the float network, and the int8 one that stands for it."""

    real: Value
    stored: Value


@frozen(eq=False)
class Unit:
    """What becomes int8 at once: layers that run in one pipeline, whose output alone is rounded.

    name:     of the tensor that leaves the pipeline
    layers:   the network's layers in it, in order
    output:   that tensor in the float network
    copies:   tensors of the float network that have its codes: views and maxima of it
    element:  its int8 type
    weights:  of its layers
    """

    name: str
    layers: tuple[str, ...]
    output: Value
    copies: Sequence[Value]
    element: QuantizedType
    weights: tuple[StoredWeight, ...]

    @property
    def range(self) -> tuple[float, float]:
        """The reals of the least and the greatest code of its output."""
        low, high = self.element.storage_range
        (scale, *_), (zero_point, *_) = scales_of(self.element), zero_points_of(self.element)
        return (low - zero_point) * scale, (high - zero_point) * scale


@frozen(eq=False)
class QuantizedNetwork:
    """One network twice: as folded, calibrated floats and as int8 with converters.

    tensors: of the float network, those that int8 rounds, and to what
    stored:  the same of the int8 network
    units:   in the order of the program
    """

    reals: Executable
    integers: Executable
    tensors: dict[Value, QuantizedType]
    stored: dict[Value, QuantizedType]
    weights: tuple[StoredWeight, ...]
    units: tuple[Unit, ...]

    @staticmethod
    def make(
        module: ModuleOp,
        resources: ResourceStore,
        *,
        calibration: Path | None = None,
        granularity: str = PER_CHANNEL,
        entry: str = "main",
        diagnostics: DiagnosticCollector | None = None,
    ) -> QuantizedNetwork:
        """Quantize the float network in ``module``, which is changed. ``calibration`` is a file
        with a table; None where the network has its ranges already. ``granularity`` is that of
        the weights' scales. Warnings and remarks go to ``diagnostics``.

        Raises: DiagnosticError for a network that is no float one, has no ranges, or cannot be
        quantized.
        """
        session = Session(resources, diagnostics or DiagnosticCollector())
        func = _function(module, entry)
        if default_mode(func) is not Mode.FLOAT:
            raise DiagnosticError.at(
                func.location,
                f"'@{func.sym_name}' is quantized already: an evaluation starts from the floats "
                "(to compare two programs: 'nvdla-run A --compare B')",
            )
        passes = [] if calibration is None else [ImportCalibration(file=str(calibration))]
        Pipeline([*passes, FoldBatchNorm(), Canonicalize(), DecomposeLayers()]).run(module, session)
        func = _function(module, entry)
        if not any(isinstance(element_of(value.type), GridType) for value in _values(func)):
            raise DiagnosticError.at(
                func.location,
                f"'@{func.sym_name}' has no calibrated ranges: give a table with --calib",
            )
        copy = module.clone()
        assert isinstance(copy, ModuleOp)
        own = Session(resources.copy(), session.diagnostics)
        quantize = QuantizeWeights(granularity=granularity)
        # what no hardware does is the host's, in floats
        Pipeline([quantize, InsertConverters(fallback="host")]).run(copy, own)
        return _paired(
            Executable(func, resources, Mode.FLOAT),
            Executable(_function(copy, entry), own.resources, Mode.INTEGER),
        )


def logits_of(func: FuncOp) -> Value:
    """What decides the class: the first output, or what goes into its softmax or argmax.

    Raises: DiagnosticError where there is no output, or none that a layer computes in reals.
    """
    returned = func.return_op.operands
    value = nn.before_softmax(returned[0]) if returned else None
    producer = None if value is None else value.defining_operation
    numbers = FloatType | GridType | QuantizedType
    if value is None or producer is None or not isinstance(element_of(value.type), numbers):
        raise DiagnosticError.at(
            func.location,
            f"'@{func.sym_name}' has no first output of reals that a layer computes: there is "
            "nothing to evaluate",
        )
    return value


def named_values(func: FuncOp) -> dict[str, Value]:
    """The arguments and the layers' outputs, by name; of several operations with a name, the
    last."""
    named: dict[str, Value] = {
        func.argument_name(argument): argument for argument in func.body.arguments
    }
    for op in func.body.operations:
        name = output_name(op, func)
        if name is not None and len(op.results) == 1:
            named.pop(name, None)  # the order is that of the last
            named[name] = op.results[0]
    return named


def eight_bit_type(value: Value) -> QuantizedType | None:
    """The element type of a tensor that is stored in 8 bits."""
    element = element_of(value.type)
    if isinstance(element, QuantizedType) and element.storage.width == _WEIGHT_WIDTH:
        return element
    return None


def _paired(reals: Executable, integers: Executable) -> QuantizedNetwork:
    real_values = named_values(reals.func)
    weights = _Weights(reals.func, integers.func)
    tensors: dict[Value, QuantizedType] = {}
    units: list[Unit] = []
    copies: dict[Value, list[Value]] = {}
    for name, value in named_values(integers.func).items():
        element, real = eight_bit_type(value), real_values.get(name)
        if element is None or real is None or _size(real) != _size(value):
            continue
        tensors[real] = element
        op = value.defining_operation
        if op is None:
            continue
        if _moves_codes(op):
            # It rounds nothing that is not rounded already.
            copies[value] = copies.get(op.operands[0], [])
            copies[value].append(real)
            continue
        copies[value] = []
        operations = list(_pipeline(op))
        found = [weight for member in operations for weight in weights.of(member)]
        layers = layers_of(*reversed(operations)) or (name,)
        units.append(Unit(name, layers, real, copies[value], element, tuple(found)))
    stored: dict[Value, QuantizedType] = {
        result: element
        for op in integers.func.body.operations
        if not isinstance(op, nn.ConstantOp)
        for result in op.results
        if (element := eight_bit_type(result)) is not None
    }
    return QuantizedNetwork(
        reals, integers, tensors, stored, tuple(weights.pairs.values()), tuple(units)
    )


def _moves_codes(op: Operation) -> bool:
    """Whether the result's codes are some of the first operand's."""
    if not isinstance(op, nn.RearrangementOp | nn.MaxPoolOp):
        return False
    return eight_bit_type(op.operands[0]) == eight_bit_type(op.results[0])


class _Weights:
    """The weights of the layers of both networks, paired by layer and operand."""

    def __init__(self, reals: FuncOp, integers: FuncOp) -> None:
        self._layers: dict[str, Operation] = {}
        for op in reals.body.operations:
            if isinstance(op, LayerOp) and op.layers:
                self._layers[op.layers[-1]] = op
        self.pairs: dict[Value, StoredWeight] = {}
        for op in integers.body.operations:
            for pair in self._find(op):
                self.pairs.setdefault(pair.stored, pair)

    def of(self, op: Operation) -> list[StoredWeight]:
        """Those that ``op`` of the int8 network reads."""
        return [self.pairs[value] for value in op.operands if value in self.pairs]

    def _find(self, op: Operation) -> Iterator[StoredWeight]:
        if not isinstance(op, LayerOp) or not op.layers:
            return
        layer = self._layers.get(op.layers[-1])
        if layer is None or type(layer) is not type(op):
            return
        for stored, real in zip(op.operands, layer.operands, strict=False):
            constant = all(isinstance(v.defining_operation, nn.ConstantOp) for v in (stored, real))
            if constant and eight_bit_type(stored) and _size(stored) == _size(real):
                yield StoredWeight(real, stored)


def _pipeline(op: Operation) -> Iterator[Operation]:
    """The operation whose output is int8, and those before it back to the last int8 tensor."""
    pending = [op]
    seen: set[Operation] = set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        yield current
        for operand in current.operands:
            producer = operand.defining_operation
            if producer is None or isinstance(producer, nn.ConstantOp):
                continue
            element = element_of(operand.type)
            if isinstance(element, QuantizedType) and eight_bit_type(operand) is None:
                pending.append(producer)


def _function(module: ModuleOp, entry: str) -> FuncOp:
    functions = entry_functions(module)
    for func in functions:
        if func.sym_name == entry or len(functions) == 1:
            return func
    raise DiagnosticError.at(module.location, f"there is no function '@{entry}' to evaluate")


def _values(func: FuncOp) -> Iterator[Value]:
    yield from func.body.arguments
    for op in func.body.operations:
        yield from op.results


def _size(value: Value) -> int | None:
    type = value.type
    return type.element_count if isinstance(type, TensorType) and type.has_static_shape else None
