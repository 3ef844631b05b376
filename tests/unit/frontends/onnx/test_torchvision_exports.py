"""What PyTorch's two exporters write of torchvision's families, against ONNX Runtime.

Runs where torch and torchvision are installed, which this project does not need; operators and
attributes of these files have tests of their own beside this one.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import check_against_runtime, onnx

_REASON = "torch and torchvision are not installed: what PyTorch exports is not compared here"
torch: Any = pytest.importorskip("torch", reason=_REASON)
torchvision: Any = pytest.importorskip("torchvision", reason=_REASON)

FAMILIES = (
    "alexnet",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x1_0",
    "squeezenet1_1",
    "vgg11_bn",
)


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_as_exported(family: str, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"init_weights": False} if family in ("googlenet", "inception_v3") else {}
    network = getattr(torchvision.models, family)(weights=None, **options).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    size = 299 if family == "inception_v3" else 224
    x = torch.randn(1, 3, size, size)
    path = tmp_path / "exported.onnx"
    more = {"external_data": False, "verbose": False} if dynamo else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (x,), str(path), dynamo=dynamo, input_names=["x"], **more)
    inputs = {"x": np.asarray(x.numpy())}
    check_against_runtime(onnx.load(path), inputs, tmp_path, tolerance=2e-5)
