"""Values of register fields, as the settings of all units state them."""

from __future__ import annotations

from collections.abc import Mapping

from nvdla_ir.hw.configuration import HardwareConfiguration

Fields = dict[str, int | str]
"""Values of a unit's register fields by name; enumerated ones may be named by a string."""

UnitFields = dict[str, Fields]
"""The fields of each unit, from the first in the data flow to the last."""

_LOW_WORD = 0xFFFF_FFFF


def address_fields(low: str, high: str, address: int, hw: HardwareConfiguration) -> Fields:
    """The two halves of an address. The high one is left out where the hardware ignores it."""
    fields: Fields = {low: address & _LOW_WORD}
    if hw.address_bits > 32:
        fields[high] = address >> 32
    return fields


def truth(flag: bool) -> str:
    """How a flag with the values FALSE and TRUE is named."""
    return "TRUE" if flag else "FALSE"


def yes(flag: bool) -> str:
    """How a flag with the values NO and YES is named."""
    return "YES" if flag else "NO"


def enabled(flag: bool) -> str:
    """How a flag with the values DISABLE and ENABLE is named."""
    return "ENABLE" if flag else "DISABLE"


def given(fields: Mapping[str, int | str | None]) -> Fields:
    """``fields`` without those that have no value: the layer does not need them."""
    return {name: value for name, value in fields.items() if value is not None}
