"""The channel data processor (local response normalization) with its read DMA: its setting,
limits and registers.

Source: cdp.md sections 1, 2, 6 and 7.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import field, frozen

from nvdla_ir.hardware.faults import Fault, extent_faults, lacks, outside
from nvdla_ir.hardware.fields import Fields, UnitFields, address_fields, enabled
from nvdla_ir.hardware.place import CubePlace
from nvdla_ir.hw.configuration import HardwareConfiguration

WINDOWS = (3, 5, 7, 9)
"""Channels whose squares may be added up."""

LARGEST_INPUT_SHIFT = 31
LARGEST_OUTPUT_SHIFT = 63

_INT16 = (-(1 << 15), (1 << 15) - 1)
_INT32 = (-(1 << 31), (1 << 31) - 1)


@frozen
class CdpConverter:
    """``round_half_away((x - offset) * scale / 2^shift)``, saturated."""

    offset: int = 0
    scale: int = 1
    shift: int = 0


@frozen
class CdpPlaces:
    """Where source and destination lie."""

    source: CubePlace
    destination: CubePlace


@frozen
class CdpSetting:
    """One run of the CDP over ``channels`` x ``height`` x ``width`` elements.

    Squares of ``window`` channels are added up, looked up, and multiplied with the element;
    ``square_sum`` and ``multiply`` tell whether the first and the last step are done.
    """

    channels: int
    height: int
    width: int
    window: int
    input_converter: CdpConverter = field(factory=CdpConverter)
    output_converter: CdpConverter = field(factory=CdpConverter)
    square_sum: bool = True
    multiply: bool = True

    units = ("CDP_RDMA", "CDP")
    interrupt = "CDP"

    # -------------------------------------------------------------- limits

    def faults(self, hw: HardwareConfiguration) -> list[Fault]:
        """Every limit of the hardware that the setting breaks."""
        if not hw.has_cdp:
            return [lacks(hw, "channels to normalize", "CDP", "has_cdp", "CDP.D_OP_ENABLE")]
        return list(self._faults())

    def _faults(self) -> Iterator[Fault]:
        registers = ("CDP_RDMA.CHANNEL", "CDP_RDMA.HEIGHT", "CDP_RDMA.WIDTH")
        yield from extent_faults("input", self.channels, self.height, self.width, registers)
        if self.window not in WINDOWS:
            yield Fault(
                f"a window of {self.window} channels; the hardware has "
                f"{', '.join(map(str, WINDOWS))}",
                "CDP.NORMALZ_LEN",
            )
        for prefix, converter, offsets, largest in (
            ("DATIN", self.input_converter, _INT16, LARGEST_INPUT_SHIFT),
            ("DATOUT", self.output_converter, _INT32, LARGEST_OUTPUT_SHIFT),
        ):
            yield from outside("an offset", converter.offset, *offsets, f"CDP.{prefix}_OFFSET")
            yield from outside("a scale", converter.scale, *_INT16, f"CDP.{prefix}_SCALE")
            yield from outside("a shift", converter.shift, 0, largest, f"CDP.{prefix}_SHIFTER")

    # -------------------------------------------------------------- registers

    def fields(self, hw: HardwareConfiguration, places: CdpPlaces) -> UnitFields:
        """The fields of CDP_RDMA and CDP."""
        source, destination = places.source, places.destination
        return {
            "CDP_RDMA": {
                "WIDTH": self.width - 1,
                "HEIGHT": self.height - 1,
                "CHANNEL": self.channels - 1,
                **address_fields("SRC_BASE_ADDR_LOW", "SRC_BASE_ADDR_HIGH", source.address, hw),
                "SRC_LINE_STRIDE": source.layout.line_stride,
                "SRC_SURFACE_STRIDE": source.layout.surface_stride,
                "SRC_RAM_TYPE": source.memory.ram_type,
                "INPUT_DATA": "INT8",
            },
            "CDP": {
                "SQSUM_BYPASS": enabled(not self.square_sum),
                "MUL_BYPASS": enabled(not self.multiply),
                **address_fields(
                    "DST_BASE_ADDR_LOW", "DST_BASE_ADDR_HIGH", destination.address, hw
                ),
                "DST_LINE_STRIDE": destination.layout.line_stride,
                "DST_SURFACE_STRIDE": destination.layout.surface_stride,
                "DST_RAM_TYPE": destination.memory.ram_type,
                "INPUT_DATA_TYPE": "INT8",
                "NORMALZ_LEN": f"LEN{self.window}",
                **_converter("DATIN", self.input_converter),
                **_converter("DATOUT", self.output_converter),
            },
        }


def _converter(prefix: str, converter: CdpConverter) -> Fields:
    return {
        f"{prefix}_OFFSET": converter.offset,
        f"{prefix}_SCALE": converter.scale,
        f"{prefix}_SHIFTER": converter.shift,
    }
