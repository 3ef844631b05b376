"""From calibrated layers to integers: input converters, the steps of the 32-bit pipeline, output
converters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen

from nvdla_ir.arith.errors import OperandError
from nvdla_ir.arith.fixed_point import FixedPoint, fixed_point, round_half_away
from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import describe, layers_of
from nvdla_ir.dialects.quant import (
    CalibratedType,
    DequantizeCastOp,
    QuantizeCastOp,
    QuantizedType,
    UniformPerAxisType,
    UniformType,
    scales_of,
)
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import fuse_locations
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import F32, I8, I32, TensorType
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.conditions import calibrated
from nvdla_ir.passes.conversion.chain import Chain, grow_chain
from nvdla_ir.passes.conversion.epilogue import Epilogue, Source
from nvdla_ir.passes.conversion.pipeline import Pipeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST_POOL_KERNEL = 8
RECIPROCAL_ONE = 1 << 16


@frozen
class InsertConverters(Pass):
    """Make integers of everything calibrated.

    Every tensor keeps its own calibrated scale. What is computed together in the pipeline (a
    convolution, its ReLU, a residual addition) is not rounded to int8 between; a residual operand
    of another scale is aligned inside the 32 bits.

    Before::

        %y = nn.conv %x, %w, %b layers=["conv1"]
            -> tensor<1x16x32x32x!quant.calibrated<f32<-3.2:3.2>>>

    After::

        %acc = nn.conv %x, %w layers=["conv1"] -> tensor<…x!quant.uniform<i32:f32:1, {…}>>
        %0 = nn.shift_add %acc addend=%bias layers=["conv1"] -> tensor<…>
        %1 = nn.rescale %0 multiplier=%m shift=21 layers=["conv1"] -> tensor<…>
        %y = nn.output_converter %1 layers=["conv1"]
            -> tensor<1x16x32x32x!quant.uniform<i8:f32, 0.0252>>
    """

    name = "insert-converters"
    requires = (calibrated(),)

    def run(self, module: ModuleOp, session: Session) -> None:
        for op in list(module.walk()):
            if isinstance(op, FuncOp):
                _Function(op, session).run()


class _Function:
    """The state of one function: which int8 value stands for each calibrated one."""

    def __init__(self, func: FuncOp, session: Session) -> None:
        self.func = func
        self.session = session
        self.int8: dict[Value, Value] = {}
        self.done: set[Operation] = set()

    def run(self) -> None:
        for argument in self.func.body.arguments:
            if _calibration(argument) is not None:
                self._quantize_argument(argument)
        originals = list(self.func.body.operations)
        for op in originals:
            if op in self.done:
                continue
            handler = _HANDLERS.get(type(op))
            if handler is None:
                self._leave_on_host(op)
                continue
            try:
                handler(self, op)
            except OperandError as error:
                self._fail(op, f"{describe(op)}: {error}")
            except DiagnosticError as error:
                self.session.diagnostics.diagnostics.extend(error.diagnostics)
                self._stand_in(op)
        if self.session.diagnostics.errors:
            return
        for op in reversed(originals):
            if op in self.done and not any(result.is_used for result in op.results):
                op.erase()
        self._remove_dead_constants()
        self.func.update_function_type()

    def _fail(self, op: Operation, message: str) -> None:
        self.session.diagnostics.error(op.location, message)
        self._stand_in(op)

    def _stand_in(self, op: Operation) -> None:
        """Let the faults of later layers be found too."""
        for result in op.results:
            if result not in self.int8 and _calibration(result) is not None:
                self._quantize_value(result, InsertionPoint.after(op))

    def _remove_dead_constants(self) -> None:
        for op in list(self.func.body.operations):
            if isinstance(op, nn.ConstantOp) and not op.output.is_used:
                op.erase()

    # -------------------------------------------------------------- boundaries

    def _quantize_argument(self, argument: Value) -> None:
        type = nn.tensor_type(argument)
        element = cast(CalibratedType, type.element)
        argument.type = type.with_element(element.expressed)
        self._cast(argument, element.quantized(), InsertionPoint.at_start(self.func.body))

    def _quantize_value(self, value: Value, point: InsertionPoint) -> None:
        calibration = _calibration(value)
        assert calibration is not None
        self._cast(value, calibration.quantized(), point)

    def _cast(self, value: Value, element: UniformType, point: InsertionPoint) -> None:
        op = Builder(point).create(
            QuantizeCastOp,
            input=value,
            result_types=[nn.tensor_type(value).with_element(element)],
        )
        op.output.name_hint = f"{value.name_hint}_int8" if value.name_hint else None
        self.int8[value] = op.output

    def _leave_on_host(self, op: Operation) -> None:
        """Operations that compute on reals read dequantized values."""
        for index, operand in enumerate(op.operands):
            stored = self.int8.get(operand)
            if stored is not None and not isinstance(op, QuantizeCastOp):
                cast_op = Builder(InsertionPoint.before(op), op.location).create(
                    DequantizeCastOp, input=stored
                )
                cast_op.output.name_hint = f"{operand.name_hint}_f32" if operand.name_hint else None
                op.set_operand(index, cast_op.output)

    def _stored(self, value: Value, user: Operation) -> tuple[Value, UniformType]:
        """The int8 value that stands for ``value``, with its type.

        Raises: DiagnosticError where ``value`` has not been quantized.
        """
        stored = self.int8.get(value)
        if stored is None and isinstance(nn.tensor_type(value).element, QuantizedType):
            stored = value
        element = nn.tensor_type(stored).element if stored is not None else None
        if stored is None or not isinstance(element, UniformType):
            raise DiagnosticError.at(
                user.location,
                f"{describe(user)} reads '{value.type}', which is not calibrated; run "
                "'import-calibration' first",
            )
        return stored, element

    def _settle(self, chain: Chain, value: Value) -> None:
        """``value`` is the result of ``chain``; its layers are dealt with."""
        last = chain.last.results[0]
        value.name_hint = last.name_hint
        self.int8[last] = value
        self.done.update(chain.operations)

    def _builder(self, chain: Chain) -> Builder:
        location = fuse_locations([op.location for op in chain.operations])
        return Builder(InsertionPoint.before(chain.last), location)

    # -------------------------------------------------------------- layers with weights

    def weighted(self, op: nn.ConvOp | nn.FullyConnectedOp) -> None:
        import numpy as np

        stored, input_type = self._stored(op.input, op)
        constant = op.weight.defining_operation
        weight_type = nn.tensor_type(op.weight).element
        if not isinstance(constant, nn.ConstantOp) or not isinstance(weight_type, QuantizedType):
            raise DiagnosticError.at(
                op.location,
                f"the weights of {describe(op)} are not quantized; run 'quantize-weights' first",
            )
        weights = self.session.resources.array(constant.value, constant.location)
        rows: NDArray[np.int64] = weights.reshape((weights.shape[0], -1)).astype(np.int64)
        bound = (np.abs(rows).sum(axis=1) * 128.0).tolist()
        bias: NDArray[np.float64] | None = None
        if op.bias is not None:
            bias = self._reals(op, op.bias)
        scales = tuple(input_type.scale * scale for scale in scales_of(weight_type))
        zero_points = (
            tuple((rows.sum(axis=1) * input_type.zero_point).tolist())
            if input_type.zero_point
            else (0,)
        )
        chain = grow_chain(op, self.int8, may_add=True)
        builder = self._builder(chain)
        pipeline = Pipeline(builder, self.session.resources, stored, scales, zero_points, _name(op))
        fields: dict[str, Any] = {"input": stored, "weight": op.weight, "layers": op.layers}
        if isinstance(op, nn.ConvOp):
            fields |= {
                "strides": op.strides,
                "pads": op.pads,
                "dilations": op.dilations,
                "groups": op.groups,
            }
        element = _accumulator_type(scales, zero_points)
        accumulator = builder.create(
            type(op), result_types=[nn.tensor_type(op.output).with_element(element)], **fields
        )
        pipeline.value = accumulator.output
        if bias is not None:
            stored_units = np.abs(bias) / np.array(scales)
            bound = (np.array(bound) + stored_units).tolist()
        self._emit(pipeline, Source(bound, bias), chain)

    def _reals(self, op: Operation, value: Value) -> NDArray[np.float64]:
        import numpy as np

        constant = value.defining_operation
        if not isinstance(constant, nn.ConstantOp):
            raise DiagnosticError.at(op.location, f"{describe(op)} needs constant parameters")
        array = self.session.resources.array(constant.value, constant.location)
        if not np.isfinite(array).all():
            raise DiagnosticError.at(
                constant.location,
                f"the parameters of {describe(op)} contain NaN or infinite numbers",
            )
        return array.astype(np.float64)

    def _emit(self, pipeline: Pipeline, source: Source, chain: Chain) -> None:
        output = _output_type(chain.last)
        epilogue = Epilogue(pipeline, source, chain, output, self.session.diagnostics)
        residual = None
        residual_type = None
        if chain.residual is not None:
            residual, residual_type = self._stored(chain.residual, chain.last)
        self._settle(chain, epilogue.emit(residual, residual_type))
        self.session.count(InsertConverters.name, "pipelines")

    # -------------------------------------------------------------- layers on int8 in memory

    def _from_memory(self, value: Value, chain: Chain) -> Pipeline:
        stored, element = self._stored(value, chain.root)
        return Pipeline(
            self._builder(chain),
            self.session.resources,
            stored,
            (element.scale,),
            (element.zero_point,),
            _name(chain.root),
        )

    def scale(self, op: nn.ScaleOp) -> None:
        """A factor of the channel counts as a scale of the channel; it may be negative or zero."""
        import numpy as np

        chain = grow_chain(op, self.int8, may_add=False)
        pipeline = self._from_memory(op.input, chain)
        factors = self._reals(op, op.scale)
        bias = np.zeros(factors.size) if op.bias is None else self._reals(op, op.bias)
        pipeline.scales = tuple((pipeline.scales[0] * factors).tolist())
        self._emit(pipeline, Source([255.0], bias, bias_last=True), chain)

    def bias_add(self, op: nn.BiasAddOp) -> None:
        chain = grow_chain(op, self.int8, may_add=False)
        pipeline = self._from_memory(op.input, chain)
        self._emit(pipeline, Source([255.0], self._reals(op, op.bias)), chain)

    def relu(self, op: nn.ReluOp) -> None:
        chain = Chain(op, early_relu=op, operations=[op])
        pipeline = self._from_memory(op.input, chain)
        self._take_out_zero_point(pipeline, op)
        self._emit(pipeline, Source([255.0], None), chain)

    def add(self, op: nn.AddOp) -> None:
        """Both operands are in memory: one enters the pipeline, the other is the residual."""
        chain = Chain(op, add=op, residual=op.rhs, operations=[op])
        follower = op.output.users[0] if op.output.has_one_use else None
        if isinstance(follower, nn.ReluOp):
            chain.late_relu = follower
            chain.operations.append(follower)
        pipeline = self._from_memory(op.lhs, chain)
        self._take_out_zero_point(pipeline, op)
        self._emit(pipeline, Source([255.0], None), chain)

    def _take_out_zero_point(self, pipeline: Pipeline, op: Operation) -> None:
        if any(pipeline.zero_points):
            pipeline.add_value(-pipeline.zero_points[0], op)

    def concat(self, op: nn.ConcatOp) -> None:
        output = _output_type(op)
        if op.axis != 1:
            raise DiagnosticError.at(
                op.location,
                f"{describe(op)} joins along axis {op.axis}; only channels (axis 1) can be joined",
            )
        parts = [self._requantized(value, output, op) for value in op.inputs]
        builder = Builder(InsertionPoint.before(op), op.location)
        new = builder.create(
            nn.ConcatOp,
            inputs=parts,
            axis=op.axis,
            layers=op.layers,
            result_types=[nn.tensor_type(op.output).with_element(output)],
        )
        self._settle(Chain(op, operations=[op]), new.output)

    def _requantized(self, value: Value, output: UniformType, user: nn.ConcatOp) -> Value:
        """``value`` on the grid of ``output``."""
        stored, element = self._stored(value, user)
        if element == output:
            return stored
        chain = Chain(user, operations=[user])
        pipeline = self._from_memory(value, chain)
        self._take_out_zero_point(pipeline, user)
        factor = fixed_point(element.scale / output.scale)
        offset = round_half_away(-output.zero_point / factor.value)
        return pipeline.convert(factor, offset, output, user).output

    # -------------------------------------------------------------- pooling and views

    def max_pool(self, op: nn.MaxPoolOp) -> None:
        """The maximum of stored integers is the stored maximum: the input's scale stays."""
        stored, element = self._stored(op.input, op)
        new = self._builder(Chain(op, operations=[op])).create(
            nn.MaxPoolOp,
            input=stored,
            kernel=op.kernel,
            strides=op.strides,
            pads=op.pads,
            layers=op.layers,
            result_types=[nn.tensor_type(op.output).with_element(element)],
        )
        self._settle(Chain(op, operations=[op]), new.output)

    def average_pool(self, op: nn.AveragePoolOp | nn.GlobalAveragePoolOp) -> None:
        stored, element = self._stored(op.input, op)
        output = _output_type(op)
        if isinstance(op, nn.AveragePoolOp):
            kernel, strides, pads = op.kernel, op.strides, op.pads
            if any(pads) and not op.count_include_pad:
                raise DiagnosticError.at(
                    op.location,
                    f"{describe(op)} leaves padding out of its mean; the hardware divides by the "
                    "whole window (count_include_pad=true)",
                )
        else:
            kernel = nn.shape_of(op.input)[2:]
            strides, pads = (1, 1), (0, 0, 0, 0)
        symmetric = element.zero_point == 0 == output.zero_point
        if output.scale >= element.scale and symmetric and max(kernel) <= LARGEST_POOL_KERNEL:
            self._pooling_unit(op, stored, element, output, kernel, strides, pads)
        else:
            self._mean_by_convolution(op, stored, element, kernel, strides, pads)

    def _pooling_unit(
        self,
        op: nn.AveragePoolOp | nn.GlobalAveragePoolOp,
        stored: Value,
        element: UniformType,
        output: UniformType,
        kernel: Sequence[int],
        strides: Sequence[int],
        pads: Sequence[int],
    ) -> None:
        """The output's unit is no finer than the input's: the divider makes it exactly, and its
        8 bits cannot wrap."""
        height = round_half_away(RECIPROCAL_ONE / kernel[0] * element.scale / output.scale)
        width = round_half_away(RECIPROCAL_ONE / kernel[1])
        new = self._builder(Chain(op, operations=[op])).create(
            nn.AveragePoolOp,
            input=stored,
            kernel=kernel,
            strides=strides,
            pads=pads,
            reciprocals=(height, width),
            layers=op.layers,
            result_types=[nn.tensor_type(op.output).with_element(output)],
        )
        self._settle(Chain(op, operations=[op]), new.output)

    def _mean_by_convolution(
        self,
        op: nn.AveragePoolOp | nn.GlobalAveragePoolOp,
        stored: Value,
        element: UniformType,
        kernel: Sequence[int],
        strides: Sequence[int],
        pads: Sequence[int],
    ) -> None:
        """The output's unit is finer than the input's, which the pooling unit's 8 bits would
        lose: a depthwise convolution with ones, whose step is one over the window, keeps it."""
        import numpy as np

        channels = nn.shape_of(op.input)[1]
        window = math.prod(kernel)
        chain = grow_chain(op, self.int8, may_add=True)
        builder = self._builder(chain)
        ones = np.ones((channels, 1, *kernel), np.int8)
        attribute = self.session.resources.attribute_for(f"{_name(op)}.ones", ones, I8)
        weight = builder.create(
            nn.ConstantOp,
            value=attribute,
            result_types=[attribute.type.with_element(UniformType(I8, F32, 1 / window))],
        )
        scales = (element.scale / window,)
        zero_points = (element.zero_point * window,)
        accumulator = builder.create(
            nn.ConvOp,
            input=stored,
            weight=weight.output,
            strides=strides,
            pads=pads,
            groups=channels,
            layers=op.layers,
            result_types=[
                nn.tensor_type(op.output).with_element(_accumulator_type(scales, zero_points))
            ],
        )
        pipeline = Pipeline(
            builder,
            self.session.resources,
            accumulator.output,
            scales,
            zero_points,
            _name(op),
        )
        bias = np.zeros(channels) if element.zero_point else None
        self._emit(pipeline, Source([128.0 * window], bias), chain)

    def view(self, op: nn.ReshapeOp | nn.FlattenOp) -> None:
        stored = self.int8.get(op.input)
        if stored is None:
            self._leave_on_host(op)
            return
        fields: dict[str, Any] = {"axis": op.axis} if isinstance(op, nn.FlattenOp) else {}
        new = self._builder(Chain(op, operations=[op])).create(
            type(op),
            input=stored,
            layers=op.layers,
            result_types=[nn.tensor_type(op.output).with_element(nn.tensor_type(stored).element)],
            **fields,
        )
        self._settle(Chain(op, operations=[op]), new.output)

    def normalize(self, op: nn.NormalizeOp) -> None:
        """The image's mean and scale go into the input converter."""
        output = _output_type(op)
        factor: FixedPoint = fixed_point(op.scale / output.scale)
        exact = [mean - output.zero_point / factor.value for mean in op.mean]
        means = tuple(round_half_away(mean) for mean in exact)
        if any(mean != rounded for mean, rounded in zip(exact, means, strict=True)):
            self.session.diagnostics.remark(
                op.location,
                f"{describe(op)}: the input converter subtracts whole numbers, {list(means)} for "
                f"{exact}",
            )
        new = self._builder(Chain(op, operations=[op])).create(
            nn.InputConverterOp,
            input=op.input,
            means=means,
            scale=factor.multiplier,
            truncate=factor.shift,
            layers=op.layers,
            result_types=[nn.tensor_type(op.output).with_element(output)],
        )
        self._settle(Chain(op, operations=[op]), new.output)


def _calibration(value: Value) -> CalibratedType | None:
    type = value.type
    if isinstance(type, TensorType) and isinstance(type.element, CalibratedType):
        return type.element
    return None


def _output_type(op: Operation) -> UniformType:
    calibration = _calibration(op.results[0])
    if calibration is None:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has no calibrated range; run 'import-calibration' first",
        )
    return calibration.quantized()


def _accumulator_type(scales: Sequence[float], zero_points: Sequence[int]) -> QuantizedType:
    if len(scales) == 1 and len(set(zero_points)) == 1:
        return UniformType(I32, F32, scales[0], zero_points[0])
    count = max(len(scales), len(zero_points))
    return UniformPerAxisType(
        I32,
        F32,
        1,
        tuple(scales) * (count if len(scales) == 1 else 1),
        tuple(zero_points) * (count if len(zero_points) == 1 else 1),
    )


def _name(op: Operation) -> str:
    layers = layers_of(op)
    return layers[0] if layers else op.name.partition(".")[2]


_HANDLERS: dict[type[Operation], Callable[[_Function, Any], None]] = {
    nn.ConvOp: _Function.weighted,
    nn.FullyConnectedOp: _Function.weighted,
    nn.ScaleOp: _Function.scale,
    nn.BiasAddOp: _Function.bias_add,
    nn.ReluOp: _Function.relu,
    nn.AddOp: _Function.add,
    nn.ConcatOp: _Function.concat,
    nn.MaxPoolOp: _Function.max_pool,
    nn.AveragePoolOp: _Function.average_pool,
    nn.GlobalAveragePoolOp: _Function.average_pool,
    nn.ReshapeOp: _Function.view,
    nn.FlattenOp: _Function.view,
    nn.NormalizeOp: _Function.normalize,
}
