"""Whether the time of a compile grows with the network only: chains, from text to registers."""

from __future__ import annotations

import time
from collections.abc import Iterator

from measure import Row

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import PassRegistry
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse
from nvdla_ir.text.pipeline_syntax import parse_pipeline
from nvdla_ir.text.printer import print_operation

TENSOR = "tensor<1x8x4x4x!quant.calibrated<f32<-1.0:1.0>>>"
PASSES = (
    "set-target{target=nv_small},fold-batch-norm,canonicalize,quantize-weights,insert-converters,"
    "legalize-to-nvdla,outline-device-programs,fit-convolution-buffer,stream-to-pooling,"
    "schedule-layers,allocate-memory,emit-registers"
)
SHORT, LONG = 2_000, 20_000


def chain(layers: int) -> str:
    """Convolutions with a ReLU each; weights repeat after 97."""
    lines = [f"func.func @main(%v0: {TENSOR}) -> {TENSOR} {{"]
    for index in range(layers):
        lines += [
            f"  %w{index} = nn.constant value=dense<{index % 97 / 1000 + 0.01}> : "
            "tensor<8x8x1x1xf32>",
            f'  %c{index} = nn.conv %v{index}, %w{index} layers=["conv{index}"] -> {TENSOR}',
            f'  %v{index + 1} = nn.relu %c{index} layers=["relu{index}"] -> {TENSOR}',
        ]
    return "\n".join([*lines, f"  func.return %v{layers}", "}"])


def milliseconds_a_layer(layers: int) -> float:
    """CPU time from text to the text of the register program."""
    text = chain(layers)
    registry = PassRegistry()
    start = time.process_time()
    module = ModuleOp.of(parse(text, default_context(), "chain.ir").operations)
    passes = map(registry.create, parse_pipeline(PASSES, FileLineCol("<pipeline>", 1, 1)))
    Pipeline(passes).run(module, Session(ResourceStore()))
    print_operation(module)
    return (time.process_time() - start) / layers * 1e3


def rows() -> Iterator[Row]:
    milliseconds_a_layer(100)  # imports, and caches of the parser
    short, long = (milliseconds_a_layer(layers) for layers in (SHORT, LONG))
    yield Row("chain", f"{SHORT:,} layers, a layer", short, "ms CPU")
    yield Row("chain", f"{LONG:,} layers, a layer", long, "ms CPU")
    yield Row("chain", "the long one over the short one", long / short, "x", 1.5, "lower")
