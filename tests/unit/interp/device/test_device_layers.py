"""Single layers against the reference arithmetic, with packed memory, and their broken rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import (
    CONVOLUTION,
    INPUT,
    OPERAND,
    OUTPUT,
    Convolution,
    change,
    enable,
    load,
    new_device,
    program,
    program_sdp,
    program_sdp_rdma,
    store,
)

from nvdla_ir.arith import reference
from nvdla_ir.arith.parameters import AluAlgorithm, OutputConverter, XUnit
from nvdla_ir.hw.formats.operands import OperandLayout
from nvdla_ir.interp.device.errors import DeviceError

CONFIGURATIONS = ("nv_small", "nv_medium_512", "nv_large", "nv_full")


def _cube(seed: int, *shape: int) -> np.ndarray:
    """Full-range values; every third seed one-signed."""
    low, high = ((-128, 128), (1, 128), (-128, 0))[seed % 3]
    return np.random.default_rng(seed).integers(low, high, shape, np.int8)


def _padded(cube: np.ndarray, lanes: int) -> np.ndarray:
    return np.concatenate((cube, np.zeros((lanes - len(cube), *cube.shape[1:]), cube.dtype)))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_convolution_equals_the_reference(data: st.DataObject) -> None:
    draw = data.draw
    channels, kernels = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    pad = (draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1)))
    height = (rows - 1) * dilation[0] + draw(st.integers(1, 6))
    width = (columns - 1) * dilation[1] + draw(st.integers(1, 6))
    seed = draw(st.integers(0, 1000))
    offset, scale, shift = draw(st.sampled_from([(0, 1, 0), (-30, 300, 8), (5, -77, 6)]))
    layer = Convolution(
        _cube(seed, channels, height, width),
        _cube(seed + draw(st.integers(0, 2)), kernels, channels, rows, columns),
        stride=stride,
        dilation=dilation,
        pad=pad,
        pad_value=draw(st.integers(-128, 127)),
        truncate=draw(st.integers(0, 3)),
        converter={
            "CVT_EN": 1,
            "CVT_OFFSET": offset,
            "CVT_SCALE": scale,
            "CVT_TRUNCATE": shift,
        },
        output_converter=(draw(st.integers(-500, 500)), 37, 14),
    )
    device = new_device(draw(st.sampled_from(CONFIGURATIONS)))
    found = layer.run(device)
    sums = reference.convolve(
        reference.convert_input(layer.x, offset, scale, shift),
        layer.w,
        stride=stride,
        dilation=dilation,
        pad_top=pad[0],
        pad_left=pad[1],
        output_size=layer.output_size,
        pad_value=layer.pad_value,
    )
    # The lanes that fill the last atom are sums of nothing, converted like all others.
    accumulators = reference.truncate_accumulator(_padded(sums, len(found)), layer.truncate)
    assert np.array_equal(found, reference.convert_output(accumulators, *layer.output_converter))
    assert device.records[0].multiplications == sums.size * layer.w[0].size


def test_data_and_weights_stay_in_the_buffer() -> None:
    device = new_device()
    layer = Convolution(_cube(0, 16, 5, 6), _cube(3, 24, 16, 2, 3), output_converter=(0, 1, 8))
    layer.program(device, 0, SKIP_DATA_RLS=1, SKIP_WEIGHT_RLS=1)
    enable(device, CONVOLUTION)
    device.wait("SDP", 0)
    first = load(device, OUTPUT, layer.output_shape)
    layer.program(device, 1, output=OUTPUT + 0x8000, DATA_REUSE=1, WEIGHT_REUSE=1)
    device.primary.fill(INPUT, 0x1000, 0x55)
    device.write("CDMA", "D_WEIGHT_ADDR_LOW", 0x100)
    enable(device, CONVOLUTION)
    assert first.any()
    assert np.array_equal(load(device, OUTPUT + 0x8000, layer.output_shape), first)
    layer.program(device, 0, WEIGHT_REUSE=1)
    with pytest.raises(DeviceError, match=r"WEIGHT_REUSE = 0x1 .* no weights are kept"):
        enable(device, CONVOLUTION)


@pytest.mark.parametrize(
    ("block", "fields", "message"),
    [
        ("CDMA", {"ENTRIES": 3}, r"CSC\.D_ENTRY_PER_SLICE\.ENTRIES = .* must equal CDMA\.ENTRIES"),
        ("CSC", {"DATAOUT_WIDTH": 1}, r"CACC\..*DATAOUT_WIDTH = .* must equal CSC\.DATAOUT_WIDTH"),
        ("SDP", {"HEIGHT": 9}, r"SDP\..*HEIGHT = 0x9 \(9\): must equal CSC\.DATAOUT_HEIGHT"),
        ("CACC", {"CLIP_TRUNCATE": 17}, "CLIP_TRUNCATE = 0x11 .* at most 16"),
        ("CMAC_A", {"PROC_PRECISION": 1}, r"CMAC_A\..*PROC_PRECISION = 0x1 .* only INT8"),
        ("SDP", {"EW_BYPASS": 0}, "nv_small has no EW unit"),
        ("SDP", {"DST_RAM_TYPE": 0}, r"nv_small has no secondary memory \(CV\)"),
        ("SDP", {"DST_LINE_STRIDE": 8}, "lines overlap: must be at least 48"),
        ("SDP", {"DST_BASE_ADDR_LOW": 12}, "multiple of the memory atom, 8 bytes"),
    ],
)
def test_broken_rules_name_register_value_and_rule(
    block: str, fields: dict[str, int], message: str
) -> None:
    layer = Convolution(_cube(0, 16, 5, 6), _cube(3, 24, 16, 1, 1))
    device = new_device()
    layer.program(device)
    change(device, block, **fields)
    with pytest.raises(DeviceError, match=message):
        enable(device, CONVOLUTION)


def test_a_convolution_must_fit_the_buffer() -> None:
    device = new_device()
    layer = Convolution(_cube(0, 64, 33, 33), _cube(3, 8, 64, 1, 1))
    layer.program(device)
    program(device, "CDMA", DATA_BANK=3, WEIGHT_BANK=0)
    program(device, "CSC", DATA_BANK=3, WEIGHT_BANK=0)
    with pytest.raises(
        DeviceError, match=r"DATA_BANK = 0x3 \(3\): 33 lines of 264 entries need 18"
    ):
        enable(device, CONVOLUTION)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_operands_from_memory(data: st.DataObject) -> None:
    draw = data.draw
    device = new_device(draw(st.sampled_from(CONFIGURATIONS)))
    shape = (draw(st.integers(1, 40)), draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    size = draw(st.sampled_from(["ONE_BYTE", "TWO_BYTE"]))
    mode = draw(st.sampled_from(["PER_KERNEL", "PER_ELEMENT"]))
    use = draw(st.sampled_from(["ALU", "MUL", "BOTH"]))
    operand = OperandLayout.packed(*shape, device.configuration.memory_atom, use, size, mode)
    limit = 128 if size == "ONE_BYTE" else 1 << 15
    operand_shape = shape[:1] if mode == "PER_KERNEL" else shape
    alu, mul = (rng.integers(-limit, limit, operand_shape) for _ in range(2))
    packed = operand.pack(None if use == "MUL" else alu, None if use == "ALU" else mul)
    device.primary.write(OPERAND, packed.view(np.uint8))
    cube = _cube(draw(st.integers(0, 1000)), *shape)
    store(device, INPUT, cube)
    unit, stream = draw(st.sampled_from([("BS", "BRDMA"), ("BN", "NRDMA")]))
    algorithm, shift = draw(st.sampled_from(list(AluAlgorithm)[:3])), draw(st.integers(0, 12))
    fields = {
        "BYPASS": 0,
        "ALU_BYPASS": int(use == "MUL"),
        "MUL_BYPASS": int(use == "ALU"),
        "ALU_ALGO": algorithm,
        "ALU_SRC": int(use != "MUL"),
        "MUL_SRC": int(use != "ALU"),
        "ALU_SHIFT_VALUE": 2,
        "MUL_SHIFT_VALUE": shift,
        "MUL_PRELU": 0,
        "RELU_BYPASS": draw(st.integers(0, 1)),
    }
    program_sdp(
        device,
        shape,
        OUTPUT,
        flying=0,
        output_converter=(3, 5, 4),
        **{f"{unit}_{name}": value for name, value in fields.items()},
    )
    program_sdp_rdma(
        device,
        shape,
        INPUT,
        **{
            f"{stream}_DISABLE": 0,
            f"{stream}_DATA_USE": {"MUL": 0, "ALU": 1, "BOTH": 2}[use],
            f"{stream}_DATA_SIZE": int(size == "TWO_BYTE"),
            f"{stream}_DATA_MODE": int(mode == "PER_ELEMENT"),
            f"{stream}_RAM_TYPE": 1,
            f"{unit}_BASE_ADDR_LOW": OPERAND,
            f"{unit}_LINE_STRIDE": operand.line_stride,
            f"{unit}_SURFACE_STRIDE": operand.surface_stride,
        },
    )
    enable(device, ("SDP", "SDP_RDMA"))
    broadcast = (slice(None), None, None) if mode == "PER_KERNEL" else ...
    expected = reference.sdp_layer(
        cube,
        x_units=[
            XUnit(
                alu=None if use == "MUL" else algorithm,
                alu_operand=alu[broadcast],
                alu_shift=2,
                mul_operand=None if use == "ALU" else mul[broadcast],
                mul_shift=shift,
                relu=not fields["RELU_BYPASS"],
            )
        ],
        output=OutputConverter(3, 5, 4),
    )
    assert np.array_equal(load(device, OUTPUT, shape)[: shape[0]], expected.values)


@pytest.mark.parametrize("equal", [True, False])
def test_a_comparison_writes_nothing_but_its_status(equal: bool) -> None:
    device = new_device("nv_large")
    cube = _cube(0, 20, 3, 3)
    store(device, INPUT, cube)
    other = cube.copy()
    other[19, 2, 2] ^= 0 if equal else 1
    layout = store(device, OPERAND, other)
    program_sdp(
        device, cube.shape, OUTPUT, flying=0, EW_BYPASS=0, EW_ALU_BYPASS=0, EW_ALU_ALGO=3,
        EW_MUL_BYPASS=1, EW_LUT_BYPASS=1, EW_ALU_SRC=1, EW_ALU_CVT_BYPASS=1,
    )  # fmt: skip
    program_sdp_rdma(
        device, cube.shape, INPUT, ERDMA_DISABLE=0, ERDMA_DATA_USE=1, ERDMA_DATA_MODE=1,
        ERDMA_RAM_TYPE=1, EW_BASE_ADDR_LOW=OPERAND, EW_LINE_STRIDE=layout.line_stride,
        EW_SURFACE_STRIDE=layout.surface_stride,
    )  # fmt: skip
    enable(device, ("SDP_RDMA", "SDP"))
    device.wait("SDP", 0)
    assert device.read("SDP", "D_STATUS") == int(not equal)
    assert not device.primary.read(OUTPUT, 0x400).any()


def test_a_unit_that_a_build_lacks_is_bypassed() -> None:
    """Convolution.md section 8.4: by the RTL; the functional model has every unit."""
    cube = _cube(6, 5, 3, 3)
    device = new_device(lenient=True)
    store(device, INPUT, cube)
    program_sdp(device, cube.shape, OUTPUT, flying=0, EW_BYPASS=0, EW_ALU_OPERAND=50, EW_ALU_SRC=1)
    program_sdp_rdma(device, cube.shape, INPUT, ERDMA_DISABLE=0, EW_BASE_ADDR_LOW=INPUT)
    enable(device, ("SDP", "SDP_RDMA"))
    device.wait("SDP", 0)
    assert np.array_equal(load(device, OUTPUT, cube.shape)[:5], cube)
    assert "nv_small has no EW unit: it is bypassed" in str(device.remarks[0])


def test_pooling_writes_the_surfaces_that_the_output_has() -> None:
    """Convolution.md section 8.4."""
    cube = _cube(6, 13, 4, 4)
    device = new_device(lenient=True)
    layout = store(device, INPUT, cube)
    device.primary.fill(OUTPUT, 64, 0x5A)
    program(
        device, "PDP", CUBE_IN_WIDTH=3, CUBE_IN_HEIGHT=3, CUBE_IN_CHANNEL=12, CUBE_OUT_WIDTH=1,
        CUBE_OUT_HEIGHT=1, CUBE_OUT_CHANNEL=7, POOLING_METHOD=1, FLYING_MODE=1, KERNEL_WIDTH=1,
        KERNEL_HEIGHT=1, KERNEL_STRIDE_WIDTH=1, KERNEL_STRIDE_HEIGHT=1, DST_BASE_ADDR_LOW=OUTPUT,
        DST_LINE_STRIDE=16, DST_SURFACE_STRIDE=32, DST_RAM_TYPE=1, INPUT_DATA=0,
    )  # fmt: skip
    program(
        device, "PDP_RDMA", CUBE_IN_WIDTH=3, CUBE_IN_HEIGHT=3, CUBE_IN_CHANNEL=12, FLYING_MODE=1,
        SRC_BASE_ADDR_LOW=INPUT, SRC_LINE_STRIDE=layout.line_stride,
        SRC_SURFACE_STRIDE=layout.surface_stride, SRC_RAM_TYPE=1, INPUT_DATA=0,
    )  # fmt: skip
    enable(device, ("PDP", "PDP_RDMA"))
    expected = cube[:8].reshape(8, 2, 2, 2, 2).max(axis=(2, 4))
    found = load(device, OUTPUT, (16, 2, 2))
    assert np.array_equal(found[:8], expected)
    assert (found[8:] == 0x5A).all()
    assert "1 surfaces to write, but CUBE_IN_CHANNEL gives 2" in str(device.remarks[0])


def test_pooling_on_the_fly_and_from_memory_agree() -> None:
    cube = _cube(4, 13, 9, 11)
    pooled: list[np.ndarray] = []
    for flying in (True, False):
        device = new_device()
        layout = store(device, INPUT, cube)
        program(
            device, "PDP", CUBE_IN_WIDTH=10, CUBE_IN_HEIGHT=8, CUBE_IN_CHANNEL=12,
            CUBE_OUT_WIDTH=5, CUBE_OUT_HEIGHT=4, CUBE_OUT_CHANNEL=12, POOLING_METHOD=0,
            FLYING_MODE=int(not flying), KERNEL_WIDTH=2, KERNEL_HEIGHT=2, KERNEL_STRIDE_WIDTH=1,
            KERNEL_STRIDE_HEIGHT=1, PAD_LEFT=1, PAD_TOP=1, PAD_RIGHT=1, PAD_BOTTOM=1,
            RECIP_KERNEL_WIDTH=0x5555, RECIP_KERNEL_HEIGHT=0x5555, DST_BASE_ADDR_LOW=OUTPUT,
            DST_LINE_STRIDE=48, DST_SURFACE_STRIDE=240, DST_RAM_TYPE=1, INPUT_DATA=0,
        )  # fmt: skip
        if flying:
            program_sdp(device, cube.shape, 0, flying=0, OUTPUT_DST=1)
            program_sdp_rdma(device, cube.shape, INPUT)
            enable(device, ("PDP", "SDP", "SDP_RDMA"))
        else:
            program(
                device, "PDP_RDMA", CUBE_IN_WIDTH=10, CUBE_IN_HEIGHT=8, CUBE_IN_CHANNEL=12,
                FLYING_MODE=1, SRC_BASE_ADDR_LOW=INPUT, SRC_LINE_STRIDE=layout.line_stride,
                SRC_SURFACE_STRIDE=layout.surface_stride, SRC_RAM_TYPE=1, INPUT_DATA=0,
            )  # fmt: skip
            enable(device, ("PDP", "PDP_RDMA"))
        device.wait("PDP", 0)
        pooled.append(load(device, OUTPUT, (13, 5, 6)))
    expected = reference.pool_average(
        cube, kernel=(3, 3), stride=(2, 2), pad=(1, 1), output_size=(5, 6),
        reciprocals=(0x5555, 0x5555), pad_values=[0] * 7,
    )  # fmt: skip
    assert np.array_equal(pooled[0], pooled[1])
    assert np.array_equal(pooled[0][:13], expected)


def test_the_pdp_must_expect_what_the_sdp_sends() -> None:
    device = new_device()
    store(device, INPUT, _cube(0, 8, 4, 4))
    program_sdp(device, (8, 4, 4), 0, flying=0, OUTPUT_DST=1)
    program_sdp_rdma(device, (8, 4, 4), INPUT)
    program(
        device, "PDP", CUBE_IN_WIDTH=4, CUBE_IN_HEIGHT=3, CUBE_IN_CHANNEL=7, CUBE_OUT_WIDTH=4,
        CUBE_OUT_HEIGHT=3, DST_BASE_ADDR_LOW=OUTPUT, DST_LINE_STRIDE=64, DST_RAM_TYPE=1,
        INPUT_DATA=0,
    )  # fmt: skip
    with pytest.raises(DeviceError, match=r"CUBE_IN_WIDTH = 0x4 \(4\): the SDP sends 4 width"):
        enable(device, ("PDP", "SDP", "SDP_RDMA"))
