"""The convolution pipeline CDMA, CSC, CMAC, CACC: its setting and registers.

Sources: convolution.md sections 3 to 6.
"""

from __future__ import annotations

from attrs import define, frozen

from nvdla_ir.hardware.convolution_geometry import ConvolutionGeometry
from nvdla_ir.hardware.convolution_limits import convolution_faults
from nvdla_ir.hardware.faults import Fault
from nvdla_ir.hardware.fields import (
    Fields,
    UnitFields,
    address_fields,
    enabled,
    given,
    truth,
)
from nvdla_ir.hardware.place import BytesPlace, CubePlace, ImagePlace
from nvdla_ir.hw.configuration import HardwareConfiguration

MEANS = ("MEAN_RY", "MEAN_GU", "MEAN_BV", "MEAN_AX")
"""The registers that hold a number for each component of a pixel."""

_CACC_STRIDE_BITS = 24
"""Of CACC's strides, which only pair up the cubes of a batch (section 4.3)."""
_LOW_WORD = 0xFFFF_FFFF


@frozen
class UnusedPlane:
    """What the vendor's firmware writes to registers that the input does not use: those of images
    where it is a cube, and those of a second plane where it has one."""

    address: int
    line_stride: int
    signed: bool


@frozen
class ConvolutionPlaces:
    """Where input, weights and the SDP's destination lie; None where that is no memory.

    ``mask`` and ``group_sizes`` are those of compressed weights.
    """

    input: CubePlace | ImagePlace
    weights: BytesPlace
    destination: CubePlace | None
    mask: BytesPlace | None = None
    group_sizes: BytesPlace | None = None
    batch_stride: int = 0
    unused: UnusedPlane | None = None


@define(frozen=True, slots=False, cache_hash=True)
class ConvolutionSetting(ConvolutionGeometry):
    """One run of the pipeline, without addresses."""

    units = ("CDMA", "CSC", "CMAC_A", "CMAC_B", "CACC")
    interrupt = None
    """The SDP's tells the end."""

    def faults(self, hw: HardwareConfiguration) -> list[Fault]:
        """Every limit of the hardware that the setting breaks."""
        return list(convolution_faults(self, hw))

    # -------------------------------------------------------------- registers

    def fields(self, hw: HardwareConfiguration, places: ConvolutionPlaces) -> UnitFields:
        """The fields of all units, with addresses."""
        mode: Fields = {"CONV_MODE": self._mode, "PROC_PRECISION": "INT8"}
        return {
            "CDMA": self._cdma(hw, places),
            "CSC": self._csc(hw),
            "CMAC_A": mode,
            "CMAC_B": dict(mode),
            "CACC": self._cacc(places),
        }

    @property
    def _mode(self) -> str:
        return "WINOGRAD" if self.winograd else "DIRECT"

    def _shared(self, hw: HardwareConfiguration) -> Fields:
        """What CDMA and CSC must both be told."""
        _, rows, columns = self.extended(hw)
        reuse, banks = self.reuse, self.banks
        assert banks is not None, "the setting is fitted into the buffer"
        return {
            "CONV_MODE": self._mode,
            "IN_PRECISION": "INT8",
            "PROC_PRECISION": "INT8",
            "DATA_REUSE": enabled(reuse.data),
            "WEIGHT_REUSE": enabled(reuse.weights),
            "SKIP_DATA_RLS": enabled(reuse.keep_data),
            "SKIP_WEIGHT_RLS": enabled(reuse.keep_weights),
            "DATAIN_FORMAT": "FEATURE" if self.image is None else "PIXEL",
            "DATAIN_WIDTH_EXT": columns - 1,
            "DATAIN_HEIGHT_EXT": rows - 1,
            "BATCHES": self.batch - 1,
            "ENTRIES": self.entries(hw) - 1,
            "WEIGHT_FORMAT": "UNCOMPRESSED" if self.compressed is None else "COMPRESSED",
            "WEIGHT_KERNEL": self.kernels - 1,
            "WEIGHT_BYTES": self.weight_bytes(hw),
            "PAD_VALUE": self.pad_value,
            "DATA_BANK": banks.data - 1,
            "WEIGHT_BANK": banks.weights - 1,
        }

    def _cdma(self, hw: HardwareConfiguration, places: ConvolutionPlaces) -> Fields:
        return {
            **self._shared(hw),
            **self._input(hw, places),
            "DATAIN_WIDTH": self.columns.size - 1,
            "DATAIN_HEIGHT": self.rows.size - 1,
            "DATAIN_CHANNEL": self.channels - 1,
            "DATAIN_RAM_TYPE": places.input.memory.interface,
            "PIXEL_X_OFFSET": 0,
            "PIXEL_Y_OFFSET": 0,
            "RSV_PER_LINE": 0,
            "RSV_PER_UV_LINE": 0,
            "RSV_HEIGHT": 0,
            "RSV_Y_INDEX": 0,
            "GRAINS": self.fetch_grain - 1,
            "BYTE_PER_KERNEL": self.kernel_bytes(hw) - 1,
            **self._weights(hw, places),
            **self._converter(),
            "CONV_X_STRIDE": self.columns.stride - 1,
            "CONV_Y_STRIDE": self.rows.stride - 1,
            "PAD_LEFT": self.columns.before,
            "PAD_RIGHT": self.columns.after,
            "PAD_TOP": self.rows.before,
            "PAD_BOTTOM": self.rows.after,
            "NAN_TO_ZERO": "DISABLE",
            "DMA_EN": 0,
        }

    def _input(self, hw: HardwareConfiguration, places: ConvolutionPlaces) -> Fields:
        """Where the input lies (section 2)."""
        place, fields = places.input, _unused(places.unused, hw)
        if isinstance(place, ImagePlace):
            assert self.image is not None
            fields |= {
                "PIXEL_FORMAT": self.image.pixel_format.name,
                "PIXEL_MAPPING": "PITCH_LINEAR",
                "PIXEL_SIGN_OVERRIDE": _sign(self.image.signed),
            }
            strides = ("LINE_STRIDE", "UV_LINE_STRIDE")
            for plane, address in enumerate(place.addresses):
                low, high = f"DATAIN_ADDR_LOW_{plane}", f"DATAIN_ADDR_HIGH_{plane}"
                fields |= address_fields(low, high, address, hw)
                fields[strides[plane]] = place.line_strides[plane]
            return {**fields, "LINE_PACKED": "FALSE", "SURF_PACKED": "FALSE"}
        line, surface = place.layout.line_stride, place.layout.surface_stride
        line_packed = line == self.columns.size * hw.memory_atom
        return {
            **fields,
            **address_fields("DATAIN_ADDR_LOW_0", "DATAIN_ADDR_HIGH_0", place.address, hw),
            "LINE_STRIDE": line,
            "SURF_STRIDE": surface,
            "LINE_PACKED": truth(line_packed),
            "SURF_PACKED": truth(line_packed and surface == self.rows.size * line),
            **({"BATCH_STRIDE": places.batch_stride} if self.batch > 1 else {}),
        }

    def _weights(self, hw: HardwareConfiguration, places: ConvolutionPlaces) -> Fields:
        fields: Fields = {
            "WEIGHT_RAM_TYPE": places.weights.memory.interface,
            **address_fields("WEIGHT_ADDR_LOW", "WEIGHT_ADDR_HIGH", places.weights.address, hw),
        }
        if self.compressed is not None:
            assert places.mask is not None and places.group_sizes is not None
            for prefix, place in (("WMB", places.mask), ("WGS", places.group_sizes)):
                low, high = f"{prefix}_ADDR_LOW", f"{prefix}_ADDR_HIGH"
                fields |= address_fields(low, high, place.address, hw)
            fields["WMB_BYTES"] = self.compressed.mask_bytes
        return fields

    def _converter(self) -> Fields:
        """The input converter (section 3.2)."""
        means = None if self.image is None else self.image.means
        fields: Fields = {"MEAN_FORMAT": enabled(means is not None)}
        if means is not None:
            padded = (*means, *[0] * len(MEANS))[: len(MEANS)]
            fields |= dict(zip(MEANS, padded, strict=True))
        converter = self.converter
        if converter is None:
            return {**fields, "CVT_EN": "DISABLE", "CVT_TRUNCATE": 0}
        return {
            **fields,
            "CVT_EN": "ENABLE",
            "CVT_TRUNCATE": converter.truncate,
            "CVT_OFFSET": converter.offset,
            "CVT_SCALE": converter.scale,
        }

    def _csc(self, hw: HardwareConfiguration) -> Fields:
        channels, rows, _ = self.extended(hw)
        taps = self.taps
        released = self.reuse.released
        # CDMA applies strides and padding of a Winograd convolution (section 4.7)
        steps = (1, 1) if self.winograd else (self.rows.stride, self.columns.stride)
        pads = (0, 0) if self.winograd else (self.rows.before, self.columns.before)
        return given(
            {
                **self._shared(hw),
                "DATAIN_CHANNEL_EXT": channels - 1,
                "Y_EXTENSION": self.post_extension,
                "WEIGHT_HEIGHT_EXT": taps[0] - 1,
                "WEIGHT_WIDTH_EXT": taps[1] - 1,
                "WEIGHT_CHANNEL_EXT": (channels if self.winograd else taps[2]) - 1,
                "WMB_BYTES": None if self.compressed is None else self.compressed.mask_bytes,
                **self._output(),
                "ATOMICS": self.rows.outputs * self.columns.outputs - 1,
                "RLS_SLICES": (rows if released is None else released) - 1,
                "CONV_Y_STRIDE_EXT": steps[0] - 1,
                "CONV_X_STRIDE_EXT": steps[1] - 1,
                "Y_DILATION_EXT": self.rows.dilation - 1,
                "X_DILATION_EXT": self.columns.dilation - 1,
                "PAD_TOP": pads[0],
                "PAD_LEFT": pads[1],
                "PRA_TRUNCATE": self.winograd_truncate,
            }
        )

    def _output(self) -> Fields:
        return {
            "DATAOUT_WIDTH": self.columns.outputs - 1,
            "DATAOUT_HEIGHT": self.rows.outputs - 1,
            "DATAOUT_CHANNEL": self.kernels - 1,
        }

    def _cacc(self, places: ConvolutionPlaces) -> Fields:
        """CACC is told where the SDP writes, but uses it only to pair up batches."""
        address = line = surface = 0
        if places.destination is not None:
            limit = 1 << _CACC_STRIDE_BITS
            address = places.destination.address & _LOW_WORD
            line = places.destination.layout.line_stride % limit
            surface = places.destination.layout.surface_stride % limit
        return {
            "CONV_MODE": self._mode,
            "PROC_PRECISION": "INT8",
            **self._output(),
            "DATAOUT_ADDR": address,
            "BATCHES": self.batch - 1,
            "LINE_STRIDE": line,
            "SURF_STRIDE": surface,
            "LINE_PACKED": truth(self.is_single),
            "SURF_PACKED": truth(self.is_single),
            "CLIP_TRUNCATE": self.clip_truncate,
        }


def _unused(plane: UnusedPlane | None, hw: HardwareConfiguration) -> Fields:
    if plane is None:
        return {}
    return {
        "PIXEL_FORMAT": 0,
        "PIXEL_MAPPING": "PITCH_LINEAR",
        "PIXEL_SIGN_OVERRIDE": _sign(plane.signed),
        **address_fields("DATAIN_ADDR_LOW_1", "DATAIN_ADDR_HIGH_1", plane.address, hw),
        "UV_LINE_STRIDE": plane.line_stride,
    }


def _sign(signed: bool) -> str:
    return "SIGNED_INT" if signed else "UNSIGNED_INT"
