"""Layers with weights, and normalization."""

from __future__ import annotations

import numpy as np
from attrs import evolve

from nvdla_ir.dialects import nn
from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.layer import Layer, handler
from nvdla_ir.frontends.onnx.operands import Array, Constant, QuantizedConstant, Tensor
from nvdla_ir.frontends.onnx.windows import pair, split_pads, stated_pads, windows
from nvdla_ir.ir.operation import Value


def weight_value(layer: Layer, weights: Tensor, channel_axis: int, what: str = "weights") -> Value:
    """Weights as a constant: 8 bits as they are, with their scales and zero points, if there is one
    for all or one a slice along ``channel_axis``; others as floats."""
    if isinstance(weights, QuantizedConstant):
        integers = weights.int8() if weights.axis in (None, channel_axis) else None
        if integers is not None:
            stored, element = integers
            return layer.assembly.constant(stored, weights.name, element)
        layer.assembly.diagnostics.warning(
            layer.node.location,
            f"the quantized {what} '{weights.name}' are not of 8 bits, or have scales along "
            "another axis than that of output channels, which the hardware has not: they are "
            "imported as the floats that they stand for, and quantized again for the hardware",
        )
    return layer.constant_value(layer.elements(weights, what), weights_name(weights))


def weights_name(weights: Tensor) -> str:
    return weights.name if isinstance(weights, Constant | QuantizedConstant) else "weights"


def bias_value(layer: Layer, index: int, channels: int) -> Value | None:
    """Input ``index`` as one float a channel."""
    bias = layer.constant(index, "the bias")
    if bias is None:
        return None
    if bias.size != channels:
        raise UnsupportedError(f"the bias has {bias.size} elements for {channels} channels")
    return layer.constant_value(bias.reshape(channels), layer.input_name(index))


def weights_of(layer: Layer, index: int, rank: int) -> Constant | QuantizedConstant:
    """Input ``index`` as weights of ``rank`` dimensions."""
    weights = layer.required(index)
    if not isinstance(weights, Constant | QuantizedConstant):
        raise UnsupportedError("the weights must be constant, but the network computes them")
    if len(weights.shape) != rank:
        raise UnsupportedError(f"the weights have {len(weights.shape)} dimensions, not {rank}")
    if 0 in weights.shape:
        raise UnsupportedError("the weights are empty")
    return weights


def _window_weights(layer: Layer) -> Constant | QuantizedConstant:
    """Input 1 as weights of four dimensions; those for lines have one row."""
    weights = weights_of(layer, 1, 3 if layer.is_line else 4)
    if not layer.is_line:
        return weights
    shape = (*weights.shape[:2], 1, weights.shape[2])
    if isinstance(weights, QuantizedConstant):
        return evolve(weights, stored=np.reshape(weights.stored, shape))
    return Constant(np.reshape(weights.array, shape), weights.name)


def _kernel(layer: Layer, weights: Constant | QuantizedConstant) -> tuple[int, int]:
    kernel = weights.shape[2], weights.shape[3]
    if layer.has("kernel_shape") and pair(layer, "kernel_shape") != kernel:
        raise UnsupportedError("attribute 'kernel_shape' is not that of the weights")
    return kernel


@handler("Conv")
def conv(layer: Layer) -> Value:
    image = layer.image_or_line()
    weights = _window_weights(layer)
    found = windows(layer, nn.shape_of(image)[2:], _kernel(layer, weights))
    return layer.emit_windows(
        nn.ConvOp,
        input=image,
        weight=weight_value(layer, weights, 0),
        bias=bias_value(layer, 2, weights.shape[0]),
        strides=found.strides,
        pads=found.pads,
        dilations=found.dilations,
        groups=layer.integer("group", 1),
    )


@handler("ConvTranspose")
def conv_transpose(layer: Layer) -> Value:
    """``output_shape`` and automatic padding are turned into pads; where they would be negative,
    the output is longer at its end."""
    image = layer.image_or_line()
    weights = _window_weights(layer)
    kernel, groups = _kernel(layer, weights), layer.integer("group", 1)
    strides, dilations = pair(layer, "strides"), pair(layer, "dilations")
    pads = stated_pads(layer)
    auto_pad = layer.string("auto_pad", "NOTSET")
    extra = _rows_and_columns(layer, "output_padding", 0) or (0, 0)
    size = nn.shape_of(image)[2:]
    wanted = _rows_and_columns(layer, "output_shape", 1)
    if wanted is None and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        wanted = size[0] * strides[0], size[1] * strides[1]
    elif wanted is None and auto_pad == "VALID":
        pads = (0, 0, 0, 0)
    elif auto_pad not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise UnsupportedError(f"attribute 'auto_pad = {auto_pad}' is not known")
    if wanted is not None:
        totals = [
            (size[axis] - 1) * strides[axis]
            + extra[axis]
            + (kernel[axis] - 1) * dilations[axis]
            + 1
            - wanted[axis]
            for axis in range(2)
        ]
        if min(totals) < 0:
            raise UnsupportedError(
                f"attribute 'output_shape = {list(wanted)}' is larger than what the kernel reaches"
            )
        # Here ONNX puts the odd one before, except with SAME_UPPER.
        pads = split_pads(totals, "SAME_UPPER" if auto_pad == "SAME_UPPER" else "SAME_LOWER")
    bias = bias_value(layer, 2, weights.shape[1] * groups)
    return layer.emit_windows(
        nn.ConvTransposeOp,
        input=image,
        weight=weight_value(layer, weights, 1),
        bias=bias,
        strides=strides,
        pads=pads,
        output_padding=extra,
        dilations=dilations,
        groups=groups,
    )


def _rows_and_columns(layer: Layer, name: str, of_line: int) -> tuple[int, int] | None:
    """Attribute ``name``, whose last numbers are those of rows and columns; of a line, its rows
    are ``of_line``."""
    numbers = layer.integers(name)
    if not numbers:
        return None
    if layer.is_line:
        numbers = (of_line, numbers[-1])
    if len(numbers) < 2 or min(numbers) < 0:
        raise UnsupportedError(
            f"attribute '{name} = {list(numbers)}' must be {1 if layer.is_line else 2} numbers "
            "from 0 on"
        )
    return numbers[-2], numbers[-1]


def transposed(weights: Constant | QuantizedConstant) -> Constant | QuantizedConstant:
    """Weights of two dimensions the other way round."""
    if isinstance(weights, QuantizedConstant):
        return weights.transposed()
    turned: Array = np.transpose(weights.array)
    return Constant(turned, weights.name)


@handler("Gemm")
def gemm(layer: Layer) -> Value:
    weights = weights_of(layer, 1, 2)
    layer.require("transA", 0)
    if not layer.integer("transB", 0):
        weights = transposed(weights)
    alpha, beta = layer.real("alpha", 1.0), layer.real("beta", 1.0)
    if alpha != 1.0:
        weights = _times(weights, alpha)
    outputs = weights.shape[0]
    bias = layer.constant(2, "the summand")
    value: Value | None = None
    if bias is not None:
        name = layer.input_name(2)
        if (
            bias.ndim > 2
            or bias.size not in (1, outputs)
            or bias.shape[-1:]
            not in (
                (),
                (1,),
                (outputs,),
            )
        ):
            raise UnsupportedError(
                f"the summand of shape {list(bias.shape)} is not one number for each of the "
                f"{outputs} outputs"
            )
        row = np.broadcast_to(bias.reshape(-1), outputs)
        value = layer.constant_value(row if beta == 1.0 else row * np.float32(beta), name)
    return fully_connected(layer, layer.activation(), weights, value)


def _times(weights: Constant | QuantizedConstant, factor: float) -> Constant | QuantizedConstant:
    if isinstance(weights, QuantizedConstant) and factor > 0:
        scales = weights.scales * np.float32(factor)
        return QuantizedConstant(
            weights.stored, scales, weights.zero_points, weights.axis, weights.name
        )
    reals = weights.reals() if isinstance(weights, QuantizedConstant) else weights.array
    return Constant(reals * np.float32(factor), weights.name)


def fully_connected(
    layer: Layer, value: Value, weights: Constant | QuantizedConstant, bias: Value | None
) -> Value:
    """Rows of ``value`` times weights KxC. Leading dimensions count as rows."""
    shape = nn.shape_of(value)
    if not shape or shape[-1] != weights.shape[1]:
        raise UnsupportedError(
            f"has weights for {weights.shape[1]} inputs, but the input is {shape}"
        )
    weight = weight_value(layer, weights, 0)
    if len(shape) == 2:
        return layer.emit(nn.FullyConnectedOp, input=value, weight=weight, bias=bias)
    rows = int(np.prod(shape[:-1], dtype=object))
    flat = layer.reshape(value, (rows, shape[-1]), "rows")
    result = layer.emit(nn.FullyConnectedOp, "product", input=flat, weight=weight, bias=bias)
    return layer.reshape(result, (*shape[:-1], weights.shape[0]))


@handler("MatMul")
def matmul(layer: Layer) -> Value:
    weights = layer.required(1)
    if not isinstance(weights, Constant | QuantizedConstant):
        raise UnsupportedError(
            "multiplies two tensors that the network computes; only a product with "
            "a constant on the right is supported"
        )
    return fully_connected(layer, layer.activation(), transposed(weights_of(layer, 1, 2)), None)


@handler("BatchNormalization")
def batch_normalization(layer: Layer) -> Value:
    layer.ignore("momentum")
    layer.require("spatial", 1)
    layer.require("training_mode", 0)
    value = layer.activation()
    shape = nn.shape_of(value)
    gamma, beta, mean, variance = (
        layer.constant_value(layer.required_constant(index, f"the {what}"), layer.input_name(index))
        for index, what in enumerate(("scale", "bias", "mean", "variance"), start=1)
    )
    if len(shape) < 2:
        raise UnsupportedError("its input has no channels")
    return layer.emit(
        nn.BatchNormOp,
        input=value,
        epsilon=layer.real("epsilon", 1e-5),
        gamma=gamma,
        beta=beta,
        mean=mean,
        variance=variance,
    )


@handler("InstanceNormalization")
def instance_normalization(layer: Layer) -> Value:
    """Constants have been normalized already."""
    raise UnsupportedError(
        "normalizes by what it measures on each image, which has no form here; only of a constant "
        "can it be computed"
    )


@handler("LRN")
def lrn(layer: Layer) -> Value:
    return layer.emit(
        nn.LrnOp,
        input=layer.activation(),
        size=layer.integer("size", 0),
        alpha=layer.real("alpha", 1e-4),
        beta=layer.real("beta", 0.75),
        k=layer.real("bias", 1.0),
    )
