"""Register programs out, as traces for any player of the format."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import define, field
from numpy.typing import NDArray

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import (
    MEMORY_BASE_ATTRIBUTE,
    MEMORY_BYTES_ATTRIBUTE,
    PRIMARY,
    SECONDARY,
    CheckBytesOp,
    CheckCrcOp,
    ConfigureOp,
    DownloadOp,
    EnableOp,
    ExpectOp,
    FillOp,
    LoadOp,
    OutputOp,
    PollOp,
    ReadOp,
    RegisterWrite,
    UnitOp,
    UploadOp,
    WaitAnyOp,
    WaitOp,
)
from nvdla_ir.dialects.func import FuncOp, entry_functions
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import configuration_of
from nvdla_ir.formats.trace.outlining import host_computes_between, outlined
from nvdla_ir.formats.trace.packets import packets_text
from nvdla_ir.formats.trace.programs import separate_programs
from nvdla_ir.formats.trace.recording import Recording, Region, conflict, record
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.registers import WORD_MASK, RegisterMap, register_map
from nvdla_ir.interp.device.record import NOT_WAITED_FOR, STARTERS
from nvdla_ir.interp.machine import executed_operations
from nvdla_ir.ir.attributes import DenseResourceAttr, IntegerAttr
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.operation import Operation
from nvdla_ir.resources import ResourceStore

_NAME = re.compile(r"[\w.+-]+", re.ASCII)
_POINTER = "S_POINTER"
_FLUSH_STATUS = "S_CBUF_FLUSH_STATUS"
_CSB = "csb."


def export_trace(
    module: ModuleOp,
    resources: ResourceStore,
    inputs: Mapping[str, NDArray[Any]],
    name: str,
    *,
    lenient: bool = False,
) -> dict[str, bytes]:
    """The trace ``<name>.cfg`` and its data files, by file name. Where the host computes between
    device programs, a trace for each, ``<name>_0/<name>_0.cfg`` and so on.

    The program is run on the device with ``inputs`` (``lenient`` as the machine has it). What the
    host writes to memory becomes data, loaded before the first register write; each network output
    that it reads becomes a CRC check of the whole region at the event of the wait before. The
    memory that the program uses is cleared first, so that gaps and lanes that nothing writes count
    as 0.

    A device program's trace stands for itself: its data is also what earlier programs leave for
    it, what it leaves for later ones is checked, and each unit begins with register group 0, as it
    does after a reset.

    The order of the program is kept both for players that go line by line and for those that run
    one command stream for each block: after each wait, every block waits for its event before its
    next command, and CSC and CDMA, which start a convolution, wait until what they do not ask for
    is enabled.

    Raises: DiagnosticError for programs that no trace can express, with all reasons, and for
    whatever the device refuses.
    """
    if _NAME.fullmatch(name) is None or name.startswith("."):
        raise DiagnosticError.at(
            module.location,
            f"'{name}' is no name for a trace: it takes letters, digits, '_', '-', '+' and '.'",
        )
    function = _network(module)
    if host_computes_between(function):
        function = outlined(function, resources, inputs, lenient)
    programs = separate_programs(function, resources, inputs, lenient)
    if not programs:
        return _trace(function, resources, inputs, name, lenient)
    files: dict[str, bytes] = {}
    for number, program in enumerate(programs):
        own = name if len(programs) == 1 else f"{name}_{number}"
        folder = "" if len(programs) == 1 else f"{own}/"
        trace = _trace(program.function, resources, program.inputs, own, lenient)
        files.update({f"{folder}{file}": data for file, data in trace.items()})
    return files


def _trace(
    function: FuncOp,
    resources: ResourceStore,
    inputs: Mapping[str, NDArray[Any]],
    name: str,
    lenient: bool,
) -> dict[str, bytes]:
    configuration = configuration_of(function)
    _check_expressible(function)
    recording = record(function, configuration, resources, inputs, lenient)
    return _Writer(function, configuration, resources, recording, name).files()


def _network(module: ModuleOp) -> FuncOp:
    """The function with register operations, or that calls such ones."""
    found = [
        function
        for function in entry_functions(module)
        if any(inner.name.startswith(_CSB) for inner in executed_operations(function))
    ]
    if not found:
        raise DiagnosticError.at(
            module.location, "there are no register operations here: run 'emit-registers' first"
        )
    if len(found) > 1:
        names = ", ".join(f"'@{op.sym_name}'" for op in found)
        raise DiagnosticError.at(
            found[1].location, f"a trace is one program, but there are {len(found)}: {names}"
        )
    return found[0]


def _check_expressible(function: FuncOp) -> None:
    """Raises: DiagnosticError with everything that a trace has no command for."""
    diagnostics = DiagnosticCollector()
    for op in function.body.operations:
        if isinstance(op, WaitAnyOp):
            diagnostics.error(
                op.location,
                "'csb.wait_any' waits for any interrupt, but 'intr_notify' of a trace names one: "
                "use 'csb.wait'",
            )
        elif isinstance(op, ReadOp) and op.mask not in (0, WORD_MASK):
            diagnostics.error(
                op.location,
                f"'{op.name}' looks at the bits {op.mask:#x}, but traces read whole registers",
            )
    diagnostics.raise_if_errors()


@define(eq=False)
class _Writer:
    function: FuncOp
    configuration: HardwareConfiguration
    resources: ResourceStore
    recording: Recording
    name: str
    _data: dict[str, bytes] = field(factory=dict[str, bytes])
    _memory: list[str] = field(factory=list[str])
    _commands: list[str] = field(factory=list[str])
    _diagnostics: DiagnosticCollector = field(factory=DiagnosticCollector)
    _registers: RegisterMap = field(init=False)
    # The events that a block has still to wait for, and all there were.
    _pending: dict[str, list[str]] = field(factory=dict[str, "list[str]"])
    _events: list[str] = field(factory=list[str])
    # The event of the latest wait, and those that nothing is checked at.
    _latest: str | None = None
    _unchecked: dict[str, None] = field(factory=dict[str, None])
    _pointers: dict[str, int] = field(factory=dict[str, int])
    _layers: tuple[str, ...] | None = None
    _polled_flush: bool = False
    _enabled: int = 0

    def __attrs_post_init__(self) -> None:
        self._registers = register_map(self.configuration.register_map)

    def files(self) -> dict[str, bytes]:
        """All files of the trace, by name."""
        for op in self.function.body.operations:
            self._operation(op)
        self._diagnostics.raise_if_errors()
        self._commands += [f"check_nothing({event});" for event in self._unchecked]
        cleared = [
            f"mem_init({_memory(region)}, {region.address:#x}, {region.size:#x}, ALL_ZERO);"
            for region in self._cleared()
        ]
        lines = [*self._header(), *cleared, *self._memory, *self._commands]
        text = "\n".join(lines) + "\n"
        return {f"{self.name}.cfg": text.encode(), **self._data}

    def _cleared(self) -> list[Region]:
        """Memory that must not hold anything of before: all that the program says it uses, and
        what is checked."""
        regions = [golden.region for golden in self.recording.goldens.values()]
        module = self.function.parent_op
        assert module is not None
        base = module.attributes.get(MEMORY_BASE_ATTRIBUTE)
        size = module.attributes.get(MEMORY_BYTES_ATTRIBUTE)
        if isinstance(base, IntegerAttr) and isinstance(size, IntegerAttr) and size.value > 0:
            used = Region(PRIMARY, base.value, size.value)
            regions = [used, *(region for region in regions if not region.lies_in(used))]
        return list(dict.fromkeys(regions))

    def _header(self) -> Iterator[str]:
        yield f"// {self.name}: a register program for {self.configuration.name}"
        layers = len(self.recording.layers)
        yield f"// {layers} hardware layers, with the CRCs of a run on the data loaded here"

    def _operation(self, op: Operation) -> None:
        if isinstance(op, LoadOp):
            self._load(op)
        elif isinstance(op, FillOp):
            self._store(op, Region(op.memory, op.address, op.size), f"{op.size:#x}, {op.pattern}")
        elif isinstance(op, UploadOp):
            self._upload(op)
        elif isinstance(op, DownloadOp | OutputOp):
            golden = self.recording.goldens[op]
            self._check(op, golden.region, f"{golden.crc:#010x}")
        elif isinstance(op, CheckCrcOp):
            self._check(op, Region(op.memory, op.address, op.size), f"{op.crc:#010x}")
        elif isinstance(op, CheckBytesOp):
            self._check_bytes(op)
        elif isinstance(op, WaitOp):
            self._wait(op)
        elif isinstance(op, UnitOp):
            self._unit(op)

    # -------------------------------------------------------------- memory

    def _load(self, op: LoadOp) -> None:
        data = self.resources.array(op.value, op.location).tobytes()
        key = op.value.key if isinstance(op.value, DenseResourceAttr) else f"{op.address:x}"
        file = self._data_file(key, data)
        self._store(op, Region(op.memory, op.address, len(data)), f'"{file}"')

    def _upload(self, op: UploadOp) -> None:
        key = op.input.name_hint or "input"
        for region, data in self.recording.stored[op]:
            self._store(op, region, f'"{self._data_file(key, data)}"')

    def _store(self, op: Operation, region: Region, what: str) -> None:
        """A memory command; they all come first."""
        layer = conflict(self.recording, op, region)
        if layer is not None:
            self._diagnostics.error(
                op.location,
                f"{describe(op)} stores to [{region.address:#x}, {region.end:#x}) after the layer "
                f"{layer.name} has used that memory, but a trace loads all memory before its first "
                "layer: give it memory of its own",
            )
        command = "mem_load" if what.startswith('"') else "mem_init"
        self._memory.append(f"{command}({_memory(region)}, {region.address:#x}, {what});")

    def _data_file(self, key: str, data: bytes) -> str:
        """The name of a data file with ``data``; equal data share one."""
        text = packets_text(data).encode()
        stem = re.sub(r"[^A-Za-z0-9_.+-]", "_", key)
        if not stem.startswith(f"{self.name}_"):
            stem = f"{self.name}_{stem}"
        number, file = 0, f"{stem}.dat"
        while self._data.get(file, text) != text:
            number += 1
            file = f"{stem}_{number}.dat"
        self._data[file] = text
        return file

    # -------------------------------------------------------------- checks

    def _check(self, op: Operation, region: Region, crc: str) -> None:
        event = self._check_event(op)
        if region != region.in_words():
            self._diagnostics.error(
                op.location,
                f"{describe(op)} is about [{region.address:#x}, {region.end:#x}), but the checks "
                "of traces are about whole words of 4 bytes",
            )
        self._commands.append(
            f"check_crc({event}, {_memory(region)}, {region.address:#x}, {region.size:#x}, {crc});"
        )

    def _check_bytes(self, op: CheckBytesOp) -> None:
        data = self.resources.array(op.value, op.location).tobytes()
        region = Region(op.memory, op.address, len(data))
        self._check(op, region, f"{zlib.crc32(data):#010x}")

    def _check_event(self, op: Operation) -> str:
        if self._latest is None:
            self._diagnostics.error(
                op.location,
                f"{describe(op)} looks at memory before anything was waited for, but checks of "
                "traces happen at events: 'csb.wait' must come before",
            )
            return ""
        self._unchecked.pop(self._latest, None)
        return self._latest

    # -------------------------------------------------------------- units

    def _wait(self, op: WaitOp) -> None:
        event = self._new_event()
        self._latest = event
        self._unchecked[event] = None
        self._commands.append(f"intr_notify({op.unit}_{op.group}, {event});")

    def _unit(self, op: UnitOp) -> None:
        if isinstance(op, ConfigureOp) and op.layers and op.layers != self._layers:
            self._layers = op.layers
            self._commands.append(f"// layer {' + '.join(map(_comment, op.layers))}")
        self._catch_up(op.unit)
        if isinstance(op, EnableOp) and op.unit == "CDMA":
            self._poll_flush()
        for write in op.register_writes(self._registers):
            self._write(write)
        if isinstance(op, PollOp):
            self._poll(op)
        elif isinstance(op, ExpectOp):
            register = _register(op.unit, op.register)
            self._commands.append(
                f"reg_read_check({register}, {op.value:#x});"
                if op.mask
                else f"reg_read({register}, value);"
            )

    def _write(self, write: RegisterWrite) -> None:
        if write.register == _POINTER:
            if self._pointers.get(write.unit) == write.word:
                return
            self._pointers[write.unit] = write.word
        register = _register(write.unit, write.register)
        self._commands.append(f"reg_write({register}, {write.word:#x});")
        if write.register == "D_OP_ENABLE" and write.unit in NOT_WAITED_FOR:
            event = f"enabled_{self._enabled}"
            self._enabled += 1
            self._commands.append(f"sync_notify(NVDLA_{write.unit}, {event});")
            for block in STARTERS:
                self._pending.setdefault(block, []).append(event)

    def _poll(self, op: PollOp) -> None:
        register = _register(op.unit, op.register)
        if not op.mask:
            self._commands.append(f"reg_read({register}, value);")
            return
        self._commands.append(f"poll_reg_equal({register}, {op.value:#x});")
        if op.register == _FLUSH_STATUS:
            self._polled_flush = True
            return
        # What comes behind in the program must not begin before.
        event = self._new_event(but_for=op.unit)
        self._commands.append(f"sync_notify(NVDLA_{op.unit}, {event});")

    def _poll_flush(self) -> None:
        """Before the first convolution: its buffer is being cleared after a reset."""
        if not self._polled_flush:
            self._polled_flush = True
            self._commands.append(f"poll_reg_equal({_register('CDMA', _FLUSH_STATUS)}, 0x1);")

    def _new_event(self, but_for: str | None = None) -> str:
        event = f"sync_id_{len(self._events)}"
        self._events.append(event)
        for block in self._registers:
            if block != but_for:
                self._pending.setdefault(block, []).append(event)
        return event

    def _catch_up(self, block: str) -> None:
        """Make ``block`` wait for all events since its last command."""
        for event in self._pending.pop(block, ()):
            self._commands.append(f"sync_wait(NVDLA_{block}, {event});")


def _memory(region: Region) -> str:
    return "sec_mem" if region.memory == SECONDARY else "pri_mem"


def _register(unit: str, register: str) -> str:
    return f"NVDLA_{unit}.{register}_0"


def _comment(text: str) -> str:
    """``text`` on one line."""
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", "?", text)
