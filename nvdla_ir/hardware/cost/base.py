"""Costs and the memory that they depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Literal

from attrs import frozen

from nvdla_ir.hw.configuration import HardwareConfiguration

Span = Literal[
    "data",
    "weights",
    "MAC",
    "output",
    "SDP",
    "PDP",
    "CDP",
    "RUBIK",
    "BDMA",
    "memory",
    "latency",
]
"""What a layer waits for at a time: input or weights of a convolution, its MACs, the way of its
sums out of CACC; the units that run alone; the memory with all its traffic; and the time in which
the first data comes and the last goes."""

Client = Literal[
    "CDMA data",
    "CDMA weights",
    "SDP",
    "SDP BS",
    "SDP BN",
    "SDP EW",
    "PDP",
    "CDP",
    "RUBIK",
    "BDMA",
]
"""A unit's own way to the memory."""


@frozen
class MemoryTiming:
    """The memory behind the accelerator.

    latency:         cycles from the moment that it serves a beat to the arrival of its data
    bytes_per_cycle: what it serves in a cycle, reads and writes together; the interface of the
                     configuration moves no more than its own width
    """

    latency: float = 50
    bytes_per_cycle: float = inf

    def beat_cycles(self, hw: HardwareConfiguration) -> float:
        """Cycles from one beat of the interface to the next, at least 1."""
        return max(1.0, hw.memory_width_bytes / self.bytes_per_cycle)


@frozen
class Course:
    """What a layer that runs alone does when, in cycles after its enable.

    start:   its units start on the data that was fetched
    fetched: nothing remains to be fetched: the next layer's fetch may begin
    end:     nothing remains to be computed: the next layer may follow; then the last results go
    done:    its interrupt
    lead:    from the start until it hands over its first result
    ahead:   of its traffic, in cycles of the memory, what comes before the start
    traffic: all of it
    """

    start: float
    fetched: float
    end: float
    done: float
    lead: float
    ahead: float
    traffic: float


@frozen
class Cost:
    """What one hardware layer costs, or several one after another.

    cycles:  from the enable of its last unit to the interrupt of its last one
    spans:   the cycles by what they are spent on; they add up to ``cycles``
    read:    bytes that each client reads
    written: bytes that each writes
    macs:    multiplications that the network asks for
    course:  of one layer, when its units are busy
    """

    cycles: float
    spans: Mapping[Span, float]
    read: Mapping[Client, int]
    written: Mapping[Client, int]
    macs: int = 0
    course: Course | None = None

    @property
    def limit(self) -> Span:
        """What takes most of the time."""
        return max(self.spans, key=self.spans.__getitem__)

    @property
    def memory_bytes(self) -> int:
        """Bytes read and written."""
        return sum(self.read.values()) + sum(self.written.values())

    def mac_utilisation(self, hw: HardwareConfiguration) -> float:
        """Of the products that the MAC array could make in that time, the part that is needed."""
        return self.macs / (self.cycles * hw.atomic_c * hw.atomic_k) if self.cycles else 0.0


def total(costs: Iterable[Cost]) -> Cost:
    """Of layers that run one after another, without what passes between them."""
    cycles, macs = 0.0, 0
    spans: dict[Span, float] = {}
    read: dict[Client, int] = {}
    written: dict[Client, int] = {}
    for cost in costs:
        cycles += cost.cycles
        macs += cost.macs
        for span, amount in cost.spans.items():
            spans[span] = spans.get(span, 0) + amount
        for sums, parts in ((read, cost.read), (written, cost.written)):
            for client, amount in parts.items():
                sums[client] = sums.get(client, 0) + amount
    return Cost(cycles, spans, read, written, macs)
