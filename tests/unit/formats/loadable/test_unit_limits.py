"""What the firmware and the hardware refuse, operation by operation."""

from __future__ import annotations

from typing import Any

import pytest
from loadable_building import (
    CV,
    FLYING,
    INPUT,
    OUTPUT,
    Loadable,
    convolution,
    cube,
    pdp,
    sdp,
)
from loadable_running import imported

from nvdla_ir.ir.diagnostics import DiagnosticError

SHAPE = (32, 4, 4)
ATOM = 32
# the cubes of SHAPE as hardware with atoms of 16 bytes has them
SMALL_ATOM = {end: {"line_stride": 64, "surf_stride": 256} for end in ("source", "destination")}


def single(make: Any, target: str, **changes: Any) -> None:
    """Import a loadable of one operation on cubes of 32 channels."""
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, ATOM), net.bound("y", OUTPUT, SHAPE, ATOM)
    ends = {end: changes.pop(end, {}) for end in ("source", "destination")}
    operation = make(
        cube(x, SHAPE, ATOM) | ends["source"], cube(y, SHAPE, ATOM) | ends["destination"], **changes
    )
    net.hardware_task([operation], luts=[{}])
    imported(net, target=target)


def refused(make: Any, message: str, target: str = "nv_full", **changes: Any) -> None:
    with pytest.raises(DiagnosticError) as caught:
        single(make, target, **changes)
    assert message in str(caught.value)
    assert "operation 0" in str(caught.value.diagnostics[0].location)


@pytest.mark.parametrize(
    ("end", "changes", "message"),
    [
        ("source", {"width": 0}, "has 'src_data' with width = 0, but it must be 1 to 8192"),
        ("destination", {"channel": 8193}, "channel = 8193, but it must be 1 to 8192"),
        ("source", {"type": 3}, "type = 3, but it must be 0 (system memory) or 1 (SRAM)"),
        ("source", {"type": CV}, "has 'src_data' in CV, but memory 1 is in system memory"),
        ("source", {"address": 200}, "has the address index 200, but task 0 has"),
        ("destination", {"address": -1}, "has the address index -1"),
        ("source", {"offset": 8}, "at offset 8 of memory 1, but it must be a multiple of 32"),
        ("source", {"line_stride": 100}, "line_stride = 100: must be a multiple of the memory"),
        ("source", {"line_stride": 96}, "line_stride = 96 and surf_stride = 512, which make its"),
        ("destination", {"offset": 32}, "takes 512 bytes for 'dst_data', but memory 2 has 480"),
        ("source", {"width": 3}, "a cube of 4x4x32 of one of 3x4x32, but they must be equal"),
        ("source", {"type": FLYING}, "takes its data from another unit, but has no fused parent"),
        ("destination", {"type": FLYING}, "but no operation takes it as fused parent"),
    ],
)
def test_cubes(end: str, changes: dict[str, Any], message: str) -> None:
    refused(sdp, message, **{end: changes})


@pytest.mark.parametrize(
    ("changes", "message", "target"),
    [
        ({"x1_op": {"type": 4}}, "type = 4', but it must be 0 to 3", "nv_full"),
        ({"x2_op": {"mode": 3}}, "mode = 3'", "nv_full"),
        ({"y_op": {"alu_type": 9}}, "alu_type = 9'", "nv_full"),
        ({"x1_op": {"enable": 1, "act": 2}}, "a look-up table in BS, but only EW has", "nv_full"),
        ({"y_op": {"enable": 1, "act": 2}}, "looks up a table, but names none", "nv_full"),
        (
            {"y_op": {"enable": 1, "act": 1}},
            "it has work for EW, but nv_medium_512 has no EW",
            "nv_medium_512",
        ),
        ({"lut_index": 0, **SMALL_ATOM}, "nv_medium_512 has no table in its SDP", "nv_medium_512"),
        (
            {"batch_num": 2},
            "it has a batch of 2, but it must be from 1 to 1 (SDP.BATCH_NUMBER)",
            "nv_large",
        ),
        ({"batch_num": 0}, "it has a batch of 0, but it must be from 1 to 32", "nv_full"),
        ({"conv_mode": 1}, "nv_large has no Winograd mode", "nv_large"),
        (
            {"out_cvt": {"scale": 1, "truncate": 64}},
            "a shift of 64; the hardware takes up to 63",
            "nv_full",
        ),
        (
            {"x1_op": {"enable": 1, "type": 2, "alu_operand": 40000}},
            "an operand of 40000, but it must be from -32768 to 32767 (SDP.BS_ALU_OPERAND)",
            "nv_full",
        ),
        ({"src_precision": 1}, "has 'src_precision = 1' (INT16), but this tool runs INT8", "x"),
        ({"dst_precision": 7}, "has 'dst_precision = 7', but there are 0 (INT8)", "x"),
    ],
)
def test_sdp(changes: dict[str, Any], message: str, target: str) -> None:
    refused(sdp, message, target, **changes)


def test_operands_lie_in_their_buffers() -> None:
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, ATOM), net.bound("y", OUTPUT, SHAPE, ATOM)
    table = net.memory(60)
    unit = {"enable": 1, "type": 3, "mode": 1}
    operation = sdp(
        cube(x, SHAPE, ATOM), cube(y, SHAPE, ATOM), x1_op=unit, x1_data=cube(table, SHAPE, ATOM)
    )
    net.hardware_task([operation])
    with pytest.raises(DiagnosticError, match="takes 64 bytes for 'x1_data', but memory 3 has 60"):
        imported(net, target="nv_full")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool_mode": 3}, "has 'pool_mode = 3', but it must be 0 to 2"),
        ({"pool_width": 8}, "has 'pool_width = 8', but it must be 0 to 7"),
        ({"stride_x": 9}, "has stride_x = 9, but it must be 1 to 8"),
        ({"stride_y": 0}, "has stride_y = 0"),
        ({"split_num": 65}, "has split_num = 65, but it must be 1 to 64"),
        ({"split_num": 0}, "has split_num = 0"),
        ({"pad_left": 8}, "padding of 8; the hardware takes up to 7: pad by less (PDP.PAD_LEFT)"),
        ({"precision": 2}, "has 'precision = 2' (FP16), but this tool runs INT8"),
        ({"destination": {"channel": 31}}, "makes 31 channels of 32, but they must be equal"),
        ({"destination": {"type": FLYING}}, "hands its result to another unit"),
    ],
)
def test_pdp(changes: dict[str, Any], message: str) -> None:
    refused(pdp, message, **changes)


def test_pooling_on_the_fly_is_not_split() -> None:
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, ATOM), net.bound("y", OUTPUT, SHAPE, ATOM)
    made = cube(0, SHAPE, ATOM, type=FLYING)
    pooling = pdp(made, cube(y, SHAPE, ATOM), split_num=2)
    net.hardware_task([sdp(cube(x, SHAPE, ATOM), made), pooling])
    with pytest.raises(DiagnosticError, match="split_num = 2, but it must be 1, for it pools on"):
        imported(net, target="nv_full")


def test_pooling_is_split_to_the_line_buffer() -> None:
    net = Loadable()
    shape = (32, 1, 129)
    x, y = net.bound("x", INPUT, shape, ATOM), net.bound("y", OUTPUT, shape, ATOM)
    widths = {"partial_width_first": 100, "partial_width_mid": 1, "partial_width_last": 29}
    inputs = {name.replace("width", "in_width"): value for name, value in widths.items()}
    ends = cube(x, shape, ATOM), cube(y, shape, ATOM)
    net.hardware_task([pdp(*ends, split_num=2, **widths, **inputs)])
    imported(net, target="nv_full")
    net.hardware_task([pdp(*ends, **widths, **inputs)])
    with pytest.raises(DiagnosticError, match="it holds 128 of 129 columns: cut them"):
        imported(net, target="nv_full")


def test_both_ends_of_a_flight_are_equal() -> None:
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, ATOM), net.bound("y", OUTPUT, SHAPE, ATOM)
    made = cube(0, SHAPE, ATOM, type=FLYING)
    pooling = pdp(made | {"width": 3}, cube(y, SHAPE, ATOM))
    net.hardware_task([sdp(cube(x, SHAPE, ATOM), made), pooling])
    with pytest.raises(DiagnosticError, match=r"a cube of another size than operation 0 \(SDP\)"):
        imported(net, target="nv_full")


def cdp(source: Any, destination: Any, **changes: Any) -> dict[str, Any]:
    op = {"local_size": 3, "lut_index": 0, "in_cvt": {"scale": 1}, "out_cvt": {"scale": 1}}
    return {
        "kind": "cdp",
        "op": op | changes,
        "surface": {"src_data": source, "dst_data": destination},
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"local_size": 4},
            "a window of 4 channels; the hardware has 3, 5, 7, 9 (CDP.NORMALZ_LEN)",
        ),
        ({"lut_index": -1}, "names no look-up table"),
        ({"destination": {"height": 3}}, "of two sizes"),
        (
            {"in_cvt": {"scale": 1, "truncate": 32}},
            "a shift of 32, but it must be from 0 to 31 (CDP.DATIN_SHIFTER)",
        ),
    ],
)
def test_cdp(changes: dict[str, Any], message: str) -> None:
    refused(cdp, message, **changes)


def test_tables_have_two_choices() -> None:
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, ATOM), net.bound("y", OUTPUT, SHAPE, ATOM)
    net.hardware_task([cdp(cube(x, SHAPE, ATOM), cube(y, SHAPE, ATOM))], luts=[{"method": 2}])
    with pytest.raises(DiagnosticError, match="method of look-up table 0 = 2"):
        imported(net, target="nv_full")


def rubik(source: Any, destination: Any, **changes: Any) -> dict[str, Any]:
    op = {"mode": 0, "stride_x": 1, "stride_y": 1}
    return {
        "kind": "rubik",
        "op": op | changes,
        "surface": {"src_data": source, "dst_data": destination},
    }


@pytest.mark.parametrize(
    ("changes", "message", "target"),
    [
        ({}, "it has data to reshape, but nv_large has no RUBIK", "nv_large"),
        ({"mode": 3}, "has 'mode = 3', but it must be 0 to 2", "nv_full"),
        (
            {"stride_x": 33},
            "a stride of 33, but it must be from 1 to 32 (RBK.DECONV_X_STRIDE)",
            "nv_full",
        ),
        ({"stride_y": 0}, "a stride of 0, but it must be from 1 to 32", "nv_full"),
        (
            {"stride_y": 2},
            "'dst_data' of (32, 4, 4) (channels, height, width), but it makes",
            "nv_full",
        ),
        ({"mode": 2}, "merges planes with plane_stride = 0", "nv_full"),
        (
            {"mode": 2, "source": {"plane_stride": 48}},
            "a plane every 48 bytes, but it must be a multiple of 32 (RBK.DAIN_PLANAR_STRIDE)",
            "nv_full",
        ),
        (
            {"mode": 1, "destination": {"plane_stride": 1 << 20}},
            "for 'dst_data', but memory 2 has 512",
            "nv_full",
        ),
    ],
)
def test_rubik(changes: dict[str, Any], message: str, target: str) -> None:
    refused(rubik, message, target, **changes)


TRANSFER = {
    "source_address": 1,
    "destination_address": 2,
    "line_size": 128,
    "line_repeat": 4,
    "source_line": 128,
    "destination_line": 128,
    "surface_repeat": 1,
    "source_surface": 512,
    "destination_surface": 512,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"line_size": 100}, "it has lines of 100 bytes, but they must be multiples of 32"),
        ({"line_size": 0}, "it has lines of 0 bytes"),
        ({"line_repeat": 8193}, "has line_repeat = 8193, but it must be 1 to 8192"),
        ({"surface_repeat": 0}, "it has 0 surfaces, but there must be 1 to"),
        ({"source_line": 96}, "has source_line = 96, less than a line of 128 bytes"),
        ({"destination_surface": 480}, "has destination_surface = 480, less than 4 lines of 128"),
        (
            {"source_line": 132, "source_surface": 528},
            "a line stride of 132, but it must be a multiple of 32",
        ),
        ({"surface_repeat": 2}, "moves 1024 bytes, but memory 1 has 512 from 0 on"),
        ({"source_address": 99}, "has the address index 99"),
    ],
)
def test_bdma(changes: dict[str, Any], message: str) -> None:
    def copy(source: Any, destination: Any) -> dict[str, Any]:
        surface = {"num_transfers": 1, "transfers": [TRANSFER | changes]}
        return {"kind": "bdma", "op": {"num_transfers": 1}, "surface": surface}

    refused(copy, message)


def test_bdma_has_twenty_transfers_at_most_and_is_not_everywhere() -> None:
    def copies(source: Any, destination: Any, count: int) -> dict[str, Any]:
        return {"kind": "bdma", "surface": {"num_transfers": count, "transfers": [TRANSFER] * 20}}

    single(copies, "nv_full", count=20)
    refused(copies, "has 21 transfers, but may have 20", count=21)
    refused(copies, "it has memory to copy, but nv_large has no BDMA", "nv_large", count=1)


def convolved(
    target: str = "nv_full", weights: Any = None, memory_bytes: int = 1024, **changes: Any
) -> None:
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, ATOM), net.bound("y", OUTPUT, SHAPE, ATOM)
    memory = net.memory(memory_bytes, bytes(memory_bytes))
    made = cube(0, SHAPE, ATOM, type=FLYING)
    source = cube(x, SHAPE, ATOM) | changes.pop("source", {})
    surface = cube(memory, SHAPE, ATOM, size=1024) | (weights or {})
    entries = {"nv_full": 1, "nv_large": 2}[target]
    layer = [
        convolution(source, made, surface, entries, **changes),
        sdp(made, cube(y, SHAPE, ATOM)),
    ]
    net.hardware_task(layer)
    imported(net, target=target)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv_mode": 2}, "has 'conv_mode = 2'"),
        ({"weight_format": 2}, "has 'weight_format = 2'"),
        ({"pixel_mapping": 1}, "has 'pixel_mapping = 1'"),
        ({"skip_data_rls": 2}, "has 'skip_data_rls = 2'"),
        ({"out_cvt": {"scale": 2}}, "has 'out_cvt' with scale = 2 and offset = 0, but must be"),
        ({"batch": 33}, "it has a batch of 33, but it must be from 1 to 32 (CDMA.BATCHES)"),
        (
            {"entry_per_slice": 5},
            "has entry_per_slice = 5, but on nv_full its cubes and kernels make it 1",
        ),
        ({"data_bank": 0}, "it has 0 banks for data and 1 for weights, but nv_full has 16"),
        ({"weight_bank": 16}, "it has 1 banks for data and 16 for weights"),
        ({"data_format": 40}, "has data_format = 40, which does not exist"),
        ({"weights": {"size": 1000}}, "weights of 1000 bytes, but its kernels have 1024"),
        ({"weights": {"size": 2048}}, "takes 2048 bytes for 'weight_data', but memory 3 has 1024"),
        ({"weights": {"type": FLYING}}, "has 'weight_data' with type = 2"),
        (
            {"dilation_x": 0},
            "a dilation along its width of 0; it must be at least 1 (CSC.X_DILATION_EXT)",
        ),
        ({"conv_stride_x": 9}, "a stride along its width of 9; the hardware takes up to 8"),
        ({"in_precision": 1}, "has 'in_precision = 1' (INT16)"),
        ({"release": 5}, "a number of released lines of 5, but it must be from 1 to 4"),
        ({"fetch_grain": 0}, "a number of lines fetched at once of 0"),
        ({"post_extension": 1}, "a post extension of the kernels, which only images have"),
    ],
)
def test_convolution(changes: dict[str, Any], message: str) -> None:
    convolved()
    with pytest.raises(DiagnosticError) as caught:
        convolved(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "stated", "right"),
    [
        ("input_width_csc", 5, 4),
        ("input_height_csc", 3, 4),
        ("input_channel_csc", 64, 32),
        ("kernel_channel_csc", 31, 32),
        ("input_width_cmac", 3, 4),
        ("input_height_cmac", 5, 4),
        ("entry_per_slice", 2, 1),
        ("bytes_per_kernel", 33, 32),
    ],
)
def test_sizes_follow_from_cubes_and_kernels(name: str, stated: int, right: int) -> None:
    with pytest.raises(DiagnosticError) as caught:
        convolved(**{name: stated})
    message = f"has {name} = {stated}, but on nv_full its cubes and kernels make it {right}"
    assert [message in diagnostic.message for diagnostic in caught.value.diagnostics] == [True]


def test_all_wrong_sizes_are_told() -> None:
    with pytest.raises(DiagnosticError) as caught:
        convolved(bytes_per_kernel=1, input_width_csc=7, batch=1)
    assert len(caught.value.diagnostics) == 2


def test_lines_that_are_left_in_the_buffer_lie_above_those_that_are_fetched() -> None:
    convolved(data_reuse=1, input_height_csc=6, release=6)
    with pytest.raises(DiagnosticError, match=r"has input_height_csc = 6, but .* make it 4"):
        convolved(input_height_csc=6)


def test_weights_may_be_more_than_the_kernels() -> None:
    convolved(memory_bytes=1152, weights={"size": 1152})


def test_the_mask_of_compressed_weights_lies_beside_them() -> None:
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, ATOM), net.bound("y", OUTPUT, SHAPE, ATOM)
    memory, sram = net.memory(1024, bytes(1024)), net.memory(128, domain=1)
    made = cube(0, SHAPE, ATOM, type=FLYING)
    weights = cube(memory, SHAPE, ATOM, size=1024)
    layer = convolution(cube(x, SHAPE, ATOM), made, weights, 1, weight_format=1)
    layer["surface"] |= {"wmb_data": cube(sram, SHAPE, ATOM, size=128, type=CV)}
    net.hardware_task([layer, sdp(made, cube(y, SHAPE, ATOM))])
    with pytest.raises(DiagnosticError, match="has 'wmb_data' in another memory than"):
        imported(net, target="nv_full")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv_mode": 1}, "nv_large has no Winograd mode"),
        ({"weight_format": 1}, "compressed weights, but nv_large has no decompression of weights"),
        ({"data_format": 20}, "the pixel format 'T_A2B10G10R10', which nv_large does not read"),
    ],
)
def test_convolution_on_hardware_that_lacks_it(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        convolved("nv_large", **changes)
    assert message in str(caught.value)


def test_a_convolution_needs_an_sdp_operation() -> None:
    net = Loadable()
    x = net.bound("x", INPUT, SHAPE, ATOM)
    memory = net.memory(1024)
    made = cube(0, SHAPE, ATOM, type=FLYING)
    layer = convolution(cube(x, SHAPE, ATOM), made, cube(memory, SHAPE, ATOM, size=1024), 1)
    net.hardware_task([layer])
    with pytest.raises(DiagnosticError, match="but no operation takes it as fused parent"):
        imported(net, target="nv_full")
