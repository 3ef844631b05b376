"""Small functions made and run in a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp, ReturnOp
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.interp.quantization import dtype_of
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.operation import Block, Region, Value
from nvdla_ir.ir.types import F32, FunctionType, TensorType, Type
from nvdla_ir.ir.verifier import verify
from nvdla_ir.resources import ResourceStore

Array = NDArray[Any]


class Graph:
    """A function under construction: inputs and constants are arrays, results are values."""

    def __init__(self) -> None:
        self.resources = ResourceStore()
        self.inputs: dict[str, Array] = {}
        self.block = Block()
        self.builder = Builder(InsertionPoint.at_end(self.block))

    def input(self, array: Array, element: Type = F32, *, batch: int | None = None) -> Value:
        """An input; its type says ``batch`` images, or as many as ``array`` has."""
        name = f"x{len(self.inputs)}"
        self.inputs[name] = array
        shape = (array.shape[0] if batch is None else batch, *array.shape[1:])
        return self.block.add_argument(TensorType(shape, element), name)

    def constant(self, array: Array, element: Type = F32) -> Value:
        type = TensorType(array.shape, element)
        stored = array.astype(dtype_of(element))
        storage = getattr(element, "storage", element)
        value = self.resources.attribute_for("c", stored, storage)
        return self.add(nn.ConstantOp, value=value, result_types=[type])

    def add(self, op_class: Any, **fields: Any) -> Value:
        return self.builder.create(op_class, **fields).result

    def function(self, *results: Value) -> FuncOp:
        self.builder.create(ReturnOp, values=results)
        types = FunctionType(
            tuple(argument.type for argument in self.block.arguments),
            tuple(result.type for result in results),
        )
        func = FuncOp.create(sym_name="main", function_type=types, regions=[Region([self.block])])
        verify(ModuleOp.of([func]))
        return func

    def run(self, *results: Value, mode: Mode = Mode.FLOAT) -> list[Array]:
        """The values of ``results``."""
        func = self.function(*results)
        outputs = Machine(self.resources, mode).run(func, self.inputs)
        assert len(outputs) == len(results)
        return list(outputs.values())


def run_op(
    op_class: Any,
    operands: Mapping[str, Array | Sequence[Array]],
    attributes: Mapping[str, Any] | None = None,
    shape: Sequence[int] | None = None,
) -> Array:
    """The result of one operation on floats; ``shape`` where it cannot be inferred."""
    graph = Graph()
    values = {
        name: graph.input(array)
        if isinstance(array, np.ndarray)
        else [graph.input(item) for item in array]
        for name, array in operands.items()
    }
    fields: dict[str, Any] = {**values, **(attributes or {})}
    if shape is not None:
        fields["result_types"] = [TensorType(tuple(shape), F32)]
    (result,) = graph.run(graph.add(op_class, **fields))
    assert result.dtype == np.float32
    return result


def naive(shape: Sequence[int], element: Callable[..., float]) -> Array:
    """An array whose elements ``element`` computes from their indices, in double precision."""
    result = np.empty(shape, np.float64)
    for index in np.ndindex(*shape):
        result[index] = element(*index)
    return result
