"""How much of what each layer computes saturates, by its registers on the device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from numpy.typing import NDArray

from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.interp.csb.run import executed_layers
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.resources import ResourceStore

Saturation: TypeAlias = "Mapping[tuple[str, str], float]"
"""By device program and names of layers, joined by ``+``: the share of elements, 0 to 1, that a
unit clamped to 8 bits."""


def saturated_shares(
    func: FuncOp, resources: ResourceStore, inputs: Mapping[str, NDArray[Any]]
) -> Saturation:
    """What saturates in a run.

    func:   the host's function of a register program
    inputs: by name, as a machine takes them, [N, …]; of each image

    Raises: DiagnosticError where there are no registers, and for what the device refuses.
    """
    counts: dict[tuple[str, str], list[int]] = {}
    images = min(map(len, inputs.values()), default=0)
    for image in range(images):
        machine = Machine(resources, Mode.INTEGER)
        machine.run(func, {name: array[image : image + 1] for name, array in inputs.items()})
        for layer in executed_layers(machine):
            record = layer.record
            found = counts.setdefault((layer.program, "+".join(layer.names)), [0, 0])
            found[0] += sum(record.saturated.get(unit, 0) for unit in ("SDP", "CDP"))
            found[1] += math.prod(record.shape.get("output", (0,)))
    if images and not counts:
        raise DiagnosticError.at(
            func.location,
            f"'@{func.sym_name}' is no register program, of which alone it is known what "
            "saturates: end with 'emit-registers', as '--compile' does",
        )
    return {key: clamped / max(elements, 1) for key, (clamped, elements) in counts.items()}
