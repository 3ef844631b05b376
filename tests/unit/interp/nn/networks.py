"""The digits networks of the examples, and text as a function to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.files import read_text
from nvdla_ir.ir.verifier import verify
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse

DIGITS = Path(__file__).resolve().parents[4] / "examples" / "digits"


def parse_module(text: str, file: str = "t.ir") -> tuple[ModuleOp, ResourceStore]:
    """A verified module of ``text``, and the resources in its text."""
    parsed = parse(text, default_context(allow_unregistered=True), file)
    (top,) = parsed.operations
    module = top if isinstance(top, ModuleOp) else ModuleOp.of([top])
    verify(module)
    resources = ResourceStore()
    resources.add_blobs(parsed.resources)
    return module, resources


def function_of(module: ModuleOp) -> FuncOp:
    func = module.body.first_op
    assert isinstance(func, FuncOp)
    return func


def digits_network(name: str) -> tuple[FuncOp, ResourceStore]:
    """``lenet`` or ``resnet``."""
    module, resources = parse_module(read_text(DIGITS / f"{name}.ir"), f"{name}.ir")
    assert module.weights_file is not None
    resources.attach(DIGITS / module.weights_file)
    return function_of(module), resources


def digits_images(name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The 500 test images as the network takes them, and their labels."""
    with np.load(DIGITS / "test_images.npz") as file:
        images, labels = file["images"], file["labels"]
    return (images if name == "resnet" else images.astype(np.float32) / 255), labels
