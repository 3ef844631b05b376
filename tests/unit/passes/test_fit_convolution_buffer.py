"""Convolutions that do not fit the buffer give the same bytes in pieces, as operations and as
registers: with buffers so small that every way of dividing occurs, and on the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen
from running import module_of, new_session

from nvdla_ir.dialects import nvdla
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.hw.configuration import load_configuration, names
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.verifier import verify
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.set_target import SetTarget


@frozen
class Case:
    """A convolution with a table a channel and, if ``residual``, a cube to add."""

    channels: int
    height: int
    width: int
    kernels: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    residual: bool = False
    image: bool = False

    @property
    def output(self) -> tuple[int, int, int]:
        rows, columns = (
            (
                size
                + self.pads[axis]
                + self.pads[axis + 2]
                - (self.kernel[axis] - 1) * self.dilations[axis]
                - 1
            )
            // self.strides[axis]
            + 1
            for axis, size in enumerate((self.height, self.width))
        )
        return self.kernels, rows, columns

    @property
    def footprint(self) -> int:
        """Bytes of input and weights."""
        weights = self.kernels * self.channels * self.kernel[0] * self.kernel[1]
        return self.channels * self.height * self.width + weights

    def text(self) -> str:
        shape = f"1x{self.channels}x{self.height}x{self.width}xi8"
        output = "1x" + "x".join(map(str, self.output))
        weights = f"{self.kernels}x{self.channels}x{self.kernel[0]}x{self.kernel[1]}xi8"
        image = 'pixel_format="T_R8"' if self.image else ""
        format = 'format="T_R8"' if self.image else ""
        adds = (
            'bn_operand=%b bn=#nvdla.x_stage<alu = "sum", alu_shift = 6, relu>'
            if self.residual
            else ""
        )
        return f"""
module {{
  func.func @main(%x: tensor<{shape}>, %r: tensor<{output}xi8>) -> tensor<{output}xi8> {{
    %a = nvdla.upload %x {format} -> tensor<{shape}>
    %b = nvdla.upload %r -> tensor<{output}xi8>
    %w = nvdla.constant value=dense_resource<w> : tensor<{weights}>
    %t = nvdla.constant value=dense_resource<t> : tensor<{self.kernels}x2xi16>
    %c = nvdla.conv %a, %w strides={list(self.strides)} pads={list(self.pads)}
      dilations={list(self.dilations)} pad_value=-7 {image} layers=["c"]
      -> !nvdla.stream<{output}xi32>
    %y = nvdla.sdp %c bs_operand=%t {adds}
      bs=#nvdla.x_stage<alu = "sum", alu_shift = 2, mul, mul_shift = 14>
      cvt_scale=3 cvt_shift=6 layers=["c"] -> tensor<{output}xi8>
    %d = nvdla.download %y -> tensor<{output}xi8>
    func.return %d
  }}
}}"""


def check(case: Case, target: str, rng: np.random.Generator) -> list[nvdla.ConvOp]:
    """See that every level gives the same bytes; returns the convolutions after fitting."""
    module, session = module_of(case.text()), new_session()
    SetTarget(target).run(module, session)
    weights = rng.integers(-128, 128, (case.kernels, case.channels, *case.kernel), np.int8)
    session.resources.add("w", weights)
    # so that results are neither all zero nor all saturated
    most = int(6000 / np.sqrt(weights[0].size)) + 1
    table = np.stack(
        [rng.integers(-(1 << 15), 1 << 15, case.kernels), rng.integers(-most, most, case.kernels)],
        1,
    )
    session.resources.add("t", table.astype(np.int16))
    func = next(op for op in module.walk() if isinstance(op, FuncOp))
    inputs = {
        "x": rng.integers(-128, 128, (1, case.channels, case.height, case.width), np.int8),
        "r": rng.integers(-128, 128, (1, *case.output), np.int8),
    }

    def result() -> Any:
        return next(iter(Machine(session.resources, Mode.INTEGER).run(func, inputs).values()))

    expected = result()
    assert len(np.unique(expected)) > 3 or expected.size < 100
    passes = layers_to_registers()
    fitted = [one.name for one in passes].index("fit-convolution-buffer") + 1
    Pipeline(passes[:fitted]).run(module, session)
    verify(module)
    found = [op for op in module.walk() if isinstance(op, nvdla.ConvOp)]
    np.testing.assert_array_equal(result(), expected, "pieces")
    Pipeline(passes[fitted:]).run(module, session)
    np.testing.assert_array_equal(result(), expected, "registers")
    return found


def tiny(folder: Path, base: str, banks: int, entries: int) -> str:
    """A configuration with a buffer of few and small banks."""
    path = folder / f"{base}_{banks}x{entries}.toml"
    path.write_text(
        f'base = "{base}"\nname = "tiny"\n[cbuf]\nbanks = {banks}\nentries_per_bank = {entries}\n'
    )
    return str(path)


def random_case(rng: np.random.Generator) -> Case:
    kernel = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    dilations = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    image = bool(rng.integers(0, 6) == 0)
    if image:
        dilations = (1, 1)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = tuple(int(rng.integers(0, extents[axis % 2])) for axis in range(4))
    height, width = (int(rng.integers(extent, extent + 12)) for extent in extents)
    return Case(
        channels=1 if image else int(rng.integers(1, 24)),
        height=height,
        width=width,
        kernels=int(rng.integers(1, 50)),
        kernel=kernel,
        strides=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        pads=(pads[0], pads[1], pads[2], pads[3]),
        dilations=dilations,
        residual=bool(rng.integers(0, 2)),
        image=image,
    )


@pytest.mark.parametrize("base", names())
def test_random_convolutions_in_tiny_buffers(base: str, tmp_path: Path) -> None:
    """What fits in no way says so."""
    rng = np.random.default_rng(sum(map(ord, base)))
    pieces: list[int] = []
    entry_bytes = load_configuration(base).cbuf.entry_bytes
    for _ in range(10):
        case = random_case(rng)
        banks = int(rng.integers(4, 9))
        share = case.footprint * rng.uniform(0.3, 0.9) / banks / entry_bytes
        entries = 1 << max(4, int(np.log2(share)) if share > 1 else 4)
        target = tiny(tmp_path, base, banks, entries)
        try:
            found = check(case, target, rng)
        except DiagnosticError as error:
            assert "does not fit the convolution buffer" in str(error), error
            continue
        pieces.append(len(found))
    assert len(pieces) > 5


REAL = {
    "kernels larger than a group": Case(512, 7, 7, 37, (7, 7)),
    "the same with a residual cube": Case(512, 7, 9, 20, (7, 7), residual=True),
    "many channels": Case(1024, 9, 9, 64, (3, 3), pads=(1, 1, 1, 1)),
    "wide rows": Case(64, 6, 512, 8, (5, 3), pads=(2, 1, 2, 1), residual=True),
    "rows wider than the buffer": Case(256, 4, 600, 8, (3, 3)),
}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("target", names())
def test_large_layers_on_every_configuration(name: str, target: str) -> None:
    found = check(REAL[name], target, np.random.default_rng(7))
    assert len(found) > 1 or target != "nv_small"


SHARED = """
func.func @main(%x: tensor<1x8x4x4xi8>) -> (tensor<1x16x4x3xi8>, tensor<1x4x4x3xi8>, tensor<1x4x4x3xi8>) {
  %a = nvdla.upload %x -> tensor<1x8x4x4xi8>
  %w = nvdla.constant value=dense_resource<w> : tensor<16x8x1x2xi8>
  %c = nvdla.conv %a, %w -> !nvdla.stream<1x16x4x3xi32>
  %s = nvdla.sdp %c cvt_shift=7 -> tensor<1x16x4x3xi8>
  %v = nvdla.slice %w axis=0 begin=0 size=4
  %d = nvdla.conv %a, %v -> !nvdla.stream<1x4x4x3xi32>
  %t = nvdla.sdp %d cvt_shift=7 -> tensor<1x4x4x3xi8>
  %u = nvdla.slice %w axis=0 begin=BEGIN size=4
  %e = nvdla.conv %a, %u -> !nvdla.stream<1x4x4x3xi32>
  %f = nvdla.sdp %e cvt_shift=7 -> tensor<1x4x4x3xi8>
  %1 = nvdla.download %s -> tensor<1x16x4x3xi8>
  %2 = nvdla.download %t -> tensor<1x4x4x3xi8>
  %3 = nvdla.download %f -> tensor<1x4x4x3xi8>
  func.return %1, %2, %3
}"""  # noqa: E501


def test_weights_that_one_layer_reads_whole_and_others_in_parts() -> None:
    """Kernels lie interleaved for the one, in groups of four for the others."""
    rng = np.random.default_rng(3)
    module, session = module_of(SHARED.replace("BEGIN", "12")), new_session()
    session.resources.add("w", rng.integers(-128, 128, (16, 8, 1, 2), np.int8))
    inputs = {"x": rng.integers(-128, 128, (1, 8, 4, 4), np.int8)}
    func = next(op for op in module.walk() if isinstance(op, FuncOp))
    SetTarget("nv_small").run(module, session)
    expected = Machine(session.resources, Mode.INTEGER).run(func, inputs)
    Pipeline(layers_to_registers()).run(module, session)
    found = Machine(session.resources, Mode.INTEGER).run(func, inputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, name)


def test_parts_of_weights_are_whole_groups() -> None:
    module, session = module_of(SHARED.replace("BEGIN", "6")), new_session()
    session.resources.add("w", np.ones((16, 8, 1, 2), np.int8))
    SetTarget("nv_small").run(module, session)
    with pytest.raises(DiagnosticError, match=r"4 from 6 of axis 0 on, but kernels .* of 4"):
        Pipeline(layers_to_registers()).run(module, session)


@pytest.mark.parametrize(
    ("size", "strides"), [((7, 80), (1, 8)), ((80, 7), (8, 1))], ids=["columns", "rows"]
)
def test_what_no_window_reads_takes_no_room(
    size: tuple[int, int], strides: tuple[int, int]
) -> None:
    """The last of 10 windows, 8 elements apart, ends at the 73rd; 7 times these fill a bank."""
    case = Case(8, *size, 8, (1, 1), strides)
    (found,) = check(case, "nv_small", np.random.default_rng(5))
    assert found.data_banks == 1
