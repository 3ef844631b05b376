"""When hardware layers end that run beside each other.

Each unit runs its layers in order: a layer's data is fetched while the one before computes, as far
as the convolution buffer has room for it beside that one's, and with other shares of the banks not
before that one is done with it. It computes when the units of the one before have nothing more to
do, and hands over its first result when they have ended. What runs at the same time shares the
memory: who asks for little gets that, the rest is shared evenly.

A host enables layers and waits for them, as the program says. A program that waits after each
layer takes the sum of their costs, and what passes between layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from attrs import define, field, frozen

from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hardware.convolution_geometry import Banks
from nvdla_ir.hardware.cost.base import Course
from nvdla_ir.hardware.cost.model import HANDOVER_CYCLES, CostModel
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.hw.configuration import HardwareConfiguration

_EPSILON = 1e-6

# What a layer does, one after another.
_FETCH, _REFILL, _COMPUTE, _FINISH, _DRAIN, _DONE = range(6)
"""Fetch what there is room for; the rest, when the layer before is done with the buffer; compute
while more is fetched; and while nothing is; hand over the last results."""


@define(eq=False)
class Run:
    """A layer that was enabled.

    before:   those that its units ran last: that fetch, and that compute
    work:     of each step, cycles if the memory has time for nobody else
    rates:    of each step, the part of the memory's time that it wants then
    step:     the step it is at; ``left``: what remains of it
    computed: when it had nothing more to compute
    done:     when its interrupt came
    """

    layer: Layer
    course: Course
    fetcher: Run | None
    computers: tuple[Run, ...]
    work: list[float]
    rates: list[float]
    step: int = 0
    left: float = 0.0
    not_before: float = 0.0
    computed: float = inf
    done: float = inf


@define(eq=False)
class Timeline:
    """The time of a program, as it enables layers and waits for them."""

    model: CostModel
    now: float = 0.0
    """When the host can enable the next layer."""
    # The last layer that each unit fetched for, and that it computed.
    _fetchers: dict[str, Run] = field(factory=dict[str, Run])
    _computers: dict[str, Run] = field(factory=dict[str, Run])
    _active: list[Run] = field(factory=list[Run])
    _clock: float = 0.0
    _last: float = 0.0

    def enable(self, layer: Layer) -> Run:
        """The layer is enabled now."""
        self._advance(self.now)
        course = self.model.cost(layer).course
        assert course is not None
        fetcher = self._fetchers.get(_fetcher(layer))
        units = layer.interrupts
        computers = tuple(run for unit in units if (run := self._computers.get(unit)) is not None)
        run = _run(layer, course, fetcher, computers, self.model.hw)
        self._fetchers[_fetcher(layer)] = run
        for unit in units:
            self._computers[unit] = run
        self._active.append(run)
        return run

    def wait(self, run: Run) -> None:
        """The host waits for the interrupt of a layer; then it has to see it."""
        while run.done == inf:
            self._step(inf)
        self.now = max(self.now, run.done + HANDOVER_CYCLES)

    def first_to_end(self, runs: Iterable[Run]) -> Run:
        """Which of these layers ends first, as far as is known now."""
        candidates = list(runs)
        while True:
            ended = [run for run in candidates if run.done < inf]
            if ended:
                return min(ended, key=lambda run: run.done)
            self._step(inf)

    def finish(self) -> float:
        """When the last layer ends."""
        while self._active:
            self._step(inf)
        return self._last

    # -------------------------------------------------------------- the clock

    def _advance(self, time: float) -> None:
        while self._active and self._clock < time - _EPSILON:
            self._step(time)
        self._clock = max(self._clock, time)

    def _step(self, limit: float) -> None:
        """Go on to the next event, not beyond ``limit``."""
        working = [run for run in tuple(self._active) if self._works(run)]
        speeds = _speeds([run.rates[run.step] for run in working])
        times = [self._clock + run.left / speed for run, speed in zip(working, speeds, strict=True)]
        times += [run.not_before for run in self._active if run.not_before > self._clock]
        time = min(limit, *times)
        elapsed, self._clock = time - self._clock, time
        for run, speed in zip(working, speeds, strict=True):
            run.left -= elapsed * speed
            if run.left < _EPSILON:
                self._next(run)

    def _works(self, run: Run) -> bool:
        """Whether nothing keeps it from working at its step; steps without work are passed."""
        while self._may_work(run):
            if run.left >= _EPSILON:
                return True
            self._next(run)
        return False

    def _may_work(self, run: Run) -> bool:
        if run.step == _FETCH:
            return run.fetcher is None or run.fetcher.step > _COMPUTE
        if run.step == _REFILL:
            return run.fetcher is None or run.fetcher.computed < inf
        if run.step == _COMPUTE and run.computers:
            ends = [_free(before, run.course.lead) for before in run.computers]
            run.not_before = max(ends)
            if run.not_before == inf:
                run.not_before = 0.0
                return False
            return run.not_before <= self._clock + _EPSILON
        return run.step < _DONE

    def _next(self, run: Run) -> None:
        run.step += 1
        if run.step == _DRAIN:
            run.computed = self._clock
        if run.step == _DONE:
            run.done = self._last = self._clock
            self._active.remove(run)
            # nothing but their ends is asked of those before
            run.fetcher, run.computers = None, ()
            return
        run.left = run.work[run.step]


def _free(before: Run, lead: float) -> float:
    """From when on the units of a layer take the next one, which has a result ``lead`` later."""
    if before.computed == inf:
        return inf
    drain = before.course.done - before.course.end
    return before.computed + max(0.0, drain - lead)


def _fetcher(layer: Layer) -> str:
    """What fetches the data of a layer."""
    return "CDMA" if layer.convolution is not None else layer.interrupts[0]


def _run(
    layer: Layer,
    course: Course,
    fetcher: Run | None,
    computers: tuple[Run, ...],
    hw: HardwareConfiguration,
) -> Run:
    beside = 1.0
    if fetcher is not None and layer.convolution is not None:
        assert fetcher.layer.convolution is not None
        beside = _fits_beside(layer.convolution, fetcher.layer.convolution, hw)
    work = [
        course.start * beside,
        course.start * (1 - beside),
        course.fetched - course.start,
        course.end - course.fetched,
        course.done - course.end,
    ]
    fetching = min(1.0, course.ahead / course.start) if course.start else 0.0
    computing = course.end - course.start
    rate = min(1.0, (course.traffic - course.ahead) / computing) if computing else 0.0
    return Run(
        layer, course, fetcher, computers, work, [fetching, fetching, rate, rate, 0.0], 0, work[0]
    )


@frozen
class Room:
    """What a convolution wants of the buffer while the one before computes.

    data:    entries of its input, and of that one's
    weights: bytes of its first kernel group, and of all of that one's

    None where it takes over what is there.
    """

    data: tuple[int, int] | None
    weights: tuple[int, int] | None

    @staticmethod
    def of(
        setting: ConvolutionSetting, before: ConvolutionSetting, hw: HardwareConfiguration
    ) -> Room:
        first = min(hw.atomic_k * setting.kernel_bytes(hw), setting.weight_bytes(hw))
        return Room(
            None if setting.reuse.data else (data_entries(setting, hw), data_entries(before, hw)),
            None if setting.reuse.weights else (first, before.weight_bytes(hw)),
        )

    def part(self, banks: Banks, hw: HardwareConfiguration) -> float:
        """What part of it the buffer takes."""
        parts = [1.0]
        for wanted, size in (
            (self.data, banks.data * hw.cbuf.entries_per_bank),
            (self.weights, banks.weights * hw.cbuf.bank_bytes),
        ):
            if wanted is not None:
                own, before = wanted
                parts.append((size - before) / own)
        return max(0.0, min(parts))


def _fits_beside(
    setting: ConvolutionSetting, before: ConvolutionSetting, hw: HardwareConfiguration
) -> float:
    """What part of the input and of the first weights the convolution buffer takes while the
    layer before computes."""
    banks = setting.banks
    if banks is None or banks != before.banks or _mode(setting) != _mode(before):
        return 0.0
    return Room.of(setting, before, hw).part(banks, hw)


def _mode(setting: ConvolutionSetting) -> tuple[bool, bool]:
    return setting.image is not None, setting.winograd


def data_entries(setting: ConvolutionSetting, hw: HardwareConfiguration) -> int:
    """Entries of the buffer that the input takes."""
    return setting.entries(hw) * setting.extended(hw)[1] * setting.batch


def _speeds(rates: list[float]) -> list[float]:
    """How fast each works that wants a part of the memory's time: who wants least gets all."""
    speeds = [1.0] * len(rates)
    if sum(rates) <= 1:
        return speeds
    left, count = 1.0, sum(rate > 0 for rate in rates)
    for rate, index in sorted((rate, index) for index, rate in enumerate(rates) if rate > 0):
        share = min(rate, left / count)
        speeds[index] = share / rate
        left, count = left - share, count - 1
    return speeds
