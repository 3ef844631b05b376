"""From a loadable to a module of csb operations."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np
from attrs import define, field

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import (
    BYTES,
    MEMORY_BASE_ATTRIBUTE,
    MEMORY_BYTES_ATTRIBUTE,
    SECONDARY,
    DownloadOp,
    LoadOp,
    UploadOp,
)
from nvdla_ir.dialects.func import NAME_ATTRIBUTE, FuncOp, ReturnOp
from nvdla_ir.dialects.nvdla import FEATURE, TARGET_ATTRIBUTE, target_attribute
from nvdla_ir.dialects.quant import DequantizeCastOp, QuantizeCastOp, uniform_i8
from nvdla_ir.formats.loadable.buffers import MEMORY_BASE, Buffer, Buffers, allocate_buffers
from nvdla_ir.formats.loadable.container import read_container
from nvdla_ir.formats.loadable.host import HostOperation, HostSurface
from nvdla_ir.formats.loadable.layers import Destination, Layer
from nvdla_ir.formats.loadable.program import Program, program_for, read_steps
from nvdla_ir.formats.loadable.tensors import (
    BoundTensor,
    bound_bytes,
    bound_tensor,
    require_known,
    tensor_names,
)
from nvdla_ir.hardware.program import ProgramBuilder
from nvdla_ir.hw.configuration import configuration_file
from nvdla_ir.ir.attributes import IntegerAttr, StringAttr, is_bare_identifier
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import Location, NameLoc
from nvdla_ir.ir.operation import Block, Region, Value
from nvdla_ir.ir.types import F32, I8, FunctionType, TensorType
from nvdla_ir.resources import ResourceStore

HARDWARE_RESULT = "-"
"""The name of the last hardware layer's destination."""

_AWAITED = ("SDP", "PDP", "CDP", "RUBIK", "BDMA")
"""Interrupts that say that a layer is done."""


def import_loadable(
    data: bytes,
    file: str,
    resources: ResourceStore,
    *,
    target: str | None = None,
    raw_inputs: Collection[str] = (),
    raw_outputs: Collection[str] = (),
    hardware_only: bool = False,
    diagnostics: DiagnosticCollector | None = None,
) -> ModuleOp:
    """A module whose ``@main`` does what the vendor's runtime and firmware do with a loadable.

    Inputs and outputs are named after the bound tensors, in the order of their bind ids. Each is a
    tensor of 8-bit integers as the loadable describes it; of those named in ``raw_inputs`` and
    ``raw_outputs`` it is the bytes of the bound buffer. What the host computes last is returned as
    the reals that it is. Constants become ``resources``; ``file`` is what locations call it.

    ``target`` names the hardware configuration; without, the first that everything fits is taken,
    which is told to ``diagnostics``. With ``hardware_only`` the host's operations are left out and
    the destination of the last hardware layer is returned, under the name ``-``.

    Raises: DiagnosticError for files that are garbled, inconsistent, or not INT8, and where the
    hardware does not fit.
    """
    collector = DiagnosticCollector() if diagnostics is None else diagnostics
    location = NameLoc(file)
    buffers = allocate_buffers(read_container(data, file), location)
    inputs = tensor_names(buffers.inputs, "input")
    outputs = tensor_names(buffers.outputs, "output")
    require_known(raw_inputs, inputs, "input", location)
    known = [HARDWARE_RESULT] if hardware_only else outputs
    require_known(raw_outputs, known, "output", location)
    steps = read_steps(buffers, hardware_only=hardware_only)
    description = None if target is None else configuration_file(target)
    if description is not None:
        resources.add_source(description)
    program = program_for(buffers, steps, target, collector)
    if program.ignores_statistics:
        collector.remark(location, "the statistics that it asks for are not written")
    assembly = _Assembly(buffers, program, resources, location, collector)
    assembly.start()
    for name, buffer in zip(inputs, buffers.inputs, strict=True):
        assembly.bind_input(_seen(name, buffer, raw_inputs, program, location))
    for step in program.steps:
        assembly.add(step)
    if hardware_only:
        assembly.return_last_layer(HARDWARE_RESULT in raw_outputs)
    else:
        for name, buffer in zip(outputs, buffers.outputs, strict=True):
            assembly.bind_output(name, buffer, name in raw_outputs)
    return assembly.finish()


def _seen(
    name: str, buffer: Buffer, raw: Collection[str], program: Program, location: Location
) -> BoundTensor:
    if name in raw:
        return bound_bytes(name, buffer, location)
    return bound_tensor(name, buffer, program.hw, location)


@define(eq=False)
class _Assembly:
    """The function under construction."""

    buffers: Buffers
    program: Program
    resources: ResourceStore
    location: Location
    diagnostics: DiagnosticCollector
    body: Block = field(factory=Block)
    builder: Builder = field(init=False)
    argument_names: list[str] = field(factory=list[str])
    results: list[tuple[str, Value]] = field(factory=list["tuple[str, Value]"])
    _layers: ProgramBuilder = field(init=False)
    _last_layer: Layer | None = None
    # What the host computed last, by the buffer and offset that it went to.
    _computed: dict[tuple[Buffer, int], Value] = field(factory=dict["tuple[Buffer, int]", Value])

    def __attrs_post_init__(self) -> None:
        self.builder = Builder(InsertionPoint.at_end(self.body), self.location)
        self._layers = ProgramBuilder(self.program.hw)

    def start(self) -> None:
        """Load the constants that are used, and mask interrupts that no layer is waited for."""
        bound = {*self.buffers.inputs, *self.buffers.outputs}
        for buffer, content in self.buffers.contents():
            if not len(content.data) or not (buffer in self.program.used or buffer in bound):
                continue
            array = np.frombuffer(content.data, np.int8)
            self.builder.create(
                LoadOp,
                address=buffer.address + content.offset,
                memory=_memory(buffer),
                value=self.resources.attribute_for(_key(content.name), array, I8),
            )
        layers = [step for step in self.program.steps if isinstance(step, Layer)]
        if layers:
            convolves = any("CDMA" in layer.program.units for layer in layers)
            self._layers.start(self.builder, _AWAITED, convolves=convolves)

    # -------------------------------------------------------------- tensors

    def bind_input(self, tensor: BoundTensor) -> None:
        """Make ``tensor`` an argument, which goes to its buffer."""
        argument = self.body.add_argument(tensor.type)
        argument.name_hint = _hint(tensor.name)
        self.argument_names.append(tensor.name)
        moves_bytes = tensor.format == BYTES
        self.builder.create(
            UploadOp,
            input=argument,
            address=tensor.address,
            memory=_memory(tensor.buffer),
            line_stride=None if moves_bytes else tensor.line_stride,
            surface_stride=tensor.surface_stride or None,
            format=None if tensor.format == FEATURE else tensor.format,
        )

    def bind_output(self, name: str, buffer: Buffer, raw: bool) -> None:
        """Return what a buffer holds at the end."""
        self._layers.settle(self.builder)
        self.builder.location = self.location
        if raw:
            self._download(bound_bytes(name, buffer, self.location))
            return
        tensor = buffer.tensor
        assert tensor is not None
        computed = self._computed.get((buffer, tensor.offset))
        if computed is not None:
            self.results.append((name, computed))
            return
        bound = bound_tensor(name, buffer, self.program.hw, self.location)
        if bound.format != FEATURE:
            raise DiagnosticError.at(
                self.location,
                f"output '{name}' is an image: take it as the bytes of its buffer",
            )
        self._download(bound)

    def _download(self, tensor: BoundTensor) -> None:
        moves_bytes = tensor.format == BYTES
        op = self.builder.create(
            DownloadOp,
            address=tensor.address,
            memory=_memory(tensor.buffer),
            line_stride=None if moves_bytes else tensor.line_stride,
            surface_stride=None if moves_bytes else tensor.surface_stride,
            format=BYTES if moves_bytes else None,
            result_types=[tensor.type],
        )
        op.output.name_hint = _hint(tensor.name)
        self.results.append((tensor.name, op.output))

    def return_last_layer(self, raw: bool) -> None:
        """Return the destination of the last hardware layer."""
        self._layers.settle(self.builder)
        self.builder.location = self.location
        destination = None if self._last_layer is None else self._last_layer.destination
        if destination is None:
            raise DiagnosticError.at(
                self.location, "has no hardware layer that writes memory, so none to return"
            )
        self._download(self._last_tensor(destination, raw))

    def _last_tensor(self, destination: Destination, raw: bool) -> BoundTensor:
        place, cube = destination.place, destination.cube
        if raw:
            type = TensorType((destination.size,), I8)
            return BoundTensor(HARDWARE_RESULT, place.buffer, type, BYTES, place.address, 0, 0)
        if cube is None:
            raise DiagnosticError.at(
                self.location,
                "the last hardware layer makes no feature cube: take its destination as bytes",
            )
        return BoundTensor(
            HARDWARE_RESULT,
            place.buffer,
            TensorType((1, *cube.size), I8),
            FEATURE,
            place.address,
            cube.line_stride,
            cube.surface_stride,
        )

    # -------------------------------------------------------------- layers

    def add(self, step: Layer | HostOperation) -> None:
        if isinstance(step, HostOperation):
            self._layers.settle(self.builder)
            self._host(step)
            return
        self._layers.add(step.program, self.builder)
        # the layer behind it may read what it writes
        self._layers.wait_for(step.program)
        self._last_layer = step
        self._computed.clear()

    # -------------------------------------------------------------- host

    def _host(self, operation: HostOperation) -> None:
        """Compute on reals what the runtime does; its integers go to memory as well."""
        self.builder.location = operation.location
        names = (f"{operation.kind}{operation.index}",)
        source = TensorType(operation.source.shape, uniform_i8(operation.input_scale))
        stored = self.builder.create(
            DownloadOp,
            **_transfer(operation.source),
            result_types=[source],
            layers=names,
        )
        reals = self.builder.create(DequantizeCastOp, input=stored.output)
        if operation.kind == "softmax":
            computed: Value = self.builder.create(
                nn.SoftmaxOp,
                input=reals.output,
                layers=names,
                result_types=[source.with_element(F32)],
            ).output
        else:
            computed = self.builder.create(
                nn.PowerOp,
                input=reals.output,
                power=operation.power,
                scale=operation.scale,
                shift=operation.shift,
                layers=names,
                result_types=[source.with_element(F32)],
            ).output
        integers = self.builder.create(
            QuantizeCastOp,
            input=computed,
            result_types=[
                TensorType(operation.destination.shape, uniform_i8(operation.output_scale))
            ],
        )
        self.builder.create(
            UploadOp, input=integers.output, **_transfer(operation.destination), layers=names
        )
        place = operation.destination.place
        for known in list(self._computed):
            if known[0] is place.buffer:
                del self._computed[known]
        self._computed[place.buffer, place.offset] = computed

    # -------------------------------------------------------------- module

    def finish(self) -> ModuleOp:
        self._layers.settle(self.builder)
        self.builder.location = self.location
        self.builder.create(ReturnOp, values=[value for _, value in self.results])
        function = FuncOp.create(
            sym_name="main",
            function_type=FunctionType(
                tuple(argument.type for argument in self.body.arguments),
                tuple(value.type for _, value in self.results),
            ),
            arg_attrs=_named(self.argument_names),
            res_attrs=_named([name for name, _ in self.results]),
            regions=[Region([self.body])],
            location=self.location,
        )
        module = ModuleOp.of([function])
        module.location = self.location
        module.attributes[TARGET_ATTRIBUTE] = target_attribute(self.program.hw)
        used = self.buffers.used_bytes()
        if used:
            module.attributes[MEMORY_BASE_ATTRIBUTE] = IntegerAttr(MEMORY_BASE)
            module.attributes[MEMORY_BYTES_ATTRIBUTE] = IntegerAttr(used)
        return module


def _named(names: Sequence[str]) -> list[dict[str, StringAttr]] | None:
    return [{NAME_ATTRIBUTE: StringAttr(name)} for name in names] or None


def _memory(buffer: Buffer) -> str | None:
    """What an operation says of the memory; the primary one goes without saying."""
    return SECONDARY if buffer.in_sram else None


def _transfer(surface: HostSurface) -> dict[str, int | str | None]:
    return {
        "address": surface.place.address,
        "memory": _memory(surface.place.buffer),
        "line_stride": surface.line_stride,
        "surface_stride": surface.surface_stride,
    }


def _key(name: str) -> str:
    return name or "constant"


def _hint(name: str) -> str | None:
    """``name`` as the name of a value in the text."""
    bare = re.sub(r"[^\w.$]", "_", name, flags=re.ASCII)
    return bare if is_bare_identifier(bare) else f"_{bare}"
