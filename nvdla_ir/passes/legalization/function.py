"""The legalization of one function, and what its rules share."""

from __future__ import annotations

from typing import Any, ClassVar

from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import is_on_host
from nvdla_ir.dialects.nvdla.types import CUBE
from nvdla_ir.dialects.quant import GridType, QuantizedType
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.conversion import Conversion, LegalityTable
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import TensorType
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.legalization.boundary import Cubes
from nvdla_ir.passes.legalization.constants import Constants
from nvdla_ir.passes.legalization.images import read_as_image
from nvdla_ir.passes.legalization.rules import legalizes

PIPELINE_WIDTH = 32
MEMORY_WIDTH = 8


def _is_off_grid(op: Operation) -> bool:
    """Whether nobody has said what integers ``op`` should make of its reals."""
    return not any(
        isinstance(result.type, TensorType) and isinstance(result.type.element, GridType)
        for result in op.results
    )


class FunctionLegalization(Conversion):
    """From int8 layers to hardware layers; what the host computes stays.

    hw:        the hardware
    cubes:     what stands for int8 values in the hardware's memory
    constants: weights and tables for the hardware
    """

    rules = legalizes
    legality: ClassVar[LegalityTable] = LegalityTable(
        _is_off_grid,
        classes=dict.fromkeys(
            (
                nn.ArgmaxOp,
                nn.ConcatOp,
                nn.ConstantOp,
                nn.NormalizeOp,
                nn.QuantizeOp,
                nn.SliceOp,
                nn.SoftmaxOp,
                nn.RearrangementOp,
            ),
            _is_off_grid,
        ),
        dialects={"nn": is_on_host, "fixed": False},
    )

    def __init__(self, hw: HardwareConfiguration, session: Session) -> None:
        super().__init__(session.diagnostics)
        self.hw = hw
        self.session = session
        self.cubes = Cubes()
        self.constants = Constants(session.resources)

    # -------------------------------------------------------------- for rules

    def cube_of(self, value: Value, user: Operation, builder: Builder) -> Value:
        """The cube for ``value``, uploaded if the host has it.

        Raises: DiagnosticError for what is no single image of 8-bit integers.
        """
        return self.cubes.cube_of(value, user, builder)

    def image_or_cube_of(
        self, value: Value, user: nn.ConvOp, builder: Builder
    ) -> tuple[Value, dict[str, Any]]:
        """What stands for ``value``, and the fields that a convolution of it must have: an image
        where the host has it and all readers can take it so, else the cube.

        Raises: DiagnosticError as ``cube_of``.
        """
        found = self.cubes.find(value)
        format = read_as_image(value, self.hw) if found is None else None
        if format is not None:
            found = self.cubes.upload(value, builder, format=format)
        cube = self.cube_of(value, user, builder) if found is None else found
        upload = cube.defining_operation
        if isinstance(upload, nvdla.UploadOp) and upload.format != nvdla.FEATURE:
            return cube, {"pixel_format": upload.format}
        return cube, {}

    # -------------------------------------------------------------- the stage

    def has_rules_for(self, op: Operation) -> bool:
        return _stored_width(op) == MEMORY_WIDTH and not is_on_host(op)

    def settle(self, value: Value, replacement: Value) -> None:
        self.cubes.settle(value, replacement)

    def type_fault(self, value: Value, replacement: Value) -> str | None:
        type = replacement.type
        if isinstance(type, TensorType) and CUBE.accepts(type):
            return None
        return "is no cube of 8-bit integers in memory"

    def stand_in(self, op: Operation) -> None:
        self.cubes.stand_in(op)

    def leave(self, op: Operation) -> None:
        """The host computes it, from downloads."""
        self.cubes.hand_to_host(op)

    def without_rule(self, op: Operation) -> None:
        """Steps of the pipeline are for the converter that they lead to."""
        width = _stored_width(op)
        if width == PIPELINE_WIDTH:
            return
        if width == MEMORY_WIDTH:
            fault = f"has no rule in '{self.rules.stage}' that makes hardware layers of '{op.name}'"
        elif width is None:
            fault = "computes reals; run 'insert-converters' first"
        else:
            type = op.results[0].type
            fault = f"makes '{type}', which the hardware does not; run 'insert-converters' first"
        raise DiagnosticError.at(op.location, f"{describe(op)} {fault}")

    def why_illegal(self, op: Operation) -> str:
        readers = ", ".join(dict.fromkeys(describe(user) for user in op.results[0].users))
        return (
            f"{describe(op)}: {readers} reads its result of {_stored_width(op)} bits, but from the "
            "hardware's pipeline only 'fixed.output_converter' leads out"
        )


def _stored_width(op: Operation) -> int | None:
    """The bits of the quantized integers that ``op`` makes; None where it makes others."""
    if len(op.results) != 1 or not isinstance(op.results[0].type, TensorType):
        return None
    element = op.results[0].type.element
    return element.storage.width if isinstance(element, QuantizedType) else None
