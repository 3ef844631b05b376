"""A program to execute: one function of a module, with its weights and a machine."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp, entry_functions
from nvdla_ir.dialects.quant import GridType
from nvdla_ir.interp.machine import Machine, Mode, default_mode
from nvdla_ir.interp.quantization import element_of
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError

from .program_sources import ProgramSource

ENTRY = "main"


@frozen(eq=False)
class Program:
    """A function ready to run, and the source it came from, which other processes open again."""

    source: ProgramSource
    mode: Mode
    func: FuncOp
    machine: Machine
    remarks: tuple[Diagnostic, ...]

    @staticmethod
    def load(source: ProgramSource, mode: Mode | None = None, lenient: bool = False) -> Program:
        """Open ``source``. Without a ``mode`` the types decide; ``lenient`` is the machine's.

        Raises: DiagnosticError for faults of the source, missing weights, no function to run, a
        ``mode`` that means nothing for it, operations that cannot be executed.
        """
        opened = source.open()
        func = _entry_function(opened.module)
        chosen = default_mode(func) if mode is None else mode
        _check_mode(func, chosen)
        machine = Machine(opened.resources, chosen, lenient=lenient)
        machine.takes_any_batch(func)  # finds operations without a kernel now
        return Program(source, chosen, func, machine, opened.remarks)


def _entry_function(module: ModuleOp) -> FuncOp:
    functions = entry_functions(module)
    for func in functions:
        if func.sym_name == ENTRY or len(functions) == 1:
            return func
    names = ", ".join(f"'@{func.sym_name}'" for func in functions)
    raise DiagnosticError.at(
        module.location,
        f"there is no function '@{ENTRY}' to run, but {names}"
        if functions
        else "there is no function to run",
    )


def _check_mode(func: FuncOp, mode: Mode) -> None:
    if mode is Mode.FLOAT or default_mode(func) is not Mode.FLOAT:
        return
    if mode is Mode.FAKE_QUANTIZED and _has_calibrated(func):
        return
    missing, advice = (
        ("quantized", "'nvdla-opt --quantize' makes it so")
        if mode is Mode.INTEGER
        else ("calibrated or quantized", "'nvdla-opt --import-calib=…' makes it so")
    )
    raise DiagnosticError.at(
        func.location,
        f"'@{func.sym_name}' cannot run in {mode.value} mode: nothing in it is {missing}; {advice}",
    )


def _has_calibrated(func: FuncOp) -> bool:
    values = [*func.body.arguments]
    return any(isinstance(element_of(v.type), GridType) for v in values) or any(
        isinstance(element_of(result.type), GridType)
        for op in func.body.operations
        for result in op.results
    )
