"""What the emitters of all units share."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.hw.configuration import HardwareConfiguration

Fields = dict[str, int | str]
"""Values of a unit's register fields by name, in order of their registers."""

PRIMARY_MEMORY = "MC"
"""The RAM_TYPE of the SDP's and the PDP's surfaces: primary memory."""


def address_fields(
    low: str, high: str, address: int, hw: HardwareConfiguration
) -> dict[str, int | str]:
    """The two halves of an address. The high one is left out where the hardware ignores it."""
    fields: Fields = {low: address & 0xFFFF_FFFF}
    if hw.address_bits > 32:
        fields[high] = address >> 32
    return fields


@frozen(eq=False)
class LayerProgram:
    """What one run of a chain of units needs.

    units:      the fields of each unit, from the first in the data flow to the last
    interrupts: the units whose interrupts say that it is done, in the order in which they come
    """

    units: dict[str, Fields]
    interrupts: tuple[str, ...]
