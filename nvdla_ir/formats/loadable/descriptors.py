"""Descriptors of operations on their way out: cubes, addresses, and what cannot be said. Source:
loadable.md sections 2 to 4."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence

from attrs import define, field, frozen

from nvdla_ir.formats.loadable.container import AddressEntry
from nvdla_ir.formats.loadable.cubes import FLYING, MAXIMUM_EXTENT, MEMORIES
from nvdla_ir.formats.loadable.network import Kind
from nvdla_ir.formats.loadable.structures import Values
from nvdla_ir.hardware.place import CubePlace, Memory
from nvdla_ir.hardware.program import Tables
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.hw.formats.sizes import ceil_div


@frozen(eq=False)
class Descriptor:
    """One operation: its descriptor, its surfaces, and the tables whose index its descriptor
    states."""

    kind: Kind
    operation: Values
    surface: Values
    tables: Tables | None = None


@frozen
class Region:
    """The bytes from ``begin`` to ``end``, excluded, of the memory that a module is placed in, and
    the entry of the memory list that they become."""

    begin: int
    end: int
    memory: int


@define(eq=False)
class Addresses:
    """The address list: where the firmware finds what lies at an address of the module's memory.

    Entry 0 is that of the page that nothing uses, and entry ``n`` begins memory ``n``. Where
    descriptors cannot say an offset, there are more, one for each place.
    """

    regions: Sequence[Region]
    has_offset: bool
    entries: list[AddressEntry] = field(init=False)
    _own: dict[tuple[int, int], int] = field(factory=dict[tuple[int, int], int], init=False)

    def __attrs_post_init__(self) -> None:
        self.regions = sorted(self.regions, key=lambda region: region.begin)
        sizes = {region.memory: region.end - region.begin for region in self.regions}
        self.entries = [
            AddressEntry(memory, memory, 0, sizes.get(memory, 0))
            for memory in range(max(sizes, default=0) + 1)
        ]

    def of(self, address: int, *, without_offset: bool = False) -> tuple[int, int]:
        """The index of an entry, and the offset from there on, which is 0 where descriptors say
        none."""
        position = bisect(self.regions, address, key=lambda region: region.begin) - 1
        region = self.regions[position]
        assert position >= 0 and address < region.end, f"nothing is placed at {address:#x}"
        offset = address - region.begin
        if self.has_offset and not without_offset:
            return region.memory, offset
        if not offset:
            return region.memory, 0
        found = self._own.setdefault((region.memory, offset), len(self.entries))
        if found == len(self.entries):
            size = region.end - address
            self.entries.append(AddressEntry(found, region.memory, offset, size))
        return found, 0


@define(eq=False)
class WritingContext:
    """What the descriptors of all units need. ``faults`` are what no descriptor of the firmware can
    say of the operation that is written: a sentence's end each, after "has"."""

    hw: HardwareConfiguration
    addresses: Addresses
    faults: list[str] = field(factory=list[str])

    def require(self, holds: bool, problem: str) -> None:
        """Note ``problem`` unless it ``holds``."""
        if not holds:
            self.faults.append(problem)

    def cube(self, place: CubePlace, extents: tuple[int, int, int]) -> Values:
        """The feature cube of ``extents`` (channels, height, width) at ``place``, or a part of what
        lies there."""
        lines = place.layout.line_stride, place.layout.surface_stride
        size = FeatureLayout(*extents, place.layout.atom, *lines).size_bytes
        return self.block(place.address, size, extents, lines, place.memory)

    def block(
        self,
        address: int,
        size: int,
        extents: tuple[int, int, int],
        strides: tuple[int, int] = (0, 0),
        memory: Memory = Memory.PRIMARY,
    ) -> dict[str, int]:
        """The ``size`` bytes at ``address`` as a data cube; ``strides`` of lines and surfaces."""
        index, offset = self.addresses.of(address)
        values = {
            **self._extents(extents, strides),
            "type": MEMORIES.index(memory),
            "address": index,
            "size": size,
        }
        return {**values, "offset": offset} if self.addresses.has_offset else values

    def flying(
        self, extents: tuple[int, int, int], strides: tuple[int, int] | None = None
    ) -> Values:
        """A cube that goes from unit to unit. The firmware tells its strides to CACC, which has no
        use for them."""
        if strides is None:
            line = extents[2] * self.hw.memory_atom
            strides = line, extents[1] * line
        return {**self._extents(extents, strides), "type": FLYING, "address": -1}

    def _extents(self, extents: tuple[int, int, int], strides: tuple[int, int]) -> dict[str, int]:
        named = dict(zip(("channel", "height", "width"), extents, strict=True))
        for name, extent in named.items():
            self.require(
                extent <= MAXIMUM_EXTENT,
                f"a cube with {name} = {extent}, of which the firmware takes up to "
                f"{MAXIMUM_EXTENT}",
            )
        return {**named, "line_stride": strides[0], "surf_stride": strides[1]}


def surfaces(channels: int, hw: HardwareConfiguration) -> int:
    """How many surfaces hold ``channels``."""
    return ceil_div(channels, hw.memory_atom)
