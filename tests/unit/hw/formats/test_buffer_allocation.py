"""Entries per slice, bank allocation and row splits of the convolution buffer."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nvdla_ir.hw.configuration import HardwareConfiguration, load_configuration, names
from nvdla_ir.hw.formats.buffer import (
    BankAllocation,
    BankShortage,
    ConvolutionFootprint,
    allocate_banks,
    entries_per_slice,
    fetched_weight_bytes,
    image_entries_per_slice,
    split_rows,
    winograd_entries_per_slice,
)
from nvdla_ir.hw.formats.sizes import LayoutError

configurations = st.sampled_from([load_configuration(name) for name in names()])


@pytest.mark.parametrize(
    ("name", "width", "channels", "expected"),
    [
        # one atom an entry
        ("nv_small", 7, 17, 3 * 7),
        ("nv_medium_1024_full", 7, 33, 2 * 7),
        # two atoms an entry: a lone atom shares its entry with the next pixel's
        ("nv_large", 7, 32, 4),
        ("nv_large", 7, 33, 7),
        ("nv_large", 7, 65, 7 + 4),
        ("nv_medium_512", 6, 16, 3),
        # four atoms an entry
        ("nv_small_256", 9, 8, 3),
        ("nv_small_256", 9, 16, 5),
        ("nv_small_256", 9, 17, 9),
        ("nv_small_256", 9, 32, 9),
        ("nv_full", 9, 128 + 32, 9 + 3),
        ("nv_full", 9, 128 + 64, 9 + 5),
        ("nv_full", 9, 128 + 96, 9 + 9),
    ],
)
def test_entries_per_slice_by_hand(name: str, width: int, channels: int, expected: int) -> None:
    assert entries_per_slice(load_configuration(name), width, channels) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nv_small", (24, 32, 2352, 24000, 480)),
        ("nv_small_256", (32, 32, 2368, 24000, 480)),
        ("nv_medium_512", (32, 32, 2368, 24000, 480)),
        ("nv_large", (64, 64, 2368, 24000, 512)),
        ("nv_large_b", (64, 64, 2368, 24000, 512)),
        ("nv_full", (128, 128, 2432, 24064, 512)),
    ],
)
def test_fetched_weights_are_whole_entries(name: str, expected: tuple[int, ...]) -> None:
    """Convolution.md section 8.3: the last three as the vendor's compiler writes them."""
    hw = load_configuration(name)
    layers = ((3, 8), (4, 8), (6, 392), (16, 1500), (10, 48))
    assert tuple(fetched_weight_bytes(hw, *layer) for layer in layers) == expected


@given(configurations, st.integers(1, 200), st.integers(1, 600))
def test_entries_per_slice_formula(hw: HardwareConfiguration, width: int, channels: int) -> None:
    """The formula as the specification states it, case by case."""
    per_entry = hw.cbuf.entry_bytes // hw.memory_atom
    atoms = ceil(Fraction(channels, hw.memory_atom))
    rest = Fraction(atoms % per_entry)
    if rest == 0:
        part = 0
    elif rest > Fraction(per_entry, 2):
        part = width
    elif rest == Fraction(per_entry, 2):
        part = ceil(Fraction(width, 2))
    else:
        assert rest == Fraction(per_entry, 4)
        part = ceil(Fraction(width, 4))
    assert entries_per_slice(hw, width, channels) == atoms // per_entry * width + part


def test_image_and_winograd_slices() -> None:
    assert image_entries_per_slice(load_configuration("nv_small"), 30, 4, 1, 2) == 17
    assert image_entries_per_slice(load_configuration("nv_full"), 30, 4, 1, 2) == 2
    # a Winograd line of 20 columns by 64 channels
    assert winograd_entries_per_slice(load_configuration("nv_full"), 20, 64) == 5 * 2
    assert winograd_entries_per_slice(load_configuration("nv_large_b"), 20, 64) == 5 * 4


footprints = st.builds(
    ConvolutionFootprint,
    entries_per_slice=st.integers(1, 3000),
    lines=st.integers(1, 100),
    kernels=st.integers(1, 600),
    kernel_bytes=st.integers(1, 20000),
    batch=st.integers(1, 3),
)


def obeys_the_rules(
    hw: HardwareConfiguration, footprint: ConvolutionFootprint, banks: BankAllocation, lines: int
) -> bool:
    entries = footprint.entries_per_slice * lines * footprint.batch
    group = min(footprint.kernels, hw.atomic_k) * footprint.kernel_bytes
    groups = {"all": 1, "two": 2, "one": 1}[banks.resident]
    held = footprint.kernels * footprint.kernel_bytes if banks.resident == "all" else group * groups
    return (
        entries <= banks.data_banks * hw.cbuf.entries_per_bank
        and -(-group // 128) * 128 + 128 <= banks.weight_banks * hw.cbuf.bank_bytes
        and held <= banks.weight_banks * hw.cbuf.bank_bytes
        and banks.data_banks >= 1
        and banks.data_banks + banks.weight_banks <= hw.cbuf.banks
    )


@given(configurations, footprints)
def test_bank_allocation_obeys_the_rules(
    hw: HardwareConfiguration, footprint: ConvolutionFootprint
) -> None:
    banks = allocate_banks(hw, footprint)
    if isinstance(banks, BankAllocation):
        assert obeys_the_rules(hw, footprint, banks, footprint.lines)
        # one bank less for data would not hold them
        smaller = (banks.data_banks - 1) * hw.cbuf.entries_per_bank
        assert footprint.entries_per_slice * footprint.lines * footprint.batch > smaller
        return
    assert banks.data_banks + banks.weight_banks > hw.cbuf.banks
    if banks.split is None:
        assert banks.lines == 0
    else:
        assert 1 <= banks.lines < footprint.lines
        assert obeys_the_rules(hw, footprint, banks.split, banks.lines)
        assert not obeys_the_rules(hw, footprint, banks.split, banks.lines + 1)


@pytest.mark.parametrize(
    ("kernels", "kernel_bytes", "lines", "expected"),
    [
        # nv_small: 32 banks of 512 8-byte entries (4 KiB), 8 kernels a group; 256 entries a line
        (8, 72, 4, BankAllocation(2, 1, "all")),
        (64, 576, 16, BankAllocation(8, 9, "all")),
        # a surface of exactly one bank needs another for the slack that a group must have
        (8, 512, 4, BankAllocation(2, 2, "all")),
        # 256 kernels of 576 bytes are 36 banks; a group of 8 is 2
        (256, 576, 56, BankAllocation(28, 4, "two")),
        (256, 576, 58, BankAllocation(29, 2, "one")),
        (256, 576, 60, BankAllocation(30, 2, "one")),
        (256, 576, 61, BankShortage(31, 2, 32, 56, BankAllocation(28, 4, "two"))),
        # all weights fit beside a few lines: keep them
        (8, 576, 80, BankShortage(40, 2, 32, 60, BankAllocation(30, 2, "all"))),
        # one group alone is 33 banks
        (8, 16384, 4, BankShortage(2, 33, 32, 0, None)),
    ],
)
def test_bank_allocation_by_hand(
    kernels: int, kernel_bytes: int, lines: int, expected: BankAllocation | BankShortage
) -> None:
    hw = load_configuration("nv_small")
    assert allocate_banks(hw, ConvolutionFootprint(256, lines, kernels, kernel_bytes)) == expected


def test_compressed_weights_leave_a_bank_to_their_mask() -> None:
    hw = load_configuration("nv_full")
    plain = ConvolutionFootprint(256, 15, 32, 72)
    compressed = ConvolutionFootprint(256, 15, 32, 72, compressed=True)
    assert allocate_banks(hw, plain) == BankAllocation(15, 1, "all")
    assert isinstance(allocate_banks(hw, compressed), BankShortage)


@given(
    input_height=st.integers(1, 40),
    kernel_rows=st.integers(1, 5),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    pad_top=st.integers(0, 4),
    pad_bottom=st.integers(0, 4),
    max_lines=st.integers(1, 20),
)
def test_row_pieces_compute_the_same_output(
    input_height: int,
    kernel_rows: int,
    stride: int,
    dilation: int,
    pad_top: int,
    pad_bottom: int,
    max_lines: int,
) -> None:
    reach = (kernel_rows - 1) * dilation
    assume(pad_top <= reach and pad_bottom <= reach)
    assume(input_height + pad_top + pad_bottom > reach)
    output_height = (input_height + pad_top + pad_bottom - reach - 1) // stride + 1
    assume(max_lines > reach)
    pieces = split_rows(
        output_height=output_height,
        input_height=input_height,
        kernel_rows=kernel_rows,
        stride=stride,
        dilation=dilation,
        pad_top=pad_top,
        max_lines=max_lines,
    )
    taps: list[list[int | None]] = []
    for piece in pieces:
        assert piece.output_start == len(taps)
        assert 1 <= piece.input_rows <= max_lines
        assert 0 <= piece.input_start <= input_height - piece.input_rows
        for row in range(piece.output_rows):
            rows = [row * stride + r * dilation - piece.pad_top for r in range(kernel_rows)]
            assert max(rows) < piece.input_rows + piece.pad_bottom
            taps.append(
                [piece.input_start + y if 0 <= y < piece.input_rows else None for y in rows]
            )
    # None is padding; a real row that a piece lacks would show as None here but not below
    expected = [
        [y if 0 <= y < input_height else None for y in rows]
        for rows in (
            [oy * stride + r * dilation - pad_top for r in range(kernel_rows)]
            for oy in range(output_height)
        )
    ]
    assert taps == expected


def test_row_split_by_hand_and_faults() -> None:
    pieces = split_rows(
        output_height=8, input_height=8, kernel_rows=3, stride=1, dilation=1, pad_top=1, max_lines=5
    )
    assert [(p.output_start, p.output_rows, p.input_start, p.input_rows) for p in pieces] == [
        (0, 4, 0, 5),
        (4, 4, 3, 5),
    ]
    assert [(p.pad_top, p.pad_bottom) for p in pieces] == [(1, 0), (0, 1)]
    with pytest.raises(LayoutError, match=r"needs 3 input lines, but .* holds 2"):
        split_rows(
            output_height=8,
            input_height=8,
            kernel_rows=3,
            stride=1,
            dilation=1,
            pad_top=0,
            max_lines=2,
        )
    with pytest.raises(LayoutError, match="output rows 0 to 0 see only padding"):
        split_rows(
            output_height=2,
            input_height=8,
            kernel_rows=1,
            stride=1,
            dilation=1,
            pad_top=1,
            max_lines=2,
        )
    with pytest.raises(LayoutError, match="kernels = 0"):
        allocate_banks(load_configuration("nv_small"), ConvolutionFootprint(1, 1, 0, 1))
