"""The command line of nvdla-opt: its flags, its help, and the passes that flags stand for."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence

from attrs import field, frozen

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.dialect import Dialect
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.passes.base import Pass
from nvdla_ir.passes.options import OptionDescription, options_of
from nvdla_ir.passes.registry import ALIASES, PassRegistry
from nvdla_ir.text.pipeline_syntax import (
    PassSpecification,
    parse_options,
    parse_pipeline,
)

from .command_line import BOOLEAN, Arguments, Flag, GivenFlag, format_help, parse_arguments
from .loadable_output import FIRMWARE, FIRMWARE_HELP, FIRMWARES

_GENERAL = "general"
_INPUT = "input and output"
_PASSES = "passes, run in the order given"
_ALIASES = "several passes at once"
SEMANTICS = "semantics"
_WATCH = "watching passes"
_ESTIMATES = "reports"

FLAGS = {
    flag.name: flag
    for flag in (
        Flag("help", "show this help", _GENERAL),
        Flag("version", "show the version", _GENERAL),
        Flag("list-passes", "describe all passes and their options", _GENERAL),
        Flag("show-dialects", "list the dialects that are known", _GENERAL),
        Flag(
            "load-pass-plugin",
            "make the passes, dialects and rules of a Python file known",
            _GENERAL,
            "FILE.py",
        ),
        Flag(
            "o",
            "write to FILE, its weights beside it to a .safetensors file; without it, to standard "
            "output, with new weights inside the text",
            _INPUT,
            "FILE",
        ),
        Flag("mlir-print-op-generic", "print MLIR's generic form", _INPUT),
        Flag("mlir-print-debuginfo", "print the location of each operation", _INPUT),
        Flag(
            "mlir-elide-elementsattrs-if-larger",
            "leave out the elements of constants with more than N",
            _INPUT,
            "N",
        ),
        Flag(
            "mlir-elide-resource-strings-if-larger",
            "leave out resources whose text has more than N characters",
            _INPUT,
            "N",
        ),
        Flag(
            "allow-unregistered-dialect",
            "accept operations, types and attributes of unknown dialects in generic form",
            _INPUT,
        ),
        Flag(
            "split-input-file",
            "treat the parts between lines '// -----' as inputs of their own",
            _INPUT,
        ),
        Flag(
            "verify-diagnostics",
            "check the diagnostics against comments like 'expected-error@+1 {{text}}'; "
            "'only-expected' lets others pass",
            _INPUT,
            "all|only-expected",
            "all",
            ("all", "only-expected"),
        ),
        Flag(FIRMWARE, FIRMWARE_HELP, _INPUT, "VERSION", None, FIRMWARES),
        Flag("pass-pipeline", "run passes given as 'a,b{x=1,y=2}'", _PASSES, "PIPELINE"),
        Flag("run-reproducer", "run the pipeline that the input itself states", _PASSES),
        Flag(
            "estimate",
            "show what the hardware layers will cost: cycles and what they are spent on, use of "
            "the MACs, memory traffic; of a memory that serves B bytes a cycle after L cycles, "
            "with times at a clock of F (as 1GHz). Before 'emit-registers', or at the end of all "
            "passes",
            _ESTIMATES,
            "bandwidth=B,latency=L,frequency=F",
            "",
        ),
        Flag("estimate-csv", "write them to FILE as CSV, a line a layer", _ESTIMATES, "FILE"),
        Flag("estimate-json", "write them to FILE as JSON", _ESTIMATES, "FILE"),
        Flag(
            "report",
            "write a page to FILE: of each layer its hardware layers, pieces, scales, shifts, "
            "memory and cycles, to sort and to search",
            _ESTIMATES,
            "FILE.html",
        ),
        Flag(
            "report-input",
            "the elements of an input, x.npy or x.npz: the report then has how much of each layer "
            "saturates; once for each input",
            _ESTIMATES,
            "NAME=FILE",
        ),
        Flag(
            "memory-map",
            "write what lies where in memory while which layers run: FILE.html, a picture, or "
            "FILE.csv, a line a buffer. Before 'emit-registers', or at the end of all passes",
            _ESTIMATES,
            "FILE",
        ),
        Flag("dump-pass-pipeline", "show the pipeline on standard error", _WATCH),
        Flag(
            "verify-each",
            "verify after each pass (the default); with 'semantics' also run the module before and "
            "after it on random and extreme inputs, and name the first pass, layer and element "
            "that changes (some runs of the module for each pass)",
            _WATCH,
            "true|false|semantics",
            "true",
            (*BOOLEAN, SEMANTICS),
        ),
        Flag("mlir-print-ir-before", "show the IR before these passes", _WATCH, "PASS,…"),
        Flag("mlir-print-ir-after", "show the IR after these passes", _WATCH, "PASS,…"),
        Flag("mlir-print-ir-before-all", "show the IR before each pass", _WATCH),
        Flag("mlir-print-ir-after-all", "show the IR after each pass", _WATCH),
        Flag("mlir-print-ir-after-change", "show it after passes that change it", _WATCH),
        Flag("mlir-print-ir-after-failure", "show what a pass that fails has left", _WATCH),
        Flag("mlir-timing", "show how long each pass takes", _WATCH),
        Flag("mlir-pass-statistics", "show what passes have counted", _WATCH),
        Flag(
            "mlir-print-stacktrace-on-diagnostic",
            "where a pass or a rule fails with an exception, show every call that led to it",
            _WATCH,
        ),
        Flag(
            "mlir-pass-pipeline-crash-reproducer",
            "if a pass fails, write the input and the pipeline to FILE; --run-reproducer runs it",
            _WATCH,
            "FILE",
        ),
    )
}


@frozen(eq=False)
class Command:
    """A command line, read, with what its plug-ins define.

    passes: specifications in the order of the flags
    """

    arguments: Arguments
    registry: PassRegistry
    dialects: tuple[Dialect, ...] = field(default=())
    plugin_files: tuple[str, ...] = field(default=())

    def pass_specifications(self) -> list[PassSpecification]:
        """Raises: DiagnosticError where a pipeline or an option is written wrongly."""
        ahead: list[PassSpecification] = []
        found: list[PassSpecification] = []
        for given in self.arguments.flags:
            alias = ALIASES.get(given.flag.name)
            if alias is not None:
                ahead += alias.specifications_ahead(given.value, given.location)
            found += _specifications(given)
        return [*ahead, *found]

    def check_pass_names(self, *flags: str) -> None:
        """Raises: DiagnosticError where one of ``flags`` lists a pass that there is not."""
        for given in self.arguments.flags:
            if given.flag.name in flags:
                for name in (given.value or "").split(","):
                    self.registry.check_name(name, given.location)


def _specifications(given: GivenFlag) -> Iterable[PassSpecification]:
    name = given.flag.name
    if name == "pass-pipeline":
        return parse_pipeline(given.value or "", given.location)
    if name in FLAGS:
        return ()
    alias = ALIASES.get(name)
    if alias is not None:
        return alias.specifications(given.value, given.location)
    options = parse_options(given.value or "", given.location)
    return (PassSpecification(name, options, given.location),)


def read_command(argv: Sequence[str]) -> Command:
    """Read the command line, and load the plug-ins it names.

    Raises: UsageError for a wrong command line, DiagnosticError for a plug-in that fails.
    """
    registry = PassRegistry()
    dialects: list[Dialect] = []
    plugin_files = tuple(_plugin_files(argv))
    for file in plugin_files:
        from nvdla_ir.passes.plugins import load_plugin

        plugin = load_plugin(file)
        for pass_class in plugin.passes:
            _register(registry, pass_class, plugin.file)
        dialects += plugin.dialects
    arguments = parse_arguments(
        argv,
        lambda name: _find_flag(name, registry),
        lambda: [*FLAGS, *ALIASES, *registry.names],
    )
    return Command(arguments, registry, tuple(dialects), plugin_files)


def _register(registry: PassRegistry, pass_class: type[Pass], file: str) -> None:
    try:
        registry.register(pass_class)
    except ValueError as error:
        raise DiagnosticError.at(FileLineCol(file, 1, 1), str(error)) from None


def _plugin_files(argv: Sequence[str]) -> Iterable[str]:
    """The plug-ins, read ahead of all else: the other flags may name their passes."""
    for index, argument in enumerate(argv):
        flag, equals, value = argument.partition("=")
        if flag.lstrip("-") == "load-pass-plugin" and flag.startswith("-"):
            # One without a value is left to those who read the other flags.
            if value:
                yield value
            elif not equals and index + 1 < len(argv):
                yield argv[index + 1]


def _find_flag(name: str, registry: PassRegistry) -> Flag | None:
    flag = FLAGS.get(name)
    if flag is not None:
        return flag
    if name in ALIASES:
        return _alias_flag(name)
    if name in registry.names or registry.find(name) is not None:
        return Flag(name, "", _PASSES, "KEY=VALUE,…", "")
    return None


def _alias_flag(name: str) -> Flag:
    alias = ALIASES[name]
    names = [step.name for step in (*alias.ahead, *alias.steps)]
    text = f"{alias.help}: {', '.join(names)}"
    # what has options behind its value checks the value itself
    choices = () if alias.options else alias.choices
    return Flag(name, text, _ALIASES, alias.value, alias.default, choices)


# -------------------------------------------------------------- help and lists


def help_text(registry: PassRegistry) -> str:
    """The text of ``--help``."""
    flags = [flag for flag in FLAGS.values() if flag.group in (_GENERAL, _INPUT)]
    flags += [_alias_flag(name) for name in ALIASES]
    flags += [FLAGS["pass-pipeline"], FLAGS["run-reproducer"]]
    flags += [_pass_flag(_existing(registry, name)) for name in registry.names]
    flags += [flag for flag in FLAGS.values() if flag.group == _ESTIMATES]
    flags += [flag for flag in FLAGS.values() if flag.group == _WATCH]
    return format_help(
        "nvdla-opt [flags] [FILE]",
        "Reads IR from FILE (or '-', standard input), runs passes on it in the order of the "
        "flags, and prints IR. Exit code: 0 success, 1 the input is at fault, 2 wrong usage.",
        flags,
    )


def pass_list(registry: PassRegistry) -> str:
    """The text of ``--list-passes``."""
    lines: list[str] = []
    for name in registry.names:
        pass_class = _existing(registry, name)
        lines.append(f"{name}: {summary(pass_class)}")
        lines += [f"    {_option_text(option)}" for option in options_of(pass_class)]
    lines += [""]
    for alias in ALIASES.values():
        steps = ", ".join(step.name for step in (*alias.ahead, *alias.steps))
        lines.append(f"{_alias_flag(alias.name).spelling}: {steps}")
    return "\n".join(lines) + "\n"


def dialect_list(dialects: Iterable[Dialect]) -> str:
    """The text of ``--show-dialects``."""
    lines = [
        f"{dialect.name}: {dialect.description}"
        f" ({len(dialect.operations)} operation{'' if len(dialect.operations) == 1 else 's'})"
        for dialect in dialects
    ]
    return "\n".join(lines) + "\n"


def summary(pass_class: type[Pass]) -> str:
    """The first paragraph of the pass's documentation, as one line."""
    paragraph = inspect.getdoc(pass_class) or ""
    first = " ".join(paragraph.split("\n\n")[0].split())
    return first.split(". ")[0].rstrip(".:").replace("``", "'")


def _existing(registry: PassRegistry, name: str) -> type[Pass]:
    pass_class = registry.find(name)
    assert pass_class is not None
    return pass_class


def _pass_flag(pass_class: type[Pass]) -> Flag:
    options = options_of(pass_class)
    text = "\n".join([summary(pass_class), *map(_option_text, options)])
    if not options:
        return Flag(pass_class.name, text, _PASSES)
    required = any(option.required for option in options)
    value = ",".join(f"{option.name}=…" for option in options)
    return Flag(pass_class.name, text, _PASSES, value, None if required else "")


def _option_text(option: OptionDescription) -> str:
    allowed = "|".join(option.choices) or option.kind
    if option.required:
        default = "required"
    else:
        default = (
            f"default {str(option.default).lower() if option.kind == 'bool' else option.default}"
        )
    return f"{option.name}={allowed}: {option.help} ({default})"
