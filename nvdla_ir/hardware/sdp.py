"""The single data point processor with its read DMA: its setting, limits and registers.

Sources: sdp.md sections 4, 5, 8, 9, 12 and 13.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import field, frozen

from nvdla_ir.hardware.faults import Fault, above, extent_faults, lacks, outside
from nvdla_ir.hardware.fields import Fields, UnitFields, address_fields, given, yes
from nvdla_ir.hardware.place import CubePlace, OperandPlace
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.operands import DataMode, DataSize, DataUse, StageName

STREAMS: Mapping[StageName, str] = {"BS": "BRDMA", "BN": "NRDMA", "EW": "ERDMA"}
"""The part of SDP_RDMA that brings each stage its operands."""

LARGEST_SHIFT = 63
LARGEST_EW_SHIFT = 1023
"""Behind the multiplier of EW."""
_INT16 = (-(1 << 15), (1 << 15) - 1)


@frozen(cache_hash=True)
class XStage:
    """BS or BN: ALU, multiplier with a shift behind it, ReLU (section 4).

    ``alu`` is an algorithm (MAX, MIN, SUM) or None where it is bypassed. Operands come from memory
    or are those of the registers, which None leaves as they are.
    """

    bypass: bool = True
    alu: str | int | None = None
    idle_alu: str | int = "MAX"
    """The algorithm that the register of a bypassed ALU holds."""
    alu_from_memory: bool = False
    alu_operand: int | None = None
    alu_shift: int = 0
    mul: bool = False
    mul_from_memory: bool = False
    mul_operand: int | None = None
    mul_shift: int = 0
    prelu: bool = False
    relu: bool = False


@frozen
class OperandConverter:
    """How EW converts what it reads from memory: ``(x - offset) * scale >> truncate``."""

    offset: int
    scale: int
    truncate: int


@frozen
class YOperand:
    """One operand of EW: of the register, or of memory through a converter."""

    from_memory: bool = False
    operand: int | None = None
    converter: OperandConverter | None = None


@frozen(cache_hash=True)
class YStage:
    """EW: ALU, multiplier, look-up table (section 5). ``alu`` and ``mul`` None: bypassed."""

    bypass: bool = True
    alu: YOperand | None = None
    algorithm: str = "MAX"
    mul: YOperand | None = None
    prelu: bool = False
    table: bool = False
    truncate: int = 0


@frozen
class OperandStream:
    """What a stage reads from memory (section 2.2)."""

    use: DataUse
    size: DataSize
    mode: DataMode
    enabled: bool = True


@frozen(cache_hash=True)
class OutputConverter:
    """``sat8(round_half_away((x - offset) * scale / 2^shift))`` (section 7)."""

    offset: int = 0
    scale: int = 1
    shift: int = 0


@frozen
class SdpPlaces:
    """Where source, destination and operands lie; None for what comes or goes without memory."""

    source: CubePlace | None
    destination: CubePlace | None
    operands: Mapping[StageName, OperandPlace]
    batch_stride: int = 0


@frozen(cache_hash=True)
class SdpSetting:
    """One run of the SDP over ``channels`` x ``height`` x ``width`` elements.

    ``flying``: the source is the convolution's; ``to_pdp``: the destination is the PDP.
    """

    channels: int
    height: int
    width: int
    flying: bool
    to_pdp: bool = False
    bs: XStage = field(factory=XStage)
    bn: XStage = field(factory=XStage)
    ew: YStage = field(factory=YStage)
    # equal settings have equal streams, so that the hash may leave them out
    streams: Mapping[StageName, OperandStream] = field(
        factory=dict[StageName, OperandStream], hash=False
    )
    converter: OutputConverter = field(factory=OutputConverter)
    winograd: bool = False
    batch: int = 1

    interrupt = "SDP"

    @property
    def units(self) -> tuple[str, ...]:
        """SDP, and SDP_RDMA where memory is read."""
        reads = not self.flying or any(stream.enabled for stream in self.streams.values())
        return ("SDP_RDMA", "SDP") if reads else ("SDP",)

    def shape(self) -> SdpSetting:
        """The same work without its arithmetic: equal ones cost the same."""
        return SdpSetting(
            self.channels,
            self.height,
            self.width,
            self.flying,
            self.to_pdp,
            XStage(self.bs.bypass),
            XStage(self.bn.bypass),
            YStage(self.ew.bypass),
            self.streams,
            winograd=self.winograd,
            batch=self.batch,
        )

    @property
    def is_single(self) -> bool:
        """Whether there is one pixel: each stream's surfaces then lie one behind the other
        (section 12)."""
        return self.height == self.width == 1

    # -------------------------------------------------------------- limits

    def faults(self, hw: HardwareConfiguration) -> list[Fault]:
        """Every limit of the hardware that the setting breaks."""
        return list(self._faults(hw))

    def _faults(self, hw: HardwareConfiguration) -> Iterator[Fault]:
        registers = ("SDP.CHANNEL", "SDP.HEIGHT", "SDP.WIDTH")
        yield from extent_faults("output", self.channels, self.height, self.width, registers)
        yield from outside("a batch", self.batch, 1, hw.max_batch, "SDP.BATCH_NUMBER")
        for name, stage, present in (
            ("BS", self.bs, hw.sdp.has_bs),
            ("BN", self.bn, hw.sdp.has_bn),
            ("EW", self.ew, hw.sdp.has_ew),
        ):
            if not stage.bypass and not present:
                key = f"sdp.has_{name.lower()}"
                yield lacks(hw, f"work for {name}", name, key, f"SDP.{name}_BYPASS")
        if self.ew.table and not hw.sdp.has_lut:
            yield lacks(
                hw, "a look-up table", "table in its SDP", "sdp.has_lut", "SDP.EW_LUT_BYPASS"
            )
        if self.winograd and not hw.has_winograd:
            yield lacks(hw, "Winograd mode", "Winograd mode", "has_winograd", "SDP.WINOGRAD")
        for name, stage in (("BS", self.bs), ("BN", self.bn)):
            for part, shift in (("ALU", stage.alu_shift), ("MUL", stage.mul_shift)):
                register = f"SDP.{name}_{part}_SHIFT_VALUE"
                yield from above("a shift", shift, LARGEST_SHIFT, register, "shift in two stages")
            for part, operand in (("ALU", stage.alu_operand), ("MUL", stage.mul_operand)):
                if operand is not None:
                    register = f"SDP.{name}_{part}_OPERAND"
                    yield from outside("an operand", operand, *_INT16, register)
        advice = "shift by less"
        for part, operand in (("ALU", self.ew.alu), ("MUL", self.ew.mul)):
            if not self.ew.bypass and operand is not None and operand.converter is not None:
                register = f"SDP.EW_{part}_CVT_TRUNCATE"
                shift = operand.converter.truncate
                yield from above("a shift", shift, LARGEST_SHIFT, register, advice)
        if not self.ew.bypass:
            shift = self.ew.truncate
            yield from above("a shift", shift, LARGEST_EW_SHIFT, "SDP.EW_TRUNCATE", advice)
        yield from above("a shift", self.converter.shift, LARGEST_SHIFT, "SDP.CVT_SHIFT", advice)

    def place_faults(self, places: SdpPlaces) -> list[Fault]:
        """Of one pixel the surfaces lie one behind the other, so that it cannot be one of a larger
        cube (section 2.1)."""
        if not self.is_single:
            return []
        return [
            Fault(
                "one pixel of a larger cube, whose surfaces do not lie one behind the other: let "
                "it compute more of its rows or columns at once",
                register,
            )
            for register, cube in (
                ("SDP_RDMA.SRC_SURFACE_STRIDE", places.source),
                ("SDP.DST_SURFACE_STRIDE", places.destination),
            )
            if cube is not None
            and cube.layout.surfaces > 1
            and cube.layout.surface_stride != cube.layout.atom
        ]

    # -------------------------------------------------------------- registers

    def fields(self, hw: HardwareConfiguration, places: SdpPlaces) -> UnitFields:
        """The fields of SDP, and of SDP_RDMA where memory is read."""
        units: UnitFields = {"SDP": self._sdp(hw, places)}
        if "SDP_RDMA" in self.units:
            units = {"SDP_RDMA": self._rdma(hw, places), **units}
        return units

    def _shared(self) -> Fields:
        """What SDP and SDP_RDMA must both be told."""
        return {
            "WIDTH": self.width - 1,
            "HEIGHT": self.height - 1,
            "CHANNEL": self.channels - 1,
            "FLYING_MODE": "ON" if self.flying else "OFF",
            "WINOGRAD": "ON" if self.winograd else "OFF",
            "BATCH_NUMBER": self.batch - 1,
            "PROC_PRECISION": "INT8",
            "OUT_PRECISION": "INT8",
            "PERF_DMA_EN": "NO",
            "PERF_NAN_INF_COUNT_EN": "NO",
        }

    def _sdp(self, hw: HardwareConfiguration, places: SdpPlaces) -> Fields:
        fields = self._shared()
        place = places.destination
        if place is not None:
            fields |= {
                **address_fields("DST_BASE_ADDR_LOW", "DST_BASE_ADDR_HIGH", place.address, hw),
                "DST_LINE_STRIDE": place.layout.line_stride,
                "DST_SURFACE_STRIDE": self._surface_stride(place),
                "DST_RAM_TYPE": place.memory.ram_type,
            }
        if self.batch > 1:
            fields["DST_BATCH_STRIDE"] = places.batch_stride
        return {
            **fields,
            **_x_fields("BS", self.bs),
            **_x_fields("BN", self.bn),
            **_y_fields(self.ew),
            "OUTPUT_DST": "PDP" if self.to_pdp else "MEM",
            "NAN_TO_ZERO": "DISABLE",
            "CVT_OFFSET": self.converter.offset,
            "CVT_SCALE": self.converter.scale,
            "CVT_SHIFT": self.converter.shift,
            "PERF_LUT_EN": "NO",
            "PERF_SAT_EN": "NO",
        }

    def _rdma(self, hw: HardwareConfiguration, places: SdpPlaces) -> Fields:
        fields = {**self._shared(), "IN_PRECISION": "INT8"}
        place = places.source
        if place is not None:
            fields |= {
                **address_fields("SRC_BASE_ADDR_LOW", "SRC_BASE_ADDR_HIGH", place.address, hw),
                "SRC_LINE_STRIDE": place.layout.line_stride,
                "SRC_SURFACE_STRIDE": self._surface_stride(place),
                "SRC_RAM_TYPE": place.memory.ram_type,
            }
        for name in STREAMS:
            fields |= self._stream(name, hw, places.operands.get(name))
        return fields

    def _surface_stride(self, place: CubePlace) -> int:
        """Of one pixel it must be an atom even where there is one surface only (section 2.1)."""
        layout = place.layout
        return layout.atom if self.is_single else layout.surface_stride

    def _stream(
        self, name: StageName, hw: HardwareConfiguration, place: OperandPlace | None
    ) -> Fields:
        """The stream that brings a stage its operands (section 8)."""
        prefix, stream = STREAMS[name], self.streams.get(name)
        if stream is None:
            return {f"{prefix}_DISABLE": "YES"}
        assert place is not None
        fields: Fields = {
            f"{prefix}_DISABLE": yes(not stream.enabled),
            f"{prefix}_DATA_USE": stream.use,
            f"{prefix}_DATA_SIZE": stream.size,
            f"{prefix}_DATA_MODE": stream.mode,
            f"{prefix}_RAM_TYPE": place.memory.ram_type,
        }
        if not stream.enabled:
            return fields
        if place.line_stride is not None:
            fields[f"{name}_LINE_STRIDE"] = place.line_stride
        if place.line_stride is not None or self.is_single:
            fields[f"{name}_SURFACE_STRIDE"] = place.surface_stride
        low, high = f"{name}_BASE_ADDR_LOW", f"{name}_BASE_ADDR_HIGH"
        return fields | address_fields(low, high, place.address, hw)


def _x_fields(name: str, stage: XStage) -> Fields:
    """BS or BN. The shift acts even where the multiplier is bypassed."""
    has_alu = stage.alu is not None
    fields: dict[str, int | str | None] = {
        f"{name}_BYPASS": yes(stage.bypass),
        f"{name}_ALU_BYPASS": yes(not has_alu),
        f"{name}_ALU_ALGO": stage.idle_alu if stage.alu is None else stage.alu,
        f"{name}_MUL_BYPASS": yes(not stage.mul),
        f"{name}_MUL_PRELU": yes(stage.prelu),
        f"{name}_RELU_BYPASS": yes(not stage.relu),
    }
    if not stage.bypass:
        fields |= {
            f"{name}_ALU_SRC": _source(stage.alu_from_memory) if has_alu else None,
            f"{name}_ALU_SHIFT_VALUE": stage.alu_shift if has_alu else None,
            f"{name}_ALU_OPERAND": stage.alu_operand,
            f"{name}_MUL_SRC": _source(stage.mul_from_memory),
            f"{name}_MUL_SHIFT_VALUE": stage.mul_shift,
            f"{name}_MUL_OPERAND": stage.mul_operand,
        }
    return given(fields)


def _y_fields(stage: YStage) -> Fields:
    fields: dict[str, int | str | None] = {
        "EW_BYPASS": yes(stage.bypass),
        "EW_ALU_BYPASS": yes(stage.alu is None),
        "EW_ALU_ALGO": stage.algorithm,
        "EW_MUL_BYPASS": yes(stage.mul is None),
        "EW_MUL_PRELU": yes(stage.prelu),
        "EW_LUT_BYPASS": yes(not stage.table),
    }
    if stage.bypass:
        return given(fields)
    for part, operand in (("ALU", stage.alu), ("MUL", stage.mul)):
        if operand is None:
            continue
        fields[f"EW_{part}_SRC"] = _source(operand.from_memory)
        fields[f"EW_{part}_OPERAND"] = operand.operand
        converter = operand.converter
        if converter is None:
            fields[f"EW_{part}_CVT_BYPASS"] = "YES"
            continue
        fields[f"EW_{part}_CVT_BYPASS"] = "NO"
        fields[f"EW_{part}_CVT_OFFSET"] = converter.offset
        fields[f"EW_{part}_CVT_SCALE"] = converter.scale
        fields[f"EW_{part}_CVT_TRUNCATE"] = converter.truncate
    return given({**fields, "EW_TRUNCATE": stage.truncate})


def _source(from_memory: bool) -> str:
    return "MEM" if from_memory else "REG"
