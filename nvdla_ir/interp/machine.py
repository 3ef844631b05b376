"""The machine that executes a function, operation by operation.

One machine runs every level: what a level needs is in its kernels (``registry.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
from attrs import define, evolve, field, frozen
from numpy.typing import NDArray

from nvdla_ir.arith.errors import OperandError
from nvdla_ir.dialects.func import NAME_ATTRIBUTE, CallOp, FuncOp, ReturnOp, called_function
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.dialects.nn.types import FakeQuantizedType, is_fake_quantized
from nvdla_ir.dialects.quant import GridType, QuantizedType
from nvdla_ir.interp.quantization import (
    dtype_of,
    element_of,
    is_quantized_tensor,
    round_to_grid,
)
from nvdla_ir.interp.registry import (
    Fusion,
    Kernel,
    MachineBase,
    Numbers,
    Values,
    find_fusion,
    find_kernel,
)
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import TensorType, Type

Array = NDArray[Any]
Observer = Callable[[Operation, Sequence[Any]], None]
Replacer = Callable[[Operation, Array], Array]

_TOO_LARGE = ("array is too big", "Maximum allowed")


class Mode(Enum):
    """How quantized and calibrated tensors are computed. Fake-quantized ones, where the network
    itself rounds, are rounded in each mode."""

    FLOAT = "float"
    """As reals, without rounding; quantized constants are dequantized."""
    FAKE_QUANTIZED = "fake-quantized"
    """As reals; each calibrated tensor, and each quantized one of 8 bits, is rounded to the grid
    of its type. Tensors of 16 and 32 bits stay unrounded, multipliers are exact ratios."""
    INTEGER = "integer"
    """Quantized tensors as their stored integers, bit for bit as the hardware."""


def executed_operations(func: FuncOp, *callers: FuncOp) -> Iterator[Operation]:
    """The operations of ``func``, and those of the functions that it calls behind each call.
    ``callers`` are left out."""
    for op in func.body.operations:
        yield op
        called = called_function(op) if isinstance(op, CallOp) else None
        if called is not None and called not in (func, *callers) and not called.is_declaration:
            yield from executed_operations(called, func, *callers)


def default_mode(func: FuncOp) -> Mode:
    """Integer where anything in ``func`` is quantized or needs stored integers, else float.

    Where there are reals on a grid beside the quantized tensors, or reals that the network itself
    rounds, conversion to integers is still to come: fake-quantized.
    """
    stored = on_grid = False
    for op in executed_operations(func):
        for value in (*op.operands, *op.results):
            stored = stored or is_quantized_tensor(value.type) or is_fake_quantized(value.type)
            on_grid = on_grid or isinstance(element_of(value.type), GridType)
        if find_kernel(op, Numbers.REAL) is None and find_kernel(op, Numbers.STORED) is not None:
            return Mode.INTEGER
    if stored and on_grid:
        return Mode.FAKE_QUANTIZED
    return Mode.INTEGER if stored else Mode.FLOAT


def settled(result: Any, type: Type, mode: Mode) -> Any:
    """``result``, a tensor of ``type``, as ``mode`` wants it: rounded to its grid or as it is."""
    element = element_of(type)
    if isinstance(element, FakeQuantizedType):
        return round_to_grid(result, element)
    if mode is Mode.FAKE_QUANTIZED and (
        isinstance(element, GridType)
        or (isinstance(element, QuantizedType) and element.storage.width == 8)
    ):
        return round_to_grid(result, element)
    return result


@frozen(eq=False)
class _Step:
    """One operation, or the last one of a chain computed at once; its kernel, what it reads, and
    the values that nobody reads afterwards."""

    op: Operation
    kernel: Kernel
    reads: tuple[Value, ...]
    last_uses: tuple[Value, ...] = ()


@frozen(eq=False)
class _Plan:
    """A function made ready: what does not depend on the input is in ``constants``."""

    constants: dict[Value, Any]
    steps: list[_Step]
    returned: list[Value]
    any_batch: bool


@define(eq=False)
class Machine(MachineBase):
    """Executes functions of one module.

    mode:      how quantized and calibrated tensors are computed
    observer:  called after each operation with its results, constants excepted; without one,
               operations that reals can be computed with together are
    replace:   what takes the place of an only result, likewise
    """

    mode: Mode = Mode.FLOAT
    observer: Observer | None = None
    replace: Replacer | None = None
    _plans: dict[tuple[FuncOp, bool], _Plan] = field(
        factory=dict[tuple[FuncOp, bool], _Plan], init=False
    )
    # The calls whose functions are being made ready.
    _calling: list[CallOp] = field(factory=list[CallOp], init=False)

    def run(self, func: FuncOp, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Execute ``func``; ``inputs`` and the outputs are named as ``func`` names them.

        Quantized inputs and outputs are stored integers in integer mode, reals otherwise. Where
        ``takes_any_batch`` says so, the leading axis of the inputs may have any length.

        Raises: DiagnosticError for missing, unknown or unfitting inputs, an operation without a
        kernel, and whatever kernels find wrong.
        """
        plan = self._plan(func)
        arguments = self._checked_inputs(func, inputs, plan.any_batch)
        self.state.clear()
        results = self._execute_plan(plan, arguments)
        return {func.result_name(index): result for index, result in enumerate(results)}

    def takes_any_batch(self, func: FuncOp) -> bool:
        """Whether ``func``, made for a batch of one, runs on several images at once.

        Raises: DiagnosticError for operations without a kernel.
        """
        return self._plan(func).any_batch

    # -------------------------------------------------------------- preparation

    def _plan(self, func: FuncOp) -> _Plan:
        # An observer wants to see each result, and so does what rounds or replaces them.
        fused = self.observer is None and self.replace is None and self.mode is Mode.FLOAT
        plan = self._plans.get((func, fused))
        if plan is None:
            plan = self._plans[func, fused] = self._make_plan(func, fused)
        return plan

    def _make_plan(self, func: FuncOp, fused: bool) -> _Plan:
        diagnostics = DiagnosticCollector()
        returned = list(func.return_op.operands)
        if not self._calling:
            _check_names(func, "inputs", map(func.argument_name, func.body.arguments), diagnostics)
            _check_names(func, "outputs", map(func.result_name, range(len(returned))), diagnostics)
        constants: dict[Value, Any] = {}
        chosen: list[_Step] = []
        for op in func.body.operations:
            if isinstance(op, ReturnOp):
                continue
            kernel = self._kernel_for(op, diagnostics)
            if kernel is None:
                continue
            step = _Step(op, kernel, tuple(op.operands))
            if kernel.constant:
                self._execute(step, constants, observed=False)
            else:
                chosen.append(step)
        diagnostics.raise_if_errors()
        steps = _with_chains(chosen, returned) if fused else chosen
        return _Plan(
            constants, _with_last_uses(steps, returned), returned, _any_batch(func, chosen)
        )

    def _call_kernel(self, op: CallOp) -> Kernel:
        """A function is executed as its operations are."""
        function = called_function(op)
        if function is None or function.is_declaration or op in self._calling:
            why = "calls itself" if op in self._calling else "is not in the module"
            raise DiagnosticError.at(op.location, f"'@{op.callee}' cannot run: it {why}")
        self._calling.append(op)
        try:
            plan = self._plan(function)
        finally:
            self._calling.pop()

        def run(op: CallOp, values: Values) -> list[Any]:
            arguments = zip(function.body.arguments, op.operands, strict=True)
            results = self._execute_plan(
                plan, {argument: values[operand] for argument, operand in arguments}
            )
            return results if len(results) != 1 else results[0]

        return Kernel(run, Numbers.STORED, lambda _: plan.any_batch, constant=False)

    def _kernel_for(self, op: Operation, diagnostics: DiagnosticCollector) -> Kernel | None:
        if isinstance(op, CallOp):
            try:
                return self._call_kernel(op)
            except DiagnosticError as error:
                diagnostics.diagnostics += error.diagnostics
                return None
        real = find_kernel(op, Numbers.REAL)
        stored = find_kernel(op, Numbers.STORED)
        on_integers = any(is_quantized_tensor(result.type) for result in op.results)
        if self.mode is not Mode.INTEGER:
            found, other = real, stored
            advice = "it computes on stored integers: run in integer mode"
        elif on_integers:
            found, other = stored, real
            advice = "it has no integer arithmetic: 'insert-converters' rewrites it where it can"
        else:
            found, other = real or stored, None
            advice = ""
        if found is None:
            reason = advice if other is not None else "there is no kernel for it"
            diagnostics.error(
                op.location, f"'{op.name}' cannot run in {self.mode.value} mode: {reason}"
            )
        return found

    # -------------------------------------------------------------- execution

    def _execute_plan(self, plan: _Plan, arguments: Mapping[Value, Any]) -> list[Any]:
        """What a function returns for ``arguments``."""
        environment = {**plan.constants, **arguments}
        for step in plan.steps:
            self._execute(step, environment)
        return [environment[value] for value in plan.returned]

    def _execute(
        self, step: _Step, environment: dict[Value, Any], *, observed: bool = True
    ) -> None:
        op, kernel = step.op, step.kernel
        as_reals = self.mode is Mode.INTEGER and kernel.numbers is Numbers.REAL
        try:
            output = kernel.function(op, Values(self, environment, as_reals))
        except OperandError as error:
            raise DiagnosticError.at(
                op.location, f"{describe(op)} cannot be computed: {error}"
            ) from error
        except (MemoryError, ValueError) as error:
            # numpy refuses with a ValueError what no machine could hold.
            if isinstance(error, ValueError) and not str(error).startswith(_TOO_LARGE):
                raise
            raise DiagnosticError.at(
                op.location, f"{describe(op)} cannot be computed: memory does not suffice"
            ) from error
        results = list(output) if len(op.results) > 1 else [output] * len(op.results)
        for value, result in zip(op.results, results, strict=True):
            # Of a scalar numpy makes no array, but a number.
            array: Any = np.asarray(result) if np.isscalar(result) else result
            environment[value] = settled(array, value.type, self.mode)
        if observed and self.replace is not None and len(op.results) == 1:
            (value,) = op.results
            environment[value] = self.replace(op, environment[value])
        if observed and self.observer is not None:
            self.observer(op, [environment[value] for value in op.results])
        for value in step.last_uses:
            del environment[value]

    # -------------------------------------------------------------- inputs

    def _checked_inputs(
        self, func: FuncOp, inputs: Mapping[str, Array], any_batch: bool
    ) -> dict[Value, Any]:
        arguments = {func.argument_name(argument): argument for argument in func.body.arguments}
        known = ", ".join(f"'{name}'" for name in arguments) or "none"
        diagnostics = DiagnosticCollector()
        for name in inputs:
            if name not in arguments:
                diagnostics.error(
                    func.location, f"'@{func.sym_name}' has no input '{name}'; it takes {known}"
                )
        environment: dict[Value, Any] = {}
        for name, argument in arguments.items():
            array = inputs.get(name)
            type = argument.type
            if array is None:
                diagnostics.error(func.location, f"input '{name}' is missing; it is '{type}'")
            elif not isinstance(type, TensorType):
                diagnostics.error(
                    func.location, f"input '{name}' is '{type}', which no array can be given for"
                )
            elif not _fits(array.shape, type, any_batch):
                diagnostics.error(
                    func.location,
                    f"input '{name}' must have shape {text_of(type.shape)}, "
                    f"not {text_of(array.shape)}",
                )
            else:
                element = type.element
                if isinstance(element, QuantizedType) and self.mode is not Mode.INTEGER:
                    element = element.expressed
                expected = dtype_of(element)
                fault = _dtype_fault(array, expected)
                if fault is not None:
                    diagnostics.error(func.location, f"input '{name}' {fault}")
                else:
                    environment[argument] = settled(
                        array.astype(expected, copy=False), type, self.mode
                    )
        if len({array.shape[0] for array in environment.values() if array.ndim}) > 1 and any_batch:
            diagnostics.error(func.location, "the inputs have different numbers of images")
        diagnostics.raise_if_errors()
        return environment


def _check_names(
    func: FuncOp, what: str, names: Iterable[str], diagnostics: DiagnosticCollector
) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            diagnostics.error(
                func.location,
                f"two {what} of '@{func.sym_name}' are called '{name}'; give them names "
                f"({NAME_ATTRIBUTE})",
            )
        seen.add(name)


def _with_chains(steps: Sequence[_Step], returned: Sequence[Value]) -> list[_Step]:
    """The steps, those that can be computed with the one before as one, in place of the last."""
    absorbed: set[Operation] = set()
    chains: dict[Operation, _Step] = {}
    for step in steps:
        fusion = find_fusion(step.op)
        if fusion is None or step.op in absorbed:
            continue
        chain = [step.op]
        while True:
            value = chain[-1].results[0]
            ends = value in returned or is_fake_quantized(value.type)
            follower = value.users[0] if value.has_one_use and not ends else None
            if follower is None or follower in absorbed or not fusion.absorbs(chain, follower):
                break
            chain.append(follower)
        if len(chain) > 1:
            absorbed.update(chain)
            chains[chain[-1]] = _chain_step(step, fusion, chain)
    return [
        chains.get(step.op, step) for step in steps if step.op in chains or step.op not in absorbed
    ]


def _chain_step(first: _Step, fusion: Fusion, chain: Sequence[Operation]) -> _Step:
    inner = {op.results[0] for op in chain[:-1]}
    reads = tuple(value for op in chain for value in op.operands if value not in inner)

    def function(op: Operation, values: Values) -> Any:
        return fusion.function(chain, values)

    return _Step(chain[-1], evolve(first.kernel, function=function), reads)


def _with_last_uses(steps: Sequence[_Step], returned: Sequence[Value]) -> list[_Step]:
    """Steps that free each value after the one that reads it last."""
    read_later: set[Value] = set(returned)
    freeing: list[_Step] = []
    for step in reversed(steps):
        dead = tuple(
            value
            for value in dict.fromkeys((*step.reads, *step.op.results))
            if value not in read_later
        )
        read_later.update(dead)
        freeing.append(evolve(step, last_uses=dead))
    freeing.reverse()
    return freeing


def _any_batch(func: FuncOp, steps: Sequence[_Step]) -> bool:
    leading = {
        argument.type.shape[0]
        if isinstance(argument.type, TensorType) and argument.type.shape
        else None
        for argument in func.body.arguments
    }
    return leading == {1} and all(step.kernel.any_batch(step.op) for step in steps)


def _fits(shape: Sequence[int], type: TensorType, any_batch: bool) -> bool:
    if len(shape) != len(type.shape):
        return False
    start = 1 if any_batch else 0
    return tuple(shape[start:]) == type.shape[start:] and 0 not in shape


def _dtype_fault(array: Array, expected: np.dtype[Any]) -> str | None:
    """Why the numbers of ``array`` are no ``expected``, or None where they are."""
    if array.dtype.kind not in ("biu" if expected.kind in "iu" else "biuf"):
        return f"must hold {expected}, not {array.dtype}"
    if expected.kind in "iu" and not np.can_cast(array.dtype, expected, "safe"):
        # Wider integers are taken where their values fit.
        limits = np.iinfo(expected)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            return f"must hold {expected}, but spans {low} to {high}"
    return None
