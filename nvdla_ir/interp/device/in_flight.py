"""Layers in flight: enabled, and for all that the program knows not yet done.

The device computes a layer at once, the hardware takes its time. A program may only rely on what it
has seen: an interrupt, or an idle unit. Until then a layer may still read and write its memory,
and its register groups are busy. What seeing one unit's end implies:

* units run their layers in order: the layers before it on the same unit have ended there too;
* what the unit takes its data from has ended, for that layer (the fetches of CDMA and the RDMAs
  belong to nobody but themselves);
* a later layer that goes through a unit writes nothing before the earlier ones have left it.

Sources: convolution.md sections 6.1 and 8.4, rubik-bdma-glb.md sections 5 and 6.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator

from attrs import define, field

from nvdla_ir.interp.device.areas import MemoryArea
from nvdla_ir.interp.device.errors import Rules
from nvdla_ir.interp.device.global_control import INTERRUPTS, Interrupt, InterruptSource
from nvdla_ir.interp.device.overlaps import first_overlap
from nvdla_ir.interp.device.record import BUFFERED, WEIGHTS, LayerRecord

_FETCHES = ("CDMA_WT", "CDMA_DAT")
_REGISTERS = {
    "convolution input": ("CDMA", "D_DAIN_ADDR_LOW_0"),
    "image plane 0": ("CDMA", "D_DAIN_ADDR_LOW_0"),
    "image plane 1": ("CDMA", "D_DAIN_ADDR_LOW_1"),
    "weights": ("CDMA", "D_WEIGHT_ADDR_LOW"),
    "weight mask": ("CDMA", "D_WMB_ADDR_LOW"),
    "weight group sizes": ("CDMA", "D_WGS_ADDR_LOW"),
    "BS operands": ("SDP_RDMA", "D_BS_BASE_ADDR_LOW"),
    "BN operands": ("SDP_RDMA", "D_BN_BASE_ADDR_LOW"),
    "EW operands": ("SDP_RDMA", "D_EW_BASE_ADDR_LOW"),
    "source": ("BDMA", "CFG_SRC_ADDR_LOW"),
    "destination": ("BDMA", "CFG_DST_ADDR_LOW"),
}
"""Where the address of an area stands, by its purpose; the others' by their unit."""


@define(eq=False)
class _Flight:
    """A layer, number ``index`` of those that ran, and which of its stages have ended."""

    index: int
    record: LayerRecord
    ended: set[str] = field(factory=set[str])

    @property
    def stages(self) -> tuple[str, ...]:
        """The units in order of the data flow, CDMA as its two fetches."""
        return tuple(stage for unit in self.record.units for stage in _stages_of(unit))

    @property
    def writer(self) -> str:
        """The unit that writes to memory."""
        return self.stages[-1]

    @property
    def waits_for(self) -> str:
        """The interrupt that tells its end, e.g. SDP_0."""
        return str(Interrupt(INTERRUPTS[self.writer][0], self.record.units[self.writer]))

    @property
    def wait_before(self) -> str:
        """What to do, for messages."""
        return f"wait for its interrupt {self.waits_for} before"

    def implied(self, stage: str) -> set[str]:
        """The stages that have ended when ``stage`` has."""
        stages = self.stages
        if stage in _FETCHES or stage.endswith("_RDMA"):
            return {stage}
        return set(stages[: stages.index(stage) + 1])

    def reader(self, area: MemoryArea) -> str:
        """The stage that reads ``area``."""
        if area.purpose in BUFFERED:
            return "CDMA_DAT"
        if area.purpose in WEIGHTS:
            return "CDMA_WT"
        return next((unit for unit in self.stages if unit.endswith("_RDMA")), self.writer)

    def reads_before(self, stages: Iterable[str]) -> Iterator[MemoryArea]:
        """What may still be read when all of ``stages`` have ended."""
        ended = self.ended.union(*(self.implied(stage) for stage in stages if stage in self.stages))
        return (area for area in self.record.reads if self.reader(area) not in ended)

    def register(self, area: MemoryArea) -> tuple[str, str]:
        """The block and register that hold the address of one of its areas."""
        if area.purpose in _REGISTERS:
            return _REGISTERS[area.purpose]
        if area in self.record.writes:
            return self.writer, "D_DAOUT_ADDR_LOW" if self.writer == "RBK" else (
                "D_DST_BASE_ADDR_LOW"
            )
        reader = self.reader(area)
        return reader, "D_DAIN_ADDR_LOW" if reader == "RBK" else "D_SRC_BASE_ADDR_LOW"

    def __str__(self) -> str:
        groups = "/".join(sorted({str(group) for group in self.record.units.values()}))
        return f"layer {self.index} ({self.record.name}, group {groups})"


@define
class LayersInFlight:
    """The layers of which the program does not know yet that they have ended."""

    _rules: Rules
    _flights: list[_Flight] = field(factory=list[_Flight])
    # Whose end each interrupt tells, oldest first; None where the program set it itself.
    _raised: dict[Interrupt, deque[_Flight | None]] = field(
        factory=lambda: defaultdict[Interrupt, "deque[_Flight | None]"](deque)
    )
    _count: int = 0

    def start(self, record: LayerRecord) -> None:
        """A layer was enabled. Reports memory that it shares with one in flight."""
        flight = _Flight(self._count, record)
        self._count += 1
        for other in tuple(self._flights):
            self._check(flight, other)
        self._flights.append(flight)
        for unit, group in record.units.items():
            for source in INTERRUPTS.get(unit, ()):
                self._raised[Interrupt(source, group)].append(flight)

    def drops(self, unit: str, group: int, register: str, word: int) -> bool:
        """Whether a write is dropped as a layer in flight may still use its register group.

        Reports it. The RTL drops it if the layer takes long enough, a lenient device always.
        """
        flight = self._user(unit, group)
        if flight is None:
            return False
        rule = f"dropped: group {group} is busy until {flight} has ended"
        self._rules.require(False, unit, register, word, f"{rule}: {flight.wait_before}")
        return True

    def check_launch(self, unit: str, group: int, register: str, word: int) -> None:
        """Report the launch of a group that is in flight; its queue takes it all the same."""
        rule = f"group {group} belongs to"
        self._check_write(self._user(unit, group), unit, register, word, rule)

    def check_tables(self, unit: str, register: str, word: int) -> None:
        """Report a write to the look-up tables of a unit that a layer in flight may still use.

        Nothing locks them: from when on the layer looks up the new ones is up to timing.
        """
        self._check_write(self._user(unit), unit, register, word, "the tables belong to")

    def _user(self, unit: str, group: int | None = None) -> _Flight | None:
        """The first layer that may still run on ``unit``, in ``group`` of it."""
        for flight in self._flights:
            used = flight.record.units.get(unit)
            if used is not None and group in (None, used) and self._runs_on(flight, unit):
                return flight
        return None

    def _check_write(
        self, flight: _Flight | None, unit: str, register: str, word: int, rule: str
    ) -> None:
        if flight is not None:
            told = f"{rule} {flight} until it has ended: {flight.wait_before}"
            self._rules.require(False, unit, register, word, told)
            self._end(flight, flight.writer)

    def check_host(self, area: MemoryArea, *, writes: bool) -> None:
        """Report memory that the host reads or ``writes`` while a layer in flight uses it."""
        for flight in tuple(self._flights):
            used = self._written(flight)
            if writes:
                used = [*used, *flight.reads_before(())]
            found = first_overlap(area, used)
            if found is not None:
                self._rules.require(
                    False,
                    "GLB",
                    "S_INTR_STATUS",
                    None,
                    f"the host {'writes' if writes else 'reads'} {_common(area, found)} while "
                    f"{flight} may still use it, {found.purpose}: wait for the interrupt "
                    f"{flight.waits_for} before",
                )
                self._end(flight, flight.writer)

    def forced(self, interrupt: Interrupt) -> None:
        """The program set an interrupt itself, by S_INTR_SET."""
        self._raised[interrupt].append(None)

    def seen(self, interrupt: Interrupt) -> None:
        """The program saw an interrupt; it stays set."""
        flight = next(iter(self._raised[interrupt]), None)
        if flight is not None:
            self._end(flight, _stage_of(interrupt.source))

    def taken(self, interrupt: Interrupt) -> None:
        """The program saw an interrupt and cleared it."""
        self.seen(interrupt)
        if self._raised[interrupt]:
            self._raised[interrupt].popleft()

    def cleared(self, interrupt: Interrupt) -> None:
        """The program cleared an interrupt, without a look at it."""
        self._raised[interrupt].clear()

    def first_to_come(self, interrupts: Iterable[Interrupt]) -> Interrupt | None:
        """Which of the interrupts that are set the hardware raised first."""
        return min(interrupts, key=self._when, default=None)

    def idle(self, unit: str, group: int | None = None) -> None:
        """The program saw that a unit is idle, or one ``group`` of it."""
        for flight in reversed(self._flights):
            if unit in flight.record.units and group in (None, flight.record.units[unit]):
                for stage in _stages_of(unit):
                    self._end(flight, stage)
                return

    def _when(self, interrupt: Interrupt) -> tuple[int, int]:
        flight = next(iter(self._raised[interrupt]), None)
        if flight is None:
            return -1, 0
        return flight.index, flight.stages.index(_stage_of(interrupt.source))

    def _runs_on(self, flight: _Flight, unit: str) -> bool:
        return any(stage not in flight.ended for stage in _stages_of(unit))

    def _written(self, flight: _Flight) -> tuple[MemoryArea, ...]:
        """What may still be written."""
        return () if flight.writer in flight.ended else flight.record.writes

    def _end(self, last: _Flight, stage: str) -> None:
        """``stage`` of a layer has ended, and of all before it."""
        for flight in self._flights:
            if flight.index > last.index:
                break
            if stage in flight.stages:
                flight.ended |= flight.implied(stage)
        self._flights = [flight for flight in self._flights if flight.writer not in flight.ended]

    def _check(self, flight: _Flight, other: _Flight) -> None:
        for area, found, what in self._conflicts(flight, other):
            block, register = flight.register(area)
            self._rules.require(
                False,
                block,
                register,
                area.base & 0xFFFF_FFFF,
                f"layer {flight.index} ({flight.record.name}) {what} {_common(area, found)}, "
                f"{area.purpose}, while {other} may still use it, {found.purpose}: wait for the "
                f"interrupt {other.waits_for} before it is enabled",
            )
            self._end(other, other.writer)
            return

    def _conflicts(
        self, flight: _Flight, other: _Flight
    ) -> Iterator[tuple[MemoryArea, MemoryArea, str]]:
        written = self._written(other)
        for area in flight.record.reads:
            found = first_overlap(area, written) if flight.reader(area) != other.writer else None
            if found is not None:
                yield area, found, "reads"
        left = tuple(other.reads_before(flight.stages))
        kept = () if other.writer in flight.stages else written
        for area in flight.record.writes:
            found = first_overlap(area, (*kept, *left))
            if found is not None:
                yield area, found, "writes"


def _common(one: MemoryArea, other: MemoryArea) -> str:
    """The addresses between which two areas overlap."""
    first, end = max(one.base, other.base), min(one.end, other.end)
    return f"[{first:#x}, {end:#x}) of the {one.memory} memory"


def _stages_of(unit: str) -> tuple[str, ...]:
    return _FETCHES if unit == "CDMA" else (unit,)


def _stage_of(source: InterruptSource) -> str:
    return "RBK" if source is InterruptSource.RUBIK else source.name
