"""Functions that are written as several nodes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nvdla_ir.frontends.onnx.faults import UnsupportedError
from nvdla_ir.frontends.onnx.operands import Activation, Constant

if TYPE_CHECKING:
    from nvdla_ir.frontends.onnx.layer import Assembly
    from nvdla_ir.frontends.onnx.model import Node
    from nvdla_ir.ir.operation import Value

_TOLERANCE = 1e-6


def hard_swish_input(assembly: Assembly, node: Node) -> Value | None:
    """The ``x`` of which ``node``, a product or a quotient, is the last step of hard swish; None
    where it is not.

    Known are ``x * hard_sigmoid(x)``, and ``clip(x + 3, 0, 6)`` with the product by ``x`` and the
    division by 6 (or a product by 1/6) in any order.
    """
    matcher = _Matcher(assembly)
    if node.op_type == "Mul" and len(node.inputs) == 2:
        for name, other in (node.inputs, node.inputs[::-1]):
            if matcher.is_hard_sigmoid_of(other, name) or matcher.is_sixth_of_relu6(other, name):
                return matcher.value(name)
    name = matcher.sixth(node)
    product = None if name is None else assembly.nodes.get(name)
    if product is not None and product.op_type == "Mul" and len(product.inputs) == 2:
        for factor, other in (product.inputs, product.inputs[::-1]):
            if matcher.is_shifted_relu6_of(other, factor):
                return matcher.value(factor)
    return None


class _Matcher:
    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly

    def value(self, name: str) -> Value | None:
        found = self._assembly.tensors.get(name)
        return found.value if isinstance(found, Activation) else None

    def is_hard_sigmoid_of(self, name: str, x: str) -> bool:
        node = self._assembly.nodes.get(name)
        if node is None or node.op_type != "HardSigmoid" or node.inputs[:1] != (x,):
            return False
        alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
        return _near(alpha, 1 / 6) and _near(beta, 0.5)

    def is_sixth_of_relu6(self, name: str, x: str) -> bool:
        """Whether ``name`` is ``clip(x + 3, 0, 6) / 6``."""
        node = self._assembly.nodes.get(name)
        inner = None if node is None else self.sixth(node)
        return inner is not None and self.is_shifted_relu6_of(inner, x)

    def is_shifted_relu6_of(self, name: str, x: str) -> bool:
        """Whether ``name`` is ``clip(x + 3, 0, 6)``."""
        node = self._assembly.nodes.get(name)
        if node is None or node.op_type != "Clip" or not node.inputs:
            return False
        if len(node.inputs) == 3:
            limits = [self._number(limit) for limit in node.inputs[1:]]
        else:
            limits = [node.attributes.get("min"), node.attributes.get("max")]
        if not (_near(limits[0], 0.0) and _near(limits[1], 6.0)):
            return False
        shifted = self._assembly.nodes.get(node.inputs[0])
        return (
            shifted is not None
            and shifted.op_type == "Add"
            and len(shifted.inputs) == 2
            and any(
                first == x and _near(self._number(second), 3.0)
                for first, second in (shifted.inputs, shifted.inputs[::-1])
            )
        )

    def sixth(self, node: Node) -> str | None:
        """The tensor of which ``node`` computes the sixth part."""
        if len(node.inputs) != 2:
            return None
        first, second = node.inputs
        if node.op_type == "Div":
            return first if _near(self._number(second), 6.0) else None
        if node.op_type == "Mul":
            for name, factor in ((first, second), (second, first)):
                if _near(self._number(factor), 1 / 6):
                    return name
        return None

    def _number(self, name: str) -> float | None:
        """The one element of a constant."""
        known = name in self._assembly.tensors or name in self._assembly.model.tensors
        if not name or not known:
            return None
        try:
            found = self._assembly.tensor(name)
        except UnsupportedError:
            return None
        if isinstance(found, Constant) and found.array.size == 1:
            return float(found.array.item())
        return None


def _near(value: object, expected: float) -> bool:
    return isinstance(value, int | float) and math.isclose(
        value, expected, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE
    )
