"""The command line of nvdla-run, read and checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from attrs import frozen

from .command_line import (
    STANDARD_STREAM,
    Arguments,
    Flag,
    UsageError,
    check_distinct,
    split_named,
)
from .plugin_files import plugin_flag

NAME = "nvdla-run"
USAGE = f"{NAME} PROGRAM [--input NAME=FILE …] [--output NAME=FILE …]"
DESCRIPTION = (
    "Execute a program: IR on any level (floats, calibrated or quantized layers, hardware layers, "
    "a register program; the IR itself says which), a register trace (x.cfg with its .dat files, "
    "x.txn, or the directory of one), or a loadable (x.nvdla). PROGRAM and FILE may be - for "
    "standard input or output; arrays are in x.npy, x.npz or x.npz:key. Floats given for an input "
    "of stored integers are quantized with its scale, and stored outputs are given back as reals. "
    "An input with more images along its first axis than the program takes is run batch by batch, "
    "and the outputs are stacked. A check that fails makes the exit code 1."
)
_DATA, _RUNNING, _HARDWARE, _GENERAL = (
    "inputs and outputs",
    "running",
    "on the hardware",
    "general",
)
_NAMED = "NAME=FILE"
_DUMPED = "MEM:ADDR:SIZE:FILE"
_COMPARED = "MEM:ADDR:FILE"
FLAGS = {
    flag.name: flag
    for flag in (
        Flag("input", "an input's elements", _DATA, _NAMED),
        Flag("output", "where an output goes", _DATA, _NAMED),
        Flag(
            "raw-input",
            "an input's stored bytes: row-major, little-endian, without a header; for a loadable "
            "the bytes of the bound buffer",
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
        Flag(
            "compare",
            "print how far each layer of a second program, on any level, is from PROGRAM's on the "
            "same inputs; --mode is PROGRAM's",
            _RUNNING,
            "PROGRAM",
        ),
        Flag("jobs", "how many processes share the images; by default 1", _RUNNING, "N"),
        Flag(
            "target",
            "the hardware that a trace or loadable is for: a configuration's name or TOML file; "
            "traces need it, a loadable mostly shows it",
            _HARDWARE,
            "T",
        ),
        Flag(
            "lenient",
            "go on, with a remark, where a program uses a unit that the hardware lacks or a "
            "combination that it forbids",
            _HARDWARE,
        ),
        Flag(
            "hardware-only",
            "run a loadable without what its runtime does on the CPU; the output '-' is what the "
            "last hardware layer writes",
            _HARDWARE,
        ),
        Flag(
            "trace-registers",
            "write each access to a register with its named fields, one line an access, to FILE "
            "or standard output",
            _HARDWARE,
            "FILE",
            default=STANDARD_STREAM,
        ),
        Flag(
            "layers",
            "print each hardware layer that ran: units, sizes, how much saturated",
            _HARDWARE,
        ),
        Flag("profile", "print how long each hardware layer took", _HARDWARE),
        Flag(
            "dump",
            "write SIZE bytes of memory from ADDR on to FILE when the program has ended; MEM is "
            "pri (DRAM) or sec (SRAM)",
            _HARDWARE,
            _DUMPED,
        ),
        Flag(
            "check",
            "compare memory from ADDR on with the bytes of FILE when the program has ended",
            _HARDWARE,
            _COMPARED,
        ),
        plugin_flag(_GENERAL),
        Flag("help", "show this text", _GENERAL),
        Flag("version", "show the version", _GENERAL),
    )
}
_MEMORIES = {"pri": "primary", "sec": "secondary"}


@frozen
class NamedFile:
    """``NAME=FILE``; raw: the file has bytes, no array."""

    name: str
    file: str
    raw: bool

    def among(self, known: Collection[str]) -> NamedFile:
        """The same, divided again now that the program says which names there are."""
        return NamedFile(*split_named(f"{self.name}={self.file}", known), self.raw)


@frozen
class MemoryFile:
    """Bytes of a memory and a file: ``size`` of them, or as many as the file has."""

    memory: str
    address: int
    size: int | None
    file: str


@frozen
class Options:
    """What is to be run, and how."""

    program: str
    inputs: tuple[NamedFile, ...]
    outputs: tuple[NamedFile, ...]
    labels: str | None
    mode: str | None
    compare: str | None
    jobs: int
    target: str | None
    lenient: bool
    hardware_only: bool
    trace_registers: str | None
    layers: bool
    profile: bool
    dumps: tuple[MemoryFile, ...]
    checks: tuple[MemoryFile, ...]
    plugins: tuple[str, ...]

    @property
    def needs_device(self) -> list[str]:
        """The flags given that look at the device."""
        given = {
            "trace-registers": self.trace_registers is not None,
            "layers": self.layers,
            "profile": self.profile,
            "dump": bool(self.dumps),
            "check": bool(self.checks),
        }
        return [f"--{name}" for name, present in given.items() if present]


def checked_options(arguments: Arguments) -> Options:
    """Raises: UsageError"""
    if len(arguments.positionals) != 1:
        given = ", ".join(arguments.positionals) or "none"
        raise UsageError(f"one program is run, but {given} is given: {USAGE}")
    inputs, outputs = _named_files(arguments, "input"), _named_files(arguments, "output")
    options = Options(
        arguments.positionals[0],
        inputs,
        outputs,
        arguments.value("labels"),
        arguments.value("mode"),
        arguments.value("compare"),
        arguments.count("jobs", 1) or 1,
        arguments.value("target"),
        arguments.has("lenient"),
        arguments.has("hardware-only"),
        arguments.value("trace-registers"),
        arguments.has("layers"),
        arguments.has("profile"),
        _memory_files(arguments, "dump", _DUMPED),
        _memory_files(arguments, "check", _COMPARED),
        tuple(arguments.values("load-pass-plugin")),
    )
    if options.jobs > 1 and options.needs_device:
        flags = ", ".join(options.needs_device)
        raise UsageError(f"{flags} look at the one device of this process: leave out '--jobs'")
    if options.compare and (options.jobs > 1 or options.needs_device):
        flags = ", ".join(options.needs_device) or "--jobs"
        raise UsageError(f"'--compare' prints a table and nothing else: leave out {flags}")
    _check_files(options)
    return options


def _check_files(options: Options) -> None:
    read = [
        options.program,
        *(item.file for item in (*options.inputs, *options.checks)),
        options.labels,
        options.compare,
    ]
    if read.count(STANDARD_STREAM) > 1:
        raise UsageError("standard input can be read once only")
    check_distinct(_written(options))


def _written(options: Options) -> Iterator[tuple[str, str | None]]:
    """Each file and, as arrays share an archive, the key in it."""
    for output in options.outputs:
        file, separator, key = output.file.rpartition(".npz:")
        if output.raw or not (separator or output.file.endswith(".npz")):
            yield output.file, None
        elif separator:
            yield f"{file}.npz", key
        else:
            yield output.file, output.name
    for dump in options.dumps:
        yield dump.file, None
    if options.trace_registers is not None:
        yield options.trace_registers, None


def _named_files(arguments: Arguments, kind: str) -> tuple[NamedFile, ...]:
    found: list[NamedFile] = []
    for given in arguments.flags:
        if given.flag.name not in (kind, f"raw-{kind}"):
            continue
        name, _, file = (given.value or "").partition("=")
        if not (name and file):
            raise UsageError(f"'--{given.flag.name}' takes {_NAMED}, not '{given.value}'")
        found.append(NamedFile(name, file, given.flag.name != kind))
    return tuple(found)


def _memory_files(arguments: Arguments, flag: str, form: str) -> tuple[MemoryFile, ...]:
    """The values of ``flag``, whose form has a SIZE or not."""
    numbers = form.count(":") - 1
    found: list[MemoryFile] = []
    for text in arguments.values(flag):
        memory, *parts = text.split(":", numbers + 1)
        try:
            if memory not in _MEMORIES or len(parts) != numbers + 1 or not parts[-1]:
                raise ValueError
            address, *size = [int(part, 0) for part in parts[:-1]]
            if min(address, *size, 1) < 0 or 0 in size:
                raise ValueError
        except ValueError:
            raise UsageError(f"'--{flag}' takes {form} with MEM pri or sec, not '{text}'") from None
        size_given = size[0] if size else None
        found.append(MemoryFile(_MEMORIES[memory], address, size_given, parts[-1]))
    return tuple(found)
