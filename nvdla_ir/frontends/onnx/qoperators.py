"""Operators on integers: each is imported as its twin on reals, between DequantizeLinear of the
inputs and QuantizeLinear of the output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import evolve

from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.layer import HANDLERS, Layer, as_tensor, handler
from nvdla_ir.frontends.onnx.operands import Activation, Constant, QuantizedConstant, Tensor
from nvdla_ir.frontends.onnx.quantization import (
    CONTRIBUTED,
    one_scale,
    parameters,
    quantized,
    reals_of,
)


def _operand(layer: Layer, index: int, axis: int | None = None) -> Tensor:
    """Input ``index`` by the scale and zero point in the inputs behind it. Constants may have one
    a slice along ``axis``."""
    tensor = layer.required(index)
    if not isinstance(tensor, Constant):
        return Activation(reals_of(layer, tensor, index + 1))
    if tensor.array.dtype.kind not in "iu":
        raise UnsupportedError(f"input {index} must be integers")
    scales, zero_points = parameters(layer, index + 1, tensor.array.dtype)
    if scales.size == 1:
        axis = None
    elif axis is None or axis >= len(tensor.shape) or scales.size != tensor.shape[axis]:
        raise UnsupportedError(f"has {scales.size} scales for input {index}, {list(tensor.shape)}")
    return QuantizedConstant(
        tensor.array, scales.reshape(-1), zero_points.reshape(-1), axis, tensor.name
    )


def _bias(layer: Layer, index: int, factors: tuple[float, Tensor]) -> Tensor | None:
    """Input ``index``, integers of the product of a number and the weights' scales, as reals."""
    stored = layer.constant(index, "the bias")
    factor, weights = factors
    if stored is None or not isinstance(weights, QuantizedConstant):
        return None
    unit = np.float64(np.float32(factor)) * weights.scales.astype(np.float64)
    return Constant((stored * unit).astype(np.float32), layer.input_name(index))


def _twin(
    layer: Layer, op_type: str, operands: Sequence[Tensor | None], names: Sequence[int], output: int
) -> Tensor:
    """What ``op_type`` makes of ``operands``, which are inputs ``names``, as codes of the scale in
    input ``output`` and the zero point behind it; as reals where there is none."""
    node = evolve(
        layer.node, op_type=op_type, domain="", inputs=tuple(map(layer.input_name, names))
    )
    result = HANDLERS["", op_type](evolve(layer, node=node, operands=tuple(operands)))
    assert not isinstance(result, Sequence)
    tensor = as_tensor(result, layer.name)
    if layer.input(output) is None:
        return tensor
    return quantized(layer, layer.value_of(tensor), output)


@handler("QLinearConv")
@handler("QLinearConv", domain=CONTRIBUTED)
def qlinear_conv(layer: Layer) -> Tensor:
    layer.require("channels_last", 0)
    weights = _operand(layer, 3, axis=0)
    bias = _bias(layer, 8, (one_scale(layer, 1)[0], weights))
    return _twin(layer, "Conv", [_operand(layer, 0), weights, bias], (0, 3, 8), 6)


@handler("QGemm", domain=CONTRIBUTED)
def qgemm(layer: Layer) -> Tensor:
    weights = _operand(layer, 3, axis=0 if layer.integer("transB", 0) else 1)
    # The summand is in units of all factors.
    unit = layer.real("alpha", 1.0) * one_scale(layer, 1)[0]
    return _twin(
        layer, "Gemm", [_operand(layer, 0), weights, _bias(layer, 6, (unit, weights))], (0, 3, 6), 7
    )


@handler("QLinearMatMul")
@handler("QLinearMatMul", domain=CONTRIBUTED)
def qlinear_matmul(layer: Layer) -> Tensor:
    return _twin(layer, "MatMul", [_operand(layer, 0), _operand(layer, 3, axis=1)], (0, 3), 6)


@handler("QLinearAdd", "QLinearMul", domain=CONTRIBUTED)
def qlinear_binary(layer: Layer) -> Tensor:
    op_type = layer.node.op_type.removeprefix("QLinear")
    return _twin(layer, op_type, [_operand(layer, 0), _operand(layer, 3)], (0, 3), 6)


@handler("QLinearAveragePool", "QLinearGlobalAveragePool", domain=CONTRIBUTED)
@handler("QLinearLeakyRelu", "QLinearSigmoid", domain=CONTRIBUTED)
def qlinear_unary(layer: Layer) -> Tensor:
    layer.require("channels_last", 0)
    return _twin(layer, layer.node.op_type.removeprefix("QLinear"), [_operand(layer, 0)], (0,), 3)


@handler("QLinearSoftmax", domain=CONTRIBUTED)
def qlinear_softmax(layer: Layer) -> Tensor:
    version = layer.integer("opset", layer.opset)
    if (version < 13) != (layer.opset < 13):
        raise UnsupportedError(
            f"means what Softmax means in operator set {version}, in a model of set {layer.opset}"
        )
    return _twin(layer, "Softmax", [_operand(layer, 0)], (0,), 3)


@handler("QLinearConcat", domain=CONTRIBUTED)
def qlinear_concat(layer: Layer) -> Tensor:
    names = range(2, layer.input_count, 3)
    return _twin(layer, "Concat", [_operand(layer, index) for index in names], names, 0)
