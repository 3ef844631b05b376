"""From an imported model to integers and registers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnx_models import Arrays, Imported, model, node, runtime_outputs

from nvdla_ir.interp.machine import Machine, Mode, default_mode
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.canonicalize import Canonicalize
from nvdla_ir.passes.fold_batch_norm import FoldBatchNorm
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.legalize_to_nvdla import LegalizeToNvdla
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.quantize_weights import QuantizeWeights
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.set_target import SetTarget

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
        "registers": [SetTarget(TARGET), LegalizeToNvdla(), *layers_to_registers()],
    }
    for name, passes in levels.items():
        Pipeline(passes).run(imported.module, session)
        session.diagnostics.raise_if_errors()
        machine = Machine(imported.resources, Mode.INTEGER)
        yield name, list(machine.run(imported.main, inputs).values())


class Network:
    """Nodes and constants of a QDQ model with an input ``x`` of shape 1xCx1xN."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.imported: Imported
        self.session: Session

    def codes(self, name: str, scale: float, zero_point: int = 0, dtype: Any = np.int8) -> str:
        """``name`` rounded to codes and back."""
        self.constants |= {f"{name}.s": np.float32(scale), f"{name}.z": dtype(zero_point)}
        parameters = [f"{name}.s", f"{name}.z"]
        self.nodes += [
            node("QuantizeLinear", [name, *parameters], [f"{name}.q"]),
            node("DequantizeLinear", [f"{name}.q", *parameters], [f"{name}.d"]),
        ]
        return f"{name}.d"

    def conv(
        self, source: str, name: str, weights: Any, scales: Any, zero_points: Any = 0, bias: Any = 0
    ) -> None:
        """A 1x1 convolution of quantized weights KxC, its scales and zero points one or K."""
        weights = np.asarray(weights)
        self.constants |= {
            f"{name}.w": weights.reshape(*weights.shape, 1, 1),
            f"{name}.ws": np.asarray(scales, np.float32),
            f"{name}.wz": np.broadcast_to(zero_points, np.shape(scales)).astype(weights.dtype),
            f"{name}.b": np.broadcast_to(bias, len(weights)).astype(np.float32),
        }
        inputs = [f"{name}.w", f"{name}.ws", f"{name}.wz"]
        axis = {"axis": 0} if np.ndim(scales) else {}
        self.nodes += [
            node("DequantizeLinear", inputs, [f"{name}.wd"], **axis),
            node("Conv", [source, f"{name}.wd", f"{name}.b"], [name], name=name),
        ]

    def check(self, output: str, x: Any, expected: Any, folder: Path) -> None:
        """All levels, and ONNX Runtime, make ``expected`` of ``x`` (channels by columns)."""
        pixels = np.array(x, np.float32, ndmin=2)[None, :, None, :]
        wanted = np.array(expected, np.float64, ndmin=2)
        proto = model(self.nodes, {"x": pixels.shape}, [output], self.constants)
        (of_runtime,) = runtime_outputs(proto, {"x": pixels})
        assert np.allclose(of_runtime[0, :, 0], wanted, atol=1e-5)
        self.imported = Imported(proto, folder)
        assert default_mode(self.imported.main) is Mode.FAKE_QUANTIZED
        self.session = Session(self.imported.resources)
        for level, (found,) in outputs_of_levels(self.imported, {"x": pixels}, self.session):
            assert np.allclose(found[0, :, 0], wanted, atol=1e-5), level
