"""How a convolution can be divided over the convolution buffer (convolution.md section 3.5).

Its whole input and at least one kernel group must be in the buffer. Where they do not fit, the
output is cut into pieces: of rows, with the input rows that their windows share; of columns where
not even one row fits; of kernels where a group of them is too large, or where it pays to keep
weights for several pieces. What each way costs decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from attrs import evolve, frozen

from nvdla_ir.hardware.convolution import Banks, ConvolutionSetting, Reuse, Window
from nvdla_ir.hardware.convolution_limits import LARGEST_DILATION, least_weight_bytes
from nvdla_ir.hardware.cost import HANDOVER_CYCLES, CostModel
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import LayoutError, ceil_div


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


def divide(layer: Layer, model: CostModel) -> Division | Shortage:
    """The cheapest division of a layer's convolution, whose banks do not matter, with what the SDP
    reads and writes beside it; a shortage where not even one output of as few kernels as possible
    fits."""
    whole, hw = layer.convolution, model.hw
    assert whole is not None, "the layer has a convolution"
    undivided = _undivided(whole, hw)
    if undivided is not None:
        return Division((_piece(whole, undivided),), 0)
    found = [
        Division(pieces, sum(_cycles(piece, layer, model) for piece in pieces), stacked)
        for pieces, stacked in _candidates(whole, hw)
    ]
    if not found:
        return _shortage(whole, hw)
    return min(found, key=lambda division: (division.cycles, len(division.pieces)))


def _cycles(piece: Piece, layer: Layer, model: CostModel) -> float:
    """What a piece takes, until the next one is enabled."""
    processor = layer.processor
    assert processor is not None, "the SDP takes what a convolution makes"
    part = evolve(
        processor,
        channels=piece.kernels.size,
        height=piece.rows.outputs.size,
        width=piece.columns.outputs.size,
    )
    return model.cost(Layer(piece.setting, part, None)).cycles + HANDOVER_CYCLES


def _piece(whole: ConvolutionSetting, banks: Banks) -> Piece:
    return Piece(
        Part(Span(0, whole.rows.outputs), Span(0, whole.rows.size), whole.rows),
        Part(Span(0, whole.columns.outputs), Span(0, whole.columns.size), whole.columns),
        Span(0, whole.kernels),
        evolve(whole, banks=banks),
    )


def _undivided(whole: ConvolutionSetting, hw: HardwareConfiguration) -> Banks | None:
    """Banks with which all fits at once: with all weights resident, two kernel groups, or one."""
    data = ceil_div(
        whole.entries(hw) * whole.extended(hw)[1] * whole.batch, hw.cbuf.entries_per_bank
    )
    for weights in _weight_banks(whole, hw):
        if data + weights <= hw.usable_banks():
            return Banks(data, weights)
    return None


def _weight_banks(setting: ConvolutionSetting, hw: HardwareConfiguration) -> tuple[int, int, int]:
    """Banks for all weights, for two kernel groups (the next is fetched while one is used), and
    for one."""
    least = least_weight_bytes(hw, setting.kernels, setting.kernel_bytes(hw))
    one = ceil_div(least, hw.cbuf.bank_bytes)
    everything = max(ceil_div(setting.weight_bytes(hw), hw.cbuf.bank_bytes), one)
    return everything, 2 * one, one


# -------------------------------------------------------------- candidates


def _candidates(
    whole: ConvolutionSetting, hw: HardwareConfiguration
) -> Iterator[tuple[tuple[Piece, ...], int]]:
    """Divisions worth to compare, each with the pieces that make up one atom of channels."""
    for kernels, stacked in _kernel_counts(whole, hw):
        some = evolve(whole, kernels=kernels)
        everything = _weight_banks(some, hw)[0]
        for weights in dict.fromkeys(_weight_banks(some, hw)):
            grid = _grid(whole, hw, hw.usable_banks() - weights)
            if grid is None:
                continue
            banks = Banks(hw.usable_banks() - weights, weights)
            chunks = tuple(_spans(whole.kernels, kernels))
            if stacked > 1:
                chunks = _stacked_spans(whole.kernels, hw.atomic_k, kernels)
            if any(_is_refused(whole, place, chunk, hw) for place in grid for chunk in chunks):
                continue
            is_resident = weights == everything
            yield _by_kernels(whole, grid, chunks, banks, is_resident), stacked
            if len(grid) > 1 and len(chunks) > 1:
                yield _by_place(whole, grid, chunks, banks), stacked


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
        columns = [part_of(whole.columns, span) for span in _even_spans(whole.columns, count)]
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
        parts[-2:] = [
            part_of(window, Span(begin, size)),
            part_of(window, Span(begin + size, 2)),
        ]
    return parts


# -------------------------------------------------------------- orders


def _by_kernels(
    whole: ConvolutionSetting,
    grid: Sequence[tuple[Part, Part]],
    chunks: Sequence[Span],
    banks: Banks,
    is_resident: bool,
) -> tuple[Piece, ...]:
    """All places for some kernels, then for the next. Weights that are all in the buffer stay
    there from place to place; an input that is whole stays there from kernels to kernels."""
    keeps_weights = is_resident and len(grid) > 1
    keeps_data = len(grid) == 1 and len(chunks) > 1
    pieces: list[Piece] = []
    for chunk_index, chunk in enumerate(chunks):
        for place_index, (rows, columns) in enumerate(grid):
            reuse = Reuse(
                data=keeps_data and chunk_index > 0,
                keep_data=keeps_data and chunk_index < len(chunks) - 1,
                weights=keeps_weights and place_index > 0,
                keep_weights=keeps_weights and place_index < len(grid) - 1,
            )
            pieces.append(_cut(whole, rows, columns, chunk, banks, reuse))
    return tuple(pieces)


def _by_place(
    whole: ConvolutionSetting,
    grid: Sequence[tuple[Part, Part]],
    chunks: Sequence[Span],
    banks: Banks,
) -> tuple[Piece, ...]:
    """All kernels at one place, then at the next: the input stays in the buffer."""
    return tuple(
        _cut(
            whole,
            rows,
            columns,
            chunk,
            banks,
            Reuse(data=index > 0, keep_data=index < len(chunks) - 1),
        )
        for rows, columns in grid
        for index, chunk in enumerate(chunks)
    )


def _cut(
    whole: ConvolutionSetting, rows: Part, columns: Part, kernels: Span, banks: Banks, reuse: Reuse
) -> Piece:
    setting = evolve(
        whole,
        rows=rows.window,
        columns=columns.window,
        kernels=kernels.size,
        banks=banks,
        reuse=reuse,
    )
    return Piece(rows, columns, kernels, setting)


def _shortage(whole: ConvolutionSetting, hw: HardwareConfiguration) -> Shortage:
    """What the smallest piece takes: one output of the fewest kernels."""
    kernels = min(count for count, _ in _kernel_counts(whole, hw))
    narrow = whole
    if whole.image is None:
        narrow = evolve(whole, columns=part_of(whole.columns, Span(0, 1)).window)
    lines = min(whole.rows.extent, whole.rows.size)
    return Shortage(
        narrow.entries(hw) * lines * hw.cbuf.entry_bytes,
        least_weight_bytes(hw, kernels, whole.kernel_bytes(hw)),
        hw.cbuf.total_bytes,
    )
