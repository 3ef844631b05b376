"""What nvdla-opt does once --version is out of the way."""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from attrs import define, field, frozen

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import WEIGHTS_ATTRIBUTE
from nvdla_ir.files import StrPath, check_outputs, write_together
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.dialect import Context
from nvdla_ir.ir.location import UNKNOWN, FileLineCol
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.pipeline import Instrumentation, Pipeline
from nvdla_ir.source_lines import SourceLines
from nvdla_ir.text.pipeline_syntax import parse_pipeline
from nvdla_ir.text.printer import PrintOptions, print_operation
from nvdla_ir.version import __version__

from .command_line import (
    COMMAND_LINE_NAME,
    INPUT_AT_FAULT,
    STANDARD_INPUT_NAME,
    STANDARD_STREAM,
    SUCCESS,
    WRONG_USAGE,
    Arguments,
    DiagnosticPrinter,
    UsageError,
    command_line_text,
    read_input,
    run_handled,
    write_output,
)
from .loadable_output import LoadableOutput
from .module_files import (
    WEIGHTS_SUFFIX,
    LoadedModule,
    all_resources,
    load_module,
    point_to_weights,
    text_with_resources,
    write_module,
)
from .opt_flags import SEMANTICS, Command, dialect_list, help_text, pass_list, read_command
from .reports import Report
from .split_input import PRINTED_SEPARATOR, check_not_empty, check_separators, split_input

# What only some runs need is imported where it is used: starting must be quick.
if TYPE_CHECKING:
    from nvdla_ir.passes.instrumentation import Timing

_PRINT_FLAGS = "mlir-print-ir-"
_REPORT_FLAGS = ("estimate", "memory-map", "report")
_REPRODUCER_NAME = "<reproducer>"


def run(argv: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    """Read the command line ``argv`` and do what it says; returns the exit code."""
    printer = DiagnosticPrinter(stderr, SourceLines.of_command(argv))
    printer.texts[COMMAND_LINE_NAME] = command_line_text(argv)
    return run_handled(
        lambda: _run(argv, stdin, stdout, stderr, printer), printer, "nvdla-opt", stdout
    )


def _run(
    argv: Sequence[str],
    stdin: TextIO,
    stdout: TextIO,
    stderr: TextIO,
    printer: DiagnosticPrinter,
) -> int:
    command = read_command(argv)
    shown = _information(command)
    if shown is not None:
        write_output(shown, stdout)
        return SUCCESS
    options = _Options.of(command.arguments)
    try:
        pipeline = Pipeline(
            map(command.registry.create, command.pass_specifications()), options.verify_each
        )
        command.check_pass_names("mlir-print-ir-before", "mlir-print-ir-after")
        reports = _reports(command.arguments)
        loadable = LoadableOutput.of(command.arguments)
    except DiagnosticError as error:
        printer.show(error.diagnostics)
        return WRONG_USAGE
    context = default_context(allow_unregistered=options.allow_unregistered)
    for dialect in command.dialects:
        context.register(dialect)
    if command.arguments.has("dump-pass-pipeline"):
        print(f"Pass Manager with {len(pipeline.passes)} passes:", file=stderr)
        print(pipeline.text(), file=stderr)
    if not command.arguments.positionals and stdin.isatty():
        raise UsageError("there is no input: name a file, or '-' for what you type")
    timing = _new_timing() if command.arguments.has("mlir-timing") else None
    streams = (printer, stdout, stderr)
    job = _Job(command, options, pipeline, context, *streams, timing, reports, loadable)
    return job.run(stdin)


def _reports(arguments: Arguments) -> list[Report]:
    """Those that are asked for. Raises: UsageError, DiagnosticError"""
    if not any(name.startswith(_REPORT_FLAGS) for name in arguments.names):
        return []
    from .estimates import EstimateReport
    from .memory_maps import MemoryMapReport

    found: list[Report | None] = [EstimateReport.of(arguments), MemoryMapReport.of(arguments)]
    return [report for report in found if report is not None]


def _information(command: Command) -> str | None:
    """What flags like --help show instead of a run."""
    arguments = command.arguments
    if arguments.has("help"):
        return help_text(command.registry)
    if arguments.has("version"):
        return f"nvdla-opt {__version__}\n"
    if arguments.has("list-passes"):
        return pass_list(command.registry)
    if arguments.has("show-dialects"):
        context = default_context()
        for dialect in command.dialects:
            context.register(dialect)
        return dialect_list(context.dialects())
    return None


def _target_hint(names: Sequence[str]) -> str:
    """What to type where the target of '--compile' was given apart from it."""
    from nvdla_ir.hw.configuration import names as configurations

    targets = [name for name in names if name in configurations() or name.endswith(".toml")]
    return f"; a flag's value stands behind '=': --compile={targets[0]}" if targets else ""


@frozen(eq=False)
class _Options:
    """The flags that are not passes."""

    input: str
    output: str
    print_options: PrintOptions
    elide_resources: int | None
    allow_unregistered: bool
    verify_each: bool
    verify_semantics: bool
    split: bool
    verify_diagnostics: str | None

    @staticmethod
    def of(arguments: Arguments) -> _Options:
        """Raises: UsageError"""
        if len(arguments.positionals) > 1:
            listed = ", ".join(f"'{name}'" for name in arguments.positionals)
            raise UsageError(
                f"there is one input at most, not {listed}{_target_hint(arguments.positionals)}"
            )
        output = arguments.value("o") or STANDARD_STREAM
        if Path(output).suffix == WEIGHTS_SUFFIX:
            raise UsageError(f"'{output}' is the name of a weights file; '-o' takes that of a text")
        return _Options(
            arguments.positionals[0] if arguments.positionals else STANDARD_STREAM,
            output,
            PrintOptions(
                arguments.has("mlir-print-op-generic"),
                arguments.has("mlir-print-debuginfo"),
                arguments.count("mlir-elide-elementsattrs-if-larger"),
            ),
            arguments.count("mlir-elide-resource-strings-if-larger"),
            arguments.has("allow-unregistered-dialect"),
            arguments.value("verify-each") == SEMANTICS
            or arguments.switch("verify-each", default=True),
            arguments.value("verify-each") == SEMANTICS,
            arguments.has("split-input-file"),
            arguments.value("verify-diagnostics"),
        )


@define(eq=False)
class _Job:
    """A run on one input."""

    command: Command
    options: _Options
    pipeline: Pipeline
    context: Context
    printer: DiagnosticPrinter
    stdout: TextIO
    stderr: TextIO
    timing: Timing | None
    reports: list[Report]
    loadable: LoadableOutput | None
    made: bytes = b""
    """The loadable."""
    statistics: dict[str, dict[str, int]] = field(factory=dict[str, dict[str, int]])

    def run(self, stdin: TextIO) -> int:
        """Returns the exit code. Raises: DiagnosticError where the input cannot be read or the
        output cannot be written."""
        if self.options.output != STANDARD_STREAM:
            check_outputs([self.options.output], self.command.plugin_files)
        if self.loadable is not None:
            self.loadable.check([*self.command.plugin_files, *self._named()])
        file, text = read_input(self.options.input, stdin)
        self.printer.texts[file] = text
        if not self.options.split:
            check_not_empty(text, file)
        failed = False
        modules: list[LoadedModule] = []
        if self.options.split:
            check_separators(text, file)
        stack_traces = self.command.arguments.has("mlir-print-stacktrace-on-diagnostic")
        for part in split_input(text) if self.options.split else [text]:
            diagnostics = DiagnosticCollector(stack_traces=stack_traces)
            try:
                modules.append(self._compile(part, file, diagnostics))
            except DiagnosticError as error:
                diagnostics.diagnostics += error.diagnostics
            # Passes may meet the same fault several times.
            diagnostics.diagnostics = list(dict.fromkeys(diagnostics.diagnostics))
            failed |= self._tell(part, file, diagnostics)
        if not failed:
            with self._phase("output"):
                self._write_reports(modules)
                if self.loadable is not None:
                    self.loadable.write(self.made, [*self._kept(modules), *self._named()])
                if self.loadable is None or self.command.arguments.has("o"):
                    self._write(modules)
        self._report()
        return INPUT_AT_FAULT if failed else SUCCESS

    def _tell(self, text: str, file: str, diagnostics: DiagnosticCollector) -> bool:
        """Show what one input gave rise to; returns whether it failed."""
        if self.options.verify_diagnostics is None:
            self.printer.show(diagnostics.diagnostics)
            return bool(diagnostics.errors)
        from .expected_diagnostics import ExpectedDiagnostics

        only_expected = self.options.verify_diagnostics == "only-expected"
        expected = ExpectedDiagnostics.read(text, file, only_expected)
        faults = expected.check(diagnostics.diagnostics)
        self.printer.show(faults)
        return bool(faults)

    # -------------------------------------------------------------- compiling

    def _compile(self, text: str, file: str, diagnostics: DiagnosticCollector) -> LoadedModule:
        """Parse ``text`` and run the passes. Raises: DiagnosticError"""
        directory = Path() if file == STANDARD_INPUT_NAME else Path(file).parent
        with self._phase("parse and verify"):
            loaded = load_module(text, file, directory, self.context, diagnostics)
        pipeline = self._pipeline_for(loaded)
        session = Session(loaded.resources, diagnostics, self.statistics, self.context)
        reproducer_file = self.command.arguments.value("mlir-pass-pipeline-crash-reproducer")
        reproducer = None
        if reproducer_file is not None:
            reproducer = self._reproducer(loaded, pipeline, Path(reproducer_file).parent)
        watchers = self._instrumentation()
        if self.options.verify_semantics:
            from nvdla_ir.evaluation.semantics import SemanticsCheck

            watchers.append(SemanticsCheck(loaded.resources))
        reporting = [report.watch() for report in self.reports]
        watchers += reporting
        try:
            pipeline.run(loaded.module, session, watchers)
        except DiagnosticError as error:
            if reproducer_file is not None and reproducer is not None:
                write_together({reproducer_file: reproducer}, self._kept([loaded]))
                diagnostics.emit(
                    Diagnostic.remark(
                        error.diagnostics[0].location,
                        f"to run this again: nvdla-opt --run-reproducer {reproducer_file}",
                    )
                )
            raise
        for report in reporting:
            report.finish(loaded.module, loaded.resources)
        if self.loadable is not None:
            with self._phase("loadable"):
                self.made = self.loadable.make(loaded.module, loaded.resources, diagnostics)
        return loaded

    def _pipeline_for(self, loaded: LoadedModule) -> Pipeline:
        if not self.command.arguments.has("run-reproducer"):
            return self.pipeline
        if loaded.reproducer is None:
            raise DiagnosticError.at(
                loaded.module.location, "the input states no pipeline to run ('mlir_reproducer')"
            )
        self.printer.texts[_REPRODUCER_NAME] = loaded.reproducer
        specifications = parse_pipeline(loaded.reproducer, FileLineCol(_REPRODUCER_NAME, 1, 1))
        passes = [*self.pipeline.passes, *map(self.command.registry.create, specifications)]
        return Pipeline(passes, self.options.verify_each)

    def _reproducer(self, loaded: LoadedModule, pipeline: Pipeline, directory: Path) -> str:
        """A text in ``directory`` that runs ``pipeline`` on the module as it is now."""
        named = loaded.module.attributes.get(WEIGHTS_ATTRIBUTE)
        point_to_weights(loaded.module, loaded.resources, directory)
        text = text_with_resources(
            loaded.module, loaded.resources, PrintOptions(locations=True), pipeline.text()
        )
        if named is not None:
            loaded.module.attributes[WEIGHTS_ATTRIBUTE] = named
        return text

    def _instrumentation(self) -> list[Instrumentation]:
        found: list[Instrumentation] = []
        if any(name.startswith(_PRINT_FLAGS) for name in self.command.arguments.names):
            found.append(self._printing())
        if self.timing is not None:
            found.append(self.timing)
        return found

    def _printing(self) -> Instrumentation:
        from nvdla_ir.passes.instrumentation import IRPrinting

        arguments = self.command.arguments
        return IRPrinting(
            self.stderr.write,
            self.options.print_options,
            before=_passes_to_print(arguments, "mlir-print-ir-before"),
            after=_passes_to_print(arguments, "mlir-print-ir-after"),
            after_change=arguments.has("mlir-print-ir-after-change"),
            after_failed=arguments.has("mlir-print-ir-after-failure"),
        )

    def _phase(self, name: str) -> AbstractContextManager[None]:
        """Measures a part of the run that is not a pass, if times are asked for."""
        return nullcontext() if self.timing is None else self.timing.phase(name)

    # -------------------------------------------------------------- output

    def _write(self, modules: Sequence[LoadedModule]) -> None:
        options, output = self.options, self.options.output
        if not options.split and output != STANDARD_STREAM:
            source = None if options.input == STANDARD_STREAM else options.input
            for loaded in modules:
                remarks = write_module(
                    output,
                    loaded.module,
                    loaded.resources,
                    options.print_options,
                    source,
                    self.command.plugin_files,
                )
                self.printer.show(remarks)
            return
        # The parts of a split input could not share one weights file: their keys may be equal.
        to_stdout = output == STANDARD_STREAM
        directory = Path() if to_stdout else Path(output).parent
        shown = not (to_stdout and self.stdout.isatty())
        texts: list[str] = []
        for loaded in modules:
            point_to_weights(loaded.module, loaded.resources, directory)
            if not shown:
                texts.append(print_operation(loaded.module, options.print_options))
                self._tell_hidden(loaded)
                continue
            texts.append(
                text_with_resources(
                    loaded.module,
                    loaded.resources,
                    options.print_options,
                    elide_larger_than=options.elide_resources,
                )
            )
        text = PRINTED_SEPARATOR.join(texts)
        if to_stdout:
            write_output(text, self.stdout)
        else:
            write_together({output: text}, self._kept(modules))

    def _kept(self, modules: Sequence[LoadedModule]) -> list[StrPath]:
        """What was read besides the input itself, which may be the output as well."""
        read = [file for loaded in modules for file in loaded.resources.sources]
        return [*self.command.plugin_files, *read]

    def _tell_hidden(self, loaded: LoadedModule) -> None:
        """Say on a terminal that resources are not shown."""
        hidden = [
            attribute
            for key, attribute in all_resources(loaded.module).items()
            if loaded.resources.is_in_memory(key)
        ]
        if hidden:
            size = sum(map(loaded.resources.size_bytes, hidden)) / 1024
            noun = "1 resource" if len(hidden) == 1 else f"{len(hidden)} resources"
            message = f"{noun} ({size:.0f} KiB) not shown on a terminal; use -o FILE.ir"
            self.printer.show([Diagnostic.remark(UNKNOWN, message)])

    # -------------------------------------------------------------- reports

    def _write_reports(self, modules: Sequence[LoadedModule]) -> None:
        """Write the files of reports. Raises: DiagnosticError"""
        files = {file: text for report in self.reports for file, text in report.files().items()}
        if files:
            sources = [file for loaded in modules for file in loaded.resources.sources]
            write_together({**files}, [*sources, *self._named()])

    def _named(self) -> list[str]:
        """The input's and the output's files."""
        return [name for name in (self.options.input, self.options.output) if name != "-"]

    def _report(self) -> None:
        arguments = self.command.arguments
        for report in self.reports:
            self.stderr.write(report.text(self.stderr))
        if self.timing is not None:
            from .pass_tables import print_timing

            print_timing(self.timing, self.stderr)
        if arguments.has("mlir-pass-statistics"):
            from .pass_tables import print_statistics

            print_statistics(self.statistics, self.stderr)


def _new_timing() -> Timing:
    from nvdla_ir.passes.instrumentation import Timing

    return Timing()


def _passes_to_print(arguments: Arguments, flag: str) -> Container[str]:
    from nvdla_ir.passes.instrumentation import Everything

    if arguments.has(f"{flag}-all"):
        return Everything()
    return [name for value in arguments.values(flag) for name in value.split(",")]
