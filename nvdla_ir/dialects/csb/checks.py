"""Checks of what a program left in memory. A check that fails does not stop the program."""

from __future__ import annotations

from collections.abc import Iterable

from nvdla_ir.dialects.csb.memory import AddressOp, is_bytes
from nvdla_ir.ir.attribute_kinds import ELEMENTS, INT, STRING
from nvdla_ir.ir.definition import attribute, optional_attribute

_CRC_LIMIT = 1 << 32


class MemoryCheckOp(AddressOp):
    """A check of bytes in memory; ``event`` is what its source calls the moment of the check."""

    event = optional_attribute(STRING, descriptive=True)


class CheckCrcOp(MemoryCheckOp):
    """The CRC-32 (IEEE 802.3) of ``size`` bytes, in ascending order of addresses, is ``crc``."""

    name = "csb.check_crc"

    size = attribute(INT)
    crc = attribute(INT)

    def verify(self) -> Iterable[str]:
        if self.size < 1:
            yield f"has 'size = {self.size}', but it must be at least 1"
        if not 0 <= self.crc < _CRC_LIMIT:
            yield f"has 'crc = {self.crc:#x}', but it has 32 bits"


class CheckBytesOp(MemoryCheckOp):
    """The bytes from ``address`` on are those of ``value``."""

    name = "csb.check_bytes"

    value = attribute(ELEMENTS)

    def verify(self) -> Iterable[str]:
        if not is_bytes(self.value.type):
            yield f"expects '{self.value.type}', but it must be bytes: a tensor of one dimension"
