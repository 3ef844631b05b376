"""Putting the commands of a trace in one order.

The player of the format has one command stream for each block and runs them all at once; only
events order them: ``sync_notify`` and interrupts set events, ``sync_wait`` stalls a stream, checks
run when their event is set (convolution.md section 1.2). Here, of all commands whose stream does
not stall, the first of the file comes first, and interrupts come only when all streams stall: as
late as the trace allows. So the waits are those that the trace itself makes, and what it leaves to
chance shows.
"""

from __future__ import annotations

from collections import defaultdict, deque
from heapq import heappop, heappush

from attrs import define, field

from nvdla_ir.formats.trace.faults import Faults
from nvdla_ir.formats.trace.rehearsal import Rehearsal
from nvdla_ir.formats.trace.steps import (
    Expectation,
    MemoryAction,
    NotifyStep,
    PollStep,
    StallStep,
    Step,
    StreamStep,
    Trace,
    WriteStep,
)
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.registers import register_map
from nvdla_ir.interp.device.global_control import InterruptSource
from nvdla_ir.ir.location import FileLineCol


def schedule(trace: Trace, configuration: HardwareConfiguration) -> list[Step]:
    """The steps of ``trace`` in an order in which they can be executed one after the other.

    Interrupts that never come are waited for at the end, where the device will tell why.

    Raises: DiagnosticError that names the events that blocks wait for in vain.
    """
    rehearsal = Rehearsal(configuration, register_map(configuration.register_map))
    return _Scheduler(trace, rehearsal).run()


@define
class _Scheduler:
    trace: Trace
    rehearsal: Rehearsal
    steps: list[Step] = field(factory=list["Step"])
    _events: set[str] = field(factory=set[str])
    # The command streams, by block, and the heads of those that do not stall.
    _streams: dict[str, deque[tuple[int, StreamStep]]] = field(
        factory=dict[str, "deque[tuple[int, StreamStep]]"]
    )
    _ready: list[tuple[int, str]] = field(factory=list["tuple[int, str]"])
    # Blocks that stall, by event, and those that poll.
    _stalled: dict[str, list[str]] = field(factory=lambda: defaultdict[str, "list[str]"](list))
    _polling: list[str] = field(factory=list[str])
    # The expectations of each source, in order, and what is done at each event.
    _expected: dict[InterruptSource, deque[Expectation]] = field(
        factory=lambda: defaultdict["InterruptSource", "deque[Expectation]"](deque)
    )
    _at_event: dict[str, list[MemoryAction]] = field(
        factory=lambda: defaultdict[str, "list[MemoryAction]"](list)
    )

    def run(self) -> list[Step]:
        trace = self.trace
        self.steps += trace.memory
        for index, command in enumerate(trace.commands):
            self._streams.setdefault(command.block.name, deque()).append((index, command))
        for name in self._streams:
            self._resume(name)
        for expectation in trace.expectations:
            self._expected[expectation.interrupt.source].append(expectation)
        for event, step in trace.at_events:
            self._at_event[event].append(step)
        while True:
            while self._ready:
                self._advance(heappop(self._ready)[1])
            if self._take_interrupt():
                continue
            if not self._polling:
                break
            # Nothing else goes on. Whether these registers change is for the device to tell.
            name = min(self._polling, key=lambda name: self._streams[name][0][0])
            self._polling.remove(name)
            self._do(name)
        self._report_stalled()
        for expectation in sorted(self._left(), key=lambda item: item.location.line):
            self.steps.append(expectation)
            self._set(expectation.event)
        return self.steps

    def _advance(self, name: str) -> None:
        """Execute the next command of a block, unless it stalls."""
        command = self._streams[name][0][1]
        if isinstance(command, StallStep) and command.event not in self._events:
            self._stalled[command.event].append(name)
        elif isinstance(command, PollStep) and not self.rehearsal.reads(
            command.block, command.register, command.value
        ):
            self._polling.append(name)
        else:
            self._do(name)

    def _do(self, name: str) -> None:
        command = self._streams[name].popleft()[1]
        self._resume(name)
        if isinstance(command, NotifyStep):
            self._set(command.event)
        elif not isinstance(command, StallStep):
            self.steps.append(command)
            if isinstance(command, WriteStep) and self.rehearsal.write(
                command.block, command.register, command.word
            ):
                polling, self._polling = self._polling, []
                for other in polling:
                    self._resume(other)

    def _resume(self, name: str) -> None:
        stream = self._streams[name]
        if stream:
            heappush(self._ready, (stream[0][0], name))

    def _set(self, event: str) -> None:
        """Set an event: do what is done then, and go on with the blocks that wait for it."""
        self._events.add(event)
        self.steps += self._at_event.pop(event, ())
        for name in self._stalled.pop(event, ()):
            self._resume(name)

    def _take_interrupt(self) -> bool:
        """Wait for the oldest interrupt that is there and expected; False if there is none."""
        found: list[tuple[int, InterruptSource, Expectation]] = []
        for source, queue in self._expected.items():
            expectation = self._takable(queue)
            age = None if expectation is None else self.rehearsal.age(expectation.interrupt)
            if expectation is not None and age is not None:
                found.append((age, source, expectation))
        if not found:
            return False
        _, source, expectation = min(found, key=lambda item: item[:2])
        self.rehearsal.take(expectation.interrupt)
        self._expected[source].remove(expectation)
        self.steps.append(expectation)
        self._set(expectation.event)
        return True

    def _takable(self, queue: deque[Expectation]) -> Expectation | None:
        """The first expectation of a source whose interrupt is there; one of the other group may
        come before it."""
        for index in range(min(2, len(queue))):
            expectation = queue[index]
            if index and expectation.interrupt == queue[0].interrupt:
                return None
            if self.rehearsal.age(expectation.interrupt) is not None:
                return expectation
        return None

    def _left(self) -> list[Expectation]:
        return [expectation for queue in self._expected.values() for expectation in queue]

    def _report_stalled(self) -> None:
        faults = Faults()
        for event, names in self._stalled.items():
            for name in names:
                command = self._streams[name][0][1]
                faults.error(
                    command.location,
                    f"{name} waits for the event '{event}', which never comes: "
                    f"{self._reason(event)}",
                )
        faults.raise_if_any()

    def _reason(self, event: str) -> str:
        for expectation in self._left():
            if expectation.event == event:
                return (
                    f"the interrupt {expectation.interrupt} of {_line(expectation.location)} "
                    f"does not occur ({self.rehearsal.waiting_report(expectation.interrupt)})"
                )
        notices = [
            f"{block} sets it in {_line(command.location)}"
            for block, stream in self._streams.items()
            for _, command in stream
            if isinstance(command, NotifyStep) and command.event == event
        ]
        return "; ".join([*notices[:1], "that block waits as well"])


def _line(location: FileLineCol) -> str:
    return f"line {location.line}"
