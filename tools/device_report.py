"""What nvdla-run tells about a register program: checks, accesses to registers, layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

from attrs import define, field

from nvdla_ir.dialects import csb
from nvdla_ir.hw.registers import WORD_MASK, RegisterMap, register_map
from nvdla_ir.interp.csb import (
    CheckResult,
    ExecutedLayer,
    checks_of,
    device_of,
    executed_layers,
    remarks_of,
)
from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.device.record import TABLE_HEADINGS, last_write
from nvdla_ir.interp.machine import Machine
from nvdla_ir.ir.diagnostics import Diagnostic
from nvdla_ir.ir.operation import Operation

from .command_line import STANDARD_STREAM
from .memory_files import memory_dumps
from .run_options import Options
from .tables import format_table

_CHECKS = csb.MemoryCheckOp | csb.ExpectOp


@define(eq=False)
class DeviceReporter:
    """Watches a machine: prints each check when it is made, and keeps what else is asked for.

    show:            prints a line at once
    trace_registers: where lines about accesses to registers go: a file, ``-`` to print them at
                     once, None for nowhere
    """

    machine: Machine
    show: Callable[[str], None]
    trace_registers: str | None = None
    passed: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    _accesses: list[str] = field(factory=list[str], init=False)

    def observe(self, op: Operation, results: Sequence[Any]) -> None:
        """The machine's observer."""
        if self.trace_registers is not None:
            show = self.show if self.trace_registers == STANDARD_STREAM else self._accesses.append
            for line in _accesses(op, self.machine):
                show(line)
        if isinstance(op, _CHECKS):
            self._add(checks_of(self.machine)[-1])

    def _add(self, check: CheckResult) -> None:
        place = _place(check.op)
        if check.passed:
            self.passed += 1
            self.show(f"PASS {place}: {check.expected}")
            return
        self.failed += 1
        self.show(f"FAIL {place}: expected {check.expected}, got {check.found}")
        device = device_of(self.machine)
        if device is not None:
            for line in _explained(check, device):
                self.show(f"     {line}")

    @property
    def remarks(self) -> Iterable[Diagnostic]:
        """What the device ignored in the latest run, each once."""
        return dict.fromkeys(remarks_of(self.machine))

    def files(self, options: Options) -> dict[str, bytes]:
        """The contents of the files that were asked for, by name.

        Raises: DiagnosticError for dumps of what is outside a memory.
        """
        device = device_of(self.machine)
        files = {} if device is None else memory_dumps(device, options.dumps)
        if self.trace_registers not in (None, STANDARD_STREAM):
            files[self.trace_registers] = "".join(f"{line}\n" for line in self._accesses).encode()
        return files

    def tables(self, options: Options, stream: TextIO) -> str:
        """The tables that were asked for."""
        tables = ""
        if options.layers:
            tables += _layer_table(executed_layers(self.machine), stream)
        if options.profile:
            tables += _profile_table(executed_layers(self.machine), stream)
        return tables

    @property
    def summary(self) -> str:
        """One line about all checks; empty where there were none."""
        total = self.passed + self.failed
        if not total:
            return ""
        plural = "check" if total == 1 else "checks"
        return f"{total} {plural}: {self.passed} passed, {self.failed} failed\n"


def _place(op: Operation) -> str:
    """Where a check stands and what it looks at: ``x.cfg:40 sync_id_0 primary 0x80000000 +512``."""
    position = op.location.file_position()
    words = [] if position is None else [f"{position.file}:{position.line}"]
    if isinstance(op, csb.ExpectOp):
        group = "" if op.group is None else f"[{op.group}]"
        return " ".join([*words, f"{op.unit}{group}.{op.register}"])
    assert isinstance(op, csb.MemoryCheckOp)
    if op.event is not None:
        words.append(op.event)
    size = op.size if isinstance(op, csb.CheckCrcOp) else None
    kind = "bytes" if size is None else "CRC"
    extent = "" if size is None else f" +{size:#x}"
    return " ".join([*words, kind, f"{op.memory} {op.address:#x}{extent}"])


def _explained(check: CheckResult, device: Device) -> Iterator[str]:
    """What is known about a failed check of memory."""
    op = check.op
    if not isinstance(op, csb.AddressOp):
        return
    memory = (device.secondary if op.memory == csb.SECONDARY else device.primary).name
    if check.first_difference is not None:
        address = check.first_difference
        write = last_write(device.records, memory, address)
        what = "no layer wrote there" if write is None else str(write)
        yield f"first difference at {address:#x}: {what}"
        return
    write = last_write(device.records, memory, op.address)
    if write is None:
        yield f"no layer wrote {memory} {op.address:#x}"
    else:
        area = write.area
        yield (
            f"the {area.purpose} of layer {write.index} ({write.record.name}) starts at "
            f"{area.base:#x}; --dump or --check shows its bytes"
        )


# -------------------------------------------------------------- registers


def _accesses(op: Operation, machine: Machine) -> Iterator[str]:
    """The accesses that ``op`` stands for, one line each."""
    if isinstance(op, csb.WaitAnyOp):
        yield "wait for any interrupt"
        return
    device = device_of(machine)
    if device is None or not isinstance(op, csb.UnitOp):
        return
    registers = register_map(device.configuration.register_map)
    if isinstance(op, csb.WaitOp):
        yield f"wait for interrupt {op.unit}[{op.group}]"
        return
    group = getattr(op, "group", None)
    for write in op.register_writes(registers):
        yield write_line(write, registers, group)
    if isinstance(op, csb.ReadOp):
        verb = "poll" if isinstance(op, csb.PollOp) else "read"
        mask = "" if op.mask == WORD_MASK else f" & {op.mask:#010x}"
        found = device.read(op.unit, op.register) if isinstance(op, csb.PollOp) else None
        shown = f"{op.value:#010x}" if found is None else f"{found:#010x}"
        yield f"{verb} {op.unit}.{op.register}{mask} == {shown}"


def write_line(write: csb.RegisterWrite, registers: RegisterMap, group: int | None) -> str:
    """``SDP[0].D_CVT_SCALE (0x9048) = 0x00000015  CVT_SCALE=21``"""
    register = registers.block(write.unit).register(write.register)
    selected = f"[{group}]" if group is not None and register.grouped else ""
    place = f"{write.unit}{selected}.{write.register}"
    fields = " ".join(
        f"{name}={_shown(name, value)}"
        for name, value in register.decode_names(write.word).items()
        if register.fields[name].writable
    )
    return f"{place} ({write.address:#06x}) = {write.word:#010x}  {fields}".rstrip()


def _shown(field_name: str, value: int | str) -> str:
    return f"{value:#x}" if isinstance(value, int) and "_ADDR" in field_name else str(value)


# -------------------------------------------------------------- layers


def _layer_table(layers: Sequence[ExecutedLayer], stream: TextIO) -> str:
    """Each hardware layer: names, units, sizes, saturation."""
    programs = _programs(layers)
    rows = [
        (str(index), program, _names(layer), *layer.record.table_row()[:-1])
        for index, (layer, program) in enumerate(zip(layers, programs, strict=True))
    ]
    return _format(("#", _PROGRAM, _NAMES, *TABLE_HEADINGS[:-1]), rows, stream)


def _profile_table(layers: Sequence[ExecutedLayer], stream: TextIO) -> str:
    """How long each hardware layer took in the simulation."""
    total = sum(layer.record.seconds for layer in layers) or 1.0
    programs = _programs(layers)
    rows = [
        (str(index), program, *_profile_row(layer, total))
        for index, (layer, program) in enumerate(zip(layers, programs, strict=True))
    ]
    multiplications = sum(layer.record.multiplications for layer in layers)
    rows.append(("", "", "", "all", *_speed(multiplications, total, total)))
    headings = ("#", _PROGRAM, _NAMES, "layer", "MACs", "ms", "share", "GMAC/s")
    return _format(headings, rows, stream)


def _profile_row(layer: ExecutedLayer, total: float) -> tuple[str, ...]:
    record = layer.record
    return _names(layer), record.name, *_speed(record.multiplications, record.seconds, total)


def _programs(layers: Sequence[ExecutedLayer]) -> list[str]:
    """The device program of each layer; nothing to say where there is one."""
    programs = [layer.program for layer in layers]
    return programs if len(set(programs)) > 1 else [""] * len(programs)


def _speed(multiplications: int, seconds: float, total: float) -> tuple[str, str, str, str]:
    """Cells: multiplications, milliseconds, share of the time, multiplications a second."""
    share = f"{seconds / total * 100:.1f} %"
    if not multiplications:
        return "", f"{seconds * 1e3:.3f}", share, ""
    speed = f"{multiplications / max(seconds, 1e-9) / 1e9:.2f}"
    return f"{multiplications:,}", f"{seconds * 1e3:.3f}", share, speed


_NAMES = "of the network"
_PROGRAM = "program"


def _format(headings: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> str:
    """A table, without the columns of names and programs where no layer has any."""
    empty = {h for i, h in enumerate(headings) if not any(row[i] for row in rows)}
    kept = [i for i, h in enumerate(headings) if h not in empty & {_NAMES, _PROGRAM}]
    return format_table(
        [headings[i] for i in kept], [[row[i] for i in kept] for row in rows], stream
    )


def _names(layer: ExecutedLayer) -> str:
    return "+".join(layer.names)
