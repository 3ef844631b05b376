"""A network on reals of which parts can be exchanged: other constants, and tensors rounded to the
grid of an int8 type. Only what depends on the exchanged parts is computed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.arith.errors import OperandError
from nvdla_ir.dialects.func import FuncOp, ReturnOp
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.quant import QuantizedType
from nvdla_ir.evaluation.recording import Executable
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.interp.quantization import round_to_grid
from nvdla_ir.interp.registry import Kernel, Numbers, Values, find_kernel
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.operation import Operation, Value

Array = NDArray[Any]
Environment = dict[Value, Any]

_NOTHING_REPLACED: Mapping[Value, Array] = {}
_NOTHING_ROUNDED: Mapping[Value, QuantizedType] = {}


@frozen(eq=False)
class _Step:
    op: Operation
    kernel: Kernel


class RealNetwork:
    """Executes a function on reals and keeps every tensor.

    constants: what the function's constants stand for
    """

    def __init__(self, executable: Executable) -> None:
        """Raises: DiagnosticError for operations that compute on stored integers alone."""
        self.func: FuncOp = executable.func
        self._machine = Machine(executable.resources, Mode.FLOAT)
        self.constants: Environment = {}
        self._steps: list[_Step] = []
        faults = DiagnosticCollector()
        for op in self.func.body.operations:
            if isinstance(op, ReturnOp):
                continue
            kernel = find_kernel(op, Numbers.REAL)
            if kernel is None:
                faults.error(op.location, f"{describe(op)} cannot be computed on reals")
            elif kernel.constant:
                self._execute(_Step(op, kernel), self.constants)
            else:
                self._steps.append(_Step(op, kernel))
        faults.raise_if_errors()

    @property
    def takes_any_batch(self) -> bool:
        """Whether several images can be run at once. Raises: DiagnosticError"""
        return self._machine.takes_any_batch(self.func)

    def run(
        self,
        inputs: Mapping[str, Array],
        *,
        replaced: Mapping[Value, Array] = _NOTHING_REPLACED,
        rounded: Mapping[Value, QuantizedType] = _NOTHING_ROUNDED,
    ) -> Environment:
        """Every value. ``inputs`` are as a machine on reals takes them; constants and others that
        are ``replaced`` have the array given, those ``rounded`` the nearest numbers that codes of
        the type stand for.

        Raises: DiagnosticError where an operation cannot be computed.
        """
        environment = dict(self.constants)
        for argument in self.func.body.arguments:
            environment[argument] = inputs[self.func.argument_name(argument)]
        environment.update(replaced)
        for value in rounded:
            if value in environment:
                environment[value] = round_to_grid(environment[value], rounded[value])
        for step in self._steps:
            self._execute(step, environment)
            self._round(step, environment, rounded)
        return environment

    def rerun(
        self,
        environment: Environment,
        *,
        replaced: Mapping[Value, Array] = _NOTHING_REPLACED,
        rounded: Mapping[Value, QuantizedType] = _NOTHING_ROUNDED,
    ) -> Environment:
        """Every value with some parts exchanged, given those of a ``run`` on the same inputs
        without."""
        changed: set[Value] = set(replaced)
        result = {**environment, **replaced}
        for argument in self.func.body.arguments:
            if argument in rounded:
                result[argument] = round_to_grid(result[argument], rounded[argument])
                changed.add(argument)
        for step in self._steps:
            if not changed.isdisjoint(step.op.operands):
                self._execute(step, result)
                changed.update(step.op.results)
            changed.update(self._round(step, result, rounded))
        return result

    def _execute(self, step: _Step, environment: Environment) -> None:
        op = step.op
        try:
            output = step.kernel.function(op, Values(self._machine, environment, as_reals=False))
        except OperandError as error:
            raise DiagnosticError.at(
                op.location, f"{describe(op)} cannot be computed: {error}"
            ) from error
        results = list(output) if len(op.results) > 1 else [output] * len(op.results)
        environment.update(zip(op.results, results, strict=True))

    @staticmethod
    def _round(
        step: _Step, environment: Environment, rounded: Mapping[Value, QuantizedType]
    ) -> list[Value]:
        found: list[Value] = [value for value in step.op.results if value in rounded]
        for value in found:
            environment[value] = round_to_grid(environment[value], rounded[value])
        return found
