"""Passes that change what a module computes are caught; those of the package are not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from attrs import frozen

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.evaluation.semantics import SemanticsCheck
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN
from nvdla_ir.ir.types import F32
from nvdla_ir.passes.base import Pass, Session, Tolerance
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import ALIASES, PassRegistry
from nvdla_ir.resources import ResourceStore

sys.path.insert(0, str(Path(__file__).parents[1] / "passes"))

from running import module_of

T = "tensor<1x4x5x5xf32>"
C = "tensor<1x4x5x5x!quant.calibrated<f32<-1.27:1.27>>>"
Q = "tensor<1x4x5x5x!quant.uniform<i8:f32, 0.5>>"


def network(type: str) -> tuple[ModuleOp, Session]:
    module = module_of(
        f"func.func @main(%x: {type}) -> {type} {{\n"
        "  %w = nn.constant value=dense_resource<w> : tensor<4x4x3x3xf32>\n"
        f'  %a = nn.conv %x, %w pads=[1, 1, 1, 1] layers=["a"] -> {type}\n'
        f'  %b = nn.relu %a layers=["b"] -> {type}\n'
        f'  %c = nn.max_pool %b kernel=[3, 3] pads=[1, 1, 1, 1] layers=["c"] -> {type}\n'
        "  func.return %c\n}"
    )
    session = Session(ResourceStore())
    weights = np.random.default_rng(0).normal(size=(4, 4, 3, 3)).astype(np.float32) / 6
    session.resources.attribute_for("w", weights, F32)
    return module, session


def main_of(module: ModuleOp) -> FuncOp:
    function = module.body.first_op
    assert isinstance(function, FuncOp)
    return function


@frozen
class ChangeOneWeight(Pass):
    """Of a kernel that is one of four."""

    name = "change-one-weight"
    tolerance: ClassVar[Tolerance] = Tolerance(1e-4)

    factor: float = 2.0

    def run(self, module: ModuleOp, session: Session) -> None:
        (op,) = (op for op in module.walk() if isinstance(op, nn.ConvOp))
        constant = op.weight.defining_operation
        assert isinstance(constant, nn.ConstantOp)
        array = np.array(session.resources.elements(constant.value, UNKNOWN))
        array[2, 1, 0, 2] *= self.factor
        constant.value = session.resources.attribute_for("changed", array, F32)


@frozen
class MoveWindows(Pass):
    """By a row, in the pool of integers."""

    name = "move-windows"

    def run(self, module: ModuleOp, session: Session) -> None:
        for op in module.walk():
            if isinstance(op, nn.MaxPoolOp):
                op.pads = (2, 1, 0, 1)


@frozen
class DropOutput(Pass):
    name = "drop-output"

    def run(self, module: ModuleOp, session: Session) -> None:
        main_of(module).return_op.set_operands([])
        main_of(module).update_function_type()


def caught(pass_: Pass, type: str = T) -> str:
    module, session = network(type)
    check = SemanticsCheck(session.resources)
    with pytest.raises(DiagnosticError) as error:
        Pipeline([pass_]).run(module, session, [check])
    (fault,) = error.value.diagnostics
    assert fault.location != UNKNOWN
    return fault.message


def test_a_weight_that_changes_is_told_with_the_first_layer_and_element() -> None:
    message = caught(ChangeOneWeight())
    assert "pass 'change-one-weight' changed what '@main' computes of random inputs" in message
    # The kernel's third channel; its first row and column meet the weight in the padding.
    assert "of the layer 'a' (nn.conv) is" in message
    assert "element [0, 2, " in message
    assert "the pass may change it by" in message


def test_what_is_within_the_tolerance_passes() -> None:
    module, session = network(T)
    Pipeline([ChangeOneWeight(1.00001)]).run(module, session, [SemanticsCheck(session.resources)])


CANCELLING = f"""
    func.func @main(%x: {C}) -> tensor<1x4x1x1x!quant.calibrated<f32<-0.01:0.01>>> {{
      %s = nn.constant value=dense_resource<s> : tensor<4xf32>
      %a = nn.scale %x, %s layers=["a"] -> {C}
      %d = nn.sub %a, %x layers=["d"] -> {C}
      %m = nn.global_average_pool %d layers=["m"]
        -> tensor<1x4x1x1x!quant.calibrated<f32<-0.01:0.01>>>
      func.return %m
    }}"""


@frozen
class ScaleOtherwise(Pass):
    """By a little more, where later layers take out all but that; and the mean ``wrong``."""

    name = "scale-otherwise"

    by_layer: bool = True
    wrong: bool = False

    @property
    def tolerance(self) -> Tolerance:  # type: ignore[override]
        return Tolerance(0.02, by_layer=self.by_layer)

    def run(self, module: ModuleOp, session: Session) -> None:
        scale = session.resources.attribute_for("other", np.full(4, 1.01, np.float32), F32)
        for op in module.walk():
            if isinstance(op, nn.ConstantOp):
                op.value = scale
            elif isinstance(op, nn.SubOp) and self.wrong:
                op.output.replace_all_uses_with(op.lhs)


@pytest.mark.parametrize("by_layer", [False, True])
@pytest.mark.parametrize("wrong", [False, True])
def test_layers_are_compared_on_the_same_numbers(by_layer: bool, wrong: bool) -> None:
    """What a layer may be off by, sums that cancel and finer ranges make large; that is no fault of
    the layers behind. A fault of theirs is found."""
    session = Session(ResourceStore())
    module = module_of(CANCELLING)
    session.resources.attribute_for("s", np.ones(4, np.float32), F32)
    check = SemanticsCheck(session.resources)
    pipeline = Pipeline([ScaleOtherwise(by_layer, wrong)])
    if by_layer and not wrong:
        pipeline.run(module, session, [check])
        return
    with pytest.raises(DiagnosticError, match=f"layer '{'m' if by_layer else 'd'}'"):
        pipeline.run(module, session, [check])


def test_integers_must_be_equal() -> None:
    module = module_of(
        f"func.func @main(%x: {Q}) -> {Q} {{\n"
        f'  %c = nn.max_pool %x kernel=[3, 3] pads=[1, 1, 1, 1] layers=["c"] -> {Q}\n'
        "  func.return %c\n}"
    )
    session = Session(ResourceStore())
    with pytest.raises(DiagnosticError, match=r"'move-windows' changed .* layer 'c'") as error:
        Pipeline([MoveWindows()]).run(module, session, [SemanticsCheck(session.resources)])
    assert "may change it by" not in error.value.diagnostics[0].message


def test_outputs_that_go_away() -> None:
    message = caught(DropOutput())
    assert message == "pass 'drop-output' changed '@main': it has 0 outputs, and had 1"


def test_the_passes_of_a_compile_keep_what_it_computes() -> None:
    module, session = network(C)
    registry = PassRegistry()
    steps = [
        registry.create(step)
        for name, value in (("target", "nv_small"), ("quantize", "per-channel"), ("compile", ""))
        for specifications in (ALIASES[name].specifications_ahead, ALIASES[name].specifications)
        for step in specifications(value, UNKNOWN)
    ]
    Pipeline(steps).run(module, session, [SemanticsCheck(session.resources)])
    assert any(op.name == "csb.enable" for op in module.walk())


def test_what_cannot_run_is_left_out() -> None:
    module = module_of(
        f'func.func @main(%x: {T}) -> {T} {{\n  %y = "own.op"(%x) : ({T}) -> {T}\n'
        "  func.return %y\n}",
        allow_unregistered=True,
    )
    session = Session(ResourceStore())
    Pipeline([MoveWindows()]).run(module, session, [SemanticsCheck(session.resources)])
    assert main_of(module).sym_name == "main"
