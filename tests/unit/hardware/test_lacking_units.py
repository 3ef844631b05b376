"""What hardware lacks a unit for is refused, with the configurations that have it."""

from __future__ import annotations

import pytest
from attrs import evolve

from nvdla_ir.hardware.bdma import BdmaSetting, Transfer
from nvdla_ir.hardware.cdp import CdpSetting
from nvdla_ir.hardware.convolution import ConvolutionSetting
from nvdla_ir.hardware.convolution_geometry import CompressedWeights, Window
from nvdla_ir.hardware.layer import Setting
from nvdla_ir.hardware.pdp import PdpSetting, PoolWindow
from nvdla_ir.hardware.rubik import RubikSetting
from nvdla_ir.hardware.sdp import SdpSetting, XStage, YStage
from nvdla_ir.hw.configuration import load_configuration, names

FULL = load_configuration("nv_full")
BOTH_B_AND_FULL = "nv_large_b, nv_full"
WITH_EW = "nv_small_256_full, nv_medium_1024_full, nv_large, nv_large_b, nv_full"
ALL = ", ".join(names())


@pytest.mark.parametrize(
    ("key", "unit", "others"),
    [
        ("sdp.has_bs", "BS", ALL),
        ("sdp.has_bn", "BN", ALL),
        ("sdp.has_ew", "EW", WITH_EW),
        ("sdp.has_lut", "table in its SDP", WITH_EW),
        ("has_pdp", "pooling unit", ALL),
        ("has_cdp", "CDP", ALL),
        ("has_rubik", "RUBIK", BOTH_B_AND_FULL),
        ("has_bdma", "BDMA", BOTH_B_AND_FULL),
        ("has_winograd", "Winograd mode", BOTH_B_AND_FULL),
        ("has_weight_compression", "decompression of weights", BOTH_B_AND_FULL),
    ],
)
def test_what_lacks_a_unit_names_those_that_have_it(key: str, unit: str, others: str) -> None:
    section, _, inner = key.rpartition(".")
    own = evolve(FULL.sdp, **{inner: False}) if section else FULL
    hw = evolve(FULL, name="mine", **({section: own} if section else {inner: False}))
    window = Window(size=10, taps=3, stride=1, dilation=1, before=1, after=1, outputs=8)
    alu, everything = XStage(bypass=False, alu="SUM"), YStage(bypass=False, table=True)
    pool = PoolWindow(size=8, kernel=8, stride=1, before=0, after=0, outputs=1)
    convolution = ConvolutionSetting(8, 8, window, window)
    uses: tuple[Setting, ...] = (
        SdpSetting(8, 8, 8, flying=True, bs=alu, bn=alu, ew=everything),
        PdpSetting(8, pool, pool, "MAX", flying=False),
        CdpSetting(8, 8, 8, 3),
        RubikSetting("CONTRACT", 32, 8, 8, 32),
        BdmaSetting((Transfer(32, 1, 1),)),
        evolve(convolution, winograd=True),
        evolve(convolution, compressed=CompressedWeights(128, 128)),
    )
    assert [fault for setting in uses for fault in setting.faults(FULL)] == []
    (fault,) = (fault for setting in uses for fault in setting.faults(hw))
    wanted = f"but mine has no {unit}: choose another target ({others})"
    assert wanted in fault.problem, fault.problem
