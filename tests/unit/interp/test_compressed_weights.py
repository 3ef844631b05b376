"""Weights without their zeros: chosen where that gains, with the bytes of those with zeros."""

from __future__ import annotations

import numpy as np
import pytest
from register_programs import (
    Array,
    Q,
    compile_registers,
    module_for,
    random_inputs,
    run_integers,
)

from nvdla_ir.dialects import csb, nvdla
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.hw.formats.compressed_weights import compressed_sizes
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.compress_weights import CompressWeights
from nvdla_ir.passes.fit_convolution_buffer import FitConvolutionBuffer
from nvdla_ir.resources import ResourceStore


def convolution(channels: int, kernels: int, size: int, taps: int, more: str = "") -> str:
    """A convolution whose padding keeps the size, requantized."""
    pad = taps // 2
    return f"""
func.func @main(%x: tensor<1x{channels}x{size}x{size}x{Q}>)
    -> tensor<1x{kernels}x{size}x{size}x{Q}> {{
  %a = nvdla.upload %x -> tensor<1x{channels}x{size}x{size}x{Q}>
  %w = nvdla.constant value=dense_resource<w> : tensor<{kernels}x{channels}x{taps}x{taps}xi8>
  %c = nvdla.conv %a, %w pads=[{pad}, {pad}, {pad}, {pad}] {more} layers=["conv"]
    -> !nvdla.stream<1x{kernels}x{size}x{size}xi32>
  %s = nvdla.sdp %c cvt_shift=9 -> tensor<1x{kernels}x{size}x{size}x{Q}>
  %y = nvdla.download %s -> tensor<1x{kernels}x{size}x{size}x{Q}>
  func.return %y
}}
"""


def with_weights(target: str, body: str, weights: Array) -> tuple[ModuleOp, Session]:
    module, _ = module_for(target, body)
    resources = ResourceStore()
    resources.add("w", weights)
    return module, Session(resources)


def sparse(shape: tuple[int, ...], density: float, seed: int = 0) -> Array:
    """Of the full range, with so many that are not zero."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-128, 128, shape).astype(np.int8)
    weights[rng.random(shape) >= density] = 0
    return weights


def convolutions(module: ModuleOp) -> list[nvdla.ConvOp]:
    return [op for op in module.walk() if isinstance(op, nvdla.ConvOp)]


NOTHING = np.zeros((40, 70, 1, 1), np.int8)
ONE = np.zeros((40, 70, 1, 1), np.int8)
ONE[39, 69] = -128


@pytest.mark.parametrize(
    ("channels", "kernels", "size", "taps", "weights"),
    [
        (70, 40, 5, 1, NOTHING),
        (70, 40, 5, 1, ONE),
        (70, 40, 5, 1, sparse((40, 70, 1, 1), 0.1)),
        (129, 33, 4, 3, sparse((33, 129, 3, 3), 0.5)),
        (3, 65, 6, 5, sparse((65, 3, 5, 5), 0.3)),
        # kernel groups with few and with many
        (64, 96, 3, 3, np.concatenate([sparse((32, 64, 3, 3), d) for d in (0.05, 0.9, 0.2)])),
    ],
    ids=["nothing", "one", "few", "half", "groups", "uneven"],
)
def test_bytes_are_those_of_weights_with_zeros(
    channels: int, kernels: int, size: int, taps: int, weights: Array
) -> None:
    body = convolution(channels, kernels, size, taps)
    module, session = with_weights("nv_full", body, weights)
    inputs = random_inputs(module)
    expected = run_integers(module, session, inputs)
    CompressWeights().run(module, session)
    (conv,) = convolutions(module)
    assert conv.compressed_weights == compressed_sizes(weights)
    compile_registers(module, session)
    configured = [op for op in module.walk() if isinstance(op, csb.ConfigureOp)]
    assert any("COMPRESSED" in str(op.fields) and op.unit == "CSC" for op in configured)
    found = run_integers(module, session, inputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_dense_weights_stay_as_they_are() -> None:
    module, session = with_weights("nv_full", convolution(70, 40, 5, 1), sparse((40, 70, 1, 1), 1))
    CompressWeights().run(module, session)
    assert convolutions(module)[0].compressed_weights is None


@pytest.mark.parametrize("target", ["nv_small", "nv_large"])
def test_only_where_the_hardware_reads_them(target: str) -> None:
    module, session = with_weights(target, convolution(70, 40, 5, 1), NOTHING)
    CompressWeights().run(module, session)
    assert convolutions(module)[0].compressed_weights is None


def test_what_fills_the_buffer_has_no_bank_for_the_mask() -> None:
    """Data take 14 of 16 banks, weights two."""
    weights = sparse((32, 1024, 1, 1), 0.2)
    module, session = with_weights("nv_full", convolution(1024, 32, 21, 1), weights)
    CompressWeights().run(module, session)
    assert convolutions(module)[0].compressed_weights is None
    FitConvolutionBuffer().run(module, session)
    (conv,) = convolutions(module)
    assert (conv.data_banks, conv.weight_banks) == (14, 2)


def compiled(more: str) -> None:
    module, session = with_weights("nv_full", convolution(70, 40, 5, 1, more), ONE)
    compile_registers(module, session)
    if session.diagnostics.errors:
        raise DiagnosticError(session.diagnostics.errors)


def test_sizes_that_the_weights_do_not_have() -> None:
    with pytest.raises(DiagnosticError, match=r"= \[256, 384\]', but takes \[128, 384\] bytes"):
        compiled("compressed_weights=[256, 384]")


def test_pieces_read_no_compressed_weights() -> None:
    module, session = with_weights(
        "nv_full",
        convolution(256, 32, 60, 3, "compressed_weights=[128, 9216]"),
        np.zeros((32, 256, 3, 3), np.int8),
    )
    FitConvolutionBuffer().run(module, session)
    (error,) = session.diagnostics.errors
    assert "'conv' does not fit the convolution buffer of nv_full at once" in error.message


def test_the_mask_of_a_group_has_one_bank() -> None:
    weights = np.zeros((32, 1024, 3, 3), np.int8)
    module, session = with_weights("nv_full", convolution(1024, 32, 3, 3), weights)
    CompressWeights().run(module, session)
    assert convolutions(module)[0].compressed_weights is None, "36,864 bytes are too many"
