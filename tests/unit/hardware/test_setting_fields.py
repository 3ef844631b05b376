"""What the settings of CDP, RUBIK, BDMA and the look-up tables write into registers."""

from __future__ import annotations

import pytest
from attrs import evolve

from nvdla_ir.hardware.bdma import BdmaSetting, Transfer, TransferPlaces
from nvdla_ir.hardware.cdp import CdpConverter, CdpPlaces, CdpSetting
from nvdla_ir.hardware.look_up_tables import table_fields
from nvdla_ir.hardware.place import BlockPlace, CubePlace, Memory, PlanesPlace
from nvdla_ir.hardware.program import encoded
from nvdla_ir.hardware.rubik import RubikPlaces, RubikSetting
from nvdla_ir.hw.configuration import load_configuration
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.hw.look_up_tables import LookUpTable, LookUpTables, Slope
from nvdla_ir.hw.registers import RegisterError

SMALL, FULL = load_configuration("nv_small"), load_configuration("nv_full")
FAR = 0x5_8000_0040
"""An address that takes more than 32 bits."""


def test_cdp() -> None:
    setting = CdpSetting(
        40, 3, 5, 7, CdpConverter(-1, 2, 3), CdpConverter(-4, -5, 6), square_sum=False
    )
    source = CubePlace(FAR, FeatureLayout(40, 3, 5, 32, 160, 480))
    destination = CubePlace(0x100, FeatureLayout(40, 3, 5, 32, 192, 576), Memory.SECONDARY)
    units = setting.fields(FULL, CdpPlaces(source, destination))
    assert tuple(units) == setting.units
    assert encoded("CDP_RDMA", units["CDP_RDMA"], FULL) == {
        "D_DATA_CUBE_WIDTH": 4,
        "D_DATA_CUBE_HEIGHT": 2,
        "D_DATA_CUBE_CHANNEL": 39,
        "D_SRC_BASE_ADDR_LOW": 0x8000_0040,
        "D_SRC_BASE_ADDR_HIGH": 5,
        "D_SRC_LINE_STRIDE": 160,
        "D_SRC_SURFACE_STRIDE": 480,
        "D_SRC_DMA_CFG": 1,
        "D_DATA_FORMAT": 0,
    }
    assert encoded("CDP", units["CDP"], FULL) == {
        "D_FUNC_BYPASS": 1,
        "D_DST_BASE_ADDR_LOW": 0x100,
        "D_DST_BASE_ADDR_HIGH": 0,
        "D_DST_LINE_STRIDE": 192,
        "D_DST_SURFACE_STRIDE": 576,
        "D_DST_DMA_CFG": 0,
        "D_DATA_FORMAT": 0,
        "D_LRN_CFG": 2,
        "D_DATIN_OFFSET": 0xFFFF,
        "D_DATIN_SCALE": 2,
        "D_DATIN_SHIFTER": 3,
        "D_DATOUT_OFFSET": 0xFFFF_FFFC,
        "D_DATOUT_SCALE": 0xFFFB,
        "D_DATOUT_SHIFTER": 6,
    }


def test_cdp_multiplies_unless_told_otherwise() -> None:
    cube = CubePlace(0, FeatureLayout.packed(8, 2, 2, 8))
    setting = CdpSetting(8, 2, 2, 3)
    for changes, bypass in (({}, 0), ({"square_sum": False}, 1), ({"multiply": False}, 2)):
        units = evolve(setting, **changes).fields(SMALL, CdpPlaces(cube, cube))
        assert encoded("CDP", units["CDP"], SMALL)["D_FUNC_BYPASS"] == bypass


def test_rubik_contracts() -> None:
    setting = RubikSetting("CONTRACT", 6 * 64, 3, 5, 40, (2, 3))
    assert setting.output == (40, 6, 15)
    places = RubikPlaces(
        CubePlace(FAR, FeatureLayout(384, 3, 5, 32, 160, 480)),
        CubePlace(0x100, FeatureLayout(40, 6, 15, 32, 512, 3072), Memory.SECONDARY),
    )
    units = setting.fields(FULL, places)
    assert tuple(units) == setting.units
    assert encoded("RBK", units["RBK"], FULL) == {
        "D_MISC_CFG": 0,
        "D_DAIN_RAM_TYPE": 1,
        "D_DATAIN_SIZE_0": 2 << 16 | 4,
        "D_DATAIN_SIZE_1": 383,
        "D_DAIN_ADDR_HIGH": 5,
        "D_DAIN_ADDR_LOW": 0x8000_0040,
        "D_DAIN_LINE_STRIDE": 160,
        "D_DAIN_SURF_STRIDE": 480,
        "D_DAOUT_RAM_TYPE": 0,
        "D_DATAOUT_SIZE_1": 39,
        "D_DAOUT_ADDR_HIGH": 0,
        "D_DAOUT_ADDR_LOW": 0x100,
        "D_DAOUT_LINE_STRIDE": 512,
        "D_CONTRACT_STRIDE_0": 2 * 480,
        "D_CONTRACT_STRIDE_1": 2 * 512,
        "D_DAOUT_SURF_STRIDE": 3072,
        "D_DECONV_STRIDE": 1 << 16 | 2,
    }


@pytest.mark.parametrize(("mode", "number"), [("SPLIT", 1), ("MERGE", 2)])
def test_rubik_reads_or_writes_planes(mode: str, number: int) -> None:
    cube = CubePlace(0, FeatureLayout(40, 3, 5, 32, 160, 480))
    planes = PlanesPlace(0x1000, 32, 96)
    places = RubikPlaces(cube, planes) if mode == "SPLIT" else RubikPlaces(planes, cube)
    setting = evolve(RubikSetting("SPLIT", 40, 3, 5, 40), mode=mode)
    assert setting.output == (40, 3, 5)
    words = encoded("RBK", setting.fields(FULL, places)["RBK"], FULL)
    assert words["D_MISC_CFG"] == number
    of_planes, of_cube = ("DAOUT", "DAIN") if mode == "SPLIT" else ("DAIN", "DAOUT")
    assert words[f"D_{of_planes}_PLANAR_STRIDE"] == 96
    assert words[f"D_{of_cube}_SURF_STRIDE"] == 480
    assert f"D_{of_planes}_SURF_STRIDE" not in words
    assert f"D_{of_cube}_PLANAR_STRIDE" not in words
    assert "D_DECONV_STRIDE" not in words


def test_bdma() -> None:
    setting = BdmaSetting((Transfer(96, 4, 2), Transfer(32, 1, 1)))
    near, far = BlockPlace(0x40, 128, 1024), BlockPlace(FAR, 96, 384, Memory.SECONDARY)
    places = (TransferPlaces(near, far), TransferPlaces(far, near))
    first, second = (encoded("BDMA", f, FULL) for f in setting.fields(FULL, places))
    assert first == {
        "CFG_SRC_ADDR_LOW": 0x40,
        "CFG_SRC_ADDR_HIGH": 0,
        "CFG_DST_ADDR_LOW": 0x8000_0040,
        "CFG_DST_ADDR_HIGH": 5,
        "CFG_LINE": 2,
        "CFG_CMD": 1,
        "CFG_LINE_REPEAT": 3,
        "CFG_SRC_LINE": 128,
        "CFG_DST_LINE": 96,
        "CFG_SURF_REPEAT": 1,
        "CFG_SRC_SURF": 1024,
        "CFG_DST_SURF": 384,
        "CFG_OP": 1,
    }
    assert (second["CFG_CMD"], second["CFG_LINE"], second["CFG_LINE_REPEAT"]) == (2, 0, 0)
    assert setting.interrupt == "BDMA"
    assert BdmaSetting(()).interrupt is None


TABLES = LookUpTables(
    LookUpTable((1,) * 65, -1, 1 << 30, -3, Slope(-2, -4), Slope(5, 6)),
    LookUpTable((2,) * 257, -(1 << 31), 7, 8),
    "EXPONENT",
    "LO",
    "LE",
    "LO",
)


def test_tables_of_sdp() -> None:
    words = encoded("SDP", table_fields(TABLES, "SDP"), FULL)
    assert words["S_LUT_CFG"] == 1 << 4 | 1 << 6
    assert words["S_LUT_INFO"] == 0xFD | 8 << 16
    assert (words["S_LUT_LE_START"], words["S_LUT_LE_END"]) == (0xFFFF_FFFF, 1 << 30)
    assert (words["S_LUT_LO_START"], words["S_LUT_LO_END"]) == (0x8000_0000, 7)
    assert words["S_LUT_LE_SLOPE_SCALE"] == 5 << 16 | 0xFFFE
    assert words["S_LUT_LE_SLOPE_SHIFT"] == 6 << 5 | 0x1C


def test_tables_of_cdp_hold_wider_numbers() -> None:
    wide = evolve(TABLES, function="LINEAR", lo=evolve(TABLES.lo, end=(1 << 37) - 1))
    words = encoded("CDP", table_fields(wide, "CDP"), SMALL)
    assert words["S_LUT_CFG"] == 1 | 1 << 4 | 1 << 6
    assert words["S_LUT_INFO"] == 0xFD << 8 | 8 << 16
    assert (words["S_LUT_LE_START_LOW"], words["S_LUT_LE_START_HIGH"]) == (0xFFFF_FFFF, 0x3F)
    assert (words["S_LUT_LO_START_LOW"], words["S_LUT_LO_START_HIGH"]) == (0x8000_0000, 0x3F)
    assert (words["S_LUT_LO_END_LOW"], words["S_LUT_LO_END_HIGH"]) == (0xFFFF_FFFF, 0x1F)
    with pytest.raises(RegisterError):
        encoded("SDP", table_fields(wide, "SDP"), FULL)
