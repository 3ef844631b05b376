"""calib_txt_to_json: a TensorRT calibration cache as an NVDLA JSON calibration table.

Names are kept as the cache has them. TensorRT names tensors its own way, so for some networks they
are not the names of the model's layers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import TextIO

from nvdla_ir.calibration.table import CalibrationTable, TableFormat, parse_table, write_json
from nvdla_ir.calibration.tensorrt_names import (
    lost_diagnostic,
    names_layers,
    nothing_matched,
    rename_entries,
)
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.files import decode_utf8, read_text, write_atomically
from nvdla_ir.ir.diagnostics import (
    Diagnostic,
    DiagnosticCollector,
    DiagnosticError,
    render,
)
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.source_lines import SourceLines
from nvdla_ir.version import __version__

_STANDARD_INPUT = "<stdin>"
_UNNAMED = "(Unnamed Layer*"


def main(argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    """Run the tool with the arguments ``argv`` (without the program's name).

    Returns: 0 on success, 1 if the cache is at fault or a file cannot be read or written
    (diagnostics on ``stderr``), 2 for wrong usage.
    """
    parser = _argument_parser()
    try:
        with redirect_stdout(stdout), redirect_stderr(stderr):
            arguments = parser.parse_args(argv)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 2
    return _convert_files(arguments.cache, arguments.output, stdin, stdout, stderr)


def _argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="calib_txt_to_json",
        description="Convert a TensorRT calibration cache to an NVDLA JSON calibration table.",
    )
    parser.add_argument("cache", help="the TensorRT calibration cache; - for standard input")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="-",
        help="where the JSON table goes; - for standard output, as without this option",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def convert(text: str, file: str, module: ModuleOp | None = None) -> tuple[str, list[Diagnostic]]:
    """The NVDLA JSON table of a TensorRT cache or an ONNX Runtime table, which ``file`` names in
    messages, and what there is to say about it. With the ``module`` of the network, names are those
    of its layers.

    Raises: DiagnosticError for a cache with faults, what is no cache, or one of another network.
    """
    table = parse_table(text, file)
    if table.format is TableFormat.NVDLA_JSON:
        message = f"this is an {table.format.value} table already, not a TensorRT cache"
        raise DiagnosticError.at(FileLineCol(file, 1, 1), message)
    if module is None:
        return write_json(table), [*table.warnings, *_remarks_on_names(table)]
    collector = DiagnosticCollector()
    renamed, lost = rename_entries(table, module, collector)
    if not names_layers(table, module):
        raise DiagnosticError(nothing_matched(table, module))
    if lost:
        collector.emit(lost_diagnostic(lost))
    return write_json(renamed), [*table.warnings, *collector.diagnostics]


def _convert_files(cache: str, output: str, stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    sources = SourceLines()

    def report(diagnostics: Sequence[Diagnostic]) -> None:
        for diagnostic in diagnostics:
            print(render(diagnostic, sources.line), file=stderr)

    try:
        file = _STANDARD_INPUT if cache == "-" else cache
        text = _read_stream(stdin) if cache == "-" else read_text(cache)
        sources.texts[file] = text
        json, remarks = convert(text, file)
        report(remarks)
        if output == "-":
            stdout.write(json)
            stdout.flush()
        else:
            write_atomically(output, json, [cache])
    except DiagnosticError as error:
        report(error.diagnostics)
        return 1
    return 0


def _remarks_on_names(table: CalibrationTable) -> list[Diagnostic]:
    unnamed = [entry for entry in table.entries if entry.name.startswith(_UNNAMED)]
    if not unnamed:
        return []
    message = (
        f"{len(unnamed)} of {len(table)} names are TensorRT's own, such as '{unnamed[0].name}': "
        "rename them to the model's layers"
    )
    return [Diagnostic.remark(unnamed[0].location, message)]


def _read_stream(stream: TextIO) -> str:
    """All of ``stream`` as UTF-8, whatever encoding the environment sets for it."""
    binary = getattr(stream, "buffer", None)
    return stream.read() if binary is None else decode_utf8(binary.read(), _STANDARD_INPUT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin, sys.stdout, sys.stderr))
