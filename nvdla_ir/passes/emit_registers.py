"""The pass emit-registers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import define, field, frozen

from nvdla_ir.dialects import nvdla
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.csb import (
    INTERRUPT_CONTROL,
    ConfigureOp,
    DownloadOp,
    EnableOp,
    LoadOp,
    PollOp,
    UploadOp,
    WaitOp,
    configuration_of,
)
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import describe, layers_of
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.registers import Block, RegisterError, register_map
from nvdla_ir.ir.attributes import DenseResourceAttr, DictAttr, IntegerAttr, StringAttr
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation
from nvdla_ir.ir.types import I8
from nvdla_ir.passes.allocate_memory import AllocateMemory
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.registers.convolution import Convolution
from nvdla_ir.passes.registers.fields import Fields, LayerProgram
from nvdla_ir.passes.registers.layers import HardwareLayer, device_functions, hardware_layers
from nvdla_ir.passes.registers.memory import (
    FEATURE,
    constant_layout,
    packed_constant,
    placed_cube,
    placed_image,
)
from nvdla_ir.passes.registers.pdp import Pooling
from nvdla_ir.passes.registers.sdp import Processor

_WAITED_FOR = ("SDP", "PDP")
_HARDWARE = (nvdla.MemoryOp, nvdla.ConvOp, nvdla.DownloadOp)


def _is_placed(module: ModuleOp) -> bool:
    """Whether every tensor that the hardware reads has a place in memory."""
    return all(
        operation.address is not None
        for function in device_functions(module)
        for operation in function.body.operations
        if isinstance(operation, nvdla.MemoryOp)
        and operation.results[0].is_used
        and not isinstance(operation.results[0].type, nvdla.StreamType)
    )


@frozen
class EmitRegisters(Pass):
    """Turns hardware layers into the register program that runs them.

    Before, with places in memory from allocate-memory:

        %c = nvdla.conv %x, %w pads=[1, 1, 1, 1] -> !nvdla.stream<1x16x4x4xi32>
        %y = nvdla.sdp %c cvt_scale=21 cvt_shift=14 address=… -> tensor<1x16x4x4xi8>

    After:

        csb.configure CDMA group=0 {CONV_MODE = "DIRECT", …}
        …
        csb.configure SDP group=0 {WIDTH = 3, HEIGHT = 3, CHANNEL = 15, …}
        csb.enable SDP group=0
        …
        csb.enable CDMA group=0
        csb.wait SDP group=0

    Each unit's layers alternate between its two register groups, so that a layer is programmed
    while the one before it runs; it is enabled when that one is done, since it may read what that
    one writes. Units are enabled from the last in the data flow to the first. Every register whose
    value matters to a layer is written for it: nothing is left of the layers before.

    A convolution whose input does not fit the convolution buffer is run in pieces of rows. Where
    tensors have no place in memory yet, allocate-memory runs first.
    """

    name = "emit-registers"

    def run(self, module: ModuleOp, session: Session) -> None:
        hw = configuration_of(module)
        if not _is_placed(module):
            AllocateMemory().run(module, session)
        for function in device_functions(module):
            _Emission(function, hw, session, self.name).run()


@define(eq=False)
class _Emission:
    """The work on one function."""

    function: FuncOp
    hw: HardwareConfiguration
    session: Session
    pass_name: str
    # The register group of each unit's next layer.
    _groups: dict[str, int] = field(factory=dict[str, int])
    # The waits for the layer that runs.
    _pending: list[tuple[str, int, HardwareLayer]] = field(
        factory=list["tuple[str, int, HardwareLayer]"]
    )

    def run(self) -> None:
        block = self.function.body
        _check_host(block.operations)
        layers: dict[Operation, HardwareLayer] = {
            layer.last: layer for layer in hardware_layers(block)
        }
        original = list(block.operations)
        start = Builder(InsertionPoint.at_start(block), self.function.location)
        for operation in original:
            if isinstance(operation, nvdla.ConstantOp) and operation.output.is_used:
                self._load(operation, start)
        if layers:
            self._mask_interrupts(start)
        if any(layer.convolution is not None for layer in layers.values()):
            # Silicon clears the convolution buffer after reset; until then CDMA must not start.
            start.create(PollOp, unit="CDMA", register="S_CBUF_FLUSH_STATUS", value=1)
        for operation in original:
            builder = Builder(InsertionPoint.before(operation), operation.location)
            if isinstance(operation, nvdla.UploadOp) and operation.output.is_used:
                self._finish(builder)
                self._upload(operation, builder)
            elif isinstance(operation, nvdla.DownloadOp):
                self._finish(builder)
                self._download(operation, builder)
            elif operation in layers:
                self._layer(layers[operation], builder)
            elif operation is block.last_op:
                self._finish(builder)
        for operation in reversed(original):
            if isinstance(operation, _HARDWARE):
                operation.erase()

    # -------------------------------------------------------------- memory

    def _load(self, constant: nvdla.ConstantOp, builder: Builder) -> None:
        resources = self.session.resources
        layouts = {constant_layout(use, self.hw) for use in constant.output.uses}
        if len(layouts) > 1:
            raise DiagnosticError.at(
                constant.location,
                f"{describe(constant)} is read in {len(layouts)} different layouts, but has one "
                "'address': 'allocate-memory' makes a copy for each",
            )
        (layout,) = layouts
        array = resources.elements(constant.value, constant.location)
        data = packed_constant(constant, layout, array, self.hw)
        value = constant.value
        key = value.key if isinstance(value, DenseResourceAttr) else _key(constant)
        builder.create(
            LoadOp,
            location=constant.location,
            address=constant.address,
            value=resources.attribute_for(f"{key}.packed", data, I8),
            layers=constant.layers,
        )
        self.session.count(self.pass_name, "bytes loaded", len(data))

    def _upload(self, upload: nvdla.UploadOp, builder: Builder) -> None:
        if upload.format == FEATURE:
            placed_cube(upload.output, upload, self.hw)
        else:
            placed_image(upload, self.hw)
        builder.create(
            UploadOp,
            input=upload.input,
            address=upload.address,
            line_stride=upload.line_stride,
            surface_stride=upload.surface_stride,
            format=None if upload.format == FEATURE else upload.format,
            layers=upload.layers,
        )

    def _download(self, download: nvdla.DownloadOp, builder: Builder) -> None:
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

    # -------------------------------------------------------------- layers

    def _layer(self, layer: HardwareLayer, builder: Builder) -> None:
        builder.location = layer.location
        programs = list(_programs(layer, self.hw))
        if len(programs) > 1:
            self.session.diagnostics.remark(
                layer.location,
                f"{layer.describe()} runs in {len(programs)} pieces of rows: its input does not "
                f"fit the convolution buffer of {self.hw.name} at once",
            )
        for program in programs:
            groups = {unit: self._next_group(unit) for unit in program.units}
            for unit, fields in program.units.items():
                self._configure(builder, unit, fields, layer, groups[unit])
            self._finish(builder)
            for unit in reversed(program.units):
                builder.create(EnableOp, unit=unit, group=groups[unit])
                self._count_writes(2)
            self._pending = [(unit, groups[unit], layer) for unit in program.interrupts]
            self.session.count(self.pass_name, "hardware layers")

    def _next_group(self, unit: str) -> int:
        group = self._groups.get(unit, 0)
        self._groups[unit] = 1 - group
        return group

    def _finish(self, builder: Builder) -> None:
        """Wait for the layer that runs."""
        for unit, group, layer in self._pending:
            builder.create(
                WaitOp, unit=unit, group=group, layers=layer.names, location=layer.location
            )
            self._count_writes(1)
        self._pending = []

    def _configure(
        self, builder: Builder, unit: str, fields: Fields, layer: HardwareLayer, group: int
    ) -> None:
        """Program a unit for a layer.

        Raises: DiagnosticError for values that the registers cannot hold.
        """
        block = register_map(self.hw.register_map).block(unit)
        try:
            words = block.encode(fields, alignment=self.hw.memory_atom)
        except RegisterError as error:
            raise DiagnosticError.at(
                layer.location, f"{layer.describe()} cannot run on {self.hw.name}: {error}"
            ) from error
        builder.create(
            ConfigureOp,
            unit=unit,
            group=group,
            layers=layer.names,
            fields=_dictionary(block, fields),
        )
        self._count_writes(1 + len(words))

    def _mask_interrupts(self, builder: Builder) -> None:
        """Mask all interrupts that no layer is waited for."""
        block = register_map(self.hw.register_map).block(INTERRUPT_CONTROL)
        names = block.register("S_INTR_MASK").fields
        masks: Fields = {
            name: int(name.partition("_DONE_")[0] not in _WAITED_FOR) for name in names
        }
        builder.create(ConfigureOp, unit=INTERRUPT_CONTROL, fields=_dictionary(block, masks))
        self._count_writes(1)

    def _count_writes(self, amount: int) -> None:
        """Count single register writes, as csb.count_register_writes would."""
        self.session.count(self.pass_name, "register writes", amount)


def _dictionary(block: Block, fields: Fields) -> DictAttr:
    return DictAttr(
        tuple(
            (name, StringAttr(value) if isinstance(value, str) else IntegerAttr(value))
            for name in block.fields
            if (value := fields.get(name)) is not None
        )
    )


def _programs(layer: HardwareLayer, hw: HardwareConfiguration) -> Iterator[LayerProgram]:
    """What the layer's runs need: one program, or one for each piece of rows."""
    pooling = None if layer.pooling is None else Pooling.of(layer.pooling, hw)
    pooled = {} if pooling is None else pooling.units()
    if layer.processor is None:
        yield LayerProgram(pooled, ("PDP",))
        return
    interrupts = ("SDP",) if pooling is None else ("SDP", "PDP")
    processor = Processor.of(layer.processor, hw)
    if layer.convolution is None:
        rows = nvdla.cube_shape(layer.processor.output.type)[2]
        yield LayerProgram({**processor.units(0, rows), **pooled}, interrupts)
        return
    convolution = Convolution.of(layer.convolution, hw)
    _check_pieces(layer, convolution, processor)
    for piece in convolution.pieces:
        yield LayerProgram(
            {
                **convolution.units(piece, processor.destination),
                **processor.units(piece.output_start, piece.output_rows),
                **pooled,
            },
            interrupts,
        )


def _check_pieces(layer: HardwareLayer, convolution: Convolution, processor: Processor) -> None:
    """Pieces of rows go to memory, and the SDP takes no 1x1 piece out of a taller cube: it would
    read and write its surfaces one behind the other (sdp.md section 2.1)."""
    if len(convolution.pieces) == 1:
        return
    hw, count = convolution.hw, len(convolution.pieces)
    if processor.destination is None:
        raise DiagnosticError.at(
            layer.location,
            f"{layer.describe()} takes {count} pieces of rows to fit the convolution buffer of "
            f"{hw.name}, so that the PDP cannot pool them on the fly",
        )
    single = any(piece.output_rows == 1 for piece in convolution.pieces)
    if single and convolution.output_width == 1 and processor.destination.layout.surfaces > 1:
        raise DiagnosticError.at(
            layer.location,
            f"{layer.describe()} takes {count} pieces of rows to fit the convolution buffer of "
            f"{hw.name}, and one of them is 1x1, which the SDP cannot write into a taller cube",
        )


def _check_host(operations: Iterable[Operation]) -> None:
    """Raises: DiagnosticError where something else reads a cube in memory."""
    for operation in operations:
        if isinstance(operation, _HARDWARE):
            continue
        for operand in operation.operands:
            source = operand.defining_operation
            if isinstance(source, nvdla.MemoryOp | nvdla.ConvOp):
                raise DiagnosticError.at(
                    operation.location,
                    f"{describe(operation)} reads {describe(source)}, which is in the memory of "
                    "the hardware: 'nvdla.download' must come between",
                )


def _key(constant: nvdla.ConstantOp) -> str:
    names = layers_of(constant)
    return constant.output.name_hint or (names[-1] if names else "constant")
