"""Legalizations of int8 layers, each to one or more hardware layers."""

from __future__ import annotations

from typing import Any

from nvdla_ir.dialects import fixed, nn, nvdla
from nvdla_ir.dialects.layer import describe, layers_of
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.hardware.convolution_geometry import ImageInput
from nvdla_ir.hw.pixels import PIXEL_FORMATS
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.conversion import Replacement
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import fuse_locations
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import TensorType
from nvdla_ir.passes.legalization.chains import (
    Chain,
    Unit,
    Weighted,
    chain_ending_at,
    rectifying,
    unit_names,
    zero_of_relu,
)
from nvdla_ir.passes.legalization.constants import resource_key
from nvdla_ir.passes.legalization.function import FunctionLegalization
from nvdla_ir.passes.legalization.groups import (
    ChannelSlice,
    block_diagonal,
    channel_slices,
    is_alike_by_surface,
)
from nvdla_ir.passes.legalization.images import (
    can_be_read_as_image,
    converter_fields,
    pixel_format,
)
from nvdla_ir.passes.legalization.limits import (
    check_convolution,
    check_pooling,
    check_processor,
)
from nvdla_ir.passes.legalization.operands import Operands, slice_channels
from nvdla_ir.passes.legalization.rules import legalizes
from nvdla_ir.passes.refusals import refused
from nvdla_ir.resources import ArrayTensor

_NO_WINDOW = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}

# -------------------------------------------------------------- the SDP and what feeds it


@legalizes(fixed.OutputConverterOp)
def legalize_converter(op: fixed.OutputConverterOp, context: FunctionLegalization) -> Replacement:
    """A chain of steps that ends here, with the layer whose accumulators enter it."""
    chain = chain_ending_at(op, context.hw)
    location = fuse_locations([step.location for step in chain.operations])
    builder = context.builder_at(op, location)
    if isinstance(chain.source, nn.ConvOp) and chain.source.groups > 1:
        cube = _grouped(chain, chain.source, context, builder)
    elif chain.source is not None:
        stream = _convolution(chain.source, context, builder)
        cube = _processor(chain, stream, context, builder, None)
    else:
        source = context.cube_of(chain.input, op, builder)
        cube = _processor(chain, source, context, builder, None)
    return Replacement(cube, chain.operations)


@legalizes(nn.ReluOp)
def legalize_relu(op: nn.ReluOp, context: FunctionLegalization) -> Value:
    """ReLU of int8 in memory, at its zero point."""
    zero_of_relu(op)
    names = unit_names(context.hw)
    if not names:
        raise refused(
            op.location, f"{describe(op)}: the SDP of {context.hw.name} has no unit that rectifies"
        )
    builder = context.builder_at(op)
    cube = context.cube_of(op.input, op, builder)
    sdp = builder.create(
        nvdla.SdpOp,
        input=cube,
        layers=op.layers,
        result_types=[cube.type],
        **{names[0]: rectifying(nvdla.XStageAttr(), op)},
    )
    check_processor(sdp, context.hw)
    return sdp.output


@legalizes(nn.MaxOp, nn.MinOp)
def legalize_extremum(op: nn.MaxOp | nn.MinOp, context: FunctionLegalization) -> Value:
    """By the ALU of the SDP's first unit, of codes of one scale."""
    grids = {nn.storage_of(value) for value in (op.lhs, op.rhs, op.output)}
    if len(grids) > 1:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} compares codes of several scales; run 'insert-converters' first, "
            "which aligns them",
        )
    names = unit_names(context.hw)
    if not names:
        raise refused(
            op.location, f"{describe(op)}: the SDP of {context.hw.name} has no unit that compares"
        )
    builder = context.builder_at(op)
    cube = context.cube_of(op.lhs, op, builder)
    algorithm = "max" if isinstance(op, nn.MaxOp) else "min"
    unit = Unit(names[0], nvdla.XStageAttr(alu=algorithm), alu_operand=op.rhs)
    operands = Operands((op,), nvdla.cube_shape(cube.type), None, context, builder)
    sdp = builder.create(
        nvdla.SdpOp,
        input=cube,
        layers=op.layers,
        result_types=[cube.type],
        **{unit.name: unit.setting, f"{unit.name}_operand": operands.of(unit)},
    )
    check_processor(sdp, context.hw)
    return sdp.output


def _convolution(op: Weighted, context: FunctionLegalization, builder: Builder) -> Value:
    """The stream of accumulators of a layer without groups."""
    weights = context.constants.tensor(op.weight, op)
    fields: dict[str, Any] = {}
    if isinstance(op, nn.ConvOp):
        cube, fields = _image_or_cube(op, context, builder)
        fields |= _window_fields(op)
    else:
        cube = context.cube_of(op.input, op, builder)
        # The window covers the whole input, so each kernel is one row of the weights.
        shape = (weights.shape[0], *nvdla.cube_shape(cube.type)[1:])
        weights = ArrayTensor(weights.array().reshape(shape))
    weight = context.constants.make(weights, resource_key(op.weight, "weight"), builder)
    return _stream(op, cube, weight, fields, context, builder)


def _stream(
    op: Weighted,
    cube: Value,
    weight: Value,
    fields: dict[str, Any],
    context: FunctionLegalization,
    builder: Builder,
) -> Value:
    _require_no_bias(op)
    zero_point = _zero_point(op.input, op) if "pads" in fields else 0
    if "pixel_format" not in fields:
        cube, fields = _without_skipped_rows(cube, weight, fields, builder)
    convolution = builder.create(
        nvdla.ConvOp,
        input=cube,
        weight=weight,
        pad_value=zero_point or None,
        layers=op.layers,
        location=op.location,
        **fields,
    )
    check_convolution(convolution, context.hw)
    return convolution.output


def _without_skipped_rows(
    cube: Value, weight: Value, fields: dict[str, Any], builder: Builder
) -> tuple[Value, dict[str, Any]]:
    """Rows that kernels of one row step over need not be fetched: a view leaves them out."""
    step, *columns = fields.get("strides", _NO_WINDOW["strides"])
    top, _, bottom, _ = fields.get("pads", _NO_WINDOW["pads"])
    height = nvdla.cube_shape(cube.type)[nvdla.ROWS]
    if step == 1 or nvdla.cube_shape(weight.type)[nvdla.ROWS] > 1 or top or bottom or height == 1:
        return cube, fields
    rows = builder.create(
        nvdla.SliceOp,
        input=cube,
        axis=nvdla.ROWS,
        begin=0,
        size=(height - 1) // step + 1,
        step=step,
    )
    return rows.output, {**fields, "strides": (1, *columns)}


def _image_or_cube(
    op: nn.ConvOp, context: FunctionLegalization, builder: Builder
) -> tuple[Value, dict[str, Any]]:
    """What ``op`` reads, and what it must know about an image."""
    found, fields = context.image_or_cube_of(op.input, op, builder)
    converter = op.input.defining_operation
    if fields and isinstance(converter, fixed.InputConverterOp):
        fields = converter_fields(converter, context.hw)
    return found, fields


@legalizes(fixed.InputConverterOp)
def legalize_image(op: fixed.InputConverterOp, context: FunctionLegalization) -> Value:
    """The convolutions that read it do the work; the pixels stand for what they convert. Where
    others read it, or cannot read pixels, a convolution with ones makes a cube of them."""
    import numpy as np

    builder, hw = context.builder_at(op), context.hw
    format = pixel_format(op, hw)
    image = builder.create(nvdla.UploadOp, input=op.input, format=format).output
    if can_be_read_as_image(op.output, ImageInput(PIXEL_FORMATS[format], signed=False), hw):
        return image
    type = nn.tensor_type(op.output)
    ones = np.eye(type.static_shape[1], dtype=np.int8)[:, :, None, None]
    convolution = builder.create(
        nvdla.ConvOp,
        input=image,
        weight=context.constants.make(ones, "selection", builder),
        layers=op.layers,
        **converter_fields(op, hw),
    )
    check_convolution(convolution, hw)
    return builder.create(
        nvdla.SdpOp, input=convolution.output, layers=op.layers, result_types=[type]
    ).output


def _processor(
    chain: Chain,
    source: Value,
    context: FunctionLegalization,
    builder: Builder,
    part: ChannelSlice | None,
) -> Value:
    """One run of the SDP; for a slice of channels where there is a ``part``."""
    converter = chain.converter
    shape = nvdla.cube_shape(source.type)
    operands = Operands(chain.operations, shape, part, context, builder)
    fields: dict[str, Any] = {}
    for unit in chain.units:
        fields[unit.name] = unit.setting
        fields[f"{unit.name}_operand"] = operands.of(unit)
    sdp = builder.create(
        nvdla.SdpOp,
        input=source,
        cvt_offset=(converter.offset + chain.excess) or None,
        cvt_scale=converter.scale if converter.scale != 1 else None,
        cvt_shift=converter.shift or None,
        layers=layers_of(*(chain.operations if part is None else chain.operations[1:])),
        result_types=[TensorType(shape, nn.storage_of(converter.output))],
        **fields,
    )
    check_processor(sdp, context.hw)
    return sdp.output


# -------------------------------------------------------------- groups


def _grouped(chain: Chain, op: nn.ConvOp, context: FunctionLegalization, builder: Builder) -> Value:
    """A convolution with groups: slice by slice, the results side by side; all surfaces at once
    where what is computed is the same for all."""
    groups, atom = op.groups, context.hw.memory_atom
    weights = context.constants.tensor(op.weight, op).array()
    inputs, outputs = weights.shape[1], weights.shape[0] // groups
    slices = channel_slices(groups, inputs, outputs, atom)
    if len(slices) == 1 and inputs * groups > atom:
        context.session.diagnostics.remark(
            op.location,
            f"{describe(op)}: {groups} groups of {inputs} to {outputs} channels do not align with "
            f"memory atoms of {atom}; computed as one dense convolution",
        )
    cube, key = context.cube_of(op.input, op, builder), f"{resource_key(op.weight, 'weight')}.dense"
    if len(slices) > 1 and is_alike_by_surface(op, weights, chain.units, cube, context.hw):
        weight = context.constants.make(block_diagonal(weights, slices[0]), key, builder)
        fields = {**_window_fields(op), "each_surface": True}
        stream = _stream(op, cube, weight, fields, context, builder)
        return _processor(chain, stream, context, builder, None)
    parts: list[Value] = []
    for part in slices:
        source = cube
        if len(slices) > 1:
            source = slice_channels(cube, part.input_begin, part.input_size, builder)
        weight = context.constants.make(block_diagonal(weights, part), key, builder)
        stream = _stream(op, source, weight, _window_fields(op), context, builder)
        parts.append(_processor(chain, stream, context, builder, part))
    if len(parts) == 1:
        return parts[0]
    return builder.create(
        nvdla.ConcatOp,
        inputs=parts,
        layers=layers_of(*chain.operations),
        result_types=[nn.tensor_type(chain.result)],
    ).output


# -------------------------------------------------------------- pooling


@legalizes(nn.MaxPoolOp, fixed.AveragePoolOp)
def legalize_pool(op: nn.MaxPoolOp | fixed.AveragePoolOp, context: FunctionLegalization) -> Value:
    """By the PDP, of a cube in memory."""
    builder = context.builder_at(op)
    source = context.cube_of(op.input, op, builder)
    pdp = builder.create(
        nvdla.PdpOp,
        input=source,
        kernel=op.kernel,
        layers=op.layers,
        result_types=[op.output.type],
        **_window_fields(op),
        **_method_fields(op),
    )
    check_pooling(pdp, context.hw)
    return pdp.output


def _method_fields(op: nn.MaxPoolOp | fixed.AveragePoolOp) -> dict[str, Any]:
    if isinstance(op, nn.MaxPoolOp):
        if nn.storage_of(op.input) != nn.storage_of(op.output):
            raise DiagnosticError.at(
                op.location,
                f"{describe(op)} changes the scale or the zero point; run 'insert-converters' "
                "first",
            )
        return {"method": "max"}
    pad_value = _zero_point(op.input, op) if any(op.pads) else 0
    return {
        "method": "average",
        "reciprocals": op.reciprocals,
        "pad_value": pad_value or None,
    }


# -------------------------------------------------------------- parts


def _window_fields(op: nn.ConvOp | nn.MaxPoolOp | fixed.AveragePoolOp) -> dict[str, Any]:
    """How the window moves, where that is not the default."""
    fields = {name: getattr(op, name) for name in _NO_WINDOW if hasattr(op, name)}
    if isinstance(op, nn.PoolOp):
        fields["pads"] = op.reached_pads
    return {name: value for name, value in fields.items() if value != _NO_WINDOW[name]}


def _zero_point(value: Value, user: Operation) -> int:
    element = nn.storage_of(value)
    if not isinstance(element, UniformType):
        raise DiagnosticError.at(
            user.location,
            f"{describe(user)} reads '{element}', but padding has one value for all channels",
        )
    return element.zero_point


def _require_no_bias(op: Weighted) -> None:
    if op.bias is not None:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has a bias on integers; run 'insert-converters', which makes it a "
            "step of its own",
        )
