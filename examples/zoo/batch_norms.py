"""Batch norms with the statistics of what comes in, as training leaves them.

Random means and variances let activations grow or die from layer to layer; ranges that are
calibrated on such a network say little.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from network import Layer, Network, Weights
from numpy.typing import NDArray
from onnx_writer import onnx_model

from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nn import BatchNormOp
from nvdla_ir.frontends.onnx import import_onnx
from nvdla_ir.interp.machine import Machine
from nvdla_ir.interp.registry import Numbers, Values, find_kernel
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.resources import ResourceStore

_LEAST_VARIANCE = 1e-3


def photos(network: Network, count: int, seed: int = 0) -> NDArray[np.float32]:
    """Random images with the spectrum of photos, where the power falls with the frequency, of
    mean 0 and variance 1."""
    channels, height, width = network.input_shape
    rng = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    shape = (count, channels, *amplitude.shape)
    waves = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * amplitude
    images = np.fft.irfft2(waves, (height, width))
    images -= images.mean(axis=(2, 3), keepdims=True)
    images /= images.std(axis=(1, 2, 3), keepdims=True)
    return images.astype(np.float32)


def with_statistics(network: Network, images: NDArray[np.float32]) -> Network:
    """``network`` whose batch norms have the means and variances of what ``images`` bring them."""
    found: dict[str, Mapping[str, Weights]] = {}
    resources = ResourceStore()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        file.write_bytes(onnx_model(network, len(images)).SerializeToString())
        module = import_onnx(file, resources, shapes={}, diagnostics=DiagnosticCollector())
        function = module.body.first_op
        assert isinstance(function, FuncOp)
        machine = Machine(resources)
        known: dict[Any, Any] = dict(zip(function.body.arguments, [images], strict=True))
        for operation in function.body.operations:
            if isinstance(operation, BatchNormOp):
                x: NDArray[np.float32] = known[operation.input]
                mean = x.mean(axis=(0, 2, 3))
                variance = np.maximum(x.var(axis=(0, 2, 3)), np.float32(_LEAST_VARIANCE))
                known[operation.mean], known[operation.variance] = mean, variance
                assert operation.layers is not None
                found[operation.layers[-1]] = {"mean": mean, "variance": variance}
            kernel = find_kernel(operation, Numbers.REAL)
            if kernel is not None:
                values = Values(machine, known, as_reals=False)
                known[operation.results[0]] = kernel.function(operation, values)
    return evolve(network, layers=tuple(_with(layer, found) for layer in network.layers))


def _with(layer: Layer, found: Mapping[str, Mapping[str, Weights]]) -> Layer:
    measured = found.get(layer.name)
    return layer if measured is None else evolve(layer, weights={**layer.weights, **measured})
