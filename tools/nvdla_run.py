"""nvdla-run: execute a program, on any level of the IR."""

# numpy's stubs leave parts of many overloads unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO

from nvdla_ir.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .loaded_program import Program

    Array = NDArray[Any]

_STANDARD_INPUT = "<stdin>"
_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
_SHOWN_CLASSES = 10


def main(
    argv: Sequence[str] | None = None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Run the tool with the arguments ``argv`` (without the program's name) on these streams;
    those of the process where they are not given.

    Returns: 0 on success, 1 if an input is at fault (diagnostics on ``stderr``), 2 for wrong
    usage.
    """
    source, sink, log = stdin or sys.stdin, stdout or sys.stdout, stderr or sys.stderr
    parser = _argument_parser()
    try:
        with redirect_stdout(sink), redirect_stderr(log):
            arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
            _check_usage(parser, arguments)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 2
    return _run(arguments, source, sink, log)


# -------------------------------------------------------------- arguments


def _argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nvdla-run",
        description="Execute a program: floats, calibrated or quantized layers, hardware layers, "
        "a register program; the IR itself says which. Floats given for an input of stored "
        "integers are quantized with its scale, and stored outputs are given back as reals.",
        epilog="FILE is x.npy, x.npz, x.npz:key, or - for standard input or output. An input "
        "with more images along its leading axis than the program takes is run batch by batch "
        "and the outputs are stacked.",
    )
    parser.add_argument("model", help="the program; - for standard input")
    for flag, help_ in (
        ("--input", "elements of an input"),
        ("--output", "where an output goes"),
        ("--raw-input", "an input's stored bytes: row-major, little-endian, without a header"),
        ("--raw-output", "where an output's stored bytes go"),
    ):
        parser.add_argument(
            flag, metavar="NAME=FILE", action="append", type=_named_file, default=[], help=help_
        )
    parser.add_argument(
        "--mode",
        choices=("float", "fake-quantized", "integer"),
        help="compute on reals, on reals rounded to the grids of calibrated and quantized types, "
        "or on stored integers; by default what the IR's types say",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="the class of each image: print how often the first output has it on top",
    )
    parser.add_argument(
        "--jobs", metavar="N", type=_job_count, default=1, help="processes that share the images"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _named_file(text: str) -> tuple[str, str]:
    name, separator, file = text.partition("=")
    if not (name and separator and file):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=FILE")
    return name, file


def _job_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of processes from 1 on")
    return int(text)


def _check_usage(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    names = [name for name, _ in (*arguments.input, *arguments.raw_input)]
    for name in names:
        if names.count(name) > 1:
            parser.error(f"the input '{name}' is given twice")
    files = [file for _, file in (*arguments.output, *arguments.raw_output)]
    for file in files:
        if files.count(file) > 1 and not file.endswith(".npz"):
            parser.error(f"'{file}' would be written twice")
    readers = [file for _, file in (*arguments.input, *arguments.raw_input)]
    if [arguments.model, *readers, arguments.labels].count("-") > 1:
        parser.error("standard input can be read once only")


# -------------------------------------------------------------- running


def _run(arguments: argparse.Namespace, stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    from nvdla_ir.ir.diagnostics import DiagnosticError, read_source, render

    # Before numpy is loaded: one thread a process is quickest, and --jobs uses the other cores.
    for variable in _THREAD_VARIABLES:
        os.environ.setdefault(variable, "1")
    texts: dict[str, str] = {}

    def source(file: str) -> str | None:
        return texts[file] if file in texts else read_source(file)

    try:
        program = _load(arguments, stdin, texts)
        _execute(program, arguments, stdin, stdout, stderr)
    except DiagnosticError as error:
        for diagnostic in error.diagnostics:
            print(render(diagnostic, source), file=stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=stderr)
        return 1
    return 0


def _load(arguments: argparse.Namespace, stdin: TextIO, texts: dict[str, str]) -> Program:
    from pathlib import Path

    from nvdla_ir.files import decode_utf8, read_text
    from nvdla_ir.interp.machine import Mode

    from .loaded_program import Program

    if arguments.model == "-":
        file, directory = _STANDARD_INPUT, Path()
        binary = getattr(stdin, "buffer", None)
        text = stdin.read() if binary is None else decode_utf8(binary.read(), file)
    else:
        file, directory = arguments.model, Path(arguments.model).parent
        text = read_text(arguments.model)
    texts[file] = text
    return Program.load(text, file, directory, Mode(arguments.mode) if arguments.mode else None)


def _execute(
    program: Program,
    arguments: argparse.Namespace,
    stdin: TextIO,
    stdout: TextIO,
    stderr: TextIO,
) -> None:
    from nvdla_ir.interp.boundary import bytes_of_array, output_array

    from .array_files import check_writable, write_arrays, write_raw
    from .image_runs import ImageProgress, image_count, run_images

    func = program.func
    results = {
        func.result_name(index): value.type for index, value in enumerate(func.return_op.operands)
    }
    for name, file in (*arguments.output, *arguments.raw_output):
        _check_name(func, "output", name, list(results))
        check_writable(file)
    inputs = _read_inputs(program, arguments, stdin)
    images = image_count(func, inputs)
    labels = _read_labels(arguments, images, stdin)
    with ImageProgress(images, stderr) as progress:
        stored = run_images(program, inputs, arguments.jobs, progress)
    outputs = {
        name: output_array(array, results[name], program.mode) for name, array in stored.items()
    }
    report = ""
    if labels is not None:
        report = _accuracy(next(iter(outputs.values())), labels, stdout.isatty())
    elif not arguments.output and not arguments.raw_output:
        report = "".join(_summary(name, array) for name, array in outputs.items())
    for name, file in arguments.raw_output:
        write_raw(file, bytes_of_array(stored[name]), stdout)
    write_arrays([(file, name, outputs[name]) for name, file in arguments.output], stdout)
    stdout.write(report)


def _read_inputs(
    program: Program, arguments: argparse.Namespace, stdin: TextIO
) -> dict[str, Array]:
    """What the machine takes, by name. Raises: DiagnosticError with all faults."""
    from nvdla_ir.interp.boundary import array_of_bytes, input_array
    from nvdla_ir.ir.diagnostics import DiagnosticCollector

    from .array_files import read_array, read_raw

    func = program.func
    types = {func.argument_name(argument): argument.type for argument in func.body.arguments}
    given: list[tuple[str, str, bool]] = [
        *((name, file, False) for name, file in arguments.input),
        *((name, file, True) for name, file in arguments.raw_input),
    ]
    faults = DiagnosticCollector()
    inputs: dict[str, Array] = {}
    for name, _, _ in given:
        _check_name(func, "input", name, list(types))
    missing = [name for name in types if name not in {name for name, _, _ in given}]
    for name in missing:
        faults.error(
            func.location, f"input '{name}' is missing; it is '{types[name]}': --input {name}=FILE"
        )
    faults.raise_if_errors()
    for name, file, raw in given:
        try:
            if raw:
                array = array_of_bytes(read_raw(file, stdin), types[name])
            else:
                array = read_array(file, name, stdin)
            inputs[name] = input_array(array, types[name], program.mode)
        except ValueError as error:
            faults.error(func.location, f"the input '{name}' in '{file}' {error}")
    faults.raise_if_errors()
    return inputs


def _read_labels(arguments: argparse.Namespace, images: int, stdin: TextIO) -> Array | None:
    from .array_files import read_array
    from .classification import check_labels

    if arguments.labels is None:
        return None
    labels = read_array(arguments.labels, "labels", stdin)
    check_labels(labels, images)
    return labels


def _check_name(func: Any, kind: str, name: str, known: list[str]) -> None:
    from nvdla_ir.ir.diagnostics import DiagnosticError

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


if __name__ == "__main__":
    sys.exit(main())
