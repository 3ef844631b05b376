"""What layers that run at the same time leave alone: who waits for whom without being told.

A layer is named by the units that write to memory and tell their end, in the order of the data
flow: SDP, PDP, or both where the SDP hands over to the PDP. Each unit runs its layers in order, and
ends when those before it in the data flow have. So what a later layer writes comes after all that
an earlier one has read if they share a unit, and after all that it has written if they share the
unit that writes.

Sources: convolution.md sections 6.1 and 8.4, rubik-bdma-glb.md sections 5 and 6.
"""

from __future__ import annotations

from collections.abc import Sequence

GROUPS = 2
"""Register groups of a unit: so many of its layers may be programmed and not yet done."""


def ends_with(earlier: Sequence[str], later: Sequence[str]) -> bool:
    """Whether the end of a layer on the units ``later`` tells that of one before it on
    ``earlier``; then it also writes nothing before that."""
    return earlier[-1] in later


def has_read_before(earlier: Sequence[str], later: Sequence[str]) -> bool:
    """Whether a layer on ``earlier`` has read everything before one behind it writes."""
    return not set(earlier).isdisjoint(later)
