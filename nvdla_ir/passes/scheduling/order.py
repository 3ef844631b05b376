"""In which order layers are enabled: so that as few of their units as possible wait."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from math import inf

from attrs import define, field, frozen

from nvdla_ir.hardware.cost.model import CostModel
from nvdla_ir.hardware.cost.timeline import Run, Timeline
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.ir.operation import Value
from nvdla_ir.passes.scheduling.banks import share_banks
from nvdla_ir.passes.scheduling.dependences import Dependences
from nvdla_ir.passes.scheduling.footprints import Footprint
from nvdla_ir.passes.scheduling.in_flight import InFlight

_WINDOW = 16
"""So many layers are looked at for the next place, of those that matter most."""
_GROWTH = 1.1
"""An order may need so much more memory at a time than the one that is written."""


@frozen(eq=False)
class Schedule:
    """Layers in the order in which they are enabled, and the settings of those that get other
    banks of the convolution buffer."""

    order: Sequence[Footprint]
    changed: Mapping[Footprint, Layer]


def by_cost(
    layers: Sequence[Footprint],
    setting_of: Callable[[Footprint], Layer],
    size_of: Callable[[Value], int],
    model: CostModel,
) -> Schedule:
    """The order in which ``layers`` end first by estimate; the written one if none is better.

    It is a list schedule: of the layers that could be enabled next without waiting, that with the
    longest way to the end. An order that needs more memory at a time by 10 % is not taken.

    setting_of: a layer's setting, with its share of the convolution buffer
    size_of:    the bytes of a cube or an image
    """
    dependences = Dependences.of(layers)
    if dependences.is_chain:
        return Schedule(layers, {})
    settings = {layer: setting_of(layer) for layer in layers}
    listed = _ListSchedule(layers, settings, size_of, model, dependences).run()
    found = [Schedule(layers, {})]
    for order in (layers, listed):
        changed = share_banks(order, settings, model)
        if changed or order is listed:
            found.append(Schedule(order, changed))
    return min(found, key=lambda one: duration(one.order, {**settings, **one.changed}, model))


def duration(
    layers: Sequence[Footprint], settings: Mapping[Footprint, Layer], model: CostModel
) -> float:
    """Cycles until the last of the layers has ended, that wait for what they must."""
    timeline = Timeline(model)
    in_flight = InFlight()
    runs: dict[Footprint, Run] = {}
    for layer in layers:
        for other in in_flight.awaited_by(layer):
            timeline.wait(runs.pop(other))
            in_flight.end(other)
        runs[layer] = timeline.enable(settings[layer])
        in_flight.start(layer)
    return timeline.finish()


@define(eq=False)
class _ListSchedule:
    layers: Sequence[Footprint]
    settings: dict[Footprint, Layer]
    size_of: Callable[[Value], int]
    model: CostModel
    dependences: Dependences
    _timeline: Timeline = field(init=False)
    _in_flight: InFlight = field(factory=InFlight)
    _runs: dict[Footprint, Run] = field(factory=dict[Footprint, Run])
    _order: list[Footprint] = field(factory=list[Footprint])
    # Layers whose sources are all scheduled, by the length of their way to the end.
    _ready: list[tuple[float, int]] = field(factory=list["tuple[float, int]"])
    _ranks: list[float] = field(init=False)
    # The convolutions as they are written; the next one not scheduled; which must be next.
    _convolutions: list[int] = field(init=False)
    _behind: dict[int, int] = field(init=False)
    _scheduled: set[int] = field(factory=set[int])
    _position: int = 0
    _required: int | None = None
    _memory: _Memory = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._timeline = Timeline(self.model)
        self._convolutions = [
            number
            for number, layer in enumerate(self.layers)
            if layer.layer.convolution is not None
        ]
        self._behind = dict(pairwise(self._convolutions))
        self._ranks = self._ways_to_the_end()
        self._memory = _Memory.of(self.layers, self.size_of)

    def _ways_to_the_end(self) -> list[float]:
        ranks = [self.model.cost(self.settings[layer]).cycles for layer in self.layers]
        behind = [0.0] * len(self.layers)
        for number in reversed(range(len(self.layers))):
            ranks[number] += behind[number]
            for source in self.dependences.sources[number]:
                for writer in source.writers:
                    behind[writer] = max(behind[writer], ranks[number])
        return ranks

    def run(self) -> list[Footprint]:
        missing = {
            id(source): len(source.writers)
            for sources in self.dependences.sources
            for source in sources
        }
        unmet = [len(sources) for sources in self.dependences.sources]
        for number, count in enumerate(unmet):
            if not count:
                self._add(number)
        while self._ready:
            number = self._choose()
            self._enable(number)
            for source in self.dependences.results[number]:
                missing[id(source)] -= 1
                if missing[id(source)]:
                    continue
                for reader in source.readers:
                    unmet[reader] -= 1
                    if not unmet[reader]:
                        self._add(reader)
        return self._order

    def _add(self, number: int) -> None:
        insort(self._ready, (-self._ranks[number], number))

    def _choose(self) -> int:
        """The number of the next layer; time goes on until it can be enabled."""
        while True:
            numbers = list(islice(self._eligible(), _WINDOW))
            fitting = [n for n in numbers if self._memory.takes(self.layers[n])]
            awaited: list[Footprint] = []
            # where nothing fits, it is the order that is written that is known to
            for number in fitting or [min(numbers)]:
                needed = self._in_flight.awaited_by(self.layers[number])
                if not needed:
                    return number
                awaited += needed
            run = self._timeline.first_to_end({self._runs[layer]: None for layer in awaited})
            self._timeline.wait(run)
            for layer in awaited:
                if self._runs.get(layer) is run:
                    del self._runs[layer]
                    self._in_flight.end(layer)

    def _eligible(self) -> Iterator[int]:
        """Of the layers whose sources are scheduled, those that may be next, the longest way to
        the end first."""
        for _, number in self._ready:
            if self.layers[number].layer.convolution is None:
                yield number
            elif self._required is not None:
                if number == self._required:
                    yield number
            elif not self.dependences.follows[number] and (
                self._next_convolution > self.dependences.before[number]
            ):
                yield number

    @property
    def _next_convolution(self) -> int:
        """The first convolution, as they are written, that is not scheduled; -1: there is none."""
        position = self._position
        return self._convolutions[position] if position < len(self._convolutions) else -1

    def _enable(self, number: int) -> None:
        layer = self.layers[number]
        self._ready.remove((-self._ranks[number], number))
        self._runs[layer] = self._timeline.enable(self.settings[layer])
        self._in_flight.start(layer)
        self._order.append(layer)
        self._memory.use(layer)
        if layer.layer.convolution is not None:
            self._go_on_behind(number)

    def _go_on_behind(self, number: int) -> None:
        """See which convolution may be next, now that this one was enabled."""
        self._scheduled.add(number)
        while self._next_convolution in self._scheduled:
            self._position += 1
        behind = self._behind.get(number)
        follows = behind is not None and self.dependences.follows[behind]
        self._required = behind if follows else None


@define(eq=False)
class _Memory:
    """What cubes and images take while layers are enabled in some order, from the first that
    writes to the last that reads.

    limit: what may be taken
    """

    size_of: Callable[[Value], int]
    limit: float
    _users: Counter[Value]
    _left: Counter[Value] = field(init=False)
    _taken: int = 0

    def __attrs_post_init__(self) -> None:
        self._left = Counter(self._users)

    @staticmethod
    def of(layers: Sequence[Footprint], size_of: Callable[[Value], int]) -> _Memory:
        """Raises the limit above what the order of ``layers`` takes."""
        users = Counter(buffer for layer in layers for buffer in layer.buffers)
        written = _Memory(size_of, inf, users)
        most = max(written.use(layer) for layer in layers)
        return _Memory(size_of, _GROWTH * most, users)

    def takes(self, layer: Footprint) -> bool:
        """Whether ``layer`` may be next."""
        return self._taken + self._more(layer) <= self.limit

    def use(self, layer: Footprint) -> int:
        """``layer`` is next. Returns what is taken while it runs."""
        self._taken += self._more(layer)
        taken = self._taken
        for buffer in layer.buffers:
            self._left[buffer] -= 1
            if not self._left[buffer]:
                self._taken -= self.size_of(buffer)
        return taken

    def _more(self, layer: Footprint) -> int:
        """What ``layer`` is the first to use."""
        return sum(
            self.size_of(buffer)
            for buffer in layer.buffers
            if self._left[buffer] == self._users[buffer]
        )


"""
"""
