"""What the hardware cannot do, as the settings of all units say it."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from attrs import frozen

from nvdla_ir.hw.configuration import HardwareConfiguration, names, shipped_configuration

LARGEST_EXTENT = 8192
"""Of width, height and channels of every cube (convolution.md section 0, sdp.md section 12)."""

SMALLER_TENSOR = "cut the tensor into smaller ones"
SMALLER_WINDOW = "compute it by several layers with smaller windows"


@frozen
class Fault:
    """One limit that a setting breaks: ``problem`` completes the sentence "layer 'x' has ...".

    It names the value and the limit, and says what to do; ``register`` is the field that holds the
    value, as ``UNIT.FIELD``.
    """

    problem: str
    register: str

    def __str__(self) -> str:
        return f"{self.problem} ({self.register})"


def above(
    what: str, value: int, limit: int, register: str, advice: str, least: int = 0
) -> Iterator[Fault]:
    """A fault where ``value`` is above ``limit``, or below ``least``."""
    if value < least:
        yield Fault(f"{what} of {value}; it must be at least {least}", register)
    elif value > limit:
        problem = f"{what} of {value}; the hardware takes up to {limit}: {advice}"
        yield Fault(problem, register)


def outside(
    what: str, value: int, lowest: int, highest: int, register: str, advice: str = ""
) -> Iterator[Fault]:
    """A fault where ``value`` is not from ``lowest`` to ``highest``."""
    if not lowest <= value <= highest:
        suffix = f": {advice}" if advice else ""
        problem = f"{what} of {value}, but it must be from {lowest} to {highest}{suffix}"
        yield Fault(problem, register)


def extent_faults(
    what: str, channels: int, height: int, width: int, registers: tuple[str, str, str]
) -> Iterator[Fault]:
    """Faults of a cube's extents; ``registers`` hold channels, height and width."""
    names = ("depth", "height", "width")
    for name, extent, register in zip(names, (channels, height, width), registers, strict=True):
        yield from above(f"an {what} {name}", extent, LARGEST_EXTENT, register, SMALLER_TENSOR, 1)


def lacks(hw: HardwareConfiguration, what: str, unit: str, key: str, register: str) -> Fault:
    """The fault that the hardware does not have what the setting uses. ``key`` is what a
    configuration says of it, as ``sdp.has_ew``."""
    has = attrgetter(key)
    others = [name for name in names() if has(shipped_configuration(name))]
    problem = f"{what}, but {hw.name} has no {unit}"
    return Fault(f"{problem}: choose another target ({', '.join(others)})", register)
