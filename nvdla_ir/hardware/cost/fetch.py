"""When the input and the weights of a convolution are in the convolution buffer (cycles.md
section 1.1).

CDMA's two clients and the SDP's share the memory evenly until one has all that it wants. The
weights of later kernel groups come while others compute, as far as there is room for them.
"""

from __future__ import annotations

from math import ceil

from attrs import frozen

from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hardware.cost.base import MemoryTiming
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import ceil_div

_FIRST_DATA = 59
"""Cycles from the enable until the first data is there, without the memory's latency."""
_FIRST_WEIGHTS = 45
"""The same for weights."""
_REFILL = 40
"""From the end of a kernel group until its room is asked for, without latency."""

_SURFACES = 4
"""Surfaces of which CDMA fetches a line together."""
_BEAT_EXCESS = (0.0, 0.0, 0.0, 0.2, 0.25)
"""By surfaces fetched together: what a beat takes beyond its one cycle."""
_LINE_EXCESS = (0.0, 0.9, 1.8, 2.7, 2.0)
"""By surfaces fetched together: cycles of a line beside its beats."""
_HIDDEN_EXCESS = 10
"""Cycles of these that pass before the first data is there."""


@frozen
class Fetch:
    """The traffic of a convolution's start, in beats of the memory's interface.

    data:           the input
    excess:         cycles beyond one a beat that CDMA takes for it
    weights:        of all kernel groups, and of each but the last
    weight_room:    what the buffer holds of them
    operands:       that the SDP reads ahead
    others:         its remaining operands and results, which come while groups compute
    groups:         kernel groups
    latency:        of the memory
    beat:           cycles from one beat to the next
    """

    data: float
    excess: float
    weights: float
    group_weights: float
    weight_room: float
    operands: float
    others: float
    groups: int
    latency: float
    beat: float

    @property
    def data_arrival(self) -> float:
        """When the whole input is there."""
        data = self.data
        if not data:
            return _FIRST_DATA
        shared = min(self.weights, data) + min(self.operands, data)
        alone = data - min(data, max(self.weights, self.operands))
        excess = alone * (1 - self.beat) + self.excess * alone / data - _HIDDEN_EXCESS
        return self.latency + _FIRST_DATA + self.beat * (data + shared) + max(0.0, excess)

    def weight_arrival(self, group: int) -> float:
        """When the weights of the first ``group`` + 1 groups are there, if there is room."""
        if not self.weights:
            return 0.0
        beats = min((group + 1) * self.group_weights, self.weights)
        others = self.others * (beats - self.group_weights) / self.weights
        total = beats + min(beats, self.data) + min(beats, self.operands) + max(0.0, others)
        return self.latency + _FIRST_WEIGHTS + self.beat * total

    def last_group_start(self, start: float, step: float) -> float:
        """When the last kernel group starts, if the first does at ``start`` and each computes for
        ``step`` cycles."""
        last = self.groups - 1
        if self.weights > self.weight_room:
            return self._last_refilled_start(start, step)
        latest = start + last * step
        # what arrives is concave in time: it is latest at the ends, or where others have all
        bends = (1, last, *(int(beats / self.group_weights) for beats in self._bends()))
        for group in bends:
            if 0 < group <= last:
                latest = max(latest, self.weight_arrival(group) + (last - group) * step)
        return latest

    def last_arrival(self, last_start: float) -> float:
        """When all input and all weights are there, if the last group starts at ``last_start``."""
        if self.weights > self.weight_room:
            return last_start
        return max(self.data_arrival, self.weight_arrival(self.groups - 1))

    def _bends(self) -> tuple[float, ...]:
        return (self.data, self.operands) if self.group_weights else ()

    def _last_refilled_start(self, start: float, step: float) -> float:
        """As above, where groups must be done before there is room for later ones."""
        starts = [start]
        group_weights, room = self.group_weights, self.weight_room
        for group in range(1, self.groups):
            beats = min((group + 1) * group_weights, self.weights)
            arrival = self.weight_arrival(group)
            if beats > room:
                done = min(group, ceil((beats - room) / group_weights))
                late = beats - (done - 1) * group_weights - room
                released = starts[done - 1] + step
                arrival = max(arrival, released + self.latency + _REFILL + self.beat * late)
            starts.append(max(starts[-1] + step, arrival))
        return starts[-1]


def data_excess(setting: ConvolutionSetting, hw: HardwareConfiguration) -> float:
    """Cycles beyond one a beat that CDMA takes for a feature cube."""
    if setting.image is not None:
        return 0.0
    whole, rest = divmod(ceil_div(setting.channels, hw.memory_atom), _SURFACES)
    beats = setting.columns.size * hw.memory_atom / hw.memory_width_bytes
    return setting.rows.size * sum(
        count * (surfaces * beats * _BEAT_EXCESS[surfaces] + _LINE_EXCESS[surfaces])
        for count, surfaces in ((whole, _SURFACES), (1, rest))
    )


def first_beats(memory: MemoryTiming) -> float:
    """Cycles before the first data of a layer."""
    return memory.latency + _FIRST_DATA
