"""The digits networks as users handle them from Python: load, compile, run, compare."""

# What is found at run time only has no types here.
# pyright: reportMissingImports=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.dialects import default_context, nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.interp.machine import Machine, Mode, executed_operations
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.ir.operation import Operation
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import PassRegistry
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.pipeline_syntax import parse_pipeline
from nvdla_ir.tools.module_files import load_module

HERE = Path(__file__).resolve().parent

Array = NDArray[Any]


@frozen(eq=False)
class Stage:
    """The network at one stage of compilation."""

    name: str
    module: ModuleOp
    resources: ResourceStore

    @property
    def func(self) -> FuncOp:
        return next(op for op in self.module.body.operations if isinstance(op, FuncOp))

    def operation_counts(self) -> dict[str, int]:
        """How many operations of each dialect run, device programs' included."""
        counts: dict[str, int] = {}
        for op in executed_operations(self.func):
            dialect = op.name.partition(".")[0]
            counts[dialect] = counts.get(dialect, 0) + 1
        return counts


def passes_for(network: str, target: str, granularity: str) -> list[tuple[str, str]]:
    """The passes of each stage, as pipeline text."""
    table = HERE / f"{network}.calib.json"
    return [
        ("calibrated", f'set-target{{target={target}}},import-calibration{{file="{table}"}}'),
        (
            "int8 with converters",
            "fold-batch-norm,canonicalize,"
            f"quantize-weights{{granularity={granularity}}},insert-converters",
        ),
        (
            "hardware layers",
            "legalize-to-nvdla,outline-device-programs,fit-convolution-buffer,stream-to-pooling,"
            "schedule-layers,allocate-memory",
        ),
        ("register program", "emit-registers"),
    ]


def compile_stages(network: str, target: str, granularity: str = "per-channel") -> Iterator[Stage]:
    """The network as it is written, then after each stage.

    The module is rewritten in place: look at a stage before you ask for the next one, or clone.
    Raises: DiagnosticError
    """
    path = HERE / f"{network}.ir"
    loaded = load_module(path.read_text(encoding="utf-8"), str(path), HERE, default_context())
    session = Session(loaded.resources)
    registry = PassRegistry()
    yield Stage("float", loaded.module, loaded.resources)
    for name, text in passes_for(network, target, granularity):
        passes = [
            registry.create(specification)
            for specification in parse_pipeline(text, FileLineCol("<pipeline>", 1, 1))
        ]
        Pipeline(passes).run(loaded.module, session)
        yield Stage(name, loaded.module, loaded.resources)


def compiled(network: str, target: str, granularity: str = "per-channel") -> Stage:
    """The register program. Raises: DiagnosticError"""
    *_, last = compile_stages(network, target, granularity)
    return last


def stage_named(name: str, network: str, target: str, granularity: str = "per-channel") -> Stage:
    """One stage. Raises: DiagnosticError, KeyError for an unknown name"""
    for stage in compile_stages(network, target, granularity):
        if stage.name == name:
            return stage
    raise KeyError(name)


def test_set(network: str) -> tuple[Array, NDArray[np.int64]]:
    """The 500 test images as the network takes them, and their labels."""
    with np.load(HERE / "test_images.npz") as file:
        images, labels = file["images"], file["labels"]
    if network == "lenet":
        return images.astype(np.float32) / np.float32(255), labels
    return images, labels


@frozen(eq=False)
class Run:
    """What a network said about images: logits before the softmax, and probabilities."""

    logits: NDArray[np.float64]
    probabilities: NDArray[np.float32]

    def top1(self, labels: NDArray[np.int64]) -> float:
        """Percent of images classified rightly."""
        return float((self.probabilities.argmax(axis=1) == labels).mean() * 100)


def run(
    stage: Stage, images: Array, mode: Mode, advance: Callable[[int], None] | None = None
) -> Run:
    """Run ``images`` through a stage: all at once where its kernels take any batch, else one by
    one; ``advance`` is told how many are done."""
    func = stage.func
    softmax = next(op for op in func.body.operations if isinstance(op, nn.SoftmaxOp))
    logits: list[Array] = []

    def observe(op: Operation, results: Any) -> None:
        if op is softmax.input.defining_operation:
            logits.append(np.array(results[0], dtype=np.float64))

    machine = Machine(stage.resources, mode, observe)
    batch = len(images) if machine.takes_any_batch(func) else 1
    outputs: list[Array] = []
    for start in range(0, len(images), batch):
        outputs.append(machine.run(func, {"data": images[start : start + batch]})["prob"])
        if advance is not None:
            advance(batch)
    classes = outputs[0].shape[1]
    return Run(
        np.concatenate(logits).reshape((-1, classes)),
        np.concatenate(outputs).reshape((-1, classes)),
    )


def sqnr(reference: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
    """Signal to quantization noise, in dB."""
    noise = float(((actual - reference) ** 2).sum())
    return 10 * float(np.log10((reference**2).sum() / noise))
