"""Each limit of each unit's setting: what reaches it is taken, what is one above is a fault."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
from attrs import evolve

from nvdla_ir.hardware.bdma import BdmaSetting, Transfer, TransferPlaces
from nvdla_ir.hardware.cdp import CdpConverter, CdpSetting
from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hardware.convolution_geometry import (
    Banks,
    CompressedWeights,
    ImageInput,
    Reuse,
    Window,
)
from nvdla_ir.hardware.faults import Fault
from nvdla_ir.hardware.look_up_tables import table_faults
from nvdla_ir.hardware.pdp import PdpSetting, PoolWindow
from nvdla_ir.hardware.place import BlockPlace, CubePlace, PlanesPlace
from nvdla_ir.hardware.rubik import RubikPlaces, RubikSetting
from nvdla_ir.hardware.sdp import (
    OperandConverter,
    OutputConverter,
    SdpPlaces,
    SdpSetting,
    XStage,
    YOperand,
    YStage,
)
from nvdla_ir.hw.configuration import load_configuration
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.hw.formats.pooling import WidthSplit
from nvdla_ir.hw.look_up_tables import LookUpTable, LookUpTables, Slope, TableUnit
from nvdla_ir.hw.pixels import PIXEL_FORMATS_BY_CODE
from nvdla_ir.hw.registers import register_map

SMALL, FULL = load_configuration("nv_small"), load_configuration("nv_full")
MEDIUM = load_configuration("nv_medium_512")


_SAYS_WHAT_TO_DO = re.compile(
    r"\bmust\b|\btakes\b|\btake\b|the hardware has \d|choose another target|\bhas \d+$|"
    r"\bholds?\b|\bhave \d|may (be|wait)|\bonly\b|: let it|no room|at most"
)


def registers(faults: Iterable[Fault]) -> list[str]:
    """The registers of ``faults``, all of which exist; each fault says what may be, or what to
    do."""
    faults = list(faults)
    for fault in faults:
        assert _SAYS_WHAT_TO_DO.search(fault.problem), fault.problem
    found = [fault.register for fault in faults]
    blocks = register_map("v1")
    for name in found:
        unit, _, field = name.partition(".")
        assert field in blocks[unit].fields or field in blocks[unit].registers, name
    return found


# ---------------------------------------------------------------- convolution

WINDOW = Window(size=8, taps=1, stride=1, dilation=1, before=0, after=0, outputs=8)
CONVOLUTION = ConvolutionSetting(8, 8, WINDOW, WINDOW)


def convolution(rows: dict[str, int] | None = None, **changes: Any) -> ConvolutionSetting:
    """A convolution with 1x1 kernels; ``rows`` and ``columns`` change its windows."""
    columns = changes.pop("columns", {})
    return evolve(
        CONVOLUTION,
        rows=evolve(WINDOW, **(rows or {})),
        columns=evolve(WINDOW, **columns),
        **changes,
    )


def test_a_small_convolution_has_no_faults() -> None:
    for hw in (SMALL, MEDIUM, FULL):
        assert CONVOLUTION.faults(hw) == []
        assert evolve(CONVOLUTION, banks=Banks(1, 1)).faults(hw) == []


@pytest.mark.parametrize(
    ("name", "limit", "vertical", "horizontal"),
    [
        ("size", 8192, "CDMA.DATAIN_HEIGHT", "CDMA.DATAIN_WIDTH"),
        ("outputs", 8192, "CSC.DATAOUT_HEIGHT", "CSC.DATAOUT_WIDTH"),
        ("taps", 32, "CSC.WEIGHT_HEIGHT_EXT", "CSC.WEIGHT_WIDTH_EXT"),
        ("stride", 8, "CSC.CONV_Y_STRIDE_EXT", "CSC.CONV_X_STRIDE_EXT"),
        ("dilation", 32, "CSC.Y_DILATION_EXT", "CSC.X_DILATION_EXT"),
    ],
)
def test_windows(name: str, limit: int, vertical: str, horizontal: str) -> None:
    for axis, register in (("rows", vertical), ("columns", horizontal)):
        for value, expected in ((1, []), (limit, []), (limit + 1, [register]), (0, [register])):
            setting = convolution(**{axis: {name: value}})
            assert registers(setting.faults(SMALL)) == expected, (axis, value)


@pytest.mark.parametrize(
    ("axis", "side", "limit", "register"),
    [
        ("rows", "before", 31, "CDMA.PAD_TOP"),
        ("rows", "after", 63, "CDMA.PAD_BOTTOM"),
        ("columns", "before", 31, "CDMA.PAD_LEFT"),
        ("columns", "after", 63, "CDMA.PAD_RIGHT"),
    ],
)
def test_padding(axis: str, side: str, limit: int, register: str) -> None:
    assert convolution(**{axis: {side: limit}}).faults(SMALL) == []
    assert registers(convolution(**{axis: {side: limit + 1}}).faults(SMALL)) == [register]


@pytest.mark.parametrize(
    ("right", "wrong", "register"),
    [
        ({"channels": 8192}, {"channels": 8193}, "CDMA.DATAIN_CHANNEL"),
        ({"kernels": 8192}, {"kernels": 8193}, "CSC.DATAOUT_CHANNEL"),
        ({"kernels": 1}, {"kernels": 0}, "CSC.DATAOUT_CHANNEL"),
        (
            {"rows": {"outputs": 256}, "columns": {"outputs": 8192}},
            {"rows": {"outputs": 257}, "columns": {"outputs": 8192}},
            "CSC.ATOMICS",
        ),
        (
            {"channels": 256, "rows": {"taps": 32}, "columns": {"taps": 32}},
            {"channels": 257, "rows": {"taps": 32}, "columns": {"taps": 32}},
            "CDMA.BYTE_PER_KERNEL",
        ),
        ({"clip_truncate": 16}, {"clip_truncate": 17}, "CACC.CLIP_TRUNCATE"),
        ({"batch": 32}, {"batch": 33}, "CDMA.BATCHES"),
        ({"fetch_grain": 4096}, {"fetch_grain": 4097}, "CDMA.GRAINS"),
        ({"fetch_grain": 1}, {"fetch_grain": 0}, "CDMA.GRAINS"),
        ({"stated_weight_bytes": 128}, {"stated_weight_bytes": 120}, "CDMA.WEIGHT_BYTES"),
        (
            {"kernels": 16, "stated_weight_bytes": 128},
            {"kernels": 17, "stated_weight_bytes": 128},
            "CDMA.WEIGHT_BYTES",
        ),
        ({"reuse": Reuse(released=8)}, {"reuse": Reuse(released=9)}, "CSC.RLS_SLICES"),
        ({"reuse": Reuse(leftover=2, released=10)}, {"reuse": Reuse(leftover=2, released=11)},
         "CSC.RLS_SLICES"),
        ({"banks": Banks(1, 15)}, {"banks": Banks(1, 16)}, "CDMA.WEIGHT_BANK"),
        ({"banks": Banks(15, 1)}, {"banks": Banks(15, 0)}, "CDMA.WEIGHT_BANK"),
        # 16 pixels of 8 channels fill 4 entries of 128 bytes, a bank has 256
        (
            {"banks": Banks(1, 1), "columns": {"size": 16}, "rows": {"size": 64}},
            {"banks": Banks(1, 1), "columns": {"size": 16}, "rows": {"size": 65}},
            "CDMA.DATA_BANK",
        ),
        # 8 kernels of 32 x 31 taps and 4 channels take 31 KiB, of 32 x 32 a bank's 32 KiB
        (
            {"banks": Banks(1, 1), "channels": 4, "rows": {"taps": 32}, "columns": {"taps": 31}},
            {"banks": Banks(1, 1), "channels": 4, "rows": {"taps": 32}, "columns": {"taps": 32}},
            "CDMA.WEIGHT_BANK",
        ),
        ({"post_extension": 0}, {"post_extension": 1}, "CSC.Y_EXTENSION"),
    ],
)  # fmt: skip
def test_convolution(right: dict[str, Any], wrong: dict[str, Any], register: str) -> None:
    assert convolution(**right).faults(FULL) == []
    assert registers(convolution(**wrong).faults(FULL)) == [register]


def test_images() -> None:
    pixels = ImageInput(PIXEL_FORMATS_BY_CODE[12], signed=False)
    image = convolution(channels=4, image=pixels, columns={"taps": 4})
    assert image.faults(FULL) == []
    # 64 channels a block hold 4 lines of 16 elements, of 20 only 2
    for extension, columns, expected in (
        (2, 4, []),
        (1, 5, []),
        (2, 5, ["CSC.Y_EXTENSION"]),
        (3, 1, ["CSC.Y_EXTENSION"]),
    ):
        extended = convolution(
            channels=4, image=pixels, columns={"taps": columns}, post_extension=extension
        )
        assert registers(extended.faults(FULL)) == expected
    dilated = evolve(image, columns=evolve(image.columns, dilation=2))
    assert registers(dilated.faults(FULL)) == ["CSC.X_DILATION_EXT"]
    assert registers(evolve(image, batch=2).faults(FULL)) == ["CDMA.BATCHES"]
    packed = evolve(image, image=evolve(pixels, pixel_format=PIXEL_FORMATS_BY_CODE[20]))
    assert packed.faults(FULL) == []
    assert registers(packed.faults(SMALL)) == ["CDMA.PIXEL_FORMAT"]
    five = evolve(image, image=evolve(pixels, means=(1, 2, 3, 4, 5)))
    assert registers(five.faults(FULL)) == ["CDMA.MEAN_AX"]
    window = Window(size=10, taps=3, stride=1, dilation=1, before=1, after=1, outputs=8)
    wino = convolution(channels=4, image=pixels, winograd=True)
    wino = evolve(wino, rows=window, columns=window)
    assert registers(wino.faults(FULL)) == ["CDMA.CONV_MODE"]


def test_winograd() -> None:
    window = Window(size=10, taps=3, stride=1, dilation=1, before=1, after=1, outputs=8)
    setting = evolve(CONVOLUTION, rows=window, columns=window, winograd=True)
    assert setting.faults(FULL) == []
    assert registers(setting.faults(SMALL)) == ["CDMA.CONV_MODE"]
    for changes, expected in (
        ({"size": 11}, ["CDMA.DATAIN_HEIGHT"]),
        ({"outputs": 6, "size": 8}, ["CSC.DATAOUT_HEIGHT"]),
        ({"outputs": 4, "size": 6}, ["CSC.DATAOUT_HEIGHT"]),
        ({"dilation": 2}, ["CSC.Y_DILATION_EXT"]),
        ({"stride": 0}, ["CSC.CONV_Y_STRIDE_EXT", "CDMA.DATAIN_HEIGHT"]),
    ):
        assert registers(evolve(setting, rows=evolve(window, **changes)).faults(FULL)) == expected


def test_modes_of_convolutions_that_hardware_lacks() -> None:
    compressed = evolve(CONVOLUTION, compressed=CompressedWeights(128, 128))
    assert compressed.faults(FULL) == []
    assert registers(compressed.faults(SMALL)) == ["CDMA.WEIGHT_FORMAT"]
    # the bit mask takes the last bank
    assert evolve(compressed, banks=Banks(1, 14)).faults(FULL) == []
    full = evolve(compressed, banks=Banks(1, 15))
    assert registers(full.faults(FULL)) == ["CDMA.WEIGHT_BANK"]
    assert registers(evolve(CONVOLUTION, batch=2).faults(SMALL)) == ["CDMA.BATCHES"]


def test_all_faults_of_a_convolution_are_told() -> None:
    setting = convolution(
        {"stride": 9}, columns={"taps": 33}, clip_truncate=17, banks=Banks(20, 20)
    )
    assert set(registers(setting.faults(SMALL))) == {
        "CSC.CONV_Y_STRIDE_EXT",
        "CSC.WEIGHT_WIDTH_EXT",
        "CACC.CLIP_TRUNCATE",
        "CDMA.WEIGHT_BANK",
    }


# ---------------------------------------------------------------- SDP

SDP = SdpSetting(8, 8, 8, flying=True)


def x_stage(**changes: Any) -> XStage:
    return XStage(bypass=False, **changes)


def y_stage(truncate: int = 0, converter_truncate: int = 0) -> YStage:
    operand = YOperand(True, converter=OperandConverter(0, 1, converter_truncate))
    return YStage(bypass=False, alu=operand, truncate=truncate)


@pytest.mark.parametrize(
    ("right", "wrong", "register"),
    [
        ({"channels": 8192}, {"channels": 8193}, "SDP.CHANNEL"),
        ({"height": 8192}, {"height": 8193}, "SDP.HEIGHT"),
        ({"width": 8192}, {"width": 8193}, "SDP.WIDTH"),
        ({"width": 1}, {"width": 0}, "SDP.WIDTH"),
        ({"batch": 32}, {"batch": 33}, "SDP.BATCH_NUMBER"),
        ({"bs": x_stage(alu_shift=63)}, {"bs": x_stage(alu_shift=64)}, "SDP.BS_ALU_SHIFT_VALUE"),
        ({"bn": x_stage(mul_shift=63)}, {"bn": x_stage(mul_shift=64)}, "SDP.BN_MUL_SHIFT_VALUE"),
        ({"bs": x_stage(alu_operand=32767)}, {"bs": x_stage(alu_operand=32768)},
         "SDP.BS_ALU_OPERAND"),
        ({"bn": x_stage(mul_operand=-32768)}, {"bn": x_stage(mul_operand=-32769)},
         "SDP.BN_MUL_OPERAND"),
        ({"ew": y_stage(1023)}, {"ew": y_stage(1024)}, "SDP.EW_TRUNCATE"),
        ({"ew": y_stage(0, 63)}, {"ew": y_stage(0, 64)}, "SDP.EW_ALU_CVT_TRUNCATE"),
        ({"converter": OutputConverter(shift=63)}, {"converter": OutputConverter(shift=64)},
         "SDP.CVT_SHIFT"),
    ],
)  # fmt: skip
def test_sdp(right: dict[str, Any], wrong: dict[str, Any], register: str) -> None:
    assert evolve(SDP, **right).faults(FULL) == []
    assert registers(evolve(SDP, **wrong).faults(FULL)) == [register]


def test_stages_that_hardware_lacks() -> None:
    looks_up = evolve(SDP, ew=YStage(bypass=False, table=True))
    assert looks_up.faults(FULL) == []
    assert registers(looks_up.faults(SMALL)) == ["SDP.EW_BYPASS", "SDP.EW_LUT_BYPASS"]
    assert registers(evolve(SDP, winograd=True).faults(SMALL)) == ["SDP.WINOGRAD"]


def test_one_pixel_has_its_surfaces_one_behind_the_other() -> None:
    one = SdpSetting(64, 1, 1, flying=False)
    for stride, expected in ((32, []), (64, ["SDP_RDMA.SRC_SURFACE_STRIDE"])):
        place = CubePlace(0, FeatureLayout(64, 1, 1, 32, 32, stride))
        assert registers(one.place_faults(SdpPlaces(place, None, {}))) == expected
        assert evolve(one, width=2).place_faults(SdpPlaces(place, None, {})) == []


# ---------------------------------------------------------------- PDP

POOL = PoolWindow(size=8, kernel=8, stride=1, before=0, after=0, outputs=1)
PDP = PdpSetting(8, POOL, POOL, "MAX", flying=False)


@pytest.mark.parametrize(
    ("name", "right", "wrong", "vertical", "horizontal"),
    [
        ("size", 8192, 8193, "PDP.CUBE_IN_HEIGHT", "PDP.CUBE_IN_WIDTH"),
        ("kernel", 8, 9, "PDP.KERNEL_HEIGHT", "PDP.KERNEL_WIDTH"),
        ("kernel", 1, 0, "PDP.KERNEL_HEIGHT", "PDP.KERNEL_HEIGHT"),
        ("stride", 16, 17, "PDP.KERNEL_STRIDE_HEIGHT", "PDP.KERNEL_STRIDE_WIDTH"),
        ("stride", 1, 0, "PDP.KERNEL_STRIDE_HEIGHT", "PDP.KERNEL_STRIDE_WIDTH"),
        ("outputs", 1, 0, "PDP.CUBE_OUT_HEIGHT", "PDP.CUBE_OUT_WIDTH"),
    ],
)
def test_pooling(name: str, right: int, wrong: int, vertical: str, horizontal: str) -> None:
    for axis, register in (("rows", vertical), ("columns", horizontal)):
        assert evolve(PDP, **{axis: evolve(POOL, **{name: right})}).faults(FULL) == []
        broken = evolve(PDP, **{axis: evolve(POOL, **{name: wrong})})
        assert registers(broken.faults(FULL)) == [register]


@pytest.mark.parametrize(
    ("axis", "side", "register"),
    [
        ("rows", "before", "PDP.PAD_TOP"),
        ("rows", "after", "PDP.PAD_BOTTOM"),
        ("columns", "before", "PDP.PAD_LEFT"),
        ("columns", "after", "PDP.PAD_RIGHT"),
    ],
)
def test_padding_of_pooling(axis: str, side: str, register: str) -> None:
    assert evolve(PDP, **{axis: evolve(POOL, **{side: 7})}).faults(FULL) == []
    broken = registers(evolve(PDP, **{axis: evolve(POOL, **{side: 8})}).faults(FULL))
    assert broken[0] == register
    less = evolve(PDP, **{axis: evolve(POOL, kernel=2, **{side: 2})})
    assert len(less.faults(FULL)) == 1  # windows that see only padding


def test_channels_and_reciprocals_of_pooling() -> None:
    assert evolve(PDP, channels=8192, reciprocals=((1 << 17) - 1, 0)).faults(FULL) == []
    assert registers(evolve(PDP, channels=8193).faults(FULL)) == ["PDP.CUBE_IN_CHANNEL"]
    broken = evolve(PDP, reciprocals=(1 << 17, -1)).faults(FULL)
    assert registers(broken) == ["PDP.RECIP_KERNEL_HEIGHT", "PDP.RECIP_KERNEL_WIDTH"]


def test_the_line_buffer_of_pooling() -> None:
    # 8 rows at once leave room for 16 columns
    def columns(outputs: int) -> PoolWindow:
        return PoolWindow(outputs, 1, 1, 0, 0, outputs)

    def split(count: int, widest: int) -> WidthSplit:
        return WidthSplit(count, 16, 16, 16, 16, widest, 8)

    for flying in (False, True):
        assert evolve(PDP, columns=columns(16), flying=flying).faults(FULL) == []
        broken = evolve(PDP, columns=columns(17), flying=flying).faults(FULL)
        assert registers(broken) == ["PDP.SPLIT_NUM"]
    wide = evolve(PDP, columns=columns(40))
    assert evolve(wide, split=split(3, 16)).faults(FULL) == []
    assert registers(evolve(wide, split=split(3, 17)).faults(FULL)) == ["PDP.SPLIT_NUM"]
    # of two segments none is in the middle, and one is no division
    assert evolve(wide, split=split(2, 17)).faults(FULL) == []
    assert registers(evolve(wide, split=split(1, 16)).faults(FULL)) == ["PDP.SPLIT_NUM"]
    assert evolve(PDP, split=split(64, 16)).faults(FULL) == []
    assert registers(evolve(PDP, split=split(65, 16)).faults(FULL)) == ["PDP.SPLIT_NUM"]
    streamed = evolve(PDP, split=split(2, 16), flying=True)
    assert registers(streamed.faults(FULL)) == ["PDP.SPLIT_NUM"]


# ---------------------------------------------------------------- CDP

CDP = CdpSetting(8, 8, 8, 3)


@pytest.mark.parametrize(
    ("right", "wrong", "register"),
    [
        ({"channels": 8192}, {"channels": 8193}, "CDP_RDMA.CHANNEL"),
        ({"height": 8192}, {"height": 8193}, "CDP_RDMA.HEIGHT"),
        ({"width": 8192}, {"width": 8193}, "CDP_RDMA.WIDTH"),
        ({"window": 9}, {"window": 11}, "CDP.NORMALZ_LEN"),
        ({"window": 5}, {"window": 4}, "CDP.NORMALZ_LEN"),
        ({"window": 3}, {"window": 1}, "CDP.NORMALZ_LEN"),
    ],
)
def test_cdp(right: dict[str, Any], wrong: dict[str, Any], register: str) -> None:
    assert evolve(CDP, **right).faults(SMALL) == []
    assert registers(evolve(CDP, **wrong).faults(SMALL)) == [register]


@pytest.mark.parametrize(
    ("stage", "name", "lowest", "highest", "register"),
    [
        ("input_converter", "offset", -(1 << 15), (1 << 15) - 1, "CDP.DATIN_OFFSET"),
        ("input_converter", "scale", -(1 << 15), (1 << 15) - 1, "CDP.DATIN_SCALE"),
        ("input_converter", "shift", 0, 31, "CDP.DATIN_SHIFTER"),
        ("output_converter", "offset", -(1 << 31), (1 << 31) - 1, "CDP.DATOUT_OFFSET"),
        ("output_converter", "scale", -(1 << 15), (1 << 15) - 1, "CDP.DATOUT_SCALE"),
        ("output_converter", "shift", 0, 63, "CDP.DATOUT_SHIFTER"),
    ],
)
def test_converters_of_cdp(stage: str, name: str, lowest: int, highest: int, register: str) -> None:
    for value, expected in (
        (lowest, []),
        (highest, []),
        (lowest - 1, [register]),
        (highest + 1, [register]),
    ):
        setting = evolve(CDP, **{stage: evolve(CdpConverter(), **{name: value})})
        assert registers(setting.faults(SMALL)) == expected


def test_hardware_without_cdp() -> None:
    hw = evolve(SMALL, has_cdp=False)
    assert registers(CDP.faults(hw)) == ["CDP.D_OP_ENABLE"]


# ---------------------------------------------------------------- look-up tables

LE, LO = LookUpTable((0,) * 65, 0, 64, 0), LookUpTable((0,) * 257, 0, 256, 0)
TABLES = LookUpTables(LE, LO)


@pytest.mark.parametrize(
    ("changes", "register"),
    [
        ({"entries": (0,) * 64}, "LUT_ADDR"),
        ({"entries": (0,) * 66}, "LUT_ADDR"),
        ({"entries": (32768, *(0,) * 64)}, "LUT_DATA"),
        ({"entries": (*(0,) * 64, -32769)}, "LUT_DATA"),
        ({"index": 128}, "LUT_LE_INDEX_SELECT"),
        ({"index": -129}, "LUT_LE_INDEX_SELECT"),
        ({"underflow": Slope(32768)}, "LUT_LE_SLOPE_UFLOW_SCALE"),
        ({"underflow": Slope(0, 16)}, "LUT_LE_SLOPE_UFLOW_SHIFT"),
        ({"overflow": Slope(-32769)}, "LUT_LE_SLOPE_OFLOW_SCALE"),
        ({"overflow": Slope(0, -17)}, "LUT_LE_SLOPE_OFLOW_SHIFT"),
    ],
)
@pytest.mark.parametrize("unit", ["SDP", "CDP"])
def test_tables(changes: dict[str, Any], register: str, unit: TableUnit) -> None:
    broken = evolve(TABLES, le=evolve(LE, **changes))
    assert registers(table_faults(broken, FULL, unit)) == [f"{unit}.{register}"]


def test_tables_at_their_limits() -> None:
    limits: list[tuple[TableUnit, int, int]] = [("SDP", 32, -128), ("CDP", 38, -32)]
    for unit, bits, index in limits:
        half, suffix = 1 << (bits - 1), "" if unit == "SDP" else "_LOW"
        slopes = {"underflow": Slope(32767, 15), "overflow": Slope(-32768, -16)}
        lowest = LookUpTable((-32768,) * 65, -half, half - 1, index, **slopes)
        assert table_faults(evolve(TABLES, le=lowest), FULL, unit) == []
        below = evolve(TABLES, lo=evolve(LO, start=-half - 1))
        assert registers(table_faults(below, FULL, unit)) == [f"{unit}.LUT_LO_START{suffix}"]
        above = evolve(TABLES, le=evolve(LE, end=half))
        assert registers(table_faults(above, FULL, unit)) == [f"{unit}.LUT_LE_END{suffix}"]
    for index in (-33, 32):
        beyond = evolve(TABLES, lo=evolve(LO, index=index))
        assert table_faults(beyond, FULL, "SDP") == []
        assert registers(table_faults(beyond, FULL, "CDP")) == ["CDP.LUT_LO_INDEX_SELECT"]
    exponential = evolve(TABLES, le=evolve(LE, index=127), function="EXPONENT")
    assert table_faults(exponential, FULL, "CDP") == []
    exponential = evolve(TABLES, le=evolve(LE, index=128), function="EXPONENT")
    assert registers(table_faults(exponential, FULL, "SDP")) == ["SDP.LUT_LE_INDEX_OFFSET"]


def test_only_some_sdps_have_tables() -> None:
    assert table_faults(TABLES, SMALL, "CDP") == []
    assert registers(table_faults(TABLES, SMALL, "SDP")) == ["SDP.LUT_DATA"]


# ---------------------------------------------------------------- RUBIK

RUBIK = RubikSetting("CONTRACT", 32, 8, 8, 32)


@pytest.mark.parametrize(
    ("right", "wrong", "register"),
    [
        ({"channels": 8192}, {"channels": 8193}, "RBK.DATAIN_CHANNEL"),
        ({"height": 8192}, {"height": 8193}, "RBK.DATAIN_HEIGHT"),
        ({"width": 8192}, {"width": 8193}, "RBK.DATAIN_WIDTH"),
        ({"output_channels": 8192}, {"output_channels": 8193}, "RBK.DATAOUT_CHANNEL"),
        ({"strides": (32, 1)}, {"strides": (33, 1)}, "RBK.DECONV_Y_STRIDE"),
        ({"strides": (1, 32)}, {"strides": (1, 33)}, "RBK.DECONV_X_STRIDE"),
        ({"strides": (1, 1)}, {"strides": (0, 1)}, "RBK.DECONV_Y_STRIDE"),
        ({"mode": "SPLIT"}, {"mode": "SPLIT", "output_channels": 31}, "RBK.DATAOUT_CHANNEL"),
        ({"mode": "MERGE"}, {"mode": "MERGE", "output_channels": 33}, "RBK.DATAOUT_CHANNEL"),
    ],
)
def test_rubik(right: dict[str, Any], wrong: dict[str, Any], register: str) -> None:
    assert evolve(RUBIK, **right).faults(FULL) == []
    assert registers(evolve(RUBIK, **wrong).faults(FULL)) == [register]


def test_planes_are_whole_atoms_apart() -> None:
    cube = CubePlace(0, FeatureLayout(32, 8, 8, 32, 256, 2048))
    for stride, expected in ((256, []), (264, ["RBK.DAIN_PLANAR_STRIDE"])):
        places = RubikPlaces(PlanesPlace(0, 32, stride), cube)
        assert registers(evolve(RUBIK, mode="MERGE").place_faults(places, FULL)) == expected


def test_hardware_without_rubik() -> None:
    assert registers(RUBIK.faults(SMALL)) == ["RBK.D_OP_ENABLE"]


# ---------------------------------------------------------------- BDMA

TRANSFER = Transfer(32, 1, 1)


@pytest.mark.parametrize(
    ("name", "right", "wrong", "register"),
    [
        ("line_bytes", 8192 * 32, 8193 * 32, "BDMA.CFG_LINE.SIZE"),
        ("line_bytes", 64, 65, "BDMA.CFG_LINE.SIZE"),
        ("line_bytes", 32, 0, "BDMA.CFG_LINE.SIZE"),
        ("lines", 1 << 24, (1 << 24) + 1, "BDMA.CFG_LINE_REPEAT.NUMBER"),
        ("lines", 1, 0, "BDMA.CFG_LINE_REPEAT.NUMBER"),
        ("surfaces", 1 << 24, (1 << 24) + 1, "BDMA.CFG_SURF_REPEAT.NUMBER"),
        ("surfaces", 1, 0, "BDMA.CFG_SURF_REPEAT.NUMBER"),
    ],
)
def test_bdma(name: str, right: int, wrong: int, register: str) -> None:
    assert BdmaSetting((evolve(TRANSFER, **{name: right}),)).faults(FULL) == []
    broken = BdmaSetting((TRANSFER, evolve(TRANSFER, **{name: wrong})))
    assert registers(broken.faults(FULL)) == [register]


def test_the_queue_of_bdma() -> None:
    assert BdmaSetting((TRANSFER,) * 20).faults(FULL) == []
    assert registers(BdmaSetting((TRANSFER,) * 21).faults(FULL)) == ["BDMA.CFG_OP"]
    assert registers(BdmaSetting((TRANSFER,)).faults(SMALL)) == ["BDMA.CFG_OP"]


def test_places_of_bdma() -> None:
    right = BlockPlace(32, 64, 96)
    setting = BdmaSetting((TRANSFER,))
    assert setting.place_faults((TransferPlaces(right, right),)) == []
    broken = (TransferPlaces(BlockPlace(33, 64, 97), BlockPlace(32, 65, 96)),)
    assert registers(setting.place_faults(broken)) == [
        "BDMA.CFG_SRC_ADDR_LOW.V32",
        "BDMA.CFG_SRC_SURF.STRIDE",
        "BDMA.CFG_DST_LINE.STRIDE",
    ]
