"""The pass emit-registers."""

from __future__ import annotations

from functools import partial

from attrs import define, field, frozen

from nvdla_ir.dialects import nvdla
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import DownloadOp, InputOp, LoadOp, OutputOp, UploadOp
from nvdla_ir.dialects.func import CallOp, FuncOp
from nvdla_ir.dialects.layer import LayerOp, describe, layers_of
from nvdla_ir.hardware.place import Memory
from nvdla_ir.hardware.program import LayerProgram, ProgramBuilder
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.registers import RegisterError
from nvdla_ir.ir.attributes import DenseResourceAttr
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import I8, TensorType
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.conditions import has_hardware_layers
from nvdla_ir.passes.scheduling.checking import check_waits
from nvdla_ir.passes.settings.constants import TableLayout
from nvdla_ir.passes.settings.layers import HardwareLayer, hardware_layers
from nvdla_ir.passes.settings.loads import Load, loads
from nvdla_ir.passes.settings.memory import (
    InMemory,
    image_format,
    in_memory,
    placed_cube,
    placed_upload,
)
from nvdla_ir.passes.settings.networks import Network, networks
from nvdla_ir.passes.settings.programs import layer_program
from nvdla_ir.passes.settings.views import Views


@frozen
class EmitRegisters(Pass):
    """Turns hardware layers into the register program that runs them.

    Before, with places in memory from allocate-memory:

        %c = nvdla.conv %x, %w pads=[1, 1, 1, 1] -> !nvdla.stream<1x16x4x4xi32>
        %y = nvdla.sdp %c cvt_scale=21 cvt_shift=14 address=… -> tensor<1x16x4x4xi8>
        nvdla.wait %y

    After:

        csb.configure CDMA group=0 {CONV_MODE = "DIRECT", …}
        …
        csb.configure SDP group=0 {WIDTH = 3, HEIGHT = 3, CHANNEL = 15, …}
        csb.enable SDP group=0
        …
        csb.enable CDMA group=0
        csb.wait SDP group=0

    Each unit's layers alternate between its two register groups, so that a layer is programmed
    while those before it run. A wait stands between the registers of the next layer and its
    enable, or before the registers where it frees their group. Units are enabled from the last in
    the data flow to the first. Every register whose value matters to a layer is written for it:
    nothing is left of the layers before.

    Nothing is decided here: order and waits, places in memory, shares of the convolution buffer and
    the division of layers are those of the operations. Waits that the hardware needs and that are
    not there are errors.
    """

    name = "emit-registers"
    subject = has_hardware_layers()

    def run(self, module: ModuleOp, session: Session) -> None:
        hw = nvdla.configuration_of(module)
        for network in networks(module):
            _Emission(network, hw, session, self.name).run()


@define(eq=False)
class _Emission:
    """The work on one network."""

    network: Network
    hw: HardwareConfiguration
    session: Session
    pass_name: str
    _program: ProgramBuilder = field(init=False)
    _programs: dict[Operation, LayerProgram] = field(
        factory=dict[Operation, LayerProgram], init=False
    )
    _views: Views = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._program = ProgramBuilder(self.hw)
        self._views = Views.of_network(self.network, self.hw)

    def run(self) -> None:
        _check_host(self.network)
        host = self.network.host.body
        start = Builder(InsertionPoint.at_start(host), self.network.host.location)
        for load in list(loads(self.network, self.hw, self.session.resources)):
            self._load(load, start)
        original = list(host.operations)
        for operation in original:
            builder = Builder(InsertionPoint.before(operation), operation.location)
            if isinstance(operation, nvdla.UploadOp) and operation.output.is_used:
                self._upload(operation, builder)
            elif isinstance(operation, nvdla.DownloadOp):
                self._download(operation, builder)
            elif (program := nvdla.called_program(operation)) is not None:
                assert isinstance(operation, CallOp)
                self._emit(program)
                builder.create(CallOp, callee=operation.callee)
        for operation in reversed(original):
            if isinstance(operation, nvdla.UploadOp | nvdla.DownloadOp) or (
                nvdla.called_program(operation) is not None
            ):
                operation.erase()
        for program in self.network.programs:
            _drop_layers(program)
        self.session.count(self.pass_name, "register writes", self._program.writes)

    # -------------------------------------------------------------- memory

    def _load(self, load: Load, builder: Builder) -> None:
        _in_primary(load.constant.output, load.constant)
        builder.create(
            LoadOp,
            location=load.constant.location,
            address=load.address,
            value=self._packed(load),
            layers=load.constant.layers,
        )
        self.session.count(self.pass_name, "bytes loaded", load.layout.size_bytes(self.hw))

    def _packed(self, load: Load) -> DenseResourceAttr:
        """The bytes in memory. Those of weights are put in order when somebody reads them: then
        weights are there once."""
        resources, constant = self.session.resources, load.constant
        value = constant.value
        key = f"{value.key if isinstance(value, DenseResourceAttr) else _key(constant)}.packed"
        if isinstance(load.layout, TableLayout):
            (table,) = load.parts(self.hw)
            return resources.attribute_for(key, table, I8)
        type = TensorType((load.layout.size_bytes(self.hw),), I8)
        recipe = partial(load.layout.parts, hw=self.hw)
        return resources.derive(key, type, recipe, [load.tensor], constant.location)

    def _upload(self, upload: nvdla.UploadOp, builder: Builder) -> None:
        placed_upload(upload, self.hw)
        _in_primary(upload.output, upload)
        builder.create(
            UploadOp,
            input=upload.input,
            address=upload.address,
            line_stride=upload.line_stride,
            surface_stride=upload.surface_stride,
            format=None if upload.format == nvdla.FEATURE else upload.format,
            layers=upload.layers,
        )

    def _download(self, download: nvdla.DownloadOp, builder: Builder) -> None:
        _in_primary(download.input, download)
        cube = placed_cube(download.input, download, self.hw)
        new = builder.create(
            DownloadOp,
            address=cube.address,
            line_stride=cube.layout.line_stride,
            surface_stride=cube.layout.surface_stride,
            layers=download.layers,
            result_types=[download.output.type],
        )
        new.output.name_hint = download.output.name_hint
        download.output.replace_all_uses_with(new.output)

    # -------------------------------------------------------------- programs

    def _emit(self, program: FuncOp) -> None:
        """Put registers in the place of the program's layers."""
        block = program.body
        layers: dict[Operation, HardwareLayer] = {
            layer.last: layer for layer in hardware_layers(block)
        }
        original = list(block.operations)
        builder = Builder(InsertionPoint.at_start(block), program.location)
        for argument in block.arguments:
            self._bound(InputOp, argument, program, builder)
        if layers:
            convolves = any(layer.convolution is not None for layer in layers.values())
            awaited = {interrupt for layer in layers.values() for interrupt in layer.interrupts}
            self._program.start(builder, awaited, convolves=convolves)
        check_waits(block, layers.values(), self._views, self.hw)
        for operation in original:
            builder = Builder(InsertionPoint.before(operation), operation.location)
            if isinstance(operation, nvdla.WaitOp):
                self._wait(operation)
            elif operation in layers:
                self._layer(layers[operation], builder)
        returned = program.return_op
        builder = Builder(InsertionPoint.before(returned), program.location)
        self._program.settle(builder)
        for value in returned.operands:
            self._bound(OutputOp, value, program, builder)

    def _bound(
        self, kind: type[InputOp | OutputOp], value: Value, program: FuncOp, builder: Builder
    ) -> None:
        """Tell of a tensor that the program shares with others."""
        source = _in_primary(value, program)
        definer = value.defining_operation
        builder.create(
            kind,
            address=source.address,
            label=value.name_hint,
            column_stride=source.buffer.column_stride,
            line_stride=source.buffer.line_stride,
            surface_stride=source.buffer.surface_stride,
            format=image_format(value),
            type=value.type,
            layers=definer.layers if isinstance(definer, LayerOp) else None,
        )

    # -------------------------------------------------------------- layers

    def _layer(self, layer: HardwareLayer, builder: Builder) -> None:
        program = layer_program(layer, self.hw)
        try:
            self._program.add(program, builder)
        except RegisterError as error:
            raise DiagnosticError.at(
                layer.location, f"{layer.describe()} cannot run on {self.hw.name}: {error}"
            ) from error
        self._programs[layer.last] = program
        self.session.count(self.pass_name, "hardware layers")

    def _wait(self, wait: nvdla.WaitOp) -> None:
        layer = wait.input.defining_operation
        assert layer is not None
        self._program.wait_for(self._programs[layer])
        self.session.count(self.pass_name, "waits")


def _in_primary(value: Value, reader: Operation) -> InMemory:
    """What is known of the place of ``value``.

    Raises: DiagnosticError where only layers of its program reach it.
    """
    source = in_memory(value, reader)
    if source.memory is not Memory.PRIMARY:
        raise DiagnosticError.at(
            source.location,
            f"{source.what} is in the second memory, where only layers of one device program reach "
            "it: constants and what the host or another program reads or writes are in the "
            "primary one",
        )
    return source


def _drop_layers(program: FuncOp) -> None:
    """Leave the registers of a program alone."""
    program.return_op.set_operands([])
    for operation in reversed(list(program.body.operations)):
        if isinstance(operation, nvdla.MemoryOp | nvdla.ConvOp | nvdla.WaitOp):
            operation.erase()
    program.arg_attrs = program.res_attrs = None
    program.body.arguments.clear()
    program.update_function_type()


def _check_host(network: Network) -> None:
    """Raises: DiagnosticError where the host reads a cube in memory."""
    for operation in network.host.body.operations:
        if isinstance(operation, nvdla.DownloadOp) or nvdla.called_program(operation) is not None:
            continue
        for operand in operation.operands:
            source = network.source(operand).defining_operation
            if isinstance(source, nvdla.MemoryOp):
                raise DiagnosticError.at(
                    operation.location,
                    f"{describe(operation)} reads {describe(source)}, which is in the memory of "
                    "the hardware: 'nvdla.download' must come between",
                )


def _key(constant: nvdla.ConstantOp) -> str:
    names = layers_of(constant)
    return constant.output.name_hint or (names[-1] if names else "constant")
