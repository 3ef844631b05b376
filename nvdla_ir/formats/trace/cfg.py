"""The commands of ``.cfg`` traces: what each takes and means (convolution.md section 1.2)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from nvdla_ir.dialects.csb import PRIMARY, SECONDARY
from nvdla_ir.files import read_text
from nvdla_ir.formats.trace.commands import Argument, Command, lex
from nvdla_ir.formats.trace.data import Run, read_packets
from nvdla_ir.formats.trace.faults import Faults
from nvdla_ir.formats.trace.files import data_file
from nvdla_ir.formats.trace.memory import MAXIMUM_DATA_BYTES, PATTERNS, InitialMemory
from nvdla_ir.formats.trace.steps import (
    BytesStep,
    CrcStep,
    Expectation,
    ExpectStep,
    FillStep,
    LoadStep,
    NotifyStep,
    PollStep,
    ReadStep,
    StallStep,
    Trace,
    WriteStep,
)
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.registers import (
    WORD_MASK,
    Block,
    Register,
    RegisterError,
    RegisterMap,
    register_map,
)
from nvdla_ir.hw.suggestion import nearest
from nvdla_ir.interp.device.global_control import Interrupt, InterruptSource
from nvdla_ir.ir.diagnostics import DiagnosticError

_PREFIX = "NVDLA_"
_SUFFIX = "_0"
# The player takes the literal 1, which names no memory, for the primary one.
_MEMORIES = {"pri_mem": PRIMARY, "sec_mem": SECONDARY, "1": PRIMARY}
_MAXIMUM_REGION_BYTES = 1 << 30


def read_cfg(
    path: Path, configuration: HardwareConfiguration, note: Callable[[Path], None]
) -> Trace:
    """What the trace ``path`` does. ``note`` is told the data files that are read.

    Raises: DiagnosticError with all faults of the file and of its data files (the first 20).
    """
    faults = Faults()
    commands = lex(read_text(path), str(path), faults)
    registers = register_map(configuration.register_map)
    reader = _Reader(path, registers, configuration, faults, note)
    for command in commands:
        reader.read(command)
    reader.check_events()
    faults.raise_if_any()
    return reader.trace


@define
class _Reader:
    path: Path
    registers: RegisterMap
    configuration: HardwareConfiguration
    faults: Faults
    note: Callable[[Path], None]
    trace: Trace = field(factory=Trace)
    _memory: InitialMemory = field(init=False)
    _names: dict[str, tuple[Block, Register]] = field(
        factory=dict[str, "tuple[Block, Register]"], init=False
    )
    _files: dict[str, list[Run]] = field(factory=dict[str, "list[Run]"], init=False)
    # The bytes that all these files describe.
    _described: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._memory = InitialMemory(self.configuration.address_bits)

    def read(self, command: Command) -> None:
        """Take over one command, or note what is wrong with it."""
        try:
            known = _COMMANDS.get(command.name)
            if known is None:
                raise DiagnosticError.at(command.location, _unknown(command.name))
            form, counts, method = known
            if len(command.arguments) not in counts:
                raise DiagnosticError.at(
                    command.location,
                    f"'{command.name}' has {len(command.arguments)} arguments; it is written "
                    f"'{command.name}({form});'",
                )
            method(self, command)
        except DiagnosticError as error:
            self.faults.take(error)

    def check_events(self) -> None:
        """Note every event that something waits for and nothing sets."""
        trace = self.trace
        known = {step.event for step in trace.expectations}
        known |= {step.event for step in trace.commands if isinstance(step, NotifyStep)}
        waited = [(s.event, s.location) for s in trace.commands if isinstance(s, StallStep)]
        waited += [(event, step.location) for event, step in trace.at_events] + trace.consumed
        for event, location in sorted(waited, key=lambda item: item[1].line):
            if event not in known:
                self.faults.error(
                    location,
                    f"nothing sets the event '{event}': no 'intr_notify' and no 'sync_notify' "
                    f"names it{nearest(event, known)}",
                )

    # -------------------------------------------------------------- registers

    def register_write(self, command: Command) -> None:
        block, register = self._register(command, 0)
        word = self._word(command, 1)
        self.trace.commands.append(WriteStep(command.location, block, register, word))

    def register_check(self, command: Command) -> None:
        block, register = self._register(command, 0)
        word = self._word(command, 1)
        self.trace.commands.append(ExpectStep(command.location, block, register, word, WORD_MASK))

    def register_read(self, command: Command) -> None:
        block, register = self._register(command, 0)
        self.trace.commands.append(ReadStep(command.location, block, register))

    def poll(self, command: Command) -> None:
        block, register = self._register(command, 0)
        word = self._word(command, 1)
        self.trace.commands.append(PollStep(command.location, block, register, word))

    # -------------------------------------------------------------- events

    def stall(self, command: Command) -> None:
        step = StallStep(command.location, self._block(command, 0), self._name(command, 1))
        self.trace.commands.append(step)

    def notify(self, command: Command) -> None:
        step = NotifyStep(command.location, self._block(command, 0), self._name(command, 1))
        self.trace.commands.append(step)

    def interrupt(self, command: Command) -> None:
        argument = command.arguments[0]
        name, _, group = argument.text.upper().rpartition("_")
        sources = InterruptSource.__members__
        if name not in sources or group not in ("0", "1"):
            known = [f"{source}_{number}" for source in sources for number in (0, 1)]
            raise DiagnosticError.at(
                command.location_of(argument),
                f"there is no interrupt '{argument.text}'{nearest(argument.text, known)}",
            )
        interrupt = Interrupt(sources[name], int(group))
        self.trace.expectations.append(
            Expectation(command.location, interrupt, self._name(command, 1))
        )

    def consume(self, command: Command) -> None:
        self.trace.consumed.append((self._name(command, 0), command.location))

    # -------------------------------------------------------------- memory

    def initialize(self, command: Command) -> None:
        memory, base = self._memory_name(command, 0), self._address(command, 1)
        second = command.arguments[2]
        if second.is_string:
            size = max((run.end for run in self._packets(command, 2)), default=0)
        else:
            size = self._size(command, 2)
        pattern = command.arguments[3]
        if pattern.text not in PATTERNS:
            raise DiagnosticError.at(
                command.location_of(pattern),
                f"there is no pattern '{pattern.text}': there are {', '.join(PATTERNS)}",
            )
        if size:
            later = len(command.arguments) == 5
            step = self._memory.fill(
                command.location, memory, base, size, pattern.text, later=later
            )
            self._place(command, 4, step)

    def load(self, command: Command) -> None:
        memory, base = self._memory_name(command, 0), self._address(command, 1)
        runs = self._packets(command, 2)
        name = Path(command.arguments[2].string).stem
        later = len(command.arguments) == 4
        for step in self._memory.load(command.location, memory, base, runs, name, later=later):
            self._place(command, 3, step)

    def _place(self, command: Command, index: int, step: LoadStep | FillStep) -> None:
        """Do ``step`` first, or when the event happens that argument ``index`` may name."""
        if index < len(command.arguments):
            self.trace.at_events.append((self._name(command, index), step))
        else:
            self.trace.memory.append(step)

    def reserve(self, command: Command) -> None:
        """What a player's allocator does is of no interest: the addresses are all given."""
        self._memory_name(command, 0)
        self._address(command, 1)

    def check_crc(self, command: Command) -> None:
        event, memory = self._name(command, 0), self._memory_name(command, 1)
        address, size = self._region(command, 2)
        for index, value in ((2, address), (3, size)):
            if value % 4:
                raise DiagnosticError.at(
                    command.location_of(command.arguments[index]),
                    f"{value:#x} is no multiple of 4: a CRC is taken of whole words",
                )
        crc = self._word(command, 4)
        step = CrcStep(command.location, memory, address, event, size, crc)
        self.trace.at_events.append((event, step))

    def check_file(self, command: Command) -> None:
        event, memory = self._name(command, 0), self._memory_name(command, 1)
        address, size = self._region(command, 2)
        name = Path(command.arguments[4].string).stem
        runs = self._packets(command, 4)
        if not runs:
            raise DiagnosticError.at(command.location, "the file has no packets to compare with")
        for run in runs:
            if run.end > size:
                raise DiagnosticError.at(
                    command.location,
                    f"the file describes bytes up to {run.end:#x}, but {size:#x} are checked",
                )
            step = BytesStep(command.location, memory, address + run.offset, event, run.data, name)
            self.trace.at_events.append((event, step))

    # -------------------------------------------------------------- arguments

    def _region(self, command: Command, index: int) -> tuple[int, int]:
        """An address and, behind it, a size."""
        address, size = self._address(command, index), self._size(command, index + 1)
        if size == 0:
            raise DiagnosticError.at(
                command.location_of(command.arguments[index + 1]), "a region of 0 bytes is checked"
            )
        self._memory.check(command.location, address, size)
        return address, size

    def _packets(self, command: Command, index: int) -> list[Run]:
        argument = command.arguments[index]
        location = command.location_of(argument)
        if not argument.is_string:
            raise DiagnosticError.at(location, "expected a file name in quotation marks")
        runs = self._files.get(argument.string)
        if runs is None:
            path = data_file(self.path.parent, argument.string, location)
            self.note(path)
            runs = read_packets(path, self.faults)
            self._described += sum(run.data.size for run in runs)
            if self._described > MAXIMUM_DATA_BYTES:
                raise DiagnosticError.at(
                    location,
                    f"the data files describe more than the {MAXIMUM_DATA_BYTES} bytes allowed",
                )
            self._files[argument.string] = runs
        return runs

    def _register(self, command: Command, index: int) -> tuple[Block, Register]:
        argument = command.arguments[index]
        found = self._names.get(argument.text)
        if found is None:
            found = self._names[argument.text] = self._find_register(command, argument)
        return found

    def _find_register(self, command: Command, argument: Argument) -> tuple[Block, Register]:
        location = command.location_of(argument)
        block_name, dot, name = argument.text.partition(".")
        if not dot:
            raise DiagnosticError.at(
                location,
                f"expected a register such as 'NVDLA_SDP.S_POINTER_0', found '{argument.text}'",
            )
        block = self._find_block(command, argument, block_name)
        if not name.endswith(_SUFFIX):
            raise DiagnosticError.at(
                location, f"the register name '{name}' lacks the '{_SUFFIX}' at its end"
            )
        try:
            return block, block.register(name.removesuffix(_SUFFIX))
        except RegisterError as error:
            raise DiagnosticError.at(location, str(error)) from None

    def _block(self, command: Command, index: int) -> Block:
        argument = command.arguments[index]
        return self._find_block(command, argument, argument.text)

    def _find_block(self, command: Command, argument: Argument, text: str) -> Block:
        upper = text.upper()
        if not upper.startswith(_PREFIX):
            known = [f"{_PREFIX}{name}" for name in self.registers]
            raise DiagnosticError.at(
                command.location_of(argument),
                f"'{text}' names no block: names of blocks begin with '{_PREFIX}'"
                f"{nearest(_PREFIX + text, known)}",
            )
        try:
            return self.registers.block(upper.removeprefix(_PREFIX))
        except RegisterError as error:
            raise DiagnosticError.at(command.location_of(argument), str(error)) from None

    def _name(self, command: Command, index: int) -> str:
        argument = command.arguments[index]
        if argument.is_string or not argument.text:
            raise DiagnosticError.at(command.location_of(argument), "expected the name of an event")
        return argument.text

    def _memory_name(self, command: Command, index: int) -> str:
        argument = command.arguments[index]
        memory = _MEMORIES.get(argument.text)
        if memory is None:
            raise DiagnosticError.at(
                command.location_of(argument),
                f"there is no memory '{argument.text}': there are 'pri_mem' and 'sec_mem'",
            )
        return memory

    def _word(self, command: Command, index: int) -> int:
        return command.number(index, WORD_MASK, "registers have 32 bits")

    def _address(self, command: Command, index: int) -> int:
        bits = self.configuration.address_bits
        rule = f"addresses of {self.configuration.name} have {bits} bits"
        return command.number(index, (1 << bits) - 1, rule)

    def _size(self, command: Command, index: int) -> int:
        rule = f"a region may have {_MAXIMUM_REGION_BYTES:#x} bytes"
        return command.number(index, _MAXIMUM_REGION_BYTES, rule)


_COMMANDS: dict[str, tuple[str, tuple[int, ...], Callable[[_Reader, Command], None]]] = {
    "reg_write": ("register, word", (2,), _Reader.register_write),
    "reg_read_check": ("register, word", (2,), _Reader.register_check),
    "reg_read": ("register, name", (2,), _Reader.register_read),
    "poll_reg_equal": ("register, word", (2,), _Reader.poll),
    "sync_wait": ("block, event", (2,), _Reader.stall),
    "sync_notify": ("block, event", (2,), _Reader.notify),
    "intr_notify": ("interrupt, event", (2,), _Reader.interrupt),
    "mem_init": ("memory, address, size, pattern", (4, 5), _Reader.initialize),
    "mem_load": ('memory, address, "file"', (3, 4), _Reader.load),
    "mem_reserve": ("memory, address, size", (3, 4), _Reader.reserve),
    "mem_release": ("memory, address, event", (3,), _Reader.reserve),
    "check_crc": ("event, memory, address, size, crc", (5,), _Reader.check_crc),
    "check_file": ('event, memory, address, size, "file"', (5,), _Reader.check_file),
    "check_nothing": ("event", (1,), _Reader.consume),
}
"""The commands: how each is written, how many arguments it takes, and what reads it."""


def _unknown(name: str) -> str:
    if name.startswith("poll_"):
        return (
            f"'{name}' is not supported, as in the player of the format: there is "
            "'poll_reg_equal(register, word);'"
        )
    return f"there is no command '{name}'{nearest(name, _COMMANDS)}"
