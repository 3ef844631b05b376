"""Nodes on known elements, computed on the way in: mostly what makes shapes.

What they compute is the onnx package's reference implementation. Here stands which operators are
computed, and how many elements they make, since that is known only from what they read: an import
must not be made to fill the memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.layer import Layer
from nvdla_ir.frontends.onnx.limits import require_rank, require_size
from nvdla_ir.frontends.onnx.operands import Array, Constant, QuantizedConstant, Tensor
from nvdla_ir.frontends.onnx.structure import permutation, reshaped

Size: TypeAlias = "Callable[[Sequence[Array]], int]"


def fold(layer: Layer, tensors: Sequence[Tensor | None]) -> list[Tensor] | None:
    """What ``layer`` makes of known tensors; None where a tensor is not known or the operator is
    none of ``FOLDED``.

    Raises: UnsupportedError where it cannot be computed.
    """
    if layer.node.domain or not tensors:
        return None
    if isinstance(tensors[0], QuantizedConstant):
        kept = _moved(layer, tensors[0])
        if kept is not None:
            return [kept]
    size = FOLDED.get(layer.node.op_type)
    if size is None:
        return None
    arrays: list[Array | None] = []
    for tensor in tensors:
        if isinstance(tensor, QuantizedConstant):
            arrays.append(tensor.reals())
        elif isinstance(tensor, Constant):
            arrays.append(tensor.array)
        elif tensor is None:
            arrays.append(None)
        else:
            return None
    results = _computed(layer, arrays, size)
    return [Constant(array, name) for array, name in zip(results, layer.node.outputs, strict=True)]


def _moved(layer: Layer, tensor: QuantizedConstant) -> QuantizedConstant | None:
    """Quantized weights under another order of axes or shape keep their integers."""
    stored: Array = tensor.stored
    axis = tensor.axis
    if layer.node.op_type == "Transpose":
        order = permutation(layer, stored.ndim)
        stored = np.transpose(stored, order)
        axis = None if axis is None else order.index(axis)
    elif layer.node.op_type == "Reshape" and axis is None:
        wanted = layer.integer_list(1, "the shape") or ()
        allow_zero = bool(layer.integer("allowzero", 0))
        stored = np.reshape(stored, reshaped(stored.shape, wanted, allow_zero))
    else:
        return None
    return QuantizedConstant(stored, tensor.scales, tensor.zero_points, axis, tensor.name)


# -------------------------------------------------------------- computing


def _computed(layer: Layer, arrays: Sequence[Array | None], size: Size) -> list[Array]:
    """One array an output; those without a name are empty."""
    _check_attributes(layer)
    known = [array for array in arrays if array is not None]
    # Integers that are divided by 0 have no quotient, floats have one.
    division = "ignore" if any(array.dtype.kind == "f" for array in known) else "raise"
    try:
        require_size(size(known))
        with np.errstate(all="ignore", divide=division):
            results = _evaluated(layer, arrays)
    except UnsupportedError:
        raise
    except Exception as error:
        # The reference implementation trusts its inputs: whatever it stumbles over is theirs.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UnsupportedError(f"cannot be computed from its constants: {reason}") from error
    return [_settled(result) for result in results]


def _check_attributes(layer: Layer) -> None:
    """Raises: UnsupportedError for attributes that the operator has not."""
    from onnx import defs

    node = layer.node
    try:
        schema = defs.get_schema(node.op_type, layer.opset, "")
    except defs.SchemaError as error:
        raise UnsupportedError(f"is no operator of set {layer.opset}") from error
    layer.ignore(*schema.attributes)


def _evaluated(layer: Layer, arrays: Sequence[Array | None]) -> list[Any]:
    from onnx import GraphProto, NodeProto, ValueInfoProto
    from onnx.reference import ReferenceEvaluator

    node = NodeProto()
    node.CopyFrom(layer.node.proto)
    node.domain = ""
    feeds = {
        name: array for name, array in zip(node.input, arrays, strict=True) if array is not None
    }
    outputs = [name for name in node.output if name]
    graph = GraphProto(
        node=[node],
        input=[ValueInfoProto(name=name) for name in feeds],
        output=[ValueInfoProto(name=name) for name in outputs],
    )
    found = ReferenceEvaluator(graph, opsets={"": layer.opset}).run(None, feeds)
    by_name = dict(zip(outputs, found, strict=True))
    return [by_name.get(name, np.empty(0, np.float32)) for name in node.output]


def _settled(result: Any) -> Array:
    """A result as an array of a type that is read; floats of all widths are float32."""
    array = np.asarray(result)
    require_rank(array.ndim)
    if array.dtype.kind in "biu" or array.dtype == np.float32:
        return array
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    raise UnsupportedError(f"makes elements of type {array.dtype}, which are not read")


# -------------------------------------------------------------- the table


def _no_more(arrays: Sequence[Array]) -> int:
    """At most as many elements as are read."""
    return sum(array.size for array in arrays)


def _broadcast(arrays: Sequence[Array]) -> int:
    return math.prod(np.broadcast_shapes(*(array.shape for array in arrays)))


def _shape_of(array: Array) -> list[int]:
    """The extents that ``array`` lists, as numbers without a limit."""
    require_rank(array.size)
    return [int(extent) for extent in array.reshape(-1).tolist()]


def _filled(arrays: Sequence[Array]) -> int:
    return math.prod(_shape_of(arrays[0]))


def _expanded(arrays: Sequence[Array]) -> int:
    wanted = _shape_of(arrays[1])
    rank = max(len(wanted), arrays[0].ndim)
    require_rank(rank)
    shapes = [[1] * (rank - len(shape)) + shape for shape in (list(arrays[0].shape), wanted)]
    return math.prod(max(pair) for pair in zip(*shapes, strict=True))


def _tiled(arrays: Sequence[Array]) -> int:
    return arrays[0].size * math.prod(_shape_of(arrays[1]))


def _ranged(arrays: Sequence[Array]) -> int:
    start, limit, step = (array.item() for array in arrays)
    if not step:
        raise UnsupportedError("counts in steps of 0")
    return max(0, math.ceil((float(limit) - float(start)) / float(step)))


def _gathered(arrays: Sequence[Array]) -> int:
    data, indices = arrays
    return indices.size * max(1, data.size // max(1, min(data.shape, default=1)))


def _multiplied(arrays: Sequence[Array]) -> int:
    """All products of the elements of a row and a column."""
    left, right = arrays[0], arrays[1]
    return max(
        left.size // max(1, left.shape[-1]) * max(1, right.shape[-1]),
        left.size + right.size,
    )


_SIZES: dict[Size, str] = {
    _no_more: "Abs ArgMax ArgMin BitwiseNot Cast Ceil Clip Concat Cos CumSum Elu Erf Exp Flatten "
    "Floor HardSigmoid InstanceNormalization IsNaN LeakyRelu Log Neg Not Reciprocal ReduceL1 "
    "ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "ReduceSumSquare Relu Reshape Round Shape Sigmoid Sign Sin Size Slice Softmax Softplus "
    "Softsign Split Sqrt Squeeze Tanh Transpose Trilu Unsqueeze",
    _broadcast: "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or "
    "Pow Sub Sum Where Xor",
    lambda arrays: arrays[0].size: "CastLike",
    _filled: "ConstantOfShape",
    _expanded: "Expand",
    _gathered: "Gather",
    lambda arrays: arrays[1].size: "GatherElements",
    _multiplied: "Gemm MatMul",
    _ranged: "Range",
    _tiled: "Tile",
}

FOLDED: dict[str, Size] = {name: size for size, names in _SIZES.items() for name in names.split()}
"""By ONNX operator that is computed where all it reads is known, how many elements it makes at
most of these arrays."""
