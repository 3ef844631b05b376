"""What the commands of a trace ask for, checked and with names resolved."""

from __future__ import annotations

from attrs import field, frozen

from nvdla_ir.formats.trace.data import Bytes
from nvdla_ir.hw.registers import Block, Register
from nvdla_ir.interp.device.global_control import Interrupt
from nvdla_ir.ir.location import FileLineCol


@frozen(eq=False)
class RegisterStep:
    """Something that is done with one register, in the command stream of its block."""

    location: FileLineCol
    block: Block
    register: Register


@frozen(eq=False)
class WriteStep(RegisterStep):
    """The register gets ``word``."""

    word: int


@frozen(eq=False)
class ReadStep(RegisterStep):
    """The register is read, and the value is of no interest."""


@frozen(eq=False)
class PollStep(RegisterStep):
    """The command stream stalls until the register reads ``value``."""

    value: int


@frozen(eq=False)
class ExpectStep(RegisterStep):
    """The register must read ``value`` in the bits of ``mask``."""

    value: int
    mask: int


@frozen(eq=False)
class EventStep:
    """Something about the event of this name, in the command stream of ``block``."""

    location: FileLineCol
    block: Block
    event: str


@frozen(eq=False)
class NotifyStep(EventStep):
    """Sets the event."""


@frozen(eq=False)
class StallStep(EventStep):
    """Stalls the command stream until the event is set."""


@frozen(eq=False)
class Expectation:
    """The interrupt will come, and sets ``event``."""

    location: FileLineCol
    interrupt: Interrupt
    event: str


@frozen(eq=False)
class WaitAnyStep:
    """Waits for any interrupt."""

    location: FileLineCol


@frozen(eq=False)
class MemoryStep:
    """Something about a memory from byte ``address`` on; ``memory`` as in the csb dialect."""

    location: FileLineCol
    memory: str
    address: int


@frozen(eq=False)
class LoadStep(MemoryStep):
    """Stores ``data``; ``name`` is that of the file that it came from."""

    data: Bytes
    name: str


@frozen(eq=False)
class FillStep(MemoryStep):
    """Stores ``size`` bytes of a pattern of the csb dialect."""

    size: int
    pattern: str


@frozen(eq=False)
class CheckStep(MemoryStep):
    """A check of memory when ``event`` is set, or in its place where there is none."""

    event: str | None


@frozen(eq=False)
class CrcStep(CheckStep):
    """The CRC of ``size`` bytes must be ``crc``."""

    size: int
    crc: int


@frozen(eq=False)
class BytesStep(CheckStep):
    """The bytes must be ``data``, which came from the file ``name``."""

    data: Bytes
    name: str


Step = (
    WriteStep
    | ReadStep
    | PollStep
    | ExpectStep
    | Expectation
    | WaitAnyStep
    | LoadStep
    | FillStep
    | CrcStep
    | BytesStep
)
"""What becomes operations."""

MemoryAction = LoadStep | FillStep | CrcStep | BytesStep
"""What is done to memory, or checked, when an event is set."""

StreamStep = WriteStep | ReadStep | PollStep | ExpectStep | NotifyStep | StallStep
"""What stands in the command stream of a block."""


@frozen(eq=False)
class Trace:
    """A ``.cfg`` trace: what it does to memory first, the command streams of its blocks in one
    list in order of the file, the interrupts that it expects, and what it does when an event is
    set.

    consumed: events that are waited for without any further check
    """

    memory: list[LoadStep | FillStep] = field(factory=list["LoadStep | FillStep"])
    commands: list[StreamStep] = field(factory=list["StreamStep"])
    expectations: list[Expectation] = field(factory=list["Expectation"])
    at_events: list[tuple[str, MemoryAction]] = field(factory=list["tuple[str, MemoryAction]"])
    consumed: list[tuple[str, FileLineCol]] = field(factory=list["tuple[str, FileLineCol]"])
