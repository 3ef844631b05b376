"""The grids that layers' results are to be rounded to, and what layers are called."""

from __future__ import annotations

from nvdla_ir.dialects.layer import describe, layers_of
from nvdla_ir.dialects.quant import GridType, UniformType
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import TensorType


def calibration_of(value: Value) -> GridType | None:
    """The calibrated or fake-quantized element type of a tensor, if it has one."""
    type = value.type
    if isinstance(type, TensorType) and isinstance(type.element, GridType):
        return type.element
    return None


def output_type(op: Operation) -> UniformType:
    """The int8 type of the calibrated result of ``op``. Raises: DiagnosticError."""
    calibration = calibration_of(op.results[0])
    if calibration is None:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has no calibrated range; run 'import-calibration' first",
        )
    return calibration.quantized()


def name_of(op: Operation) -> str:
    """What the tables of a layer are named after."""
    return (layers_of(op) or (op.name.partition(".")[2],))[0]
