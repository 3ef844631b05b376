"""What passes demand of a module and promise about it, as conditions the pipeline checks."""

from __future__ import annotations

from collections.abc import Iterable

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.calibrated import takes_calibrated_result
from nvdla_ir.dialects.csb import ConfigureOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import LayerOp, describe
from nvdla_ir.dialects.nn import ConcatOp, ConstantOp, QuantizeOp, RearrangementOp, SliceOp
from nvdla_ir.dialects.nvdla import ConvOp, MemoryOp, is_on_host
from nvdla_ir.dialects.quant import is_quantized
from nvdla_ir.ir.definition import Op
from nvdla_ir.ir.location import Location
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import FloatType, TensorType
from nvdla_ir.passes.base import Condition
from nvdla_ir.passes.conversion.arrangement import computed_inside

_NO_RANGE = (
    "no calibrated range; run 'import-calibration' first ('--import-calib=TABLE' before "
    "'--quantize')"
)


def no_operation(*classes: type[Op], hint: str = "") -> Condition:
    """No operation of these classes is left to the hardware; ``hint`` says which pass removes
    them."""
    names = " or ".join(f"'{op_class.name}'" for op_class in classes)

    def violations(module: ModuleOp) -> Iterable[tuple[Location, str]]:
        for op in module.walk():
            if isinstance(op, classes) and not is_on_host(op):
                layer = f" of {describe(op)}" if isinstance(op, LayerOp) and op.layers else ""
                yield op.location, f"'{op.name}'{layer} must be gone{hint and f'; {hint}'}"

    return Condition(f"no {names}", violations)


def calibrated() -> Condition:
    """Every tensor that integers will compute, and that does not stay inside the pipeline, has a
    calibrated or a quantized type."""
    return Condition("every activation is calibrated", _uncalibrated)


def _uncalibrated(module: ModuleOp) -> Iterable[tuple[Location, str]]:
    for function in module.walk():
        if not isinstance(function, FuncOp) or function.is_declaration:
            continue
        for argument in function.body.arguments:
            if _is_plain_float(argument) and any(map(_computes_integers, argument.users)):
                yield (
                    argument.location,
                    f"argument '{function.argument_name(argument)}' has {_NO_RANGE}",
                )
        inside = computed_inside(function)
        for op in function.walk():
            if op in inside:
                continue
            if _computes_integers(op) and _is_plain_float(op.results[0]):
                yield (
                    op.location,
                    f"{describe(op)} has {_NO_RANGE}",
                )


def _computes_integers(op: Operation) -> bool:
    """Whether ``op`` is a layer that integers will compute. Views of what the host computes are
    not."""
    if not takes_calibrated_result(op) or is_on_host(op):
        return False
    if not isinstance(op, RearrangementOp):
        return True
    definer = op.input.defining_operation
    return definer is None or _computes_integers(definer)


def _is_plain_float(value: Value) -> bool:
    return isinstance(value.type, TensorType) and isinstance(value.type.element, FloatType)


def has_hardware_layers() -> Condition:
    """There are layers of the hardware, if the module is about its layers at all."""
    return Condition("there are hardware layers", _no_hardware_layers)


def _no_hardware_layers(module: ModuleOp) -> Iterable[tuple[Location, str]]:
    layers: list[Operation] = []
    for op in module.walk():
        if isinstance(op, MemoryOp | ConvOp):
            return
        if isinstance(op, ConfigureOp):
            yield op.location, "the module is a register program already"
            return
        if _is_for_hardware(op):
            layers.append(op)
    if layers:
        others = len(layers) - 1
        are = f"and {others} more are no hardware layers" if others else "is no hardware layer"
        yield (
            layers[0].location,
            f"{describe(layers[0])} {are} yet; run 'legalize-to-nvdla' first",
        )


def _is_for_hardware(op: Operation) -> bool:
    """Whether ``op`` is a layer that the hardware is to compute, of reals or of integers."""
    if not isinstance(op, LayerOp) or isinstance(op, _OF_THE_HOST) or is_on_host(op):
        return False
    types = [result.type for result in op.results]
    return takes_calibrated_result(op) or any(
        isinstance(type, TensorType) and is_quantized(type.element) for type in types
    )


_OF_THE_HOST = (RearrangementOp, SliceOp, ConcatOp, ConstantOp, QuantizeOp)
"""What the host may do as well, of any numbers."""
