"""What compiling networks of real size takes: CPU time from the start of the process to its end,
and memory. Pages of the mapped weights file, which the system may drop, count for nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from float_models import IMAGE, Network, resnet50
from measure import Row, child_cpu_seconds

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import WEIGHTS_ATTRIBUTE, ModuleOp
from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.files import write_together
from nvdla_ir.hw import configuration
from nvdla_ir.ir.attributes import StringAttr
from nvdla_ir.ir.operation import Value
from nvdla_ir.resources import file_parts
from nvdla_ir.text.printer import print_operation

BIN = Path(sys.executable).parent
CONFIGURATIONS = Path(configuration.__file__).parent / "configurations"
TARGETS = ("nv_large", "nv_full", "nv_small")
OWN_TARGET = "my.toml"
"""nv_large as a user writes it down."""
MEGABYTE = 1_000_000
BESIDE_THE_WEIGHTS = 150 * MEGABYTE
VGG_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels, and convolutions of 3x3."""


def vgg16(network: Network) -> None:
    """The network of Simonyan and Zisserman, with random weights."""
    x = network.input
    for channels, layers in VGG_STAGES:
        for _ in range(layers):
            x = network.relu(_weighted(network, x, nn.ConvOp, (channels, nn.shape_of(x)[1], 3, 3)))
        x = network.add(nn.MaxPoolOp, "MaxPool", [x], kernel=(2, 2), strides=(2, 2))
    x = network.add(nn.FlattenOp, "Flatten", [x])
    for outputs in (4096, 4096):
        x = network.relu(_weighted(network, x, nn.FullyConnectedOp, (outputs, nn.shape_of(x)[1])))
    _weighted(network, x, nn.FullyConnectedOp, (1000, nn.shape_of(x)[1]))


def _weighted(network: Network, x: Value, kind: type[Any], shape: tuple[int, ...]) -> Value:
    rng = np.random.default_rng(len(network.weights))
    deviation = np.float32((2 / np.prod(shape[1:])) ** 0.5)
    weight = network.constant(rng.standard_normal(shape, np.float32) * deviation)
    bias = network.constant(rng.standard_normal(shape[0], np.float32) * np.float32(0.05))
    fields = {"pads": (1, 1, 1, 1)} if len(shape) == 4 else {}
    return network.add(kind, "", [x, weight, bias], **fields)


def rows() -> Iterator[Row]:
    for name, build, targets, limit, runs in (
        ("ResNet-50", resnet50, (*TARGETS, OWN_TARGET), 2.0, 3),
        ("VGG-16", vgg16, TARGETS, 4.0, 1),
    ):
        with tempfile.TemporaryDirectory() as folder:
            yield from _rows_of(name, build, targets, limit, runs, Path(folder))


def _rows_of(
    name: str,
    build: Callable[[Network], None],
    targets: Sequence[str],
    limit: float,
    runs: int,
    folder: Path,
) -> Iterator[Row]:
    """limit: of the seconds of CPU time; runs: of which the quickest counts"""
    shutil.copy(CONFIGURATIONS / "nv_large.toml", folder / OWN_TARGET)
    network = Network()
    build(network)
    source, table = folder / "net.ir", folder / "net.calib.json"
    _write(network, source)
    image = folder / "image.npz"
    np.savez(image, data=np.random.default_rng(0).normal(size=IMAGE).astype(np.float32))
    calibrate = [BIN / "nvdla-calibrate", source, f"--data={image}", "--method=minmax"]
    subprocess.run([*calibrate, "-o", table], check=True, capture_output=True)
    output = folder / "net.csb.ir"
    for target in targets:
        hardware = folder / target if target == OWN_TARGET else target
        flags = [f"--import-calib={table}", "--quantize", f"--compile={hardware}"]
        command = [str(BIN / "nvdla-opt"), *flags, str(source), "-o", str(output)]
        seconds = child_cpu_seconds(command, runs)
        yield Row("compile", f"{name}, {target}", seconds, "s CPU", limit, "lower")
        peak = peak_bytes(command) / MEGABYTE
        packed = output.with_suffix(".safetensors").stat().st_size + BESIDE_THE_WEIGHTS
        what = f"{name}, {target}, memory beside the mapped file"
        yield Row("compile", what, peak, "MB", packed / MEGABYTE, "lower")


def _write(network: Network, path: Path) -> None:
    function = network.function()
    for number, op in enumerate(function.body.operations):
        if isinstance(op, LayerOp) and not isinstance(op, nn.ConstantOp):
            op.layers = (f"layer{number}",)
    module = ModuleOp.of([function])
    weights = path.with_suffix(".safetensors")
    write_together({weights: file_parts(network.resources.tensors(module))})
    module.attributes[WEIGHTS_ATTRIBUTE] = StringAttr(weights.name)
    path.write_text(print_operation(module), encoding="utf-8")


def peak_bytes(command: list[str]) -> int:
    """The most memory that a process has which is no part of a file, looked at every 2 ms."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        status = Path(f"/proc/{child.pid}/status")
        while child.poll() is None:
            for line in status.read_text().splitlines():
                if line.startswith("RssAnon:"):
                    peak = max(peak, int(line.split()[1]) * 1024)
            time.sleep(0.002)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} failed")
    return peak
