"""From int8 layers with converters to hardware layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import describe, layers_of
from nvdla_ir.dialects.quant import CalibratedType, QuantizedType, UniformType
from nvdla_ir.hw.configuration import (
    ConfigurationError,
    HardwareConfiguration,
    load_configuration,
)
from nvdla_ir.hw.formats.pooling import max_output_width
from nvdla_ir.ir.attributes import StringAttr
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN, fuse_locations
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import TensorType, Type
from nvdla_ir.passes.base import Pass, Session, option
from nvdla_ir.passes.conditions import no_operation
from nvdla_ir.passes.legalization.chains import UNITS, Chain, Unit, chain_ending_at
from nvdla_ir.passes.legalization.constants import Constants, resource_key
from nvdla_ir.passes.legalization.groups import ChannelSlice, block_diagonal, channel_slices
from nvdla_ir.passes.legalization.images import converter_fields, only_read_by_convolutions
from nvdla_ir.passes.legalization.joins import (
    join_by_convolution,
    join_in_place,
    joins_whole_atoms,
)

LARGEST_POOL_KERNEL = 8


@frozen
class LegalizeToNvdla(Pass):
    """Gather int8 layers and the steps of the 32-bit pipeline into hardware layers.

    Before::

        %acc = nn.conv %x, %w pads=[1, 1, 1, 1] -> tensor<…x!quant.uniform<i32:f32:1, {…}>>
        %0 = nn.shift_add %acc, %bias -> …
        %1 = nn.rescale %0, %m shift=21 -> …
        %2 = nn.relu %1 -> …
        %y = nn.output_converter %2 -> tensor<1x16x32x32x!quant.uniform<i8:f32, 0.03>>

    After::

        %c = nvdla.conv %x, %w pads=[1, 1, 1, 1] -> !nvdla.stream<1x16x32x32xi32>
        %y = nvdla.sdp %c bs_operand=%table bs={alu = "sum", mul, mul_shift = 21, relu}
            -> tensor<1x16x32x32x!quant.uniform<i8:f32, 0.03>>

    Pooling of what the SDP alone writes reads it as a stream. What the host computes (casts,
    softmax) stays, with uploads and downloads between.
    """

    name = "legalize-to-nvdla"
    ensures = (
        no_operation(
            nn.ConvOp,
            nn.FullyConnectedOp,
            nn.MaxPoolOp,
            nn.AveragePoolOp,
            nn.ShiftAddOp,
            nn.RescaleOp,
            nn.OutputConverterOp,
            nn.InputConverterOp,
        ),
    )

    target: str = option(help="the hardware: a configuration's name, or a TOML file")

    def run(self, module: ModuleOp, session: Session) -> None:
        try:
            hw = load_configuration(self.target)
        except ConfigurationError as error:
            raise DiagnosticError.at(UNKNOWN, str(error)) from None
        for op in list(module.walk()):
            if isinstance(op, FuncOp):
                _Function(op, hw, session).run()
        module.attributes[nvdla.TARGET_ATTRIBUTE] = StringAttr(self.target)


class _Function:
    """The work on one function.

    cubes:  the cube in memory that stands for each int8 value
    """

    def __init__(self, func: FuncOp, hw: HardwareConfiguration, session: Session) -> None:
        self.func = func
        self.hw = hw
        self.session = session
        self.constants = Constants(session.resources)
        self.cubes: dict[Value, Value] = {}

    def run(self) -> None:
        originals = list(self.func.body.operations)
        for op in originals:
            try:
                self._operation(op)
            except DiagnosticError as error:
                for diagnostic in error.diagnostics:
                    if diagnostic not in self.session.diagnostics.diagnostics:
                        self.session.diagnostics.emit(diagnostic)
                self._stand_in(op)
        if self.session.diagnostics.errors:
            return
        for op in reversed(originals):
            if op.name.startswith("nn.") and not any(r.is_used for r in op.results):
                op.erase()

    def _operation(self, op: Operation) -> None:
        if any(_is_unconverted(value) for value in op.results):
            raise DiagnosticError.at(
                op.location, f"{describe(op)} computes reals; run 'insert-converters' first"
            )
        handler = _HANDLERS.get(type(op))
        if handler is not None and self._is_int8(op):
            handler(self, op)
        elif not self._is_in_pipeline(op):
            self._leave_on_host(op)

    @staticmethod
    def _is_int8(op: Operation) -> bool:
        element = nn.tensor_type(op.results[0]).element
        return isinstance(element, QuantizedType) and element.storage.width == 8

    @staticmethod
    def _is_in_pipeline(op: Operation) -> bool:
        """Whether ``op`` is a step between accumulator and output converter."""
        if len(op.results) != 1 or not isinstance(op.results[0].type, TensorType):
            return False
        element = op.results[0].type.element
        return isinstance(element, QuantizedType) and element.storage.width == 32

    def _stand_in(self, op: Operation) -> None:
        """Let the faults of later layers be found too."""
        for result in op.results:
            if self._is_int8(op):
                self.cubes.setdefault(result, result)

    # -------------------------------------------------------------- boundaries

    def _leave_on_host(self, op: Operation) -> None:
        for index, operand in enumerate(op.operands):
            if operand in self.cubes:
                op.set_operand(index, self._downloaded(operand, op))

    def _downloaded(self, value: Value, user: Operation) -> Value:
        cube = self.cubes[value]
        builder = Builder(InsertionPoint.before(user), user.location)
        download = builder.create(nvdla.DownloadOp, input=cube)
        if download.output.type == value.type:
            download.output.name_hint = value.name_hint
            return download.output
        view = builder.create(nn.ReshapeOp, input=download.output, result_types=[value.type])
        view.output.name_hint = value.name_hint
        return view.output

    def _cube(self, value: Value, user: Operation, builder: Builder) -> Value:
        """The cube for ``value``, uploaded if the host has it."""
        cube = self.cubes.get(value)
        if cube is None:
            type = nn.tensor_type(value)
            source = value
            if len(type.shape) != 4:
                source = builder.create(
                    nn.ReshapeOp, input=value, result_types=[_as_cube(type)]
                ).output
            upload = builder.create(nvdla.UploadOp, input=source)
            upload.output.name_hint = f"{value.name_hint}_cube" if value.name_hint else None
            cube = self.cubes[value] = upload.output
        return cube

    # -------------------------------------------------------------- the SDP and what feeds it

    def converter(self, op: nn.OutputConverterOp) -> None:
        chain = chain_ending_at(op)
        location = fuse_locations([step.location for step in chain.operations])
        builder = Builder(InsertionPoint.before(op), location)
        if isinstance(chain.source, nn.ConvOp) and chain.source.groups > 1:
            cube = self._grouped(chain, chain.source, builder)
        elif chain.source is not None:
            stream = self._convolution(chain.source, builder)
            cube = self._sdp(chain, stream, builder, None)
        else:
            cube = self._sdp(chain, self._cube(chain.input, op, builder), builder, None)
        cube.name_hint = op.output.name_hint
        self.cubes[op.output] = cube

    def relu(self, op: nn.ReluOp) -> None:
        """ReLU of int8 in memory: around its zero point."""
        element = nn.storage_of(op.output)
        assert isinstance(element, UniformType)
        if nn.storage_of(op.input) != element:
            raise DiagnosticError.at(
                op.location, f"{describe(op)} changes the scale; run 'insert-converters' first"
            )
        zero_point = element.zero_point
        setting = nvdla.SdpUnit(relu=True)
        if zero_point:
            setting = nvdla.SdpUnit(alu="sum", alu_value=-zero_point, relu=True)
        builder = Builder(InsertionPoint.before(op), op.location)
        sdp = builder.create(
            nvdla.SdpOp,
            input=self._cube(op.input, op, builder),
            bs=setting.to_attribute(),
            cvt_offset=-zero_point or None,
            layers=op.layers,
            result_types=[_as_cube(nn.tensor_type(op.output))],
        )
        sdp.output.name_hint = op.output.name_hint
        self.cubes[op.output] = sdp.output

    def _convolution(self, op: nn.ConvOp | nn.FullyConnectedOp, builder: Builder) -> Value:
        """The stream of accumulators of a layer without groups."""
        array = self.constants.array(op.weight, op)
        fields: dict[str, Any] = {}
        if isinstance(op, nn.ConvOp):
            fields = _window_fields(op)
            cube, image = self._image_or_cube(op, builder)
            fields |= image
        else:
            cube = self._cube(op.input, op, builder)
            # The window covers the whole input, so each kernel is one row of the weights.
            shape = (array.shape[0], *nvdla.cube_shape(cube.type)[1:])
            array = array.reshape(shape)  # pyright: ignore[reportUnknownMemberType]
        weight = self.constants.make(array, resource_key(op.weight, "weight"), builder)
        zero_point = _zero_point(op.input)
        return builder.create(
            nvdla.ConvOp,
            input=cube,
            weight=weight,
            pad_value=zero_point or None,
            layers=op.layers,
            **fields,
        ).output

    def _image_or_cube(self, op: nn.ConvOp, builder: Builder) -> tuple[Value, dict[str, Any]]:
        converter = op.input.defining_operation
        if not isinstance(converter, nn.InputConverterOp):
            return self._cube(op.input, op, builder), {}
        fields = converter_fields(converter, self.hw)
        if any(extent != 1 for extent in op.dilations):
            raise DiagnosticError.at(
                op.location,
                f"{describe(op)} is dilated, which the hardware cannot do on images; normalize on "
                "the host and give the network floats",
            )
        cube = self.cubes.get(converter.output)
        if cube is None:
            upload = builder.create(
                nvdla.UploadOp, input=converter.input, format=fields["pixel_format"]
            )
            cube = self.cubes[converter.output] = upload.output
        return cube, fields

    def image(self, op: nn.InputConverterOp) -> None:
        only_read_by_convolutions(op)

    def _sdp(
        self, chain: Chain, source: Value, builder: Builder, part: ChannelSlice | None
    ) -> Value:
        """One run of the SDP; for a slice of channels where there is a ``part``."""
        converter = chain.converter
        fields: dict[str, Any] = {}
        for name, unit in zip(UNITS, chain.units, strict=False):
            fields[name] = unit.setting.to_attribute()
            fields[f"{name}_operand"] = self._operand(chain, unit, builder, part)
        shape = nvdla.cube_shape(source.type)
        layers = layers_of(*(chain.operations if part is None else chain.operations[1:]))
        return builder.create(
            nvdla.SdpOp,
            input=source,
            cvt_offset=converter.offset or None,
            cvt_scale=converter.scale if converter.scale != 1 else None,
            cvt_shift=converter.shift or None,
            layers=layers,
            result_types=[TensorType(shape, nn.storage_of(converter.output))],
            **fields,
        ).output

    def _operand(
        self, chain: Chain, unit: Unit, builder: Builder, part: ChannelSlice | None
    ) -> Value | None:
        """What a unit reads from memory: a residual cube, or a table."""
        import numpy as np

        cubes = [
            operand
            for operand in (unit.alu_operand, unit.mul_operand)
            if operand is not None and not isinstance(operand.defining_operation, nn.ConstantOp)
        ]
        user = chain.operations[-1]
        if cubes:
            if unit.alu_operand is not None and unit.mul_operand is not None:
                raise DiagnosticError.at(
                    user.location,
                    f"{describe(user)} adds a tensor and multiplies by another in one unit, which "
                    "reads only one from memory",
                )
            cube = self._cube(cubes[0], user, builder)
            return (
                cube if part is None else _slice(cube, part.output_begin, part.output_size, builder)
            )
        tables = [
            (self.constants.array(operand, user), resource_key(operand, "table"))
            for operand in (unit.alu_operand, unit.mul_operand)
            if operand is not None
        ]
        if not tables:
            return None
        if part is not None:
            channels = slice(part.output_begin, part.output_begin + part.output_size)
            tables = [(array[channels], key) for array, key in tables]
        if len(tables) == 1:
            array, key = tables[0]
        else:
            array = np.stack([array for array, _ in tables], axis=1)
            key = f"{tables[0][1]}.and_multiplier"
        return self.constants.make(array, key, builder)

    # -------------------------------------------------------------- groups

    def _grouped(self, chain: Chain, op: nn.ConvOp, builder: Builder) -> Value:
        """A convolution with groups: slice by slice, the results side by side."""
        groups = op.groups
        weights = self.constants.array(op.weight, op)
        inputs, outputs = weights.shape[1], weights.shape[0] // groups
        slices = channel_slices(groups, inputs, outputs, self.hw.memory_atom)
        if len(slices) == 1 and groups > 1 and inputs * groups > self.hw.memory_atom:
            self.session.diagnostics.remark(
                op.location,
                f"{describe(op)}: {groups} groups of {inputs} to {outputs} channels do not align "
                f"with memory atoms of {self.hw.memory_atom}; computed as one dense convolution",
            )
        cube = self._cube(op.input, op, builder)
        parts: list[Value] = []
        for part in slices:
            whole = len(slices) == 1
            source = cube if whole else _slice(cube, part.input_begin, part.input_size, builder)
            weight = self.constants.make(
                block_diagonal(weights, part),
                f"{resource_key(op.weight, 'weight')}.dense",
                builder,
            )
            stream = builder.create(
                nvdla.ConvOp,
                input=source,
                weight=weight,
                pad_value=_zero_point(op.input) or None,
                layers=op.layers,
                **_window_fields(op),
            ).output
            parts.append(self._sdp(chain, stream, builder, part))
        if len(parts) == 1:
            return parts[0]
        return builder.create(
            nvdla.ConcatOp,
            inputs=parts,
            layers=layers_of(*chain.operations),
            result_types=[_as_cube(nn.tensor_type(chain.result))],
        ).output

    # -------------------------------------------------------------- pooling, views, joins

    def pool(self, op: nn.MaxPoolOp | nn.AveragePoolOp) -> None:
        if max(op.kernel) > LARGEST_POOL_KERNEL:
            raise DiagnosticError.at(
                op.location,
                f"{describe(op)} has a window of {op.kernel[0]}x{op.kernel[1]}; the pooling unit "
                f"takes up to {LARGEST_POOL_KERNEL}x{LARGEST_POOL_KERNEL}. Split it into several",
            )
        average = isinstance(op, nn.AveragePoolOp)
        if average and op.reciprocals is None:
            raise DiagnosticError.at(
                op.location, f"{describe(op)} has no reciprocals; run 'insert-converters' first"
            )
        builder = Builder(InsertionPoint.before(op), op.location)
        source = self._cube(op.input, op, builder)
        self._stream_if_possible(op, source)
        pdp = builder.create(
            nvdla.PdpOp,
            method="average" if average else "max",
            input=source,
            kernel=op.kernel,
            **_window_fields(op),
            pad_value=(_zero_point(op.input) or None) if average else None,
            reciprocals=op.reciprocals if average else None,
            layers=op.layers,
            result_types=[op.output.type],
        )
        pdp.output.name_hint = op.output.name_hint
        self.cubes[op.output] = pdp.output

    def _stream_if_possible(self, op: nn.MaxPoolOp | nn.AveragePoolOp, cube: Value) -> None:
        """Let the SDP hand its result to the pooling unit where nobody else reads it and the
        line buffer holds a row of the output."""
        sdp = cube.defining_operation
        width = nn.shape_of(op.output)[3]
        if (
            isinstance(sdp, nvdla.SdpOp)
            and not cube.is_used
            and op.input.has_one_use
            and width <= max_output_width(op.kernel[0], op.strides[0])
        ):
            type = cube.type
            assert isinstance(type, TensorType)
            cube.type = nvdla.StreamType(type.static_shape, type.element)

    def concat(self, op: nn.ConcatOp) -> None:
        atom = self.hw.memory_atom
        builder = Builder(InsertionPoint.before(op), op.location)
        cubes = [self._cube(value, op, builder) for value in op.inputs]
        if joins_whole_atoms(op, atom):
            joined = join_in_place(op, cubes, builder)
        else:
            self.session.diagnostics.remark(
                op.location,
                f"{describe(op)} joins channels inside memory atoms of {atom}; {len(cubes)} "
                "convolutions move them",
            )
            joined = join_by_convolution(op, cubes, self.constants, builder)
        joined.name_hint = op.output.name_hint
        self.cubes[op.output] = joined

    def view(self, op: nn.ViewOp) -> None:
        """The same bytes under another shape: on a cube, only the names of its extents."""
        cube = self.cubes.get(op.input)
        if cube is None:
            return  # the host's
        shape = nvdla.cube_shape(cube.type)
        target = nn.shape_of(op.output)
        kept = target[: len(shape)] == shape[: len(target)] and all(
            extent == 1 for extent in (*shape[len(target) :], *target[len(shape) :])
        )
        flattened = len(target) == 2 and target[0] == shape[0]
        if not kept and not flattened:
            readers = [user for user in op.output.users if _HANDLERS.get(type(user)) is not None]
            if readers:
                raise DiagnosticError.at(
                    op.location,
                    f"{describe(op)} changes the shape from {shape} to {target} between hardware "
                    "layers, which memory layout does not allow; only flattening is free",
                )
        self.cubes[op.output] = cube


_NO_WINDOW = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}


def _window_fields(op: nn.ConvOp | nn.MaxPoolOp | nn.AveragePoolOp) -> dict[str, Any]:
    """How the window moves, where that is not the default."""
    fields = {name: getattr(op, name) for name in _NO_WINDOW if hasattr(op, name)}
    return {name: value for name, value in fields.items() if value != _NO_WINDOW[name]}


def _slice(cube: Value, begin: int, size: int, builder: Builder) -> Value:
    type = cube.type
    assert isinstance(type, TensorType)
    shape = type.static_shape
    part = TensorType((shape[0], size, *shape[2:]), type.element)
    return builder.create(
        nvdla.SliceOp, input=cube, begin=begin, size=size, result_types=[part]
    ).output


def _as_cube(type: TensorType) -> TensorType:
    shape = type.static_shape
    return TensorType((*shape, *[1] * (4 - len(shape))), type.element)


def _zero_point(value: Value) -> int:
    element = nn.storage_of(value)
    assert isinstance(element, UniformType)
    return element.zero_point


def _is_unconverted(value: Value) -> bool:
    type: Type = value.type
    return isinstance(type, TensorType) and isinstance(type.element, CalibratedType)


_HANDLERS: dict[type[Operation], Callable[[_Function, Any], None]] = {
    nn.OutputConverterOp: _Function.converter,
    nn.ReluOp: _Function.relu,
    nn.MaxPoolOp: _Function.pool,
    nn.AveragePoolOp: _Function.pool,
    nn.ConcatOp: _Function.concat,
    nn.FlattenOp: _Function.view,
    nn.ReshapeOp: _Function.view,
    nn.InputConverterOp: _Function.image,
}
