"""RUBIK, which reshapes data: its setting, limits and registers.

Source: rubik-bdma-glb.md section 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from nvdla_ir.hardware.faults import Fault, extent_faults, lacks, outside
from nvdla_ir.hardware.fields import Fields, UnitFields, address_fields
from nvdla_ir.hardware.place import CubePlace, PlanesPlace
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import ceil_div

LARGEST_STRIDE = 32

Mode = Literal["CONTRACT", "SPLIT", "MERGE"]


@frozen
class RubikPlaces:
    """Where source and destination lie: planes where a mode reads or writes them."""

    source: CubePlace | PlanesPlace
    destination: CubePlace | PlanesPlace


@frozen
class RubikSetting:
    """One run of RUBIK over ``channels`` x ``height`` x ``width`` elements.

    CONTRACT moves groups of channels to rows and columns, ``strides`` (vertical, horizontal) times
    as many; SPLIT makes planes of a feature cube, MERGE the other way round.
    """

    mode: Mode
    channels: int
    height: int
    width: int
    output_channels: int
    strides: tuple[int, int] = (1, 1)

    units = ("RBK",)
    interrupt = "RUBIK"

    @property
    def output(self) -> tuple[int, int, int]:
        """Channels, height and width of what it makes."""
        if self.mode != "CONTRACT":
            return self.output_channels, self.height, self.width
        down, across = self.strides
        return self.output_channels, self.height * down, self.width * across

    # -------------------------------------------------------------- limits

    def faults(self, hw: HardwareConfiguration) -> list[Fault]:
        """Every limit of the hardware that the setting breaks."""
        if not hw.has_rubik:
            return [lacks(hw, "data to reshape", "RUBIK", "has_rubik", "RBK.D_OP_ENABLE")]
        return list(self._faults(hw))

    def _faults(self, hw: HardwareConfiguration) -> Iterator[Fault]:
        registers = ("RBK.DATAIN_CHANNEL", "RBK.DATAIN_HEIGHT", "RBK.DATAIN_WIDTH")
        yield from extent_faults("input", self.channels, self.height, self.width, registers)
        yield from extent_faults(
            "output", self.output_channels, 1, 1, ("RBK.DATAOUT_CHANNEL", "", "")
        )
        if self.mode != "CONTRACT":
            if self.output_channels != self.channels:
                yield Fault(
                    f"{self.channels} channels, of which it would make {self.output_channels}: "
                    "only a contraction changes their number",
                    "RBK.DATAOUT_CHANNEL",
                )
            return
        for stride, axis in zip(self.strides, "YX", strict=True):
            register = f"RBK.DECONV_{axis}_STRIDE"
            yield from outside("a stride", stride, 1, LARGEST_STRIDE, register)

    def place_faults(self, places: RubikPlaces, hw: HardwareConfiguration) -> list[Fault]:
        """Strides that registers cannot hold, of what lies in planes."""
        return [
            Fault(
                f"a plane every {stride} bytes, but it must be a multiple of {hw.memory_atom}",
                f"RBK.{end}_PLANAR_STRIDE",
            )
            for end, place in (("DAIN", places.source), ("DAOUT", places.destination))
            if isinstance(place, PlanesPlace) and (stride := place.plane_stride) % hw.memory_atom
        ]

    # -------------------------------------------------------------- registers

    def fields(self, hw: HardwareConfiguration, places: RubikPlaces) -> UnitFields:
        """The fields of RUBIK, whose registers are the block RBK."""
        source, destination = places.source, places.destination
        return {
            "RBK": {
                "RUBIK_MODE": self.mode,
                "IN_PRECISION": "INT8",
                "DATAIN_RAM_TYPE": source.memory.interface,
                "DATAIN_WIDTH": self.width - 1,
                "DATAIN_HEIGHT": self.height - 1,
                "DATAIN_CHANNEL": self.channels - 1,
                **_place("DAIN", source, hw),
                "DATAOUT_RAM_TYPE": destination.memory.interface,
                "DATAOUT_CHANNEL": self.output_channels - 1,
                **_place("DAOUT", destination, hw),
                **(self._contraction(hw, places) if self.mode == "CONTRACT" else {}),
            }
        }

    def _contraction(self, hw: HardwareConfiguration, places: RubikPlaces) -> Fields:
        """Strides, and the distances that follow from them (section 2.1)."""
        source, destination = places.source, places.destination
        assert isinstance(source, CubePlace)
        assert isinstance(destination, CubePlace)
        down, across = self.strides
        surfaces = ceil_div(self.output_channels, hw.memory_atom)
        return {
            "CONTRACT_STRIDE_0": surfaces * source.layout.surface_stride,
            "CONTRACT_STRIDE_1": down * destination.layout.line_stride,
            "DECONV_X_STRIDE": across - 1,
            "DECONV_Y_STRIDE": down - 1,
        }


def _place(end: str, place: CubePlace | PlanesPlace, hw: HardwareConfiguration) -> Fields:
    fields = address_fields(f"{end}_ADDR_LOW", f"{end}_ADDR_HIGH", place.address, hw)
    if isinstance(place, PlanesPlace):
        fields[f"{end}_LINE_STRIDE"] = place.line_stride
        fields[f"{end}_PLANAR_STRIDE"] = place.plane_stride
    else:
        fields[f"{end}_LINE_STRIDE"] = place.layout.line_stride
        fields[f"{end}_SURF_STRIDE"] = place.layout.surface_stride
    return fields
