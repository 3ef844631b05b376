"""Which layers the hardware does not do, found by trying: ``fallback=host`` of insert-converters.

The limits stay where they are, in the rules of the conversions and in the settings of the units.
A copy of the module, in which each operation has a location of its own, goes through these passes;
what they refuse is marked (``nvdla.host``), and the next copy is tried, until nothing is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from math import prod

from attrs import define, field

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.calibrated import takes_calibrated_result
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import is_on_host, mark_for_host
from nvdla_ir.dialects.quant import DequantizeCastOp, QuantizeCastOp
from nvdla_ir.ir.attributes import IntegerAttr
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import FusedLoc, Location
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.conversion.grids import calibration_of
from nvdla_ir.passes.refusals import Refusal


def mark_refused_layers(
    module: ModuleOp, session: Session, passes: Sequence[Pass]
) -> dict[Operation, str]:
    """Mark the layers of ``module`` that ``passes`` refuse. Returns why, of each."""
    reasons: dict[Operation, str] = {}
    while True:
        trial = _Trial.of(module)
        found = len(reasons)
        for refusal in trial.refusals(session, passes):
            for op in trial.layers_at(refusal.location):
                _mark(op, refusal.reason, reasons)
        if len(reasons) == found:
            return reasons


def _mark(op: Operation, reason: str, reasons: dict[Operation, str]) -> None:
    """Leave ``op`` to the host, with what the pipeline would do in the same pass, and with what it
    shares values with that have no grid to be rounded to."""
    if is_on_host(op):
        return
    mark_for_host(op)
    reasons[op] = reason
    for follower in _followers(op):
        _mark(follower, f"it follows {describe(op)}, which the host computes", reasons)
    without_grid = [value for value in op.operands if calibration_of(value) is None]
    for definer in (value.defining_operation for value in without_grid):
        if definer is not None and takes_calibrated_result(definer):
            _mark(definer, f"its result, of no range, is for {describe(op)} on the host", reasons)
    for result in op.results:
        if calibration_of(result) is None:
            for user in filter(takes_calibrated_result, result.users):
                _mark(user, f"it reads reals of no range of {describe(op)} on the host", reasons)


def _followers(op: Operation) -> Iterator[Operation]:
    """What changes each element of the result of ``op``, and alone reads it."""
    (value,) = op.results
    while value.has_one_use and not nn.is_fake_quantized(value.type):
        user = value.users[0]
        if isinstance(user, _ELEMENTWISE):
            yield user
        elif not isinstance(user, nn.ViewOp):
            return
        value = user.output


_ELEMENTWISE = (nn.ScaleOp, nn.BiasAddOp, nn.ReluOp, nn.LeakyReluOp, nn.PReluOp)
"""What is a step of a layer's pipeline, and would else be a layer of its own."""


@define(eq=False)
class _Trial:
    """A copy of a module, and the original of each of its operations by its location."""

    module: ModuleOp
    _originals: dict[Location, Operation] = field(factory=dict["Location", "Operation"])

    @staticmethod
    def of(module: ModuleOp) -> _Trial:
        copy = module.clone()
        assert isinstance(copy, ModuleOp)
        trial = _Trial(copy)
        for index, (original, op) in enumerate(zip(module.walk(), copy.walk(), strict=True)):
            op.location = FusedLoc((original.location,), IntegerAttr(index))
            trial._originals[op.location] = original
        return trial

    def refusals(self, session: Session, passes: Sequence[Pass]) -> list[Refusal]:
        """Those of the first of ``passes`` that has any. Other faults are for the passes themselves
        to tell, later."""
        for pass_ in passes:
            diagnostics = DiagnosticCollector()
            try:
                pass_.run(
                    self.module,
                    Session(session.resources, diagnostics, context=session.context),
                )
            except DiagnosticError as error:
                diagnostics.diagnostics.extend(error.diagnostics)
            if diagnostics.errors:
                return [error for error in diagnostics.errors if isinstance(error, Refusal)]
        return []

    def layers_at(self, location: Location) -> Iterator[Operation]:
        """The original layers that ``location`` stands for."""
        original = self._originals.get(location)
        if original is not None:
            if takes_calibrated_result(original):
                yield original
        elif isinstance(location, FusedLoc):
            for part in location.locations:
                yield from self.layers_at(part)


# -------------------------------------------------------------- what it costs


def remark_of(op: Operation, reason: str) -> Diagnostic:
    """That the host computes ``op``, why, and what crosses the border to the device for it."""
    read = {
        cast.input
        for value in op.operands
        if isinstance(cast := value.defining_operation, DequantizeCastOp)
        and not isinstance(cast.input.defining_operation, _TO_INTEGERS)
    }
    written = {
        user.results[0]
        for result in op.results
        for user in result.users
        if isinstance(user, _TO_INTEGERS)
    }
    return Diagnostic.remark(
        op.location,
        f"the host computes {describe(op)} in floats, between device programs, with "
        f"{_bytes(read)} from the device and {_bytes(written)} to it: {reason}",
    )


_TO_INTEGERS = (QuantizeCastOp, nn.QuantizeOp)
"""Casts of the host's."""


def _bytes(values: Collection[Value]) -> str:
    """What int8 tensors take."""
    size = sum(prod(nn.shape_of(value)) for value in values)
    return f"{size or 'no'} byte{'' if size == 1 else 's'}"
