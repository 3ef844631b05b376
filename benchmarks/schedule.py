"""What the overlap of layers saves by estimate, in cycles and at what cost in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from calibrated_networks import googlenet, resnet50
from measure import Row

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import MEMORY_BYTES_ATTRIBUTE
from nvdla_ir.evaluation.estimate import Estimate, estimate
from nvdla_ir.hardware.cost.base import MemoryTiming
from nvdla_ir.ir.attributes import IntegerAttr
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import PassRegistry
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse
from nvdla_ir.text.pipeline_syntax import parse_pipeline

DIGITS = Path(__file__).resolve().parent.parent / "examples" / "digits"
PASSES = (
    "set-target{{target={target}}},{calibration}fold-batch-norm,canonicalize,quantize-weights,"
    "insert-converters,legalize-to-nvdla,outline-device-programs,fit-convolution-buffer,"
    "stream-to-pooling,schedule-layers{{overlap={overlap}}},allocate-memory"
)


def rows() -> Iterator[Row]:
    residual = (DIGITS / "resnet.ir").read_text()
    calibration = f"import-calibration{{file={DIGITS / 'resnet.calib.json'}}},"
    for name, text, first in (
        ("residual digits", residual, calibration),
        ("ResNet-50", resnet50(), ""),
        ("GoogLeNet", googlenet(), ""),
    ):
        for target in ("nv_small", "nv_large"):
            before, memory_before = _compiled(text, first, target, "off")
            after, memory_after = _compiled(text, first, target, "on")
            what = f"{name}, {target}"
            yield _row(f"{what}, one by one", before.cycles, "cycles")
            yield _row(f"{what}, overlapping", after.cycles, "cycles")
            yield _row(f"{what}, saved", 100 * (1 - after.cycles / before.cycles), "%")
            yield _row(f"{what}, more memory", 100 * (memory_after / memory_before - 1), "%")


def _row(name: str, value: float, unit: str) -> Row:
    return Row("schedule by estimate", name, value, unit)


def _compiled(text: str, calibration: str, target: str, overlap: str) -> tuple[Estimate, int]:
    """The estimate, and the bytes of memory."""
    operations = parse(text, default_context(), "network.ir").operations
    (first,) = operations
    module = first if isinstance(first, ModuleOp) else ModuleOp.of(operations)
    session = Session(ResourceStore())
    if module.weights_file is not None:
        session.resources.attach(DIGITS / module.weights_file)
    passes = PASSES.format(target=target, calibration=calibration, overlap=overlap)
    location = FileLineCol("<pipeline>", 1, 1)
    Pipeline(map(PassRegistry().create, parse_pipeline(passes, location))).run(module, session)
    memory = module.attributes[MEMORY_BYTES_ATTRIBUTE]
    assert isinstance(memory, IntegerAttr)
    return estimate(module, MemoryTiming()), memory.value
