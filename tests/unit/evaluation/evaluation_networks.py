"""Small networks for the tests, made from text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.evaluation.recording import Executable
from nvdla_ir.interp.machine import Mode
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import PassRegistry
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.pipeline_syntax import parse_pipeline
from nvdla_ir.tools.module_files import load_module

Array = NDArray[Any]

TWO_LAYERS = """
func.func @main(%x: tensor<1x2x4x4xf32> {nvdla_ir.name = "data"})
    -> (tensor<1x3xf32> {nvdla_ir.name = "scores"}) {
  %w1 = nn.constant value=dense_resource<w1> : tensor<4x2x3x3xf32>
  %b1 = nn.constant value=dense_resource<b1> : tensor<4xf32>
  %c = nn.conv %x, %w1, %b1 strides=[1, 1] pads=[1, 1, 1, 1] dilations=[1, 1] groups=1
      layers=["conv"] -> tensor<1x4x4x4xf32>
  %r = nn.relu %c layers=["relu"] -> tensor<1x4x4x4xf32>
  %w2 = nn.constant value=dense_resource<w2> : tensor<3x64xf32>
  %v = nn.flatten %r axis=1 layers=["view"] -> tensor<1x64xf32>
  %f = nn.fully_connected %v, %w2 layers=["fc"] -> tensor<1x3xf32>
  func.return %f
}
"""


def weights(seed: int = 1) -> dict[str, Array]:
    """Tensors for ``TWO_LAYERS``."""
    generator = np.random.default_rng(seed)
    return {
        "w1": generator.normal(size=(4, 2, 3, 3)).astype(np.float32),
        "b1": generator.normal(size=4).astype(np.float32),
        "w2": generator.normal(size=(3, 64)).astype(np.float32),
    }


def module_of(text: str, arrays: Mapping[str, Array]) -> tuple[ModuleOp, ResourceStore]:
    """The module in ``text``, with its tensors."""
    loaded = load_module(text, "test.ir", Path(), default_context())
    for key, array in arrays.items():
        loaded.resources.add(key, array)
    return loaded.module, loaded.resources


def function_of(module: ModuleOp) -> FuncOp:
    return next(op for op in module.body.operations if isinstance(op, FuncOp))


def executable(
    text: str, arrays: Mapping[str, Array], pipeline: str = "", mode: Mode = Mode.FLOAT
) -> Executable:
    """The network after some passes."""
    module, resources = module_of(text, arrays)
    if pipeline:
        registry = PassRegistry()
        steps = parse_pipeline(pipeline, FileLineCol("test", 1, 1))
        Pipeline(map(registry.create, steps)).run(module, Session(resources))
    return Executable(function_of(module), resources, mode)


def table(path: Path, scales: Mapping[str, float], offsets: Mapping[str, int] = {}) -> Path:
    """A calibration table."""
    entries = ", ".join(
        f'"{name}": {{"scale": {scale!r}, "min": 0, "max": 0, "offset": {offsets.get(name, 0)}}}'
        for name, scale in scales.items()
    )
    path.write_text(f"{{{entries}}}")
    return path
