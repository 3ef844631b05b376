"""The conversion of one function: which int8 value stands for each calibrated one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.arith.errors import OperandError
from nvdla_ir.dialects import nn
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import is_on_host, mark_for_host
from nvdla_ir.dialects.quant import (
    DequantizeCastOp,
    GridType,
    QuantizeCastOp,
    QuantizedType,
    UniformType,
    is_quantized,
)
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.conversion import Conversion, LegalityTable, Replacement
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.location import fuse_locations
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import F32, I8, TensorType
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.conversion.chain import Chain
from nvdla_ir.passes.conversion.epilogue import Epilogue, Residual, Source
from nvdla_ir.passes.conversion.grids import calibration_of, name_of, output_type
from nvdla_ir.passes.conversion.pipeline import Pipeline, Reals
from nvdla_ir.passes.conversion.rules import converts
from nvdla_ir.passes.refusals import Refusal, refused

_SOME_INT8 = UniformType(I8, F32, 1.0)
_MADE_SIMPLER: dict[type[Operation], tuple[str, str]] = {
    nn.BatchNormOp: ("fold-batch-norm", "a scale"),
    nn.ConvTransposeOp: ("decompose-layers", "convolutions"),
    nn.InterpolateOp: ("decompose-layers", "convolutions"),
    nn.GlobalMaxPoolOp: ("decompose-layers", "pools"),
}
"""Which pass makes what of a layer, ahead of this stage."""


def computed(op: Operation, what: str) -> str:
    """What to say of an operand, ``what``, that is no constant."""
    return f"{describe(op)} takes computed numbers as its {what}, but the hardware takes constants"


class FunctionConversion(Conversion):
    """The conversion of a function's layers to integers, and what its rules share.

    hw:   the hardware, where the module says it; what is chosen without it suits all that have
          every unit
    int8: the stored integers of each calibrated value
    on_host: integers that the host has moved where no cube of the hardware has them
    on_reals: layers that are marked as the host's
    """

    rules = converts
    legality = LegalityTable(
        lambda op: is_on_host(op) or all(calibration_of(result) is None for result in op.results)
    )

    def __init__(self, func: FuncOp, session: Session, hw: HardwareConfiguration | None) -> None:
        super().__init__(session.diagnostics)
        self.func = func
        self.session = session
        self.hw = hw
        self.int8: dict[Value, Value] = {}
        self.on_host: set[Value] = set()
        self.on_reals: list[Operation] = []
        self._reals: dict[Value, GridType] = {}

    # -------------------------------------------------------------- the stage

    def has_rules_for(self, op: Operation) -> bool:
        if is_on_host(op):
            return False
        return isinstance(op, QuantizeCastOp) or not any(
            isinstance(result.type, TensorType) and is_quantized(result.type.element)
            for result in op.results
        )

    def settle(self, value: Value, replacement: Value) -> None:
        if isinstance(nn.tensor_type(value).element, QuantizedType):
            value.replace_all_uses_with(replacement)
        else:
            replacement.name_hint = value.name_hint
            self.int8[value] = replacement

    def type_fault(self, value: Value, replacement: Value) -> str | None:
        type, wanted = replacement.type, nn.tensor_type(value)
        if (
            isinstance(type, TensorType)
            and isinstance(type.element, UniformType)
            and type.element.storage == I8
            and type.shape == wanted.shape
        ):
            return None
        return f"is not '{wanted.with_element(_SOME_INT8)}' of some scale"

    def explain(self, op: Operation, error: Exception) -> Diagnostic | None:
        if not isinstance(error, OperandError):
            return None
        return Refusal.of(
            op.location,
            f"{describe(op)}: {error}; check the calibrated ranges of its input and output",
        )

    def without_rule(self, op: Operation) -> None:
        if isinstance(op, nn.ConvTransposeOp) and not isinstance(
            op.weight.defining_operation, nn.ConstantOp
        ):
            raise refused(op.location, computed(op, "weights"))
        if type(op) in _MADE_SIMPLER:
            maker, what = _MADE_SIMPLER[type(op)]
            raise DiagnosticError.at(
                op.location,
                f"{describe(op)} is not of the hardware's layers; run '{maker}' first, which makes "
                f"{what} of it",
            )
        raise refused(
            op.location,
            f"{describe(op)}: no rule makes integers of '{op.name}', on any configuration",
        )

    # -------------------------------------------------------------- boundaries

    def quantize_arguments(self) -> None:
        """Calibrated arguments become floats, with a cast to int8 behind."""
        for argument in reversed(self.func.body.arguments):
            self.quantize_on_host(argument)

    def quantize_on_host(self, value: Value) -> None:
        """``value``, if it is on a grid, becomes floats with a cast to int8 behind."""
        element = calibration_of(value)
        if element is None:
            return
        value.type = nn.tensor_type(value).with_element(element.expressed)
        producer = value.defining_operation
        start = InsertionPoint.at_start(self.func.body)
        self._cast(value, element, start if producer is None else InsertionPoint.after(producer))

    def leave_to_host(self, op: Operation) -> None:
        """Let the host compute ``op`` on reals. They are rounded where integers are made of them,
        not for the host's own layers, unless the network rounds them itself."""
        self._read_reals(op)
        self._make_reals(op)

    def stand_in(self, op: Operation) -> None:
        """Give the results of a layer that failed an int8 value, so that the faults of later
        layers are found too."""
        for result in op.results:
            calibration = calibration_of(result)
            if result not in self.int8 and calibration is not None:
                self._cast(result, calibration, InsertionPoint.after(op))

    def _cast(self, value: Value, element: GridType, point: InsertionPoint) -> Value:
        fake_quantized = isinstance(element, nn.FakeQuantizedType)
        op = Builder(point).create(
            nn.QuantizeOp if fake_quantized else QuantizeCastOp,
            input=value,
            result_types=[nn.tensor_type(value).with_element(element.quantized())],
        )
        op.output.name_hint = f"{value.name_hint}_int8" if value.name_hint else None
        self.int8[value] = op.output
        return op.output

    def leave(self, op: Operation) -> None:
        """What computes on reals reads dequantized values; what is the host's makes reals."""
        self._read_reals(op)
        if is_on_host(op):
            self.on_reals.append(op)
            self._make_reals(op)

    def _make_reals(self, op: Operation) -> None:
        for result in op.results:
            element = calibration_of(result)
            if isinstance(element, nn.FakeQuantizedType):
                self.quantize_on_host(result)
            elif element is not None:
                result.type = nn.tensor_type(result).with_element(element.expressed)
                self._reals[result] = element

    def _read_reals(self, op: Operation) -> None:
        casts: dict[Value, Value] = {}
        for index, operand in enumerate(op.operands):
            stored = self.int8.get(operand)
            if stored is None or operand in self._reals:
                continue
            if operand not in casts:
                cast_op = Builder(InsertionPoint.before(op), op.location).create(
                    DequantizeCastOp, input=stored
                )
                cast_op.output.name_hint = f"{operand.name_hint}_f32" if operand.name_hint else None
                casts[operand] = cast_op.output
            op.set_operand(index, casts[operand])

    # -------------------------------------------------------------- for one layer

    def left_to_host(self, op: Operation) -> bool:
        """Whether nobody states a range for what ``op`` computes, so that it stays in floats."""
        if any(calibration_of(result) is not None for result in op.results):
            return False
        mark_for_host(op)
        self.leave(op)
        return True

    def find_stored(self, value: Value) -> Value | None:
        """The int8 value that stands for ``value``, if there is one."""
        stored = self.int8.get(value)
        if stored is None and value in self._reals:
            assert value.defining_operation is not None
            point = InsertionPoint.after(value.defining_operation)
            return self._cast(value, self._reals[value], point)
        if stored is None and isinstance(nn.tensor_type(value).element, QuantizedType):
            return value
        return stored

    def is_on_host_as_reals(self, value: Value) -> bool:
        """Whether the host has computed ``value``, and nothing has made integers of it yet."""
        return value in self._reals and value not in self.int8

    def in_memory(self, value: Value) -> bool:
        """Whether the integers of ``value`` are there to be read."""
        return self.find_stored(value) is not None

    def stored(self, value: Value, user: Operation) -> tuple[Value, UniformType]:
        """The int8 value that stands for ``value``, with its type.

        Raises: DiagnosticError where ``value`` has not been quantized.
        """
        stored = self.find_stored(value)
        element = nn.tensor_type(stored).element if stored is not None else None
        if stored is not None and isinstance(element, UniformType) and element.storage.width == 8:
            return stored, element
        if stored is not None:
            reason = "which is not int8 with one scale"
        elif isinstance(value.defining_operation, nn.ConstantOp):
            reason = "a constant, where it takes a calibrated tensor"
        else:
            reason = "which is not calibrated; run 'import-calibration' first"
        raise DiagnosticError.at(user.location, f"{describe(user)} reads '{value.type}', {reason}")

    def reals(self, op: Operation, value: Value, what: str) -> NDArray[np.float64]:
        """The numbers of a constant operand of ``op``.

        Raises: DiagnosticError where it is no constant, or not finite.
        """
        constant = value.defining_operation
        if not isinstance(constant, nn.ConstantOp):
            raise refused(op.location, computed(op, what))
        array = self.session.resources.elements(constant.value, constant.location)
        if not np.isfinite(array).all():
            raise DiagnosticError.at(
                constant.location,
                f"the {what} of {describe(op)} contains NaN or infinite numbers",
            )
        return array.astype(np.float64)

    def builder(self, chain: Chain) -> Builder:
        """Inserts where ``chain`` ends."""
        location = fuse_locations([op.location for op in chain.operations])
        return self.builder_at(chain.last, location)

    def pipeline_from_memory(self, value: Value, chain: Chain) -> Pipeline:
        """A pipeline that reads the int8 tensor of ``value``."""
        stored, _ = self.stored(value, chain.root)
        return self.pipeline_from(stored, chain)

    def pipeline_from(self, stored: Value, chain: Chain) -> Pipeline:
        """A pipeline that reads the int8 tensor ``stored``, which has one scale."""
        element = nn.tensor_type(stored).element
        assert isinstance(element, UniformType)
        return Pipeline(
            self.builder(chain),
            self.session.resources,
            stored,
            (element.scale,),
            (element.zero_point,),
            name_of(chain.root),
        )

    def _slopes(self, chain: Chain) -> Reals | None:
        """What negative numbers are multiplied by."""
        leaky = chain.leaky
        if isinstance(leaky, nn.LeakyReluOp):
            return np.array([leaky.alpha])
        return None if leaky is None else self.reals(leaky, leaky.slope, "slope")

    def emit(
        self,
        pipeline: Pipeline,
        source: Source,
        chain: Chain,
        residual: Residual | None = None,
    ) -> Replacement:
        """Emit the rest of the pipeline; its int8 value is the result of ``chain``."""
        output = output_type(chain.last)
        diagnostics, slopes = self.session.diagnostics, self._slopes(chain)
        epilogue = Epilogue(pipeline, source, chain, output, diagnostics, slopes)
        value = epilogue.emit(residual)
        self.session.count(self.rules.stage, "pipelines")
        return chain.replaced_by(value)
