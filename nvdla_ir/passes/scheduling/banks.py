"""How convolutions that run beside each other share out the convolution buffer.

Each is given its banks as if it ran alone. What the next one fetches ahead must have room beside
that, and its shares must be the same: CDMA waits for the end of the one before where they differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from attrs import evolve, frozen

from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hardware.convolution_geometry import Banks
from nvdla_ir.hardware.cost.base import Cost
from nvdla_ir.hardware.cost.model import CostModel
from nvdla_ir.hardware.cost.timeline import Room, data_entries
from nvdla_ir.hardware.fitting import weight_banks
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import ceil_div
from nvdla_ir.passes.scheduling.footprints import Footprint


@frozen(eq=False)
class _Share:
    """A convolution, or several of which each takes over what the one before kept there, the least
    banks that it works as well with, and the banks that there are for it."""

    members: tuple[Footprint, ...]
    data: int
    weights: int
    usable: int


def share_banks(
    order: Sequence[Footprint],
    settings: Mapping[Footprint, Layer],
    model: CostModel,
) -> dict[Footprint, Layer]:
    """The settings of those layers that should have other banks, if they are enabled in ``order``.

    No convolution gets less room than it can use. What remains goes to input and weights so that
    as much as possible is fetched ahead.
    """
    hw = model.hw
    found: dict[Footprint, Layer] = {}
    for shares in _stretches(order, settings, hw):
        layers = [member for share in shares for member in share.members]
        if len(layers) < 2:
            continue
        convolutions = [_convolution(settings[layer]) for layer in layers]
        wanted = [
            (_start(model.cost(settings[layer])), Room.of(convolution, before, hw))
            for layer, convolution, before in zip(
                layers[1:], convolutions[1:], convolutions[:-1], strict=True
            )
        ]
        banks = max(_possible(shares), key=partial(_fetched_ahead, wanted, hw))
        for layer, convolution in zip(layers, convolutions, strict=True):
            if convolution.banks != banks:
                found[layer] = evolve(settings[layer], convolution=evolve(convolution, banks=banks))
    return found


def _possible(shares: Sequence[_Share]) -> Iterator[Banks]:
    """The ways to share out all banks that are enough for each."""
    usable = min(share.usable for share in shares)
    least = max(share.weights for share in shares)
    most = usable - max(share.data for share in shares)
    for weights in range(least, most + 1):
        yield Banks(usable - weights, weights)


def _fetched_ahead(
    wanted: Sequence[tuple[float, Room]], hw: HardwareConfiguration, banks: Banks
) -> float:
    """The cycles of fetching that pass while others compute."""
    return sum(start * room.part(banks, hw) for start, room in wanted)


def _start(cost: Cost) -> float:
    """The cycles that a layer fetches before it computes."""
    assert cost.course is not None
    return cost.course.start


def _convolution(layer: Layer) -> ConvolutionSetting:
    assert layer.convolution is not None
    return layer.convolution


def _stretches(
    order: Sequence[Footprint], settings: Mapping[Footprint, Layer], hw: HardwareConfiguration
) -> Iterator[list[_Share]]:
    """Convolutions that follow each other, of which none waits for the one before, and that find
    room with the same banks."""
    stretch: list[_Share] = []
    for share in _shares(order, settings, hw):
        data = max(one.data for one in (*stretch, share))
        weights = max(one.weights for one in (*stretch, share))
        waits = stretch and share.members[0].needs(stretch[-1].members[-1])
        usable = min(one.usable for one in (*stretch, share))
        if stretch and (waits or data + weights > usable):
            yield stretch
            stretch = []
        stretch.append(share)
    if stretch:
        yield stretch


def _shares(
    order: Sequence[Footprint], settings: Mapping[Footprint, Layer], hw: HardwareConfiguration
) -> Iterator[_Share]:
    members: list[Footprint] = []
    for layer in order:
        convolution = settings[layer].convolution
        if convolution is None:
            continue
        if members and not (convolution.reuse.data or convolution.reuse.weights):
            yield _share(members, settings, hw)
            members = []
        members.append(layer)
    if members:
        yield _share(members, settings, hw)


def _share(
    members: Sequence[Footprint], settings: Mapping[Footprint, Layer], hw: HardwareConfiguration
) -> _Share:
    data = weights = 1
    compressed = False
    for member in members:
        convolution = _convolution(settings[member])
        assert convolution.banks is not None
        data = max(data, ceil_div(data_entries(convolution, hw), hw.cbuf.entries_per_bank))
        everything, *_ = weight_banks(convolution, hw)
        weights = max(weights, min(convolution.banks.weights, everything))
        compressed |= convolution.compressed is not None
    return _Share(tuple(members), data, weights, hw.usable_banks(compressed=compressed))
