"""From an imported model to integers and registers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onnx_models import Arrays, Imported

from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.passes.allocate_memory import AllocateMemory
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.canonicalize import Canonicalize
from nvdla_ir.passes.emit_registers import EmitRegisters
from nvdla_ir.passes.fold_batch_norm import FoldBatchNorm
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.legalize_to_nvdla import LegalizeToNvdla
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.quantize_weights import QuantizeWeights

TARGET = "nv_small"


def outputs_of_levels(
    imported: Imported, inputs: Arrays, session: Session | None = None
) -> Iterator[tuple[str, list[Any]]]:
    """By name of the level, the outputs of ``imported``, which is changed on the way: as reals,
    as integers, as registers."""
    session = session or Session(imported.resources)
    for mode in (Mode.FLOAT, Mode.FAKE_QUANTIZED):
        yield mode.value, list(imported.run(inputs, mode).values())
    levels = {
        "integers": [FoldBatchNorm(), Canonicalize(), QuantizeWeights(), InsertConverters()],
        "registers": [LegalizeToNvdla(TARGET), AllocateMemory(), EmitRegisters()],
    }
    for name, passes in levels.items():
        Pipeline(passes).run(imported.module, session)
        session.diagnostics.raise_if_errors()
        machine = Machine(imported.resources, Mode.INTEGER)
        yield name, list(machine.run(imported.main, inputs).values())
