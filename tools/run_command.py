"""What nvdla-run does: arrays in, a program executed on all images, arrays and reports out."""

# numpy's stubs leave parts of many overloads unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from attrs import frozen

from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.version import __version__

from .command_line import (
    INPUT_AT_FAULT,
    STANDARD_STREAM,
    SUCCESS,
    WRONG_USAGE,
    Arguments,
    DiagnosticPrinter,
    Flag,
    UsageError,
    format_help,
    parse_arguments,
    read_input,
    write_output,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nvdla_ir.dialects.func import FuncOp

    from .loaded_program import Program

    Array = NDArray[Any]

_NAME = "nvdla-run"
_USAGE = f"{_NAME} MODEL --input NAME=FILE … [--output NAME=FILE …]"
_DESCRIPTION = (
    "Execute a program: floats, calibrated or quantized layers, hardware layers, a register "
    "program; the IR itself says which. MODEL and FILE may be - for standard input or output; "
    "arrays are in x.npy, x.npz or x.npz:key. Floats given for an input of stored integers are "
    "quantized with its scale, and stored outputs are given back as reals. An input with more "
    "images along its first axis than the program takes is run batch by batch, and the outputs "
    "are stacked."
)
_DATA, _RUNNING, _GENERAL = "inputs and outputs", "running", "general"
_NAMED = "NAME=FILE"
_FLAGS = {
    flag.name: flag
    for flag in (
        Flag("input", "an input's elements", _DATA, _NAMED),
        Flag("output", "where an output goes", _DATA, _NAMED),
        Flag(
            "raw-input",
            "an input's stored bytes: row-major, little-endian, without a header",
            _DATA,
            _NAMED,
        ),
        Flag("raw-output", "where an output's stored bytes go", _DATA, _NAMED),
        Flag(
            "labels",
            "the class of each image: print how often the first output has it on top",
            _DATA,
            "FILE",
        ),
        Flag(
            "mode",
            "compute on reals, on reals rounded to the grids of calibrated and quantized types, "
            "or on stored integers; by default what the types in the IR say",
            _RUNNING,
            "MODE",
            choices=("float", "fake-quantized", "integer"),
        ),
        Flag("jobs", "how many processes share the images; by default 1", _RUNNING, "N"),
        Flag("help", "show this text", _GENERAL),
        Flag("version", "show the version", _GENERAL),
    )
}
_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
_SHOWN_CLASSES = 10


@frozen
class _NamedFile:
    """``NAME=FILE``; raw: the file has bytes, no array."""

    name: str
    file: str
    raw: bool


@frozen
class _Options:
    """The command line, read and checked."""

    model: str
    inputs: tuple[_NamedFile, ...]
    outputs: tuple[_NamedFile, ...]
    labels: str | None
    mode: str | None
    jobs: int


def run(argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    """See ``nvdla_run.main``."""
    try:
        arguments = parse_arguments(argv, _FLAGS.get, lambda: _FLAGS)
        if arguments.has("help"):
            write_output(format_help(_USAGE, _DESCRIPTION, _FLAGS.values()), stdout)
            return SUCCESS
        if arguments.has("version"):
            write_output(f"{_NAME} {__version__}\n", stdout)
            return SUCCESS
        options = _checked_options(arguments)
    except UsageError as error:
        print(f"{_NAME}: error: {error.message}", file=stderr)
        return WRONG_USAGE
    printer = DiagnosticPrinter(stderr)
    # Before numpy is loaded: one thread a process is quickest, and --jobs uses the other cores.
    for variable in _THREAD_VARIABLES:
        os.environ.setdefault(variable, "1")
    try:
        _execute(_load(options, stdin, printer), options, stdin, stdout, stderr)
    except DiagnosticError as error:
        printer.show(error.diagnostics)
        return INPUT_AT_FAULT
    except KeyboardInterrupt:
        print(f"{_NAME}: interrupted, nothing was written", file=stderr)
        return INPUT_AT_FAULT
    return SUCCESS


# -------------------------------------------------------------- options


def _checked_options(arguments: Arguments) -> _Options:
    """Raises: UsageError"""
    if len(arguments.positionals) != 1:
        given = ", ".join(arguments.positionals) or "none"
        raise UsageError(f"one program is run, but {given} is given: {_USAGE}")
    inputs, outputs = _named_files(arguments, "input"), _named_files(arguments, "output")
    names = [item.name for item in inputs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the input '{name}' is given twice")
    files = [item.file for item in outputs]
    for item in outputs:
        if files.count(item.file) > 1 and (item.raw or not item.file.endswith(".npz")):
            raise UsageError(f"'{item.file}' would be written twice")
    options = _Options(
        arguments.positionals[0],
        inputs,
        outputs,
        arguments.value("labels"),
        arguments.value("mode"),
        _job_count(arguments),
    )
    read = [options.model, *(item.file for item in inputs), options.labels]
    if read.count(STANDARD_STREAM) > 1:
        raise UsageError("standard input can be read once only")
    return options


def _named_files(arguments: Arguments, kind: str) -> tuple[_NamedFile, ...]:
    found: list[_NamedFile] = []
    for given in arguments.flags:
        if given.flag.name not in (kind, f"raw-{kind}"):
            continue
        name, _, file = (given.value or "").partition("=")
        if not (name and file):
            raise UsageError(f"'--{given.flag.name}' takes {_NAMED}, not '{given.value}'")
        found.append(_NamedFile(name, file, given.flag.name != kind))
    return tuple(found)


def _job_count(arguments: Arguments) -> int:
    jobs = arguments.count("jobs")
    if jobs == 0:
        raise UsageError("'--jobs' takes a number from 1 on, not '0'")
    return 1 if jobs is None else jobs


# -------------------------------------------------------------- running


def _load(options: _Options, stdin: TextIO, printer: DiagnosticPrinter) -> Program:
    from nvdla_ir.interp.machine import Mode

    from .loaded_program import Program

    file, text = read_input(options.model, stdin)
    printer.texts[file] = text
    directory = Path() if options.model == STANDARD_STREAM else Path(file).parent
    return Program.load(text, file, directory, Mode(options.mode) if options.mode else None)


def _execute(
    program: Program, options: _Options, stdin: TextIO, stdout: TextIO, stderr: TextIO
) -> None:
    from nvdla_ir.interp.boundary import bytes_of_array, output_array

    from .array_files import check_writable, encoded, write_files
    from .image_runs import ImageProgress, image_count, run_images

    func = program.func
    results = {
        func.result_name(index): value.type for index, value in enumerate(func.return_op.operands)
    }
    for item in options.outputs:
        _check_name(func, "output", item.name, list(results))
        check_writable(item.file)
    inputs = _read_inputs(program, options, stdin)
    images = image_count(func, inputs)
    labels = _read_labels(options, images, stdin)
    with ImageProgress(images, stderr) as progress:
        stored = run_images(program, inputs, options.jobs, progress)
    outputs = {
        name: output_array(array, results[name], program.mode) for name, array in stored.items()
    }
    report = ""
    if labels is not None:
        report = _accuracy(next(iter(outputs.values())), labels, stdout.isatty())
    elif not options.outputs:
        report = "".join(_summary(name, array) for name, array in outputs.items())
    contents = encoded(
        (item.file, item.name, outputs[item.name]) for item in options.outputs if not item.raw
    )
    contents |= {
        item.file: bytes_of_array(stored[item.name]) for item in options.outputs if item.raw
    }
    write_files(contents, stdout)
    write_output(report, stdout)


def _read_inputs(program: Program, options: _Options, stdin: TextIO) -> dict[str, Array]:
    """What the machine takes, by name. Raises: DiagnosticError with all faults."""
    from nvdla_ir.interp.boundary import array_of_bytes, input_array

    from .array_files import read_array, read_raw

    func = program.func
    types = {func.argument_name(argument): argument.type for argument in func.body.arguments}
    for item in options.inputs:
        _check_name(func, "input", item.name, list(types))
    faults = DiagnosticCollector()
    for name, type in types.items():
        if name not in [item.name for item in options.inputs]:
            faults.error(
                func.location, f"input '{name}' is missing; it is '{type}': --input {name}=FILE"
            )
    faults.raise_if_errors()
    inputs: dict[str, Array] = {}
    for item in options.inputs:
        type = types[item.name]
        try:
            if item.raw:
                array = array_of_bytes(read_raw(item.file, stdin), type)
            else:
                array = read_array(item.file, item.name, stdin)
            inputs[item.name] = input_array(array, type, program.mode)
        except ValueError as error:
            faults.error(func.location, f"the input '{item.name}' in '{item.file}' {error}")
    faults.raise_if_errors()
    return inputs


def _read_labels(options: _Options, images: int, stdin: TextIO) -> Array | None:
    from .array_files import read_array
    from .classification import check_labels

    if options.labels is None:
        return None
    labels = read_array(options.labels, "labels", stdin)
    check_labels(labels, images)
    return labels


def _check_name(func: FuncOp, kind: str, name: str, known: list[str]) -> None:
    if name not in known:
        listed = ", ".join(f"'{other}'" for other in known) or "none"
        raise DiagnosticError.at(
            func.location, f"'@{func.sym_name}' has no {kind} '{name}'; it has {listed}"
        )


# -------------------------------------------------------------- reporting


def _summary(name: str, array: Array) -> str:
    """One line: shape, element type, range, and the strongest class of each image."""
    shape = "x".join(map(str, array.shape)) or "scalar"
    line = f"{name}: {shape} {array.dtype}"
    if array.size:
        line += f", {array.min():.6g} to {array.max():.6g}"
    if array.ndim >= 2 and array.size == array.shape[0] * array.shape[1] and array.shape[1] > 1:
        strongest = array.reshape(array.shape[:2]).argmax(axis=1)
        shown = " ".join(map(str, strongest[:_SHOWN_CLASSES]))
        line += f", argmax {shown}{' …' if len(strongest) > _SHOWN_CLASSES else ''}"
    return f"{line}\n"


def _accuracy(scores: Array, labels: Array, terminal: bool) -> str:
    """Top-1 and top-5: a table on a terminal, else one line each."""
    from .classification import count_hits

    counted = count_hits(scores, labels)
    if not terminal:
        return "".join(
            f"top-{hits.places} {hits.percentage:.2f} % ({hits.hits} of {hits.images})\n"
            for hits in counted
        )
    from rich.console import Console
    from rich.table import Table

    table = Table("accuracy", "share", "images")
    for hits in counted:
        table.add_row(
            f"top-{hits.places}", f"{hits.percentage:.2f} %", f"{hits.hits} of {hits.images}"
        )
    console = Console(force_terminal=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
