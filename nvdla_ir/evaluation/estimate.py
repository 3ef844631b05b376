"""What a module's hardware layers will cost, before they run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import ConfigureOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nvdla import (
    BdmaOp,
    CdpOp,
    ConvOp,
    PdpOp,
    RubikOp,
    SdpOp,
    WaitOp,
    configuration_of,
)
from nvdla_ir.evaluation.runs import HardwareRun, run_of
from nvdla_ir.hardware.cost.base import Cost, MemoryTiming, total
from nvdla_ir.hardware.cost.model import HANDOVER_CYCLES, CostModel, is_measured
from nvdla_ir.hardware.cost.timeline import Run, Timeline
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Block, Operation
from nvdla_ir.passes.settings.layers import HardwareLayer, device_functions, hardware_layers
from nvdla_ir.passes.settings.programs import fitted_setting


@frozen
class LayerEstimate:
    """One layer of the network, or several that the hardware computes as one.

    units:   those that its hardware layers use, as ``CONV+SDP``
    pieces:  hardware layers that it runs in
    program: the function that they are in
    runs:    each of them
    """

    name: str
    units: str
    pieces: int
    cost: Cost
    program: str = ""
    runs: tuple[HardwareRun, ...] = ()


@frozen
class Estimate:
    """What a module costs on its target.

    layers:    each as if it ran alone
    scheduled: cycles from the first enable to the last interrupt as the waits of the module let
               layers run beside each other; None where it has none yet
    measured:  the numbers of the model were measured on this hardware, not carried over

    Operations on the host take no part.
    """

    hw: HardwareConfiguration
    memory: MemoryTiming
    layers: tuple[LayerEstimate, ...]
    scheduled: float | None = None

    @property
    def measured(self) -> bool:
        return is_measured(self.hw)

    @property
    def programs(self) -> tuple[str, ...]:
        """Device programs, in order."""
        return tuple(dict.fromkeys(layer.program for layer in self.layers))

    @property
    def pieces(self) -> int:
        """Hardware layers."""
        return sum(layer.pieces for layer in self.layers)

    @property
    def total(self) -> Cost:
        """Of all layers, without what passes between them."""
        return total(layer.cost for layer in self.layers)

    @property
    def handover_cycles(self) -> int:
        """What passes between the layers, if each waits for the one before."""
        return HANDOVER_CYCLES * (self.pieces - 1)

    @property
    def sequential(self) -> float:
        """From the first enable to the last interrupt, if each waits for the one before."""
        return self.total.cycles + self.handover_cycles

    @property
    def cycles(self) -> float:
        """From the first enable to the last interrupt."""
        return self.sequential if self.scheduled is None else self.scheduled


def estimate(module: ModuleOp, memory: MemoryTiming) -> Estimate:
    """The costs of a module's hardware layers, whose shares of the convolution buffer are known.

    Raises: DiagnosticError where it has none, or has become registers; with all layers that have
    no share yet, or that the hardware cannot run.
    """
    functions = list(device_functions(module))
    blocks = [function.body for function in functions]
    layers = [(f.sym_name, layer) for f in functions for layer in hardware_layers(f.body)]
    if not layers:
        raise _nothing(module)
    settings: dict[Operation, Layer] = {}
    model = CostModel(configuration_of(module), memory)
    # two programs may have pieces of one layer
    found: dict[tuple[str, object], list[tuple[HardwareLayer, Cost]]] = {}
    faults: list[DiagnosticError] = []
    for program, layer in layers:
        try:
            setting = settings[layer.last] = fitted_setting(layer, model.hw)
            cost = model.cost(setting)
        except DiagnosticError as error:
            faults.append(error)
            continue
        found.setdefault((program, layer.names or layer), []).append((layer, cost))
    if faults:
        raise DiagnosticError(*(one for fault in faults for one in fault.diagnostics))
    waits = (isinstance(op, WaitOp) for block in blocks for op in block.operations)
    return Estimate(
        model.hw,
        memory,
        tuple(_layer_estimate(pieces, program, model.hw) for (program, _), pieces in found.items()),
        _duration(blocks, settings, model) if any(waits) else None,
    )


def _duration(
    blocks: Iterable[Block], settings: Mapping[Operation, Layer], model: CostModel
) -> float:
    """Cycles of all blocks, whose layers run beside each other as their waits say."""
    timeline = Timeline(model)
    runs: dict[Operation, Run] = {}
    for block in blocks:
        for operation in block.operations:
            if operation in settings:
                runs[operation] = timeline.enable(settings[operation])
            elif isinstance(operation, WaitOp):
                layer = operation.input.defining_operation
                assert layer is not None
                timeline.wait(runs[layer])
    return timeline.finish()


def _layer_estimate(
    pieces: list[tuple[HardwareLayer, Cost]], program: str, hw: HardwareConfiguration
) -> LayerEstimate:
    first = pieces[0][0]
    name = "+".join(first.names) if first.names else first.last.name
    used = {name for layer, _ in pieces for name in _units(layer)}
    units = [name for name in _UNITS.values() if name in used]
    return LayerEstimate(
        name,
        "+".join(units),
        len(pieces),
        total(cost for _, cost in pieces),
        program,
        tuple(run_of(layer, "+".join(_units(layer)), cost, hw) for layer, cost in pieces),
    )


_UNITS: dict[type[Operation], str] = {
    ConvOp: "CONV",
    SdpOp: "SDP",
    PdpOp: "PDP",
    CdpOp: "CDP",
    RubikOp: "RUBIK",
    BdmaOp: "BDMA",
}


def _units(layer: HardwareLayer) -> list[str]:
    return [_UNITS[type(operation)] for operation in layer.operations]


def _nothing(module: ModuleOp) -> DiagnosticError:
    is_program = any(
        isinstance(operation, ConfigureOp)
        for function in module.body.operations
        if isinstance(function, FuncOp) and not function.is_declaration
        for operation in function.body.operations
    )
    what = "the module is a register program already" if is_program else "it has no hardware layers"
    return DiagnosticError.at(
        module.location,
        f"there is nothing to estimate, {what}: estimates are made of hardware layers, after "
        "'fit-convolution-buffer' and before 'emit-registers'",
    )
