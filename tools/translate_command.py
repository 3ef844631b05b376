"""What nvdla-translate does: one translation a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.files import check_outputs, write_atomically, write_together
from nvdla_ir.frontends.cuts import Cut, ListedTensor
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.verifier import verify
from nvdla_ir.resources import ResourceStore
from nvdla_ir.source_lines import SourceLines

from .command_line import (
    STANDARD_STREAM,
    SUCCESS,
    Arguments,
    DiagnosticPrinter,
    Flag,
    GivenFlag,
    UsageError,
    informed,
    parse_arguments,
    read_input,
    run_handled,
    write_output,
)
from .loadable_output import EXPORT, FIRMWARE, FIRMWARE_HELP, FIRMWARES, LoadableOutput
from .plugin_files import plugin_flag
from .program_sources import OpenedProgram, TextSource

_NAME = "nvdla-translate"
_USAGE = f"{_NAME} --import-… SOURCE [-o FILE.ir]   or   {_NAME} --export-… FILE.ir -o …"
_DESCRIPTION = (
    "Translate other formats to IR, and IR to other formats. Tensors of IR that is written to a "
    "file go to a .safetensors file beside it. FILE and SOURCE may be - for standard input or "
    "output."
)
_IMPORT, _EXPORT, _OPTIONS, _GENERAL = "imports", "exports", "options", "general"
_FLAGS = {
    flag.name: flag
    for flag in (
        Flag("import-onnx", "an ONNX model as a network of floats", _IMPORT, "FILE"),
        Flag(
            "import-caffe",
            "a Caffe network, x.prototxt, with the weights of a second file, x.caffemodel",
            _IMPORT,
            "FILE",
        ),
        Flag(
            "import-trace",
            "a register trace, x.cfg with its .dat files, x.txn, or the directory of one, as a "
            "register program; needs --target",
            _IMPORT,
            "TRACE",
        ),
        Flag(
            "import-loadable",
            "a loadable of the vendor's compiler as a register program",
            _IMPORT,
            "FILE",
        ),
        Flag(
            "calib-txt-to-json",
            "a TensorRT calibration cache as an NVDLA JSON table",
            _IMPORT,
            "FILE",
        ),
        Flag(
            "export-trace",
            "a register program as a trace in the directory of -o, or one in it for each device "
            "program where the host computes between, with a CRC check of every output; it is run "
            "once for these",
            _EXPORT,
            "FILE",
        ),
        Flag(
            EXPORT,
            "hardware layers with their places in memory as a loadable for the vendor's runtime: "
            "what 'nvdla-opt --export-loadable' writes to -o",
            _EXPORT,
            "FILE",
        ),
        Flag("o", "where the result goes; by default standard output", _OPTIONS, "FILE"),
        Flag(
            "shape",
            "the shape of an input of an imported network, where its file leaves it open: "
            "data=1x3x224x224",
            _OPTIONS,
            "NAME=SHAPE",
        ),
        Flag(
            "inputs",
            "the tensors at which an imported network begins, by their names or those of the nodes "
            "or layers that compute them",
            _OPTIONS,
            "NAME,…",
        ),
        Flag(
            "outputs",
            "the tensors at which an imported network ends: what is behind them stays with the "
            "host",
            _OPTIONS,
            "NAME,…",
        ),
        Flag(
            "list-tensors",
            "instead of importing the network list its tensors: name, shape, type, producer",
            _OPTIONS,
        ),
        Flag(
            "model",
            "the network that a calibration cache is for: its layers' names replace TensorRT's",
            _OPTIONS,
            "FILE.ir",
        ),
        Flag("target", "the hardware that a trace or loadable is for", _OPTIONS, "T"),
        Flag(
            "input",
            "an input's elements for an exported trace; by default random ones, the same each time",
            _OPTIONS,
            "NAME=FILE",
        ),
        Flag(FIRMWARE, FIRMWARE_HELP, _OPTIONS, "VERSION", None, FIRMWARES),
        Flag(
            "hardware-only",
            "leave out what a loadable's runtime does on the CPU",
            _OPTIONS,
        ),
        plugin_flag(_OPTIONS),
        Flag("mlir-print-debuginfo", "print locations", _OPTIONS),
        Flag("help", "show this text", _GENERAL),
        Flag("version", "show the version", _GENERAL),
    )
}


@frozen(eq=False)
class _Streams:
    stdin: TextIO
    stdout: TextIO
    printer: DiagnosticPrinter


@frozen(eq=False)
class _Translation:
    """``options`` are the flags that mean something to it besides -o, ``more_files`` how many
    files it may take besides the flag's own."""

    run: Callable[[str, Arguments, _Streams], None]
    options: tuple[str, ...] = ()
    more_files: int = 0


def run(argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    """See ``EntryPoint``."""
    printer = DiagnosticPrinter(stderr, SourceLines.of_command(argv))
    streams = _Streams(stdin, stdout, printer)

    def body() -> int:
        arguments = parse_arguments(argv, _FLAGS.get, lambda: _FLAGS)
        if not informed(arguments, _NAME, _USAGE, _DESCRIPTION, _FLAGS.values(), stdout):
            given, translation = _chosen(arguments)
            translation.run(given.value or "", arguments, streams)
        return SUCCESS

    return run_handled(body, streams.printer, _NAME, stdout)


def _chosen(arguments: Arguments) -> tuple[GivenFlag, _Translation]:
    """The one translation that is asked for. Raises: UsageError"""
    chosen = [given for given in arguments.flags if given.flag.name in _TRANSLATIONS]
    names = {given.flag.name for given in chosen}
    if len(chosen) > 1:
        what = f"'--{chosen[0].flag.name}' is given {len(chosen)} times"
        if len(names) > 1:
            what = " and ".join(f"'--{name}'" for name in sorted(names)) + " are given together"
        raise UsageError(f"{what}: one file is translated a call")
    if not chosen:
        raise UsageError(f"give one of {', '.join(f'--{name}' for name in _TRANSLATIONS)}")
    translation = _TRANSLATIONS[chosen[0].flag.name]
    if len(arguments.positionals) > translation.more_files:
        extra = arguments.positionals[translation.more_files]
        raise UsageError(f"'--{chosen[0].flag.name}' has no use for '{extra}'")
    for given in arguments.flags:
        flag = given.flag
        if flag.group == _OPTIONS and flag.name not in ("o", *translation.options):
            raise UsageError(f"'--{flag.name}' means nothing to '--{chosen[0].flag.name}'")
    return chosen[0], translation


# -------------------------------------------------------------- to IR


def _import_onnx(path: str, arguments: Arguments, streams: _Streams) -> None:
    from nvdla_ir.frontends.onnx import import_onnx, list_tensors

    _check_output(arguments, path)
    resources, diagnostics = ResourceStore(), DiagnosticCollector()
    shapes = _shapes(arguments)
    if arguments.has("list-tensors"):
        listed = list_tensors(Path(path), shapes=shapes, diagnostics=diagnostics)
        _write_list(listed, diagnostics, arguments, streams)
        return
    module = import_onnx(
        Path(path), resources, shapes=shapes, diagnostics=diagnostics, cut=_cut(arguments)
    )
    _write_ir(OpenedProgram(module, resources, tuple(diagnostics.diagnostics)), arguments, streams)


def _import_caffe(path: str, arguments: Arguments, streams: _Streams) -> None:
    from nvdla_ir.frontends.caffe import import_caffe, list_blobs

    _check_output(arguments, path, *arguments.positionals)
    weights = Path(arguments.positionals[0]) if arguments.positionals else None
    resources, diagnostics = ResourceStore(), DiagnosticCollector()
    shapes = _shapes(arguments)
    if arguments.has("list-tensors"):
        listed = list_blobs(Path(path), shapes=shapes, diagnostics=diagnostics)
        _write_list(listed, diagnostics, arguments, streams)
        return
    module = import_caffe(
        Path(path),
        weights,
        resources,
        shapes=shapes,
        diagnostics=diagnostics,
        cut=_cut(arguments),
    )
    _write_ir(OpenedProgram(module, resources, tuple(diagnostics.diagnostics)), arguments, streams)


def _cut(arguments: Arguments) -> Cut:
    return Cut(tuple(arguments.values("inputs")), tuple(arguments.values("outputs")))


def _write_list(
    listed: Sequence[ListedTensor],
    diagnostics: DiagnosticCollector,
    arguments: Arguments,
    streams: _Streams,
) -> None:
    from .tables import format_table

    for flag in ("o", "inputs", "outputs"):
        if arguments.has(flag):
            raise UsageError(f"'--list-tensors' lists the whole network: '{flag}' has no use")
    streams.printer.show(diagnostics.diagnostics)
    rows = [(each.name, each.shape, each.dtype, each.producer) for each in listed]
    headings = ("tensor", "shape", "type", "producer")
    write_output(format_table(headings, rows, streams.stdout), streams.stdout)


def _shapes(arguments: Arguments) -> dict[str, tuple[int, ...]]:
    """The inputs' shapes that are given. Raises: UsageError"""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in arguments.values("shape"):
        name, _, extents = text.rpartition("=")
        sizes = extents.split("x")
        if not name or not all(size.isdecimal() and int(size) for size in sizes):
            raise UsageError(f"'--shape' takes NAME=SHAPE, as data=1x3x224x224, not '{text}'")
        shapes[name] = tuple(map(int, sizes))
    return shapes


def _import_trace(path: str, arguments: Arguments, streams: _Streams) -> None:
    from .program_sources import trace_source

    _check_output(arguments, path)
    _write_ir(trace_source(path, arguments.value("target")).open(), arguments, streams)


def _import_loadable(path: str, arguments: Arguments, streams: _Streams) -> None:
    from .array_files import read_raw
    from .program_sources import LoadableSource

    _check_output(arguments, path)
    data = read_raw(path, streams.stdin)
    source = LoadableSource(
        data, path, arguments.value("target"), hardware_only=arguments.has("hardware-only")
    )
    _write_ir(source.open(), arguments, streams)


def _check_output(arguments: Arguments, *read: str) -> None:
    """Before the work, see that its result can be written, and not over what is ``read``.

    Raises: DiagnosticError
    """
    output = arguments.value("o") or STANDARD_STREAM
    if output != STANDARD_STREAM:
        check_outputs([output], read)


def _write_ir(opened: OpenedProgram, arguments: Arguments, streams: _Streams) -> None:
    """Raises: DiagnosticError where the module would be refused on reading; nothing is written."""
    from nvdla_ir.text.printer import PrintOptions

    from .module_files import text_with_resources, write_module

    streams.printer.show(opened.remarks)
    faults = DiagnosticCollector()
    verify(opened.module, faults)
    faults.raise_if_errors()
    options = PrintOptions(locations=arguments.has("mlir-print-debuginfo"))
    output = arguments.value("o") or STANDARD_STREAM
    if output == STANDARD_STREAM:
        write_output(text_with_resources(opened.module, opened.resources, options), streams.stdout)
    else:
        streams.printer.show(write_module(output, opened.module, opened.resources, options))


def _calibration(path: str, arguments: Arguments, streams: _Streams) -> None:
    from .calib_txt_to_json import convert

    model, plugins = arguments.value("model"), arguments.values("load-pass-plugin")
    if plugins and model is None:
        raise UsageError(
            "'--load-pass-plugin' is for the operations of '--model', which is missing"
        )
    read = [path, *plugins] if model is None else [path, model, *plugins]
    _check_output(arguments, *read)
    file, text = read_input(path, streams.stdin)
    streams.printer.texts[file] = text
    module = None if model is None else _text_source(model, arguments, streams).open().module
    json, remarks = convert(text, file, module)
    streams.printer.show(remarks)
    output = arguments.value("o") or STANDARD_STREAM
    if output == STANDARD_STREAM:
        write_output(json, streams.stdout)
    else:
        write_atomically(output, json, read)


# -------------------------------------------------------------- from IR


def _export_trace(path: str, arguments: Arguments, streams: _Streams) -> None:
    from nvdla_ir.formats.trace import export_trace

    from .array_files import split_key
    from .loaded_program import Program
    from .trace_inputs import trace_inputs

    directory = arguments.value("o")
    if directory is None or directory == STANDARD_STREAM:
        raise UsageError("a trace is several files: '-o DIRECTORY' must say where they go")
    program = Program.load(_text_source(path, arguments, streams))
    inputs, remarks = trace_inputs(program, arguments.values("input"), streams.stdin)
    streams.printer.show(remarks)
    module = program.func.parent_op
    assert isinstance(module, ModuleOp)
    name = Path(directory).resolve().name
    files = export_trace(module, program.machine.resources, inputs, name)
    for folder in {Path(directory, file).parent for file in files}:
        _make_directory(folder)
    # Nobody has named the files of the trace, so they replace nothing that was read.
    given = [text.partition("=")[2] for text in arguments.values("input")]
    kept = [
        path,
        *arguments.values("load-pass-plugin"),
        *(split_key(file)[0] for file in given),
        *program.machine.resources.sources,
    ]
    write_together({Path(directory, file): data for file, data in files.items()}, kept)


def _export_loadable(path: str, arguments: Arguments, streams: _Streams) -> None:
    output = LoadableOutput.to(arguments.value("o"), arguments)
    read = [path, *arguments.values("load-pass-plugin")]
    output.check(read)
    opened = _text_source(path, arguments, streams).open()
    diagnostics = DiagnosticCollector()
    data = output.make(opened.module, opened.resources, diagnostics)
    streams.printer.show(diagnostics.diagnostics)
    output.write(data, [*read, *opened.resources.sources])


def _text_source(path: str, arguments: Arguments, streams: _Streams) -> TextSource:
    file, text = read_input(path, streams.stdin)
    streams.printer.texts[file] = text
    directory = Path() if path == STANDARD_STREAM else Path(file).parent
    return TextSource(text, file, directory, tuple(arguments.values("load-pass-plugin")))


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        from nvdla_ir.ir.location import UNKNOWN

        reason = error.strerror or str(error)
        raise DiagnosticError.at(UNKNOWN, f"cannot make '{directory}': {reason}") from error


_NETWORK_OPTIONS = ("shape", "inputs", "outputs", "list-tensors", "mlir-print-debuginfo")
_TRANSLATIONS = {
    "import-onnx": _Translation(_import_onnx, _NETWORK_OPTIONS),
    "import-caffe": _Translation(_import_caffe, _NETWORK_OPTIONS, more_files=1),
    "import-trace": _Translation(_import_trace, ("target", "mlir-print-debuginfo")),
    "import-loadable": _Translation(
        _import_loadable, ("target", "hardware-only", "mlir-print-debuginfo")
    ),
    "calib-txt-to-json": _Translation(_calibration, ("model", "load-pass-plugin")),
    "export-trace": _Translation(_export_trace, ("input", "load-pass-plugin")),
    EXPORT: _Translation(_export_loadable, (FIRMWARE, "load-pass-plugin")),
}
