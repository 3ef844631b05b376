"""``nvdla-run A --compare B``: two programs on the same inputs, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from nvdla_ir.ir.diagnostics import DiagnosticCollector

from .command_line import SUCCESS, DiagnosticPrinter, UsageError, write_output
from .figures import Cell, align, decibels, number, shade
from .saturation import saturation_warnings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nvdla_ir.evaluation.comparison import ComparedLayer, ComparisonResult
    from nvdla_ir.evaluation.recording import Executable

    from .loaded_program import Program
    from .run_options import Options

    Array = NDArray[Any]

_LISTED = 8


def compare(
    first: Program,
    second: Program,
    options: Options,
    stdin: TextIO,
    stdout: TextIO,
    printer: DiagnosticPrinter,
) -> int:
    """Print a table with how far each layer of ``second`` is from that of ``first``, and which is
    the first that differs where both compute on the same numbers.

    Raises: DiagnosticError for unfitting inputs, programs that have nothing in common and what
    the machines find wrong, UsageError for options that mean nothing here.
    """
    from nvdla_ir.evaluation.comparison import compare as compare_programs
    from nvdla_ir.interp.machine import Mode

    from .image_runs import ImageProgress

    if any(item.raw for item in options.inputs):
        raise UsageError("'--compare' takes arrays, which each program quantizes: use '--input'")
    if options.outputs or options.labels:
        raise UsageError("'--compare' prints a table: leave out '--output' and '--labels'")
    inputs = _read_inputs(first, options, stdin)
    for program in (first, second):
        if program.mode is not Mode.FLOAT:
            printer.show(saturation_warnings(program.func, inputs))
    images = max((len(array) for array in inputs.values() if array.ndim), default=1)
    with ImageProgress(images, printer.stderr) as progress:
        result = compare_programs(
            _executable(first), _executable(second), inputs, advance=progress.advance
        )
    write_output(_report(result, stdout), stdout)
    return SUCCESS


def _executable(program: Program) -> Executable:
    from nvdla_ir.evaluation.recording import Executable

    machine = program.machine
    return Executable(program.func, machine.resources, program.mode, machine.lenient)


def _read_inputs(program: Program, options: Options, stdin: TextIO) -> dict[str, Array]:
    """The arrays as the files have them. Raises: DiagnosticError where one is missing."""
    from .array_files import read_array

    func = program.func
    faults = DiagnosticCollector()
    given = [item.name for item in options.inputs]
    for argument in func.body.arguments:
        name = func.argument_name(argument)
        if name not in given:
            faults.error(
                func.location,
                f"input '{name}' is missing; it is '{argument.type}': --input {name}=FILE",
            )
    faults.raise_if_errors()
    return {item.name: read_array(item.file, item.name, stdin) for item in options.inputs}


def _report(result: ComparisonResult, stdout: TextIO) -> str:
    from .tables import format_table

    # Where nothing can be equal, there is nothing to say about equality.
    with_bits = result.bit_exact is not None
    headings = ["layer", "first", "second", "SQNR dB", "cosine", "max error"]
    rows = [_row(layer, with_bits, stdout.isatty()) for layer in result.layers]
    if with_bits:
        headings.append("differ")
    table = format_table(headings, align(rows, start=3), stdout)
    return table + "".join(f"{line}\n" for line in _summary(result))


def _row(layer: ComparedLayer, with_bits: bool, coloured: bool) -> list[Cell]:
    errors = layer.errors
    row: list[Cell] = [
        layer.name if layer.kind == "layer" else f"{layer.name} (output)",
        *layer.operations,
        shade(decibels(errors.sqnr), errors.sqnr, coloured),
        f"{errors.cosine:.6f}",
        number(errors.largest),
    ]
    if with_bits:
        differing = errors.differing
        row.append("" if differing is None else f"{differing} of {errors.elements}")
    return row


def _summary(result: ComparisonResult) -> list[str]:
    plural = "image" if result.images == 1 else "images"
    lines = [f"{len(result.layers)} layers compared on {result.images} {plural}"]
    first = result.first_difference
    if first is not None:
        lines.append(
            f"first layer that differs: {first.name} "
            f"({first.errors.differing} of {first.errors.elements} elements, "
            f"by up to {number(first.errors.largest)})"
        )
    elif result.bit_exact:
        lines.append("equal bit for bit")
    for which, names in zip(("first", "second"), result.unmatched, strict=True):
        if names:
            shown = ", ".join(names[:_LISTED]) + (" …" if len(names) > _LISTED else "")
            lines.append(f"{len(names)} only in the {which}: {shown}")
    return lines
