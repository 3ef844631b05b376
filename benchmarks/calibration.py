"""Calibration: ResNet-50 beside ONNX Runtime's entropy calibrator, thresholds alone, and the INT8
accuracy of the digits networks by each method."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure import Row, best_seconds

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples" / "digits"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples" / "zoo"))

from digits import HERE as DIGITS
from digits import run, sqnr, stage_named, test_set

from nvdla_ir.calibration.histogram import Histogram
from nvdla_ir.calibration.measurement import Group, Measurement, Meter
from nvdla_ir.calibration.methods import METHODS, Entropy
from nvdla_ir.interp.machine import Mode
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import PassRegistry
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.pipeline_syntax import parse_pipeline
from nvdla_ir.tools.calibrate_options import AUTOMATIC
from nvdla_ir.tools.nvdla_calibrate import main as nvdla_calibrate

IMAGES = 6
THRESHOLD_TENSORS = 54
SQNR_TARGET = 33.0
LOSS_TARGET = 1.0
TOP1_TOLERANCE = 0.4


def rows() -> Iterator[Row]:
    yield _thresholds()
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
        yield from _resnet50()
    for network in ("lenet", "resnet"):
        yield from _digits(network)
    if importlib.util.find_spec("onnx"):
        for tail in (3, 8):
            yield from _heavy_tailed(tail)


def _thresholds() -> Row:
    """Entropy thresholds of as many tensors as ResNet-50 has layers with weights."""
    rng = np.random.default_rng(0)
    histograms: list[Histogram] = []
    for index in range(THRESHOLD_TENSORS):
        values = rng.laplace(size=100_000).astype(np.float32)
        histograms.append(Histogram())
        histograms[-1].add(np.maximum(values, 0) if index % 2 else values)
    method = Entropy()
    seconds = best_seconds(lambda: [method.threshold(h) for h in histograms], time.process_time)
    name = f"entropy thresholds of {THRESHOLD_TENSORS} tensors"
    return Row("calibration", name, seconds, "s", 1.0, "lower")


# -------------------------------------------------------------- ResNet-50


def _resnet50() -> Iterator[Row]:
    from zoo import TOPOLOGIES, write

    from nvdla_ir.dialects.func import FuncOp
    from nvdla_ir.frontends.onnx import import_onnx

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "resnet50.onnx")
        write(TOPOLOGIES["resnet50"](), file)
        resources = ResourceStore()
        module = import_onnx(file, resources, shapes={}, diagnostics=DiagnosticCollector())
        func = module.body.first_op
        assert isinstance(func, FuncOp)
        meter = Meter(func, resources)
        name = func.argument_name(func.body.arguments[0])
        rng = np.random.default_rng(1)
        images = rng.normal(size=(IMAGES, 1, 3, 224, 224)).astype(np.float32)
        theirs = _OnnxRuntime(file, Path(folder), name)
        meter.measure([Group(0, ("warm",), {name: images[0]})])
        ours_seconds, their_seconds = [], []
        measured = Measurement()
        for index, image in enumerate(images):
            start = time.process_time()
            measured.merge(meter.measure([Group(index, (f"image {index}",), {name: image})]))
            ours_seconds.append(time.process_time() - start)
            start = time.process_time()
            theirs.collect(image)
            their_seconds.append(time.process_time() - start)
        # The first image of theirs makes the histograms, the others widen them.
        ours, others = 1 / min(ours_seconds), 1 / min(their_seconds)
        yield Row("calibration", "ResNet-50, entropy, images a CPU second", ours, "images/s")
        yield Row("calibration", "ResNet-50, ONNX Runtime's calibrator", others, "images/s")
        yield Row("calibration", "ResNet-50, times ONNX Runtime's speed", ours / others, "", 2.0)
        start = time.process_time()
        for histogram in measured.histograms.values():
            Entropy().threshold(histogram)
        seconds = time.process_time() - start
        count = len(measured.histograms)
        yield Row("calibration", f"ResNet-50, thresholds of all {count} tensors", seconds, "s")


class _OnnxRuntime:
    """ONNX Runtime's entropy calibrator, on one thread."""

    def __init__(self, file: Path, folder: Path, name: str) -> None:
        import onnxruntime
        from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

        self._name = name
        self._calibrator: Any = create_calibrator(
            file,
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=CalibrationMethod.Entropy,
            extra_options={"num_bins": 2048, "num_quantized_bins": 128},
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # As the calibrator sets it: fusion would take the tensors away.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._calibrator.infer_session = onnxruntime.InferenceSession(
            str(folder / "augmented.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def collect(self, image: Any) -> None:
        from onnxruntime.quantization import CalibrationDataReader

        name, images = self._name, iter([image])

        class Reader(CalibrationDataReader):
            def get_next(self) -> Any:
                found = next(images, None)
                return None if found is None else {name: found}

        with contextlib.redirect_stdout(io.StringIO()):
            self._calibrator.collect_data(Reader())


# -------------------------------------------------------------- accuracy


def _digits(network: str) -> Iterator[Row]:
    images, labels = test_set(network)
    floats = run(stage_named("float", network, "nv_small"), images, Mode.FLOAT)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder, "images.npy"))
        # Calibrated on every fifth image, judged by all.
        np.save(data, images[::5])
        for method in (*METHODS, AUTOMATIC):
            table = str(Path(folder, f"{method}.json"))
            model = str(DIGITS / f"{network}.ir")
            arguments = ["--data", data, "--method", method, "--jobs=1", "-o", table]
            if nvdla_calibrate([model, *arguments]):
                raise RuntimeError(f"{method} fails on {network}")
            integers = run(_quantized(network, table), images, Mode.INTEGER)
            name = f"{network}, {method}"
            yield Row(
                "calibration",
                f"{name}, top-1 of INT8",
                integers.top1(labels),
                "%",
                floats.top1(labels) - TOP1_TOLERANCE,
            )
            found[method] = sqnr(floats.logits, integers.logits)
            yield Row("calibration", f"{name}, SQNR of logits", found[method], "dB", SQNR_TARGET)
    lost = max(found.values()) - found[AUTOMATIC]
    name = f"{network}, default method, below the best"
    yield Row("calibration", name, lost, "dB", LOSS_TARGET, "lower")


def _heavy_tailed(tail: int) -> Iterator[Row]:
    """A MobileNet of 48x48 images with random weights, images and weights of Student's distribution
    with ``tail`` degrees of freedom: calibrated on 16 images, judged by 64 others."""
    from network import Builder
    from onnx_writer import onnx_model

    from nvdla_ir.tools.nvdla_translate import main as nvdla_translate

    net = Builder("heavy", (3, 48, 48), tail)
    x = net.relu(net.conv(net.input, "conv1", 8, 3, stride=2, pad=1), "relu1")
    for index, (kernels, stride) in enumerate([(16, 1), (32, 2), (32, 1), (64, 2), (64, 1)], 2):
        channels = net.channels(x)
        x = net.conv(x, f"dw{index}", channels, 3, stride=stride, pad=1, groups=channels)
        x = net.conv(net.relu(x, f"dw{index}_relu"), f"pw{index}", kernels, 1)
        x = net.relu(x, f"pw{index}_relu")
    network = net.finish(net.fully_connected(net.global_average_pool(x, "pool"), "fc", 10))
    rng = np.random.default_rng(tail)
    for layer in network.layers:
        for weights in layer.weights.values():
            drawn = rng.standard_t(tail, weights.shape)
            weights[...] = drawn * (weights.std() / drawn.std())
    images = rng.standard_t(tail, (80, 3, 48, 48)).astype(np.float32)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "m.onnx").write_bytes(onnx_model(network).SerializeToString())
        np.save(folder / "calibrate.npy", images[:16])
        np.save(folder / "judge.npy", images[16:])
        model, table, figures = (str(folder / file) for file in ("m.ir", "c.json", "f.json"))
        _checked(nvdla_translate(["--import-onnx", str(folder / "m.onnx"), "-o", model]))
        for method in (*METHODS, AUTOMATIC):
            data = f"--data={folder / 'calibrate.npy'}"
            with contextlib.redirect_stderr(io.StringIO()):
                _checked(
                    nvdla_calibrate([model, data, "--method", method, "--jobs=1", "-o", table])
                )
            judged = [f"--data={folder / 'judge.npy'}", "--calib", table, "--json", figures]
            with contextlib.redirect_stdout(io.StringIO()):
                _checked(nvdla_calibrate(["--evaluate", model, *judged, "--sensitivity-images=0"]))
            accuracy = json.loads(Path(figures).read_text())["accuracy"]
            found[method] = accuracy[1]["logits"]["sqnr_db"]
            yield Row(
                "calibration",
                f"heavy tails (t, {tail}), {method}, SQNR fake-quantized",
                found[method],
                "dB",
            )
    lost = max(found.values()) - found[AUTOMATIC]
    what = f"heavy tails (t, {tail}), default method, below the best"
    yield Row("calibration", what, lost, "dB", LOSS_TARGET, "lower")


def _checked(status: int) -> None:
    if status:
        raise RuntimeError("a command fails")


def _quantized(network: str, table: str) -> Any:
    """The float network with the ranges of ``table``, in INT8 with converters."""
    stage = stage_named("float", network, "nv_small")
    text = (
        f'import-calibration{{file="{table}"}},fold-batch-norm,canonicalize,quantize-weights,'
        "insert-converters"
    )
    registry = PassRegistry()
    passes = [registry.create(s) for s in parse_pipeline(text, FileLineCol("<pipeline>", 1, 1))]
    Pipeline(passes).run(stage.module, Session(stage.resources))
    return stage
