"""What nvdla-calibrate does: images through a float network, a table out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nvdla_ir.files import is_directory, is_regular_file
from nvdla_ir.interruption import Terminated
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector
from nvdla_ir.ir.location import UNKNOWN
from nvdla_ir.source_lines import SourceLines

from .calibrate_options import (
    AUTOMATIC,
    DESCRIPTION,
    FLAGS,
    NAME,
    USAGE,
    Options,
    check_evaluation,
    checked_options,
)
from .command_line import (
    STANDARD_STREAM,
    SUCCESS,
    DiagnosticPrinter,
    informed,
    parse_arguments,
    read_input,
    run_handled,
    stopped,
    use_one_thread,
)

if TYPE_CHECKING:
    from nvdla_ir.calibration.calibrate import Job
    from nvdla_ir.calibration.datasets import DataSet, InputShape
    from nvdla_ir.calibration.engines import Engine
    from nvdla_ir.calibration.measurement import Measurement, Meter
    from nvdla_ir.calibration.methods import Method
    from nvdla_ir.calibration.report import TensorReport

    from .calibrate_source import TextNetwork

_CACHE_ALGORITHMS = {
    "entropy": "EntropyCalibration2",
    "percentile": "LegacyCalibration",
    "mse": "LegacyCalibration",
    "minmax": "MinMaxCalibration",
}
"""TensorRT's calibrators that are nearest to the methods."""


def run(argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    """See ``EntryPoint``."""
    printer = DiagnosticPrinter(stderr, SourceLines.of_command(argv))

    def body() -> int:
        arguments = parse_arguments(argv, FLAGS.get, lambda: FLAGS)
        if informed(arguments, NAME, USAGE, DESCRIPTION, FLAGS.values(), stdout):
            return SUCCESS
        use_one_thread()
        if arguments.has("evaluate"):
            from .evaluate_command import evaluate

            check_evaluation(arguments)
            return evaluate(arguments, stdin, stdout, printer)
        return _calibrate(checked_options(arguments), stdin, stdout, printer)

    return run_handled(body, printer, NAME, stdout)


def _calibrate(options: Options, stdin: TextIO, stdout: TextIO, printer: DiagnosticPrinter) -> int:
    from nvdla_ir.calibration.calibrate import DEFAULT_BATCH, Job, table_of
    from nvdla_ir.calibration.datasets import input_shapes
    from nvdla_ir.calibration.measurement import Meter
    from nvdla_ir.calibration.report import reports
    from nvdla_ir.calibration.table import write_json
    from nvdla_ir.calibration.tensorrt_cache import write_entries
    from nvdla_ir.calibration.tensorrt_names import cache_names

    from .array_files import check_writable, write_files

    written = (options.output, options.cache, options.state_file)
    outputs = [file for file in written if file is not None]
    check_writable(outputs)
    source = _source(options, stdin, printer)
    meter = Meter.open(source)
    data = data_set(options, input_shapes(meter.func))
    printer.show(Diagnostic.remark(UNKNOWN, guess) for guess in data.guesses)
    # Tables and states are none of what is read.
    kept = [options.model, *options.plugins, *meter.sources, *data.files]
    check_writable(outputs, kept)
    job = Job(
        source,
        meter,
        data,
        _engine(options, meter, data),
        options.batch or DEFAULT_BATCH,
        options.skip_bad,
        None if options.state_file is None else Path(options.state_file),
    )
    try:
        usable, measurement = _measured(job, printer)
        method, thresholds = _thresholds(options, job, measurement, usable, printer)
    except (KeyboardInterrupt, Terminated) as stop:
        if job.state_file is None or not is_regular_file(job.state_file):
            raise
        saved = f"what is measured is in '{job.state_file}', to go on from"
        return stopped(stop, NAME, saved, printer.stderr)
    diagnostics = DiagnosticCollector()
    try:
        table = table_of(thresholds, diagnostics)
    finally:
        printer.show(d for d in diagnostics.diagnostics if d not in diagnostics.errors)
    contents = {options.output: write_json(table).encode()}
    if options.cache is not None:
        algorithm = _CACHE_ALGORITHMS[method]
        names = cache_names(meter.func)
        contents[options.cache] = write_entries(table.entries, algorithm, names).encode()
    write_files(contents, stdout, kept)
    _show_report(reports(measurement, thresholds), printer)
    return SUCCESS


def _measured(job: Job, printer: DiagnosticPrinter) -> tuple[list[int], Measurement]:
    from nvdla_ir.calibration.calibrate import measure, usable_images

    from .image_runs import ImageProgress

    diagnostics = DiagnosticCollector()
    with ImageProgress(job.data.count, printer.stderr) as progress:
        usable = usable_images(job, diagnostics, progress.advance)
    printer.show(diagnostics.diagnostics)
    with ImageProgress(len(usable), printer.stderr) as progress:
        return usable, measure(job, usable, lambda _, images: progress.advance(images))


def _thresholds(
    options: Options,
    job: Job,
    measurement: Measurement,
    usable: Sequence[int],
    printer: DiagnosticPrinter,
) -> tuple[str, Mapping[str, float]]:
    """The method that is taken, and the threshold of each tensor."""
    from nvdla_ir.calibration.calibrate import thresholds_of
    from nvdla_ir.calibration.methods import METHODS, Entropy, Percentile

    whole = frozenset[str]() if options.unguarded else job.meter.inputs
    if options.method != AUTOMATIC:
        method = METHODS[options.method]()
        if options.percentile is not None:
            method = Percentile(options.percentile)
        elif options.method == "entropy" and options.unguarded:
            method = Entropy()
        return options.method, thresholds_of(measurement, method, whole)
    methods = {name: make() for name, make in METHODS.items()}
    chosen = _tried(job, usable, methods, printer)
    return chosen, thresholds_of(measurement, methods[chosen], whole)


def _tried(
    job: Job,
    usable: Sequence[int],
    methods: Mapping[str, Method],
    printer: DiagnosticPrinter,
) -> str:
    """The method with the least error of the outputs."""
    from nvdla_ir.calibration.choice import output_sqnr, trial_count

    from .figures import decibels
    from .image_runs import ImageProgress

    with ImageProgress(trial_count(job, usable, len(methods)), printer.stderr) as progress:
        found = output_sqnr(job, usable, methods, progress.advance)
    chosen = max(found, key=lambda name: found[name])
    listed = ", ".join(f"{name} {decibels(sqnr)}" for name, sqnr in found.items())
    message = f"method '{chosen}': the SQNR of the outputs in dB is with {listed}"
    printer.show([Diagnostic.remark(UNKNOWN, message)])
    return chosen


def _show_report(tensors: Sequence[TensorReport], printer: DiagnosticPrinter) -> None:
    from .calibrate_table import table_text

    printer.stderr.write(table_text(tensors, printer.stderr))
    suspicious = [tensor for tensor in tensors if tensor.suspicion]
    if suspicious:
        what = "1 tensor loses" if len(suspicious) == 1 else f"{len(suspicious)} tensors lose"
        notes = [Diagnostic.note(UNKNOWN, f"'{t.name}' {t.suspicion}") for t in suspicious]
        message = f"{what} much with these ranges; '--evaluate' tells what that costs"
        printer.show([Diagnostic.warning(UNKNOWN, message, notes)])


def _source(options: Options, stdin: TextIO, printer: DiagnosticPrinter) -> TextNetwork:
    from .calibrate_source import TextNetwork

    file, text = read_input(options.model, stdin)
    printer.texts[file] = text
    directory = Path() if options.model == STANDARD_STREAM else Path(file).parent
    # Workers may stand elsewhere.
    plugins = tuple(str(Path(plugin).resolve()) for plugin in options.plugins)
    return TextNetwork(text, file, directory.resolve(), plugins)


def data_set(options: Options, inputs: Sequence[InputShape]) -> DataSet:
    """The images that ``--data`` names, prepared as the flags say. Raises: DiagnosticError"""
    from nvdla_ir.calibration.array_data import ArrayImages
    from nvdla_ir.calibration.image_folder import ImageFolder

    preparation = options.images.preparation()
    if is_directory(options.data):
        return ImageFolder(Path(options.data), inputs, preparation)
    return ArrayImages(options.data, inputs, preparation)


def _engine(options: Options, meter: Meter, data: DataSet) -> Engine:
    from nvdla_ir.calibration.dask_engine import DaskEngine
    from nvdla_ir.calibration.engines import InProcess, ProcessPool

    if options.engine == "dask":
        return DaskEngine(options.scheduler, options.jobs)
    # More processes than groups of images have nothing to do.
    jobs = min(options.jobs, -(-data.count // meter.group_size))
    return ProcessPool(jobs) if jobs > 1 else InProcess(meter)
