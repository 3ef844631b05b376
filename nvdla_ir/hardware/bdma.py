"""BDMA, which copies between and within the memories: its setting, limits and registers.

Source: rubik-bdma-glb.md section 3.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from nvdla_ir.hardware.faults import Fault, lacks
from nvdla_ir.hardware.fields import Fields, address_fields
from nvdla_ir.hardware.place import BlockPlace
from nvdla_ir.hw.configuration import HardwareConfiguration

UNIT_BYTES = 32
"""What is copied at once: lines, addresses and strides are multiples of it."""

QUEUE_ENTRIES = 20
"""Transfers that may wait for one launch."""

LARGEST_LINE = UNIT_BYTES << 13
LARGEST_REPEAT = 1 << 24


@frozen
class Transfer:
    """A block of ``surfaces`` x ``lines`` lines of ``line_bytes`` bytes."""

    line_bytes: int
    lines: int
    surfaces: int


@frozen
class TransferPlaces:
    """Where a block is, and where it goes."""

    source: BlockPlace
    destination: BlockPlace


@frozen
class BdmaSetting:
    """Transfers that are launched together, in order. Without any there is nothing to wait for."""

    transfers: tuple[Transfer, ...]

    units = ()
    """BDMA's registers are those of the next transfer: it has no groups."""

    @property
    def interrupt(self) -> str | None:
        """The unit whose interrupt tells the end."""
        return "BDMA" if self.transfers else None

    # -------------------------------------------------------------- limits

    def faults(self, hw: HardwareConfiguration) -> list[Fault]:
        """Every limit of the hardware that the setting breaks."""
        if not hw.has_bdma:
            return [lacks(hw, "memory to copy", "BDMA", "has_bdma", "BDMA.CFG_OP")]
        return list(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if len(self.transfers) > QUEUE_ENTRIES:
            yield Fault(
                f"{len(self.transfers)} transfers, but {QUEUE_ENTRIES} may wait for one launch: "
                "use several layers",
                "BDMA.CFG_OP",
            )
        for transfer in self.transfers:
            size = transfer.line_bytes
            if not 0 < size <= LARGEST_LINE or size % UNIT_BYTES:
                yield Fault(
                    f"lines of {size} bytes, but they must be multiples of {UNIT_BYTES} up to "
                    f"{LARGEST_LINE}",
                    "BDMA.CFG_LINE.SIZE",
                )
            for what, count, name in (
                ("lines", transfer.lines, "LINE"),
                ("surfaces", transfer.surfaces, "SURF"),
            ):
                if not 1 <= count <= LARGEST_REPEAT:
                    yield Fault(
                        f"{count} {what}, but there must be 1 to {LARGEST_REPEAT}",
                        f"BDMA.CFG_{name}_REPEAT.NUMBER",
                    )

    def place_faults(self, places: tuple[TransferPlaces, ...]) -> list[Fault]:
        """Addresses and strides whose low bits registers drop."""
        return [
            Fault(f"{what} {value}, but it must be a multiple of {UNIT_BYTES}", f"BDMA.{register}")
            for transfer in places
            for end, place in (("SRC", transfer.source), ("DST", transfer.destination))
            for what, value, register in (
                ("an address of", place.address, f"CFG_{end}_ADDR_LOW.V32"),
                ("a line stride of", place.line_stride, f"CFG_{end}_LINE.STRIDE"),
                ("a surface stride of", place.surface_stride, f"CFG_{end}_SURF.STRIDE"),
            )
            if value % UNIT_BYTES
        ]

    # -------------------------------------------------------------- registers

    def fields(
        self, hw: HardwareConfiguration, places: tuple[TransferPlaces, ...]
    ) -> tuple[Fields, ...]:
        """The fields of BDMA for each transfer; the launch is the program's."""
        return tuple(
            {
                **_end("SRC", place.source, hw),
                **_end("DST", place.destination, hw),
                "CFG_LINE.SIZE": transfer.line_bytes // UNIT_BYTES - 1,
                "CFG_LINE_REPEAT.NUMBER": transfer.lines - 1,
                "CFG_SURF_REPEAT.NUMBER": transfer.surfaces - 1,
                "CFG_OP.EN": "ENABLE",
            }
            for transfer, place in zip(self.transfers, places, strict=True)
        )


def _end(end: str, place: BlockPlace, hw: HardwareConfiguration) -> Fields:
    low, high = f"CFG_{end}_ADDR_LOW.V32", f"CFG_{end}_ADDR_HIGH.V8"
    return {
        **address_fields(low, high, place.address, hw),
        f"{end}_RAM_TYPE": place.memory.bdma_type,
        f"CFG_{end}_LINE.STRIDE": place.line_stride,
        f"CFG_{end}_SURF.STRIDE": place.surface_stride,
    }
