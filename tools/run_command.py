"""What nvdla-run does: arrays in, a program executed on all images, arrays and reports out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from attrs import evolve

from nvdla_ir.files import StrPath
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.source_lines import SourceLines

from .command_line import (
    INPUT_AT_FAULT,
    STANDARD_STREAM,
    SUCCESS,
    DiagnosticPrinter,
    UsageError,
    informed,
    parse_arguments,
    run_handled,
    use_one_thread,
    write_output,
)
from .run_options import (
    DESCRIPTION,
    FLAGS,
    NAME,
    USAGE,
    MemoryFile,
    NamedFile,
    Options,
    checked_options,
)
from .saturation import saturation_warnings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nvdla_ir.dialects.func import FuncOp

    from .device_report import DeviceReporter
    from .loaded_program import Program
    from .program_sources import ProgramSource

    Array = NDArray[Any]

_SHOWN_CLASSES = 10


def run(argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    """See ``EntryPoint``."""
    printer = DiagnosticPrinter(stderr, SourceLines.of_command(argv))

    def body() -> int:
        arguments = parse_arguments(argv, FLAGS.get, lambda: FLAGS)
        if informed(arguments, NAME, USAGE, DESCRIPTION, FLAGS.values(), stdout):
            return SUCCESS
        options = checked_options(arguments)
        use_one_thread()
        program = _load(options, options.program, stdin, printer)
        options = _with_names(options, program.func)
        if options.compare is None:
            return _execute(program, options, stdin, stdout, printer)
        from .compare_command import compare

        second = _load(evolve(options, mode=None), options.compare, stdin, printer)
        return compare(program, second, options, stdin, stdout, printer)

    return run_handled(body, printer, NAME, stdout)


def _load(options: Options, path: str, stdin: TextIO, printer: DiagnosticPrinter) -> Program:
    """Raises: DiagnosticError, UsageError"""
    from nvdla_ir.interp.machine import Mode

    from .loaded_program import Program

    source = _source(options, path, stdin, printer)
    if options.checks:
        from .memory_files import CheckedSource

        source = CheckedSource.of(source, options.checks, stdin)
    mode = Mode(options.mode) if options.mode else None
    program = Program.load(source, mode, options.lenient)
    printer.show(program.remarks)
    return program


def _with_names(options: Options, func: FuncOp) -> Options:
    """The files by the names of inputs and outputs that ``func`` has. Raises: UsageError"""
    arguments = [func.argument_name(argument) for argument in func.body.arguments]
    results = [func.result_name(index) for index in range(len(func.return_op.operands))]
    inputs = tuple(item.among(arguments) for item in options.inputs)
    names = [item.name for item in inputs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the input '{name}' is given twice")
    return evolve(
        options,
        inputs=inputs,
        outputs=tuple(item.among(results) for item in options.outputs),
    )


def _source(
    options: Options, path: str, stdin: TextIO, printer: DiagnosticPrinter
) -> ProgramSource:
    from .program_sources import LoadableSource, TextSource, is_trace, read_model, trace_source

    if is_trace(path):
        if options.hardware_only:
            raise UsageError("'--hardware-only' is for loadables")
        return trace_source(path, options.target)
    file, content = read_model(path, stdin)
    if isinstance(content, bytes):
        return LoadableSource(
            content,
            file,
            options.target,
            frozenset(item.name for item in options.inputs if item.raw),
            frozenset(item.name for item in options.outputs if item.raw),
            options.hardware_only,
        )
    given = {"target": options.target is not None, "hardware-only": options.hardware_only}
    for flag, present in given.items():
        if present and options.compare is None:
            raise UsageError(f"'--{flag}' is for traces and loadables; IR says what it is for")
    printer.texts[file] = content
    directory = Path() if path == STANDARD_STREAM else Path(file).parent
    return TextSource(content, file, directory, options.plugins)


# -------------------------------------------------------------- running


def _execute(
    program: Program,
    options: Options,
    stdin: TextIO,
    stdout: TextIO,
    printer: DiagnosticPrinter,
) -> int:
    from nvdla_ir.evaluation.batches import image_count
    from nvdla_ir.interp.boundary import bytes_of_array, output_array

    from .array_files import encoded, write_files
    from .image_runs import ImageProgress, run_images

    func = program.func
    results = {
        func.result_name(index): value.type for index, value in enumerate(func.return_op.operands)
    }
    for item in options.outputs:
        _check_name(func, "output", item.name, list(results))
    kept = _check_outputs(program, options)
    inputs = _read_inputs(program, options, stdin, printer)
    images = image_count(func, inputs)
    labels = _read_labels(options, images, stdin)
    reporter = _reporter(program, options, stdout)
    with ImageProgress(images, printer.stderr) as progress:
        stored = run_images(program, inputs, options.jobs, progress)
    if reporter is not None:
        printer.show(reporter.remarks)
    arrays = {
        name: output_array(array, results[name], program.mode) for name, array in stored.items()
    }
    report = ""
    if labels is not None:
        report = _accuracy(next(iter(arrays.values())), labels, stdout)
    elif not options.outputs:
        report = "".join(_summary(name, array) for name, array in arrays.items())
    contents = encoded(
        (item.file, item.name, arrays[item.name]) for item in options.outputs if not item.raw
    )
    contents |= {
        item.file: bytes_of_array(stored[item.name]) for item in options.outputs if item.raw
    }
    failed = False
    if reporter is not None:
        contents |= reporter.files(options)
        report += reporter.summary + reporter.tables(options, stdout)
        failed = reporter.failed > 0
    write_files(contents, stdout, kept)
    write_output(report, stdout)
    return INPUT_AT_FAULT if failed else SUCCESS


def _check_outputs(program: Program, options: Options) -> Sequence[StrPath]:
    """See that the outputs can be written and replace nothing that is read, but an array where a
    single array was read, and bytes where bytes were.

    Returns: what no output may replace. Raises: DiagnosticError with all faults.
    """
    from .array_files import NPZ, check_writable, split_key

    kept = [options.program, *options.plugins, *program.machine.resources.sources]
    specs = [item.file for item in options.inputs if not item.raw]
    specs += [] if options.labels is None else [options.labels]
    arrays = [split_key(spec)[0] for spec in specs]
    archives = [file for file in arrays if file.endswith(NPZ)]
    given_bytes = [item.file for item in (*options.inputs, *options.checks) if _is_raw(item)]
    written: list[tuple[Iterable[str], list[str]]] = [
        ((item.file for item in options.outputs if not item.raw), [*archives, *given_bytes]),
        ((item.file for item in (*options.outputs, *options.dumps) if _is_raw(item)), arrays),
        ([options.trace_registers] if options.trace_registers else [], [*arrays, *given_bytes]),
    ]
    faults = DiagnosticCollector()
    for outputs, of_other_kind in written:
        try:
            check_writable(outputs, [*kept, *of_other_kind])
        except DiagnosticError as error:
            faults.diagnostics += error.diagnostics
    faults.raise_if_errors()
    return kept


def _is_raw(item: NamedFile | MemoryFile) -> bool:
    return isinstance(item, MemoryFile) or item.raw


def _reporter(program: Program, options: Options, stdout: TextIO) -> DeviceReporter | None:
    """What watches a register program; None for programs of other levels, which must not pay for
    loading the device.

    Raises: DiagnosticError where the command line asks about hardware that is not used.
    """
    from nvdla_ir.interp.machine import executed_operations

    if not any(op.name.startswith("csb.") for op in executed_operations(program.func)):
        if options.needs_device:
            raise DiagnosticError.at(
                program.func.location,
                f"nothing of '@{program.func.sym_name}' runs on the hardware, but "
                f"{', '.join(options.needs_device)} ask about it: 'nvdla-opt --compile=T' makes "
                "register programs",
            )
        return None
    from .device_report import DeviceReporter

    reporter = DeviceReporter(
        program.machine, lambda line: write_output(f"{line}\n", stdout), options.trace_registers
    )
    program.machine.observer = reporter.observe
    return reporter


def _read_inputs(
    program: Program, options: Options, stdin: TextIO, printer: DiagnosticPrinter
) -> dict[str, Array]:
    """What the machine takes, by name; a warning of what saturates.

    Raises: DiagnosticError with all faults.
    """
    from nvdla_ir.interp.boundary import array_of_bytes, input_array
    from nvdla_ir.interp.machine import Mode

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
    given: dict[str, Array] = {}
    for item in options.inputs:
        type = types[item.name]
        try:
            if item.raw:
                array = array_of_bytes(read_raw(item.file, stdin), type)
            else:
                array = given[item.name] = read_array(item.file, item.name, stdin)
            inputs[item.name] = input_array(array, type, program.mode)
        except ValueError as error:
            faults.error(func.location, f"the input '{item.name}' in '{item.file}' {error}")
    faults.raise_if_errors()
    if program.mode is not Mode.FLOAT:
        printer.show(saturation_warnings(func, given))
    return inputs


def _read_labels(options: Options, images: int, stdin: TextIO) -> Array | None:
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
    # A constant may be one number, repeated without end.
    stored = array[tuple(slice(None if stride else 1) for stride in array.strides)]
    if array.size:
        line += f", {stored.min():.6g} to {stored.max():.6g}"
    if array.ndim >= 2 and array.size == array.shape[0] * array.shape[1] and array.shape[1] > 1:
        shown = stored[:_SHOWN_CLASSES].reshape(-1, stored.shape[1]).argmax(axis=1)
        count = min(len(array), _SHOWN_CLASSES)
        strongest = (shown.tolist() * count)[:count]
        line += f", argmax {' '.join(map(str, strongest))}"
        line += " …" if len(array) > _SHOWN_CLASSES else ""
    return f"{line}\n"


def _accuracy(scores: Array, labels: Array, stdout: TextIO) -> str:
    """Top-1 and top-5: a table on a terminal, else one line each."""
    from .classification import count_hits
    from .tables import format_table

    counted = count_hits(scores, labels)
    if stdout.isatty():
        rows = [
            (f"top-{hits.places}", f"{hits.percentage:.2f} %", f"{hits.hits} of {hits.images}")
            for hits in counted
        ]
        return format_table(("accuracy", "share", "images"), rows, stdout)
    return "".join(
        f"top-{hits.places} {hits.percentage:.2f} % ({hits.hits} of {hits.images})\n"
        for hits in counted
    )
