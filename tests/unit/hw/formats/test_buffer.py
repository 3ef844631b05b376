"""Entries per slice and bytes of weights in the convolution buffer."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvdla_ir.hw.configuration import HardwareConfiguration, load_configuration, names
from nvdla_ir.hw.formats.buffer import (
    entries_per_slice,
    fetched_weight_bytes,
    image_entries_per_slice,
    winograd_entries_per_slice,
)

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
