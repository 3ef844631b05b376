"""How a convolution can be divided over the convolution buffer (convolution.md section 3.5).

Its whole input and at least one kernel group must be in the buffer. Where they do not fit, the
output is cut into pieces: of rows, with the input rows that their windows share; of columns where
not even one row fits; of kernels where a group of them is too large, or where it pays to keep
weights for several pieces. What each way costs decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf
from typing import TypeAlias, TypeVar

from attrs import evolve, frozen

from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hardware.convolution_geometry import Banks, Reuse, Window
from nvdla_ir.hardware.convolution_limits import LARGEST_DILATION, least_weight_bytes
from nvdla_ir.hardware.cost.model import HANDOVER_CYCLES, CostModel
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.hardware.sdp import SdpSetting
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import LayoutError, ceil_div

_Item = TypeVar("_Item")
_Ends: TypeAlias = "tuple[bool, bool]"
"""Whether something is the first, and the last, of its kind."""


@frozen
class Span:
    """``size`` elements of an axis from ``begin`` on."""

    begin: int
    size: int


@frozen
class Part:
    """Some outputs along one axis, and the inputs that their windows read."""

    outputs: Span
    inputs: Span
    window: Window


@frozen
class Piece:
    """One run: some rows, columns and kernels of a convolution."""

    rows: Part
    columns: Part
    kernels: Span
    setting: ConvolutionSetting


@frozen
class Division:
    """The runs of a convolution in order, and their estimated cycles.

    ``stacked``: so many pieces of kernels make up one memory atom of channels; their results must
    be put together.
    """

    pieces: tuple[Piece, ...]
    cycles: float
    stacked: int = 1


@frozen
class Shortage:
    """That a convolution fits in no way: bytes that its smallest piece takes, and that there
    are."""

    data_bytes: int
    weight_bytes: int
    buffer_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the smallest piece itself would: what is in the way is something else."""
        return self.data_bytes + self.weight_bytes <= self.buffer_bytes


def divide(layer: Layer, model: CostModel, *, whole_kernels: bool = False) -> Division | Shortage:
    """The cheapest division of a layer's convolution, whose banks do not matter, with what the SDP
    reads and writes beside it; a shortage where not even one output of as few kernels as possible
    fits. With ``whole_kernels`` each piece computes all kernels."""
    whole, hw = layer.convolution, model.hw
    assert whole is not None, "the layer has a convolution"
    banks = undivided(whole, hw)
    if banks is not None:
        return Division((_piece(whole, banks),), 0)
    priced: list[tuple[_Plan, _Price]] = []
    least = inf
    for plan in _plans(whole, hw, whole_kernels=whole_kernels):
        if least <= plan.stacked * _mac_cycles(whole, hw):
            break  # stacked pieces leave MACs idle, and the next ones more of them
        price = plan.price(layer, model)
        priced.append((plan, price))
        least = min(least, price.cycles)
    if not priced:
        return _shortage(whole, hw)
    plan, price = min(priced, key=lambda one: one[1].weight)
    return Division(plan.pieces(), price.cycles, plan.stacked)


def fits(whole: ConvolutionSetting, hw: HardwareConfiguration) -> bool:
    """Whether a convolution can be divided in any way, if it must be."""
    return any(True for _ in _plans(whole, hw, whole_kernels=False))


def _mac_cycles(setting: ConvolutionSetting, hw: HardwareConfiguration) -> int:
    """Cycles in which the MACs could do it, if nothing else took any."""
    rows, columns, channels = setting.taps
    blocks = rows * columns * ceil_div(channels, hw.atomic_c)
    pixels = setting.rows.outputs * setting.columns.outputs * setting.batch
    return blocks * pixels * ceil_div(setting.kernels, hw.atomic_k)


def _piece(whole: ConvolutionSetting, banks: Banks) -> Piece:
    return Piece(
        Part(Span(0, whole.rows.outputs), Span(0, whole.rows.size), whole.rows),
        Part(Span(0, whole.columns.outputs), Span(0, whole.columns.size), whole.columns),
        Span(0, whole.kernels),
        evolve(whole, banks=banks),
    )


def undivided(whole: ConvolutionSetting, hw: HardwareConfiguration) -> Banks | None:
    """Banks with which all fits at once: with all weights resident, two kernel groups, or one."""
    data = ceil_div(
        whole.entries(hw) * whole.extended(hw)[1] * whole.batch, hw.cbuf.entries_per_bank
    )
    for weights in weight_banks(whole, hw):
        if data + weights <= hw.usable_banks(compressed=whole.compressed is not None):
            return Banks(data, weights)
    return None


def weight_banks(setting: ConvolutionSetting, hw: HardwareConfiguration) -> tuple[int, int, int]:
    """Banks for all weights, for two kernel groups (the next is fetched while one is used), and
    for one."""
    least = least_weight_bytes(hw, setting.kernels, setting.kernel_bytes(hw))
    one = ceil_div(least, hw.cbuf.bank_bytes)
    everything = max(ceil_div(setting.weight_bytes(hw), hw.cbuf.bank_bytes), one)
    return everything, 2 * one, one


# -------------------------------------------------------------- plans


_SOFTWARE_CYCLES = 2000
"""What a run costs the software that is told of its end and enables the next, about; the estimate
has the few cycles of a fast controller."""


@frozen
class _Price:
    """Runs, their cycles (each until the next one is enabled), and bytes read and written."""

    runs: int
    cycles: float
    memory_bytes: int

    @property
    def weight(self) -> tuple[float, int]:
        """By which prices are compared."""
        return self.cycles + _SOFTWARE_CYCLES * self.runs, self.memory_bytes


@frozen(eq=False)
class _Plan:
    """A way to divide ``whole``: which places, which kernels, in what order.

    keeps_data:    the input of a place stays in the buffer from kernels to kernels
    keeps_weights: the weights of some kernels stay from place to place
    by_place:      all kernels at one place, then at the next; else all places for some kernels
    stacked:       pieces that make up one atom of channels
    """

    whole: ConvolutionSetting
    grid: tuple[tuple[Part, Part], ...]
    chunks: tuple[Span, ...]
    banks: Banks
    keeps_data: bool
    keeps_weights: bool
    by_place: bool
    stacked: int

    @property
    def count(self) -> int:
        """Pieces."""
        return len(self.grid) * len(self.chunks)

    def pieces(self) -> tuple[Piece, ...]:
        """All runs in order."""
        places, chunks = _with_ends(self.grid), _with_ends(self.chunks)
        if self.by_place:
            order = [(place, chunk) for place in places for chunk in chunks]
        else:
            order = [(place, chunk) for chunk in chunks for place in places]
        return tuple(
            Piece(
                *place,
                chunk,
                self._setting(
                    (place[0].window, place[1].window, place_ends), (chunk.size, chunk_ends)
                ),
            )
            for (place, place_ends), (chunk, chunk_ends) in order
        )

    def price(self, layer: Layer, model: CostModel) -> _Price:
        """What all runs take. Equal ones are priced once: there may be thousands."""
        places = Counter(
            (rows.window, columns.window, ends) for (rows, columns), ends in _with_ends(self.grid)
        )
        chunks = Counter((chunk.size, ends) for chunk, ends in _with_ends(self.chunks))
        runs = self.count
        cycles = HANDOVER_CYCLES * self.count
        memory_bytes = 0
        for place, many in places.items():
            for chunk, more in chunks.items():
                cost = model.cost(_part_of(layer, self._setting(place, chunk)))
                cycles += many * more * cost.cycles
                memory_bytes += many * more * cost.memory_bytes
        if self.stacked > 1:
            joins = ceil_div(self.whole.kernels, model.hw.atomic_k)
            cost = model.cost(self._join(model.hw))
            runs += joins
            cycles += joins * (cost.cycles + HANDOVER_CYCLES)
            memory_bytes += joins * cost.memory_bytes
        return _Price(runs, cycles, memory_bytes)

    def _setting(
        self, place: tuple[Window, Window, _Ends], chunk: tuple[int, _Ends]
    ) -> ConvolutionSetting:
        rows, columns, (first_place, last_place) = place
        kernels, (first_chunk, last_chunk) = chunk
        reuse = Reuse(
            data=self.keeps_data and not first_chunk,
            keep_data=self.keeps_data and not last_chunk,
            weights=self.keeps_weights and not first_place,
            keep_weights=self.keeps_weights and not last_place,
        )
        return evolve(
            self.whole, rows=rows, columns=columns, kernels=kernels, banks=self.banks, reuse=reuse
        )

    def _join(self, hw: HardwareConfiguration) -> Layer:
        """What puts the pieces of one kernel group together."""
        height, width = self.whole.rows.outputs, self.whole.columns.outputs
        group, part = min(self.whole.kernels, hw.atomic_k), self.chunks[0].size
        parts = ceil_div(group, part)
        join = ConvolutionSetting(
            channels=part,
            kernels=group,
            rows=Window(parts * height, parts, 1, height, 0, 0, height),
            columns=Window(width, 1, 1, 1, 0, 0, width),
        )
        return Layer(join, SdpSetting(group, height, width, flying=True), None)


def _with_ends(items: Sequence[_Item]) -> list[tuple[_Item, _Ends]]:
    last = len(items) - 1
    return [(item, (index == 0, index == last)) for index, item in enumerate(items)]


def _part_of(layer: Layer, setting: ConvolutionSetting) -> Layer:
    """The piece of a layer that ``setting`` computes."""
    assert layer.processor is not None, "the SDP takes what a convolution makes"
    processor = evolve(
        layer.processor,
        channels=setting.kernels,
        height=setting.rows.outputs,
        width=setting.columns.outputs,
    )
    return Layer(setting, processor, None)


def _plans(
    whole: ConvolutionSetting, hw: HardwareConfiguration, *, whole_kernels: bool
) -> Iterator[_Plan]:
    """Divisions worth to compare."""
    counts = [(whole.kernels, 1)] if whole_kernels else _kernel_counts(whole, hw)
    for kernels, stacked in counts:
        some = evolve(whole, kernels=kernels)
        everything = weight_banks(some, hw)[0]
        for weights in dict.fromkeys(weight_banks(some, hw)):
            grid = _grid(whole, hw, hw.usable_banks() - weights)
            if grid is None:
                continue
            banks = Banks(hw.usable_banks() - weights, weights)
            chunks = tuple(_spans(whole.kernels, kernels))
            if stacked > 1:
                chunks = _stacked_spans(whole.kernels, hw.atomic_k, kernels)
            if any(_is_refused(whole, place, chunk, hw) for place in grid for chunk in chunks):
                continue
            # weights that are all in the buffer stay there, as does an input that is whole
            places, parts = len(grid) > 1, len(chunks) > 1
            keeps = parts and not places, places and weights == everything
            yield _Plan(whole, grid, chunks, banks, *keeps, by_place=False, stacked=stacked)
            if places and parts:
                yield _Plan(whole, grid, chunks, banks, True, False, by_place=True, stacked=stacked)


def _is_refused(
    whole: ConvolutionSetting, place: tuple[Part, Part], kernels: Span, hw: HardwareConfiguration
) -> bool:
    """Whether a piece is one pixel of several memory atoms, which the SDP cannot write into a
    larger cube (sdp.md section 2.1)."""
    rows, columns = place
    is_single = rows.outputs.size == columns.outputs.size == 1
    return is_single and not whole.is_single and kernels.size > hw.memory_atom


def _kernel_counts(
    whole: ConvolutionSetting, hw: HardwareConfiguration
) -> Iterator[tuple[int, int]]:
    """Kernels of a piece, with the pieces that make up one atom of channels: all, the multiples
    of a group that are resident beside some input, or the most that fit where a group does not."""
    yield whole.kernels, 1
    group, kernel_bytes = min(whole.kernels, hw.atomic_k), whole.kernel_bytes(hw)
    room = (hw.usable_banks() - 1) * hw.cbuf.bank_bytes
    if least_weight_bytes(hw, group, kernel_bytes) <= room:
        groups = room // (group * kernel_bytes)
        counts = {groups, groups * 3 // 4, groups // 2, groups // 4, 1}
        for count in sorted(counts, reverse=True):
            if 0 < count * group < whole.kernels:
                yield count * group, 1
    # A piece writes whole atoms, so that smaller ones are put together behind it.
    for stacked in (2, 4, 8, 16, 32):
        part = hw.atomic_k // stacked
        if (
            0 < part < group
            and whole.kernels % part == 0
            and part * kernel_bytes % hw.memory_atom == 0
            and whole.rows.outputs <= LARGEST_DILATION
        ):
            yield part, stacked


def _spans(extent: int, size: int) -> Iterator[Span]:
    for begin in range(0, extent, size):
        yield Span(begin, min(size, extent - begin))


def _stacked_spans(kernels: int, group: int, size: int) -> tuple[Span, ...]:
    """Spans that do not reach over the end of a kernel group."""
    return tuple(
        Span(outer.begin + inner.begin, inner.size)
        for outer in _spans(kernels, group)
        for inner in _spans(outer.size, size)
    )


def _grid(
    whole: ConvolutionSetting, hw: HardwareConfiguration, data_banks: int
) -> tuple[tuple[Part, Part], ...] | None:
    """Rows and columns of the pieces with so many banks for data: as few as possible."""
    if data_banks < 1:
        return None
    room = data_banks * hw.cbuf.entries_per_bank // whole.batch
    limit = 1 if whole.image is not None else whole.columns.outputs
    for count in range(1, limit + 1):
        try:
            columns = [part_of(whole.columns, span) for span in _even_spans(whole.columns, count)]
        except LayoutError:
            continue
        entries = max(evolve(whole, columns=part.window).entries(hw) for part in columns)
        lines = room // entries
        if lines < min(whole.rows.extent, whole.rows.size):
            continue
        try:
            rows = split_rows(whole.rows, lines)
        except LayoutError:
            continue
        return tuple((row, column) for row in rows for column in columns)
    return None


def _even_spans(window: Window, count: int) -> Iterator[Span]:
    """``count`` spans of the outputs whose sizes differ by one at most."""
    ends = [window.outputs * index // count for index in range(count + 1)]
    for begin, end in pairwise(ends):
        yield Span(begin, end - begin)


def part_of(window: Window, outputs: Span) -> Part:
    """Some outputs of an axis, with what of the input they read and what padding remains.

    Raises: LayoutError where they see only padding.
    """
    first = outputs.begin * window.stride - window.before
    last = first + (outputs.size - 1) * window.stride + window.extent - 1
    top, bottom = max(first, 0), min(last, window.size - 1)
    if bottom < top:
        raise LayoutError(
            f"outputs {outputs.begin} to {outputs.begin + outputs.size - 1} see only padding"
        )
    inputs = Span(top, bottom - top + 1)
    part = evolve(
        window,
        size=inputs.size,
        before=top - first,
        after=last - bottom,
        outputs=outputs.size,
    )
    return Part(outputs, inputs, part)


def split_rows(window: Window, lines: int) -> list[Part]:
    """Pieces of at most ``lines`` input lines, as tall as they can be.

    Raises: LayoutError where one output row needs more lines than that, or sees only padding.
    """
    parts: list[Part] = []
    begin = 0
    while begin < window.outputs:
        rest = window.outputs - begin
        # lines beyond the first window's, each stride of which is one more output row
        first = part_of(window, Span(begin, 1))
        if first.inputs.size > lines:
            raise LayoutError(f"one output row needs {first.inputs.size} lines, not {lines}")
        size = min(rest, 1 + max(0, lines - first.inputs.size) // window.stride)
        part = part_of(window, Span(begin, size))
        while size < rest:
            taller = part_of(window, Span(begin, size + 1))
            if taller.inputs.size > lines:
                break
            part, size = taller, size + 1
        parts.append(part)
        begin += size
    if len(parts) > 1 and parts[-1].outputs.size == 1 < parts[-2].outputs.size - 1:
        # a last piece of one row is a worse one to write, and takes no fewer runs
        begin = parts[-2].outputs.begin
        size = parts[-2].outputs.size - 1
        last = part_of(window, Span(begin + size, 2))
        # away from the padding, two rows may need more lines than there are
        if last.inputs.size <= lines:
            parts[-2:] = [part_of(window, Span(begin, size)), last]
    return parts


def _shortage(whole: ConvolutionSetting, hw: HardwareConfiguration) -> Shortage:
    """What the smallest piece takes: one output of the fewest kernels."""
    kernels = min(count for count, _ in _kernel_counts(whole, hw))
    narrow, columns = whole, whole.columns
    if whole.image is None:
        size = min(columns.extent, columns.size)
        narrow = evolve(whole, columns=evolve(columns, size=size, before=0, after=0, outputs=1))
    lines = min(whole.rows.extent, whole.rows.size)
    return Shortage(
        narrow.entries(hw) * lines * hw.cbuf.entry_bytes,
        least_weight_bytes(hw, kernels, whole.kernel_bytes(hw)),
        hw.cbuf.total_bytes,
    )
