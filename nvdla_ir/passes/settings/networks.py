"""Networks: a host's function and the device programs that it calls."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import CallOp, FuncOp, ReturnOp
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import (
    ConvOp,
    DownloadOp,
    MemoryOp,
    UploadOp,
    WaitOp,
    called_program,
    is_program,
)
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector
from nvdla_ir.ir.operation import BlockArgument, Operation, Result, Value


@frozen(eq=False)
class Network:
    """``host`` calls each of ``programs``, in this order, once. They share one memory, in which
    the tensors that they hand to each other stay."""

    host: FuncOp
    programs: tuple[FuncOp, ...]
    _calls: dict[FuncOp, CallOp]

    @property
    def functions(self) -> tuple[FuncOp, ...]:
        """The host and the programs."""
        return self.host, *self.programs

    def operations(self) -> Iterator[Operation]:
        """Those of the host and of the programs, in the order in which they run."""
        programs = {call: program for program, call in self._calls.items()}
        for op in self.host.body.operations:
            program = programs.get(op) if isinstance(op, CallOp) else None
            if program is None:
                yield op
            else:
                yield from program.body.operations

    def source(self, value: Value) -> Value:
        """The value that ``value`` is, as an argument or result of a program, in the function in
        which it is made."""
        while True:
            if isinstance(value, BlockArgument):
                call = self._calls.get(_function_of(value))
                if call is None:
                    return value
                value = call.operands[value.index]
            else:
                program = called_program(value.defining_operation)
                if program is None:
                    return value
                assert isinstance(value, Result)
                value = program.return_op.operands[value.index]

    def readers(self, value: Value) -> Iterator[Operation]:
        """The operations that read ``value``, also as an argument or result of a program."""
        for user, index in value.uses:
            program = called_program(user)
            if program is not None:
                yield from self.readers(program.body.arguments[index])
            elif isinstance(user, ReturnOp) and user.parent_op in self._calls:
                assert isinstance(user.parent_op, FuncOp)
                yield from self.readers(self._calls[user.parent_op].results[index])
            else:
                yield user


def _function_of(argument: BlockArgument) -> FuncOp:
    function = argument.block.parent_op
    assert isinstance(function, FuncOp)
    return function


def networks(module: ModuleOp) -> list[Network]:
    """The networks of a module: its functions that use the hardware.

    Raises: DiagnosticError, with all faults, for hardware layers outside of device programs, for
    anything else inside, and for programs that are not called once.
    """
    faults = DiagnosticCollector()
    found: list[Network] = []
    calls: dict[FuncOp, CallOp] = {}
    functions = [op for op in module.body.operations if isinstance(op, FuncOp)]
    for function in functions:
        if function.is_declaration:
            continue
        if is_program(function):
            faults.diagnostics += _faults_inside(function)
            continue
        own: dict[FuncOp, CallOp] = {}
        outside: list[Operation] = []
        uses_hardware = False
        for op in function.body.operations:
            program = called_program(op)
            if program is not None and isinstance(op, CallOp):
                if program in calls:
                    faults.diagnostics.append(_called_again(op, calls[program]))
                    continue
                own[program] = calls[program] = op
            elif isinstance(op, MemoryOp | ConvOp | WaitOp) and not isinstance(op, UploadOp):
                outside.append(op)
            else:
                uses_hardware |= isinstance(op, UploadOp | DownloadOp)
        if outside:
            faults.diagnostics.append(_outside(outside))
        if own or uses_hardware:
            found.append(Network(function, tuple(own), own))
    for function in functions:
        if is_program(function) and function not in calls and not function.is_declaration:
            faults.error(
                function.location,
                f"the device program '@{function.sym_name}' is called by no function",
            )
    faults.raise_if_errors()
    return found


def _outside(operations: list[Operation]) -> Diagnostic:
    more = f" and {len(operations) - 1} more" if len(operations) > 1 else ""
    return Diagnostic.error(
        operations[0].location,
        f"{describe(operations[0])}{more} of the hardware in a function of the host: run "
        "'outline-device-programs' first, which makes device programs of them",
    )


def _faults_inside(program: FuncOp) -> Iterator[Diagnostic]:
    for op in program.body.operations:
        if isinstance(op, UploadOp) or not isinstance(op, MemoryOp | ConvOp | WaitOp | ReturnOp):
            yield Diagnostic.error(
                op.location,
                f"{describe(op)} stands in the device program '@{program.sym_name}', but the "
                "hardware does not do it: it belongs to the host's function",
            )


def _called_again(call: CallOp, first: CallOp) -> Diagnostic:
    return Diagnostic.error(
        call.location,
        f"the device program '@{call.callee}' is called a second time, but its buffers are bound "
        "once: give each call a program of its own",
        [Diagnostic.note(first.location, "called here first")],
    )
