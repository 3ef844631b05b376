"""Small register programs and traces for the tests of the commands, and how these are called."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen

from nvdla_ir.passes.registry import LAYERS_TO_REGISTERS
from nvdla_ir.tools import nvdla_opt, nvdla_run, nvdla_translate

# 9 channels in, 3 out, a product of every channel with 3, an eighth of the sum.
CONVOLUTION = """
module attributes {nvdla.target = "nv_small"} {
  func.func @main(%x: tensor<1x9x4x4xi8> {nvdla_ir.name = "data"})
      -> (tensor<1x3x4x4xi8> {nvdla_ir.name = "sum"}) {
    %a = nvdla.upload %x -> tensor<1x9x4x4xi8>
    %w = nvdla.constant value=dense<3> : tensor<3x9x1x1xi8>
    %c = nvdla.conv %a, %w layers=["conv1"] -> !nvdla.stream<1x3x4x4xi32>
    %s = nvdla.sdp %c cvt_scale=1 cvt_shift=3 layers=["conv1"] -> tensor<1x3x4x4xi8>
    %y = nvdla.download %s -> tensor<1x3x4x4xi8>
    func.return %y
  }
}
"""

# The host turns rows and columns between two layers of one name.
TWO_PROGRAMS = """
module attributes {nvdla.target = "nv_small"} {
  func.func @main(%x: tensor<1x8x4x4x!quant.uniform<i8:f32, 0.5>>)
      -> tensor<1x8x4x4x!quant.uniform<i8:f32, 0.5>> {
    %a = nvdla.upload %x -> tensor<1x8x4x4x!quant.uniform<i8:f32, 0.5>>
    %s = nvdla.sdp %a layers=["same"] -> tensor<1x8x4x4x!quant.uniform<i8:f32, 0.5>>
    %d = nvdla.download %s -> tensor<1x8x4x4x!quant.uniform<i8:f32, 0.5>>
    %h = nn.transpose %d permutation=[0, 1, 3, 2] -> tensor<1x8x4x4x!quant.uniform<i8:f32, 0.5>>
    %b = nvdla.upload %h -> tensor<1x8x4x4x!quant.uniform<i8:f32, 0.5>>
    %t = nvdla.sdp %b layers=["same"] -> tensor<1x8x4x4x!quant.uniform<i8:f32, 0.5>>
    %y = nvdla.download %t -> tensor<1x8x4x4x!quant.uniform<i8:f32, 0.5>>
    func.return %y
  }
}
"""


@frozen
class Result:
    """What one call said."""

    status: int
    output: str
    errors: str


Command = Callable[..., Result]


def _called(main: Callable[..., int]) -> Command:
    def call(*arguments: str, stdin: str = "") -> Result:
        output, errors = io.StringIO(), io.StringIO()
        status = main(arguments, io.StringIO(stdin), output, errors)
        return Result(status, output.getvalue(), errors.getvalue())

    return call


opt, run, translate = map(_called, (nvdla_opt.main, nvdla_run.main, nvdla_translate.main))


def in_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``tmp_path`` the current directory, with ``conv.ir``, a register program, and
    ``conv_trace/``, the trace of it on random data."""
    monkeypatch.chdir(tmp_path)
    flags = [f"--{name}" for name in LAYERS_TO_REGISTERS]
    compiled = opt("-", *flags, "-o", "conv.ir", stdin=CONVOLUTION)
    assert compiled.status == 0, compiled.errors
    exported = translate("--export-trace", "conv.ir", "-o", "conv_trace")
    assert exported.status == 0, exported.errors
