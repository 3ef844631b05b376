"""``nvdla-calibrate --evaluate``: what INT8 costs a network, as tables, JSON and an HTML page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from attrs import frozen

from nvdla_ir.files import StrPath, is_directory, is_regular_file
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.location import UNKNOWN

from .calibrate_options import ImageOptions, image_options
from .command_line import (
    STANDARD_STREAM,
    SUCCESS,
    Arguments,
    DiagnosticPrinter,
    UsageError,
    check_distinct,
    read_input,
    write_output,
)
from .evaluate_tables import tables_of
from .saturation import saturation_warnings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nvdla_ir.calibration.datasets import InputShape
    from nvdla_ir.dialects.func import FuncOp
    from nvdla_ir.evaluation.evaluation import Evaluation
    from nvdla_ir.evaluation.network import QuantizedNetwork
    from nvdla_ir.evaluation.remedies import Remedy, Trial
    from nvdla_ir.evaluation.results import EvaluationResult

    from .evaluate_jobs import NetworkSource, Part

    Array = NDArray[Any]

DEFAULT_SENSITIVITY_IMAGES = 64
"""On how many images parts and single layers are measured unless the command line says."""
_LABELS = "labels"
_GRANULARITIES = ("per-channel", "per-tensor")


@frozen
class EvaluateOptions:
    """What is evaluated, and where the result goes.

    data: (input's name, file); the name is empty where the network has one input
    """

    model: str
    data: tuple[tuple[str, str], ...]
    prepared: ImageOptions
    labels: str | None
    calibration: str | None
    granularity: str
    json: str | None
    report: str | None
    jobs: int
    batch: int | None
    sensitivity_images: int
    plugins: tuple[str, ...]

    @property
    def outputs(self) -> list[str]:
        return [file for file in (self.json, self.report) if file is not None]


def evaluate(
    arguments: Arguments, stdin: TextIO, stdout: TextIO, printer: DiagnosticPrinter
) -> int:
    """The network of the one positional argument on the images of ``--data FILE`` (arrays or a
    folder) or ``--data NAME=FILE``, prepared as for calibration, with ``--labels``, ``--calib``,
    ``--granularity``, ``--json FILE``, ``--report FILE.html``, ``--jobs``, ``--batch`` and
    ``--sensitivity-images N``.

    Raises: UsageError, DiagnosticError
    """
    options = evaluate_options(arguments)
    from .array_files import check_writable, write_files

    check_writable(options.outputs)
    if options.report is not None:
        from .html_report import require_matplotlib

        require_matplotlib()  # before the work, not after it
    result, kept = _evaluate(options, stdin, printer)
    contents: dict[str, bytes] = {}
    if options.json is not None:
        text = json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False)
        contents[options.json] = f"{text}\n".encode()
    if options.report is not None:
        from .html_report import html_report

        contents[options.report] = html_report(result).encode()
    write_files(contents, stdout, kept)
    if STANDARD_STREAM not in contents:
        write_output(tables_of(result, stdout), stdout)
    return SUCCESS


def evaluate_options(arguments: Arguments) -> EvaluateOptions:
    """Raises: UsageError"""
    if len(arguments.positionals) != 1:
        given = ", ".join(arguments.positionals) or "none"
        raise UsageError(f"one network is evaluated, but {given} is given")
    data = tuple(map(_named, arguments.values("data")))
    if not data:
        raise UsageError("'--evaluate' needs images: --data FILE")
    names = [name for name, _ in data]
    if len(set(names)) != len(names):
        raise UsageError("'--data' is given twice for one input: --data NAME=FILE for each")
    granularity = arguments.value("granularity") or _GRANULARITIES[0]
    if granularity not in _GRANULARITIES:
        raise UsageError(f"'--granularity' takes {' or '.join(_GRANULARITIES)}")
    files = [arguments.positionals[0], *(file for _, file in data), arguments.value("labels")]
    if files.count(STANDARD_STREAM) > 1:
        raise UsageError("standard input can be read once only")
    json_file, report = arguments.value("json"), arguments.value("report")
    check_distinct((file, None) for file in (json_file, report) if file is not None)
    limit = arguments.count("sensitivity-images")
    return EvaluateOptions(
        arguments.positionals[0],
        data,
        image_options(arguments),
        arguments.value("labels"),
        arguments.value("calib"),
        granularity,
        json_file,
        report,
        arguments.count("jobs", 1) or 1,
        arguments.count("batch", 1),
        DEFAULT_SENSITIVITY_IMAGES if limit is None else limit,
        tuple(arguments.values("load-pass-plugin")),
    )


def _named(text: str) -> tuple[str, str]:
    from nvdla_ir.arrays import split_key

    name, equals, file = text.partition("=")
    # A file may have an equals sign in its path, a name has no slash.
    named = bool(equals) and "/" not in name and not is_regular_file(split_key(text)[0])
    return (name, file) if named else ("", text)


def _evaluate(
    options: EvaluateOptions, stdin: TextIO, printer: DiagnosticPrinter
) -> tuple[EvaluationResult, Sequence[StrPath]]:
    """The result, and the files that it was made from: neither JSON nor pages are read."""
    from nvdla_ir.evaluation.batches import batch_of, image_count, machine_inputs, split
    from nvdla_ir.evaluation.evaluation import Evaluation, Evaluator
    from nvdla_ir.evaluation.results import result_of
    from nvdla_ir.interp.machine import Mode

    from .array_files import check_writable, split_key
    from .evaluate_jobs import NetworkSource, evaluations
    from .image_runs import ImageProgress

    file, text = read_input(options.model, stdin)
    printer.texts[file] = text
    directory = Path() if options.model == STANDARD_STREAM else Path(file).parent
    source = NetworkSource(
        text, file, directory, options.calibration, options.granularity, options.plugins
    )
    network, remarks = source.open()
    printer.show(remarks)
    func = network.reals.func
    arrays = [file for _, file in options.data] + ([options.labels] if options.labels else [])
    named = [options.model, *(split_key(a)[0] for a in arrays)]
    data = _Data.read(func, options, stdin)
    printer.show(Diagnostic.remark(UNKNOWN, guess) for guess in data.guesses)
    kept = [*named, *options.plugins, *network.reals.resources.sources, *data.files]
    inputs = data.inputs
    check_writable(options.outputs, kept)
    machine_inputs(func, Mode.FLOAT, inputs)  # all faults of the data, before the work
    images = image_count(func, inputs)
    labels = _read_labels(options, images, stdin)
    printer.show(saturation_warnings(func, inputs))
    evaluator = Evaluator(network)
    size = evaluator.images_at_a_time
    if options.batch is not None and size != batch_of(func):
        size = min(size, options.batch)
    if options.sensitivity_images and size != batch_of(func):
        size = min(size, options.sensitivity_images)
    variants, more = evaluator.runs
    parts = [
        (part, None if labels is None else labels[start : start + size])
        for start, part in zip(range(0, images, size), split(func, inputs, size), strict=True)
    ]
    measured = -(-min(options.sensitivity_images, images) // size)
    total = images * variants + min(measured * size, images) * more
    found = Evaluation()
    with ImageProgress(total, printer.stderr) as progress:
        for evaluation in evaluations(
            source, network, parts, measured, options.jobs, progress.advance
        ):
            found.merge(evaluation)
    remedies = _remedies(source, network, found, parts[:measured], options.jobs, printer)
    result = result_of(
        found,
        remedies,
        source.entries({remedy.name: remedy.best.threshold for remedy in remedies if remedy.mends}),
        network=options.model,
        calibration=options.calibration,
        granularity=options.granularity,
    )
    return result, kept


def _remedies(
    source: NetworkSource,
    network: QuantizedNetwork,
    found: Evaluation,
    parts: Sequence[Part],
    jobs: int,
    printer: DiagnosticPrinter,
) -> list[Remedy]:
    """Other ranges for what costs most, tried on the images of ``parts``."""
    from nvdla_ir.evaluation.remedies import find_remedies

    from .evaluate_jobs import trials
    from .image_runs import ImageProgress

    def run(tried: Sequence[Trial]) -> list[float]:
        with ImageProgress(found.part_images * len(tried), printer.stderr) as progress:
            sums = trials(source, network, parts, tried, jobs, progress.advance)
        return [errors.sqnr for errors in sums]

    alone = {name: sums.errors for name, sums in found.sensitivity.items()}
    ranges = {unit.name: unit.range for unit in network.units}
    return find_remedies(alone, ranges, found.histograms, run)


# -------------------------------------------------------------- data


@frozen(eq=False)
class _Data:
    """inputs: by name; files: that were found, not named; guesses: see ``DataSet``"""

    inputs: dict[str, Array]
    files: Sequence[Path]
    guesses: Sequence[str]

    @staticmethod
    def read(func: FuncOp, options: EvaluateOptions, stdin: TextIO) -> _Data:
        """Raises: DiagnosticError where inputs are missing, files have no arrays, or folders no
        images that can be used."""
        given = _given(func, options)
        if any(map(is_directory, given.values())):
            return _read_folder(func, given, options)
        return _read_arrays(func, given, options, stdin)


def _given(func: FuncOp, options: EvaluateOptions) -> dict[str, str]:
    """The files by the inputs' names."""
    names = [func.argument_name(argument) for argument in func.body.arguments]
    given = dict(options.data)
    if "" in given:
        if len(names) != 1:
            raise DiagnosticError.at(
                func.location,
                f"'@{func.sym_name}' takes {', '.join(names) or 'nothing'}: say which input is "
                "which, --data NAME=FILE",
            )
        given = {names[0]: given[""]}
    return given


def _read_folder(func: FuncOp, given: Mapping[str, str], options: EvaluateOptions) -> _Data:
    from nvdla_ir.calibration.datasets import faults_diagnostic, input_shapes
    from nvdla_ir.calibration.image_folder import ImageFolder

    preparation = options.prepared.preparation()
    folder = ImageFolder(Path(next(iter(given.values()))), input_shapes(func), preparation)
    faults = folder.faults(lambda _: None)
    if faults:
        raise DiagnosticError(faults_diagnostic(faults, folder.count))
    return _Data(folder.read(range(folder.count)), folder.files, folder.guesses)


def _read_arrays(
    func: FuncOp, given: Mapping[str, str], options: EvaluateOptions, stdin: TextIO
) -> _Data:
    from nvdla_ir.calibration.datasets import input_shapes

    from .array_files import read_array

    preparation = options.prepared.preparation()
    if preparation.resize is not None:
        raise UsageError("'--resize' is for image files, not for arrays")
    taken = {shape.name: shape for shape in input_shapes(func)}
    preparation.check(taken.values())
    inputs: dict[str, Array] = {}
    guesses: list[str] = []
    for name, file in given.items():
        spec = _with_key(file, name)
        if spec != file:
            key = spec.removeprefix(f"{file}:")
            guesses.append(
                f"'{key}' of '{file}' is taken for '{name}': it is the only array besides "
                f"'{_LABELS}'"
            )
        array = read_array(spec, name, stdin)
        if preparation.changes_pixels and name in taken:
            guesses += preparation.guesses(taken[name])
            array = preparation.apply(_with_batch(array, taken[name]), taken[name])
        inputs[name] = array
    return _Data(inputs, (), guesses)


def _with_batch(array: Array, taken: InputShape) -> Array:
    """``array`` with images along the first axis. Raises: DiagnosticError for another shape"""
    if array.shape == taken.shape:
        return array[None]
    if array.shape[1:] != taken.shape:
        found = "x".join(map(str, array.shape)) or "no axes"
        wanted = "x".join(map(str, taken.shape))
        raise DiagnosticError.at(
            UNKNOWN, f"the array for '{taken.name}' has {found}, but each image is {wanted}"
        )
    return array


def _with_key(spec: str, name: str) -> str:
    """``spec``, with a key where an archive has an array besides the labels and it is not called
    as the input is."""
    keys = archive_keys(spec)
    others = [key for key in keys if key != _LABELS]
    return f"{spec}:{others[0]}" if name not in keys and len(others) == 1 < len(keys) else spec


def archive_keys(spec: str) -> list[str]:
    """The names of the arrays in an archive that is named without a key; none where ``spec`` is
    none, or cannot be read."""
    import zipfile

    if not spec.endswith(".npz"):
        return []
    try:
        with zipfile.ZipFile(spec) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return []  # who reads it says what is wrong


def _read_labels(options: EvaluateOptions, images: int, stdin: TextIO) -> Array | None:
    """The labels that are given, else those in the archive of the images.

    Raises: DiagnosticError where they do not fit.
    """
    from .array_files import read_array
    from .classification import check_labels

    spec = options.labels
    if spec is None:
        archives = [file for _, file in options.data if _LABELS in archive_keys(file)]
        if not archives:
            return None
        spec = f"{archives[0]}:{_LABELS}"
    labels = read_array(spec, _LABELS, stdin)
    try:
        check_labels(labels, images)
    except DiagnosticError as error:
        raise _named_in(spec, error.diagnostics) from error
    return labels


def _named_in(spec: str, diagnostics: Sequence[Any]) -> DiagnosticError:
    messages: Iterable[str] = (diagnostic.message for diagnostic in diagnostics)
    return DiagnosticError.at(UNKNOWN, f"'{spec}': {'; '.join(messages)}")
