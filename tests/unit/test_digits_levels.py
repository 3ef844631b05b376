"""The digits networks give the same bytes as integers, as hardware layers and as registers, and
classify the test images nearly as well as the floats."""

# What is found at run time only has no types here.
# pyright: reportMissingImports=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nvdla_ir.interp.machine import Mode

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "digits"))

import digits  # noqa: E402

TARGETS = ("nv_small", "nv_large", "nv_full")
LEVELS = ("int8 with converters", "hardware layers", "register program")


def images(network: str) -> Iterator[tuple[str, Any]]:
    """Test images, and such as no digit looks like: black, white, noise, checkers."""
    test, _ = digits.test_set(network)
    yield "digits", test[:6]
    noise = np.random.default_rng(7).integers(0, 256, (2, *test.shape[1:]), np.uint8)
    checkers = np.indices(test.shape[2:]).sum(axis=0) % 2 * 255
    extremes = np.stack(
        [
            np.zeros(test.shape[1:]),
            np.full(test.shape[1:], 255),
            np.broadcast_to(checkers, test.shape[1:]),
            *noise,
        ]
    )
    yield (
        "extremes",
        extremes.astype(np.uint8)
        if network == "resnet"
        else (extremes.astype(np.float32) / np.float32(64) - 1),
    )


VARIANTS = [*((target, "per-channel") for target in TARGETS), ("nv_small", "per-tensor")]


@pytest.mark.parametrize(("target", "granularity"), VARIANTS)
@pytest.mark.parametrize("network", ["lenet", "resnet"])
def test_every_level_gives_the_same_bytes(network: str, target: str, granularity: str) -> None:
    for name, batch in images(network):
        logits = {
            stage.name: digits.run(stage, batch, Mode.INTEGER).logits
            for stage in digits.compile_stages(network, target, granularity)
            if stage.name in LEVELS
        }
        assert set(logits) == set(LEVELS)
        for level in LEVELS[1:]:
            np.testing.assert_array_equal(logits[level], logits[LEVELS[0]], f"{name}, {level}")


@pytest.mark.parametrize("network", ["lenet", "resnet"])
def test_accuracy_of_registers(network: str) -> None:
    test, labels = digits.test_set(network)
    test, labels = test[:100], labels[:100]
    floats = digits.run(digits.stage_named("float", network, "nv_small"), test, Mode.FLOAT)
    compiled = digits.compiled(network, "nv_small")
    # the registers are those of the device program
    assert compiled.operation_counts()["csb"] > 40
    integers = digits.run(compiled, test, Mode.INTEGER)
    assert integers.top1(labels) >= floats.top1(labels) - 1
    assert digits.sqnr(floats.logits, integers.logits) >= 33


def test_a_residual_network_is_compiled_into_few_hardware_layers() -> None:
    """Bias, batch norm, ReLU and residual addition cost no layer of their own."""
    stages = {stage.name: stage for stage in digits.compile_stages("resnet", "nv_small")}
    names = [op.name for op in stages["register program"].module.walk()]
    # 21 convolutions (stem, 18 in blocks, 2 shortcuts), the pooling, the classifier; each runs
    # CDMA, CSC, CMAC_A, CMAC_B, CACC and SDP, and its end is waited for.
    assert names.count("csb.wait") == 21 + 1 + 1
