"""Tasks of the host: softmax and power between hardware tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from loadable_building import HOST, INPUT, OUTPUT, Loadable, cube, sdp
from loadable_running import atoms, full_range, imported, run

from nvdla_ir.ir.diagnostics import DiagnosticError

LOGITS = (20, 1, 1)


def surface(address: int, shape: tuple[int, int, int], atom: int, **changes: Any) -> dict[str, Any]:
    channels, height, width = shape
    return {
        "address": address,
        "size": -(-channels // atom) * height * width * atom,
        "format": 1 if atom == 8 else 0,
        "width": width,
        "height": height,
        "channel": channels,
        "line_stride": width * atom,
        "surf_stride": height * width * atom,
    } | changes


def softmax(source: dict[str, Any], destination: dict[str, Any], **op: Any) -> dict[str, Any]:
    values = {"op_type": 1, "input_scale": 0.0625, "output_scale": 0.0078125} | op
    return {"op": values, "source": source, "destination": destination}


def classifier(atom: int = 8) -> Loadable:
    """The SDP copies the input, and the host makes probabilities of it."""
    net = Loadable()
    x, y = net.bound("x", INPUT, LOGITS, atom), net.bound("prob", OUTPUT, LOGITS, atom)
    between = net.memory(96)
    net.hardware_task([sdp(cube(x, LOGITS, atom), cube(between, LOGITS, atom))])
    net.host_task(softmax(surface(between, LOGITS, atom), surface(y, LOGITS, atom)))
    return net


def probabilities(x: Any) -> Any:
    reals = x.astype(np.float64) * 0.0625
    exponentials = np.exp(reals - reals.max())
    return exponentials / exponentials.sum()


@pytest.mark.parametrize(("atom", "target"), [(8, "nv_small"), (32, "nv_large")])
def test_softmax_returns_reals_and_writes_integers(atom: int, target: str) -> None:
    net = classifier(atom)
    x = full_range(1, 1, *LOGITS)
    expected = probabilities(x)
    found = run(net, {"x": x}, target=target)["prob"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    raw = run(net, {"x": x}, target=target, raw_outputs={"prob"})["prob"]
    codes = np.minimum(np.floor(expected / 0.0078125 + 0.5), 127).astype(np.int8)
    np.testing.assert_array_equal(raw, atoms(codes, atom))


def test_without_the_host_the_last_hardware_layer_is_returned() -> None:
    net = classifier()
    x = full_range(2, 1, *LOGITS)
    results = run(net, {"x": x}, hardware_only=True)
    assert list(results) == ["-"]
    np.testing.assert_array_equal(results["-"], x)
    raw = run(net, {"x": x}, hardware_only=True, raw_outputs={"-"})
    np.testing.assert_array_equal(raw["-"], atoms(x, 8))


def test_the_hosts_integers_are_read_by_the_hardware() -> None:
    net = Loadable()
    shape = (12, 3, 2)
    x, y = net.bound("x", INPUT, shape, 8), net.bound("y", OUTPUT, shape, 8)
    between = net.memory(96)
    net.host_task(
        {
            "op": {
                "op_type": 0,
                "input_scale": 0.5,
                "output_scale": 2.0,
                "power": 2.0,
                "scale": 0.5,
                "shift": 1.0,
            },
            "source": surface(x, shape, 8),
            "destination": surface(between, shape, 8),
        }
    )
    unit = {"enable": 1, "type": 2, "alu_type": 2, "alu_operand": -7}
    net.hardware_task([sdp(cube(between, shape, 8), cube(y, shape, 8), x1_op=unit)])
    values = full_range(3, 1, *shape)
    powers = (1 + 0.5 * 0.5 * values.astype(np.float64)) ** 2 / 2
    codes = np.clip(np.floor(powers + 0.5), -128, 127)
    np.testing.assert_array_equal(run(net, {"x": values})["y"], np.clip(codes - 7, -128, 127))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"op": {"op_type": 2}}, "has the kind 2, but there are 0 (power) and 1 (softmax)"),
        (
            {"op": {"op_type": 1, "input_scale": 0.0}},
            "softmax has input_scale = 0.0, but it must be 1e-30 to 1e+30",
        ),
        (
            {"op": {"op_type": 1, "input_scale": 1.0, "output_scale": float("nan")}},
            "softmax has output_scale = nan",
        ),
        (
            {
                "op": {
                    "op_type": 0,
                    "input_scale": 1.0,
                    "output_scale": 1.0,
                    "power": float("inf"),
                }
            },
            "power has power = inf, but it must be finite",
        ),
        (
            {"source": surface(1, LOGITS, 8, format=3)},
            "has the format 3 (FP16), but this tool runs INT8",
        ),
        ({"source": surface(1, LOGITS, 8, format=4)}, "(UINT8), but this tool runs INT8"),
        ({"source": surface(1, LOGITS, 8, format=99)}, "has the format 99 (unknown)"),
        ({"source": surface(1, (20, 2, 1), 8)}, "is 1x2, but softmax takes one pixel"),
        ({"source": surface(1, (0, 1, 1), 8)}, "is 1x1x0, but extents are 1 to 8192"),
        ({"source": surface(1, (8, 1, 1), 8)}, "have different sizes or formats"),
        ({"source": surface(1, LOGITS, 8, offset=8)}, "has 16 from 8 on"),
        ({"source": surface(99, LOGITS, 8)}, "has the address index 99"),
    ],
)
def test_wrong_host_operations_are_refused(change: dict[str, Any], message: str) -> None:
    net = Loadable()
    x, y = net.bound("x", INPUT, LOGITS, 8), net.bound("y", OUTPUT, LOGITS, 8)
    net.host_task(softmax(surface(x, LOGITS, 8), surface(y, LOGITS, 8)) | change)
    with pytest.raises(DiagnosticError) as caught:
        imported(net)
    assert message in str(caught.value)


def test_atoms_must_be_those_of_the_hardware() -> None:
    with pytest.raises(DiagnosticError, match="atoms of 8 bytes, but those of nv_medium_512 have"):
        net = Loadable()
        x, y = net.bound("x", INPUT, LOGITS, 8), net.bound("y", OUTPUT, LOGITS, 8)
        net.host_task(softmax(surface(x, LOGITS, 8), surface(y, LOGITS, 8)))
        imported(net, target="nv_medium_512")


def test_descriptors_of_fp16_networks_are_refused() -> None:
    """Before 0.12 there were no scales: 16 bytes an operation instead of 24."""
    net = Loadable()
    network = bytes([1, 0, 2, 0, 1, 0]).ljust(256, b"\0")
    operations, surfaces = net.memory(16, bytes(16)), net.memory(512, bytes(512))
    assert (operations, surfaces) == (1, 2)
    first = net.memory(256, network)
    net._task(HOST, [first, 1, 2])
    with pytest.raises(DiagnosticError, match="the layout of FP16 networks, without scales"):
        imported(net)
