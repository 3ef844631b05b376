"""Numbers as the vendor's tables and compiler hold them: rounded to single precision."""

from __future__ import annotations

import math
import struct


def float32(value: float) -> float:
    """``value`` rounded to float32; infinite where it is too large."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
