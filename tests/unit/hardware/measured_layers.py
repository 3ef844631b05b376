"""Hardware layers whose cycles were measured on RTL, read back from their registers.

The records are those of ../shared/cycles (docs/estimates.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from attrs import frozen

from nvdla_ir.hardware.cdp import CdpSetting
from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hardware.convolution_geometry import Banks, ImageInput, Reuse, Window
from nvdla_ir.hardware.cost.base import Cost, MemoryTiming
from nvdla_ir.hardware.cost.model import CostModel
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.hardware.pdp import Method, PdpSetting, PoolWindow
from nvdla_ir.hardware.sdp import STREAMS, OperandStream, SdpSetting, StageName, XStage, YStage
from nvdla_ir.hw.configuration import HardwareConfiguration, load_configuration
from nvdla_ir.hw.formats.operands import DataMode, DataSize, DataUse
from nvdla_ir.hw.formats.pooling import WidthSplit
from nvdla_ir.hw.pixels import PIXEL_FORMATS
from nvdla_ir.hw.registers import register_map

RECORDS = Path(__file__).resolve().parents[3].parent / "shared" / "cycles" / "nv_small.json"

Registers = Mapping[str, Mapping[str, str]]
"""Words of registers, by unit and name."""


@frozen(eq=False)
class MeasuredLayer:
    """One layer at one setting of the memory. ``read`` and ``written`` are bytes, by clients as
    the records call them."""

    program: str
    index: int
    memory: MemoryTiming
    cycles: int
    read: Mapping[str, int]
    written: Mapping[str, int]
    cost: Cost

    @property
    def name(self) -> str:
        return f"{self.program}#{self.index} at {self.memory}"

    @property
    def error(self) -> float:
        """Of the estimate, as a part of what was measured."""
        return self.cost.cycles / self.cycles - 1


def measured_layers() -> Iterator[MeasuredLayer]:
    """Those that ran alone."""
    hw = load_configuration("nv_small")
    data = json.loads(RECORDS.read_text(encoding="utf-8"))
    models: dict[MemoryTiming, CostModel] = {}
    for record in data["records"]:
        if record["overlapped"]:
            continue
        memory = MemoryTiming(record["memory"]["latency"], record["memory"]["bytes_per_cycle"])
        models.setdefault(memory, CostModel(hw, memory))
        registers = data["registers"][f"{record['program']}#{record['layer']}"]
        yield MeasuredLayer(
            record["program"],
            record["layer"],
            memory,
            record["cycles"],
            record["read_by_client"],
            record["written_by_client"],
            models[memory].cost(layer_of(registers, hw)),
        )


def layers_of(hw: HardwareConfiguration) -> Iterator[Layer]:
    """The settings of all programs' layers."""
    for registers in json.loads(RECORDS.read_text(encoding="utf-8"))["registers"].values():
        yield layer_of(registers, hw)


@frozen
class Unit:
    """The fields of one unit."""

    registers: Registers
    name: str
    hw: HardwareConfiguration

    def __getitem__(self, name: str) -> int:
        field = register_map(self.hw.register_map).block(self.name).field(name)
        words = self.registers[self.name]
        word = words.get(field.register)
        return field.reset if word is None else field.decode(int(word, 16))

    def named(self, name: str) -> str:
        """The name of a field's value."""
        field = register_map(self.hw.register_map).block(self.name).field(name)
        found = field.value_name(self[name])
        assert found is not None
        return found


def layer_of(registers: Registers, hw: HardwareConfiguration) -> Layer:
    """The settings of a layer's units."""
    if "CDP" in registers:
        return Layer(alone=_cdp(registers, hw))
    return Layer(
        _convolution(registers, hw) if "CDMA" in registers else None,
        _sdp(registers, hw) if "SDP" in registers else None,
        _pdp(registers, hw) if "PDP" in registers else None,
    )


def _cdp(registers: Registers, hw: HardwareConfiguration) -> CdpSetting:
    rdma, cdp = Unit(registers, "CDP_RDMA", hw), Unit(registers, "CDP", hw)
    return CdpSetting(
        rdma["CHANNEL"] + 1,
        rdma["HEIGHT"] + 1,
        rdma["WIDTH"] + 1,
        window=2 * cdp["NORMALZ_LEN"] + 3,
        square_sum=cdp.named("SQSUM_BYPASS") == "DISABLE",
        multiply=cdp.named("MUL_BYPASS") == "DISABLE",
    )


def _convolution(registers: Registers, hw: HardwareConfiguration) -> ConvolutionSetting:
    cdma, csc = Unit(registers, "CDMA", hw), Unit(registers, "CSC", hw)
    is_image = cdma.named("DATAIN_FORMAT") == "PIXEL"
    channels = cdma["DATAIN_CHANNEL"] + 1
    taps = csc["WEIGHT_WIDTH_EXT"] + 1
    if is_image:
        taps = (csc["WEIGHT_CHANNEL_EXT"] + 1) // channels
    rows, columns = (
        Window(
            cdma[f"DATAIN_{size}"] + 1,
            count,
            csc[f"CONV_{axis}_STRIDE_EXT"] + 1,
            csc[f"{axis}_DILATION_EXT"] + 1,
            cdma[f"PAD_{before}"],
            cdma[f"PAD_{after}"],
            csc[f"DATAOUT_{size}"] + 1,
        )
        for size, count, axis, before, after in (
            ("HEIGHT", csc["WEIGHT_HEIGHT_EXT"] + 1, "Y", "TOP", "BOTTOM"),
            ("WIDTH", taps, "X", "LEFT", "RIGHT"),
        )
    )
    image = None
    if is_image:
        image = ImageInput(PIXEL_FORMATS[cdma.named("PIXEL_FORMAT")], signed=False)
    return ConvolutionSetting(
        channels=channels,
        kernels=csc["WEIGHT_KERNEL"] + 1,
        rows=rows,
        columns=columns,
        banks=Banks(cdma["DATA_BANK"] + 1, cdma["WEIGHT_BANK"] + 1),
        image=image,
        reuse=Reuse(data=cdma["DATA_REUSE"] == 1, weights=cdma["WEIGHT_REUSE"] == 1),
        post_extension=csc["Y_EXTENSION"],
        stated_weight_bytes=cdma["WEIGHT_BYTES"],
    )


def _sdp(registers: Registers, hw: HardwareConfiguration) -> SdpSetting:
    sdp = Unit(registers, "SDP", hw)
    streams: dict[StageName, OperandStream] = {}
    if "SDP_RDMA" in registers:
        rdma = Unit(registers, "SDP_RDMA", hw)
        for stage, prefix in STREAMS.items():
            # what a build lacks reads nothing
            has_stage = getattr(hw.sdp, f"has_{stage.lower()}")
            if rdma.named(f"{prefix}_DISABLE") == "NO" and has_stage:
                streams[stage] = OperandStream(
                    cast("DataUse", rdma.named(f"{prefix}_DATA_USE")),
                    cast("DataSize", rdma.named(f"{prefix}_DATA_SIZE")),
                    cast("DataMode", rdma.named(f"{prefix}_DATA_MODE")),
                )
    return SdpSetting(
        channels=sdp["CHANNEL"] + 1,
        height=sdp["HEIGHT"] + 1,
        width=sdp["WIDTH"] + 1,
        flying=sdp.named("FLYING_MODE") == "ON",
        to_pdp=sdp.named("OUTPUT_DST") == "PDP",
        bs=XStage(bypass=sdp.named("BS_BYPASS") == "YES"),
        bn=XStage(bypass=sdp.named("BN_BYPASS") == "YES"),
        ew=YStage(bypass=sdp.named("EW_BYPASS") == "YES" or not hw.sdp.has_ew),
        streams=streams,
    )


def _pdp(registers: Registers, hw: HardwareConfiguration) -> PdpSetting:
    pdp = Unit(registers, "PDP", hw)
    rows, columns = (_window(pdp, "HEIGHT", "TOP"), _window(pdp, "WIDTH", "LEFT"))
    widths: dict[str, int] = {
        f"{end.lower()}put_{part.lower()}": pdp[f"PARTIAL_WIDTH_{end}_{part}"] + 1
        for end in ("IN", "OUT")
        for part in ("FIRST", "MID", "LAST")
    }
    count = pdp["SPLIT_NUM"] + 1
    return PdpSetting(
        channels=pdp["CUBE_IN_CHANNEL"] + 1,
        rows=rows,
        columns=columns,
        method=cast("Method", pdp.named("POOLING_METHOD").removeprefix("POOLING_METHOD_")),
        flying=pdp.named("FLYING_MODE") == "ON_FLYING",
        split=WidthSplit(count=count, **cast("Any", widths)) if count > 1 else None,
    )


def _window(pdp: Unit, size: Literal["HEIGHT", "WIDTH"], before: str) -> PoolWindow:
    after = {"TOP": "BOTTOM", "LEFT": "RIGHT"}[before]
    return PoolWindow(
        pdp[f"CUBE_IN_{size}"] + 1,
        pdp[f"KERNEL_{size}"] + 1,
        pdp[f"KERNEL_STRIDE_{size}"] + 1,
        pdp[f"PAD_{before}"],
        pdp[f"PAD_{after}"],
        pdp[f"CUBE_OUT_{size}"] + 1,
    )
