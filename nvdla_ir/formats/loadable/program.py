"""What a loadable does, in order: its tasks' layers and host operations, for one configuration.
Source: loadable.md sections 2 and 3."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.formats.loadable.buffers import Buffer, Buffers
from nvdla_ir.formats.loadable.container import Interface
from nvdla_ir.formats.loadable.cubes import ReadingContext
from nvdla_ir.formats.loadable.host import HostOperation, read_host_task
from nvdla_ir.formats.loadable.layers import Layer, layer_of
from nvdla_ir.formats.loadable.network import Network, read_network, task_location
from nvdla_ir.formats.loadable.scheduling import FusedGroup, schedule
from nvdla_ir.hw.configuration import (
    ConfigurationError,
    HardwareConfiguration,
    load_configuration,
    names,
)
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError

_MOST_TASKS_OF_A_SUBMISSION = 24
_MOST_STEPS = 1 << 13
"""Layers and host operations, so that no file of a few bytes runs forever."""

_ATOM_OF_FEATURE_FORMAT = {36: 32, 37: 8}
_FEATURE_CATEGORY = 2


@frozen(eq=False)
class ScheduledLayer:
    """A hardware layer as its task describes it."""

    network: Network
    group: FusedGroup


Step = ScheduledLayer | HostOperation


@frozen(eq=False)
class Program:
    """``steps`` in order, programmed for ``hw``; ``used`` are the buffers that they refer to."""

    hw: HardwareConfiguration
    steps: tuple[Layer | HostOperation, ...]
    used: frozenset[Buffer]
    ignores_statistics: bool


def read_steps(buffers: Buffers, *, hardware_only: bool) -> tuple[Step, ...]:
    """The steps of all submissions in order, without those of the host if ``hardware_only``.

    Raises: DiagnosticError for tasks that cannot be read or run.
    """
    container = buffers.container
    by_task: dict[int, tuple[Step, ...]] = {}
    steps: list[Step] = []
    for index, submission in enumerate(container.submit_list):
        if len(submission.task_id) > _MOST_TASKS_OF_A_SUBMISSION:
            raise DiagnosticError.at(
                buffers.location,
                f"submission {index} has {len(submission.task_id)} tasks, but may have "
                f"{_MOST_TASKS_OF_A_SUBMISSION}",
            )
        for task in submission.task_id:
            if task not in by_task:
                by_task[task] = _read_task(buffers, task, hardware_only)
            steps += by_task[task]
            if len(steps) > _MOST_STEPS:
                raise DiagnosticError.at(
                    buffers.location,
                    f"runs more than {_MOST_STEPS} operations: the submissions repeat their tasks",
                )
    return tuple(steps)


def _read_task(buffers: Buffers, task: int, hardware_only: bool) -> tuple[Step, ...]:
    interface = buffers.container.task_list[task].interface
    if interface == Interface.HARDWARE:
        network = read_network(buffers, task)
        return tuple(ScheduledLayer(network, group) for group in schedule(network))
    if interface == Interface.HOST:
        return () if hardware_only else read_host_task(buffers, task)
    raise DiagnosticError.at(
        task_location(task, buffers.location),
        f"is for the interface {interface}, but there are 1 (hardware) and 2 (host)",
    )


def program_for(
    buffers: Buffers,
    steps: tuple[Step, ...],
    target: str | None,
    diagnostics: DiagnosticCollector,
) -> Program:
    """Program the steps for ``target``, or for the first configuration that they fit.

    Raises: DiagnosticError where they do not fit: with a reason for each configuration.
    """
    if target is not None:
        try:
            hw = load_configuration(target)
        except ConfigurationError as error:
            raise DiagnosticError.at(buffers.location, str(error)) from error
        return _program(buffers, steps, hw)
    reasons: list[Diagnostic] = []
    for name in names():
        hw = load_configuration(name)
        try:
            _check_atom(buffers, hw)
            program = _program(buffers, steps, hw)
        except DiagnosticError as error:
            first = error.diagnostics[0]
            reasons.append(Diagnostic.note(first.location, f"not {name}: {first.message}"))
            continue
        diagnostics.remark(
            buffers.location, f"taken for {name}, the first configuration that it fits"
        )
        return program
    raise DiagnosticError.at(
        buffers.location,
        "fits no configuration: name the hardware that it was compiled for, to learn more",
        reasons,
    )


def _check_atom(buffers: Buffers, hw: HardwareConfiguration) -> None:
    """The tensors of newer loadables tell the memory atom; older ones always say 32."""
    for buffer in (*buffers.inputs, *buffers.outputs):
        tensor = buffer.tensor
        if tensor is None or tensor.data_category != _FEATURE_CATEGORY:
            continue
        atom = _ATOM_OF_FEATURE_FORMAT.get(tensor.pixel_format, hw.memory_atom)
        if atom != hw.memory_atom and not _is_old(buffers):
            raise DiagnosticError.at(
                buffers.location,
                f"tensor '{tensor.name}' is in atoms of {atom} bytes, those of {hw.name} have "
                f"{hw.memory_atom}",
            )


def _is_old(buffers: Buffers) -> bool:
    """Whether the blobs are of firmware whose tensors do not tell the atom."""
    versions = [blob.version for blob in buffers.container.blobs if blob.version != (0, 0, 0)]
    return max(versions, default=(0, 0, 0)) < (0, 12, 0)


def _program(buffers: Buffers, steps: tuple[Step, ...], hw: HardwareConfiguration) -> Program:
    buffers.place(hw)
    context = ReadingContext(buffers, hw)
    layers: dict[ScheduledLayer, Layer] = {}
    programmed: list[Layer | HostOperation] = []
    for step in steps:
        if isinstance(step, HostOperation):
            _check_host(step, hw)
            context.used.update((step.source.place.buffer, step.destination.place.buffer))
            programmed.append(step)
            continue
        if step not in layers:
            layers[step] = layer_of(step.group, step.network, context)
        programmed.append(layers[step])
    return Program(
        hw,
        tuple(programmed),
        frozenset(context.used),
        any(isinstance(step, ScheduledLayer) and step.network.has_statistics for step in steps),
    )


def _check_host(operation: HostOperation, hw: HardwareConfiguration) -> None:
    if operation.source.atom != hw.memory_atom:
        raise DiagnosticError.at(
            operation.location,
            f"{operation.kind} works on atoms of {operation.source.atom} bytes, but those of "
            f"{hw.name} have {hw.memory_atom}",
        )
