"""What tests of several packages share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

OneNode = Callable[..., NDArray[Any]]


@pytest.fixture
def onnx_node() -> OneNode:
    """Computes one ONNX operator with ONNX Runtime: ``onnx_node("Conv", x, w, strides=[2, 2])``.
    None stands for an operand that is left out."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT

    def compute(operator: str, *operands: NDArray[Any] | None, **attributes: Any) -> NDArray[Any]:
        names = ["" if array is None else f"x{i}" for i, array in enumerate(operands)]
        given = {n: a for n, a in zip(names, operands, strict=True) if a is not None}
        inputs = [helper.make_tensor_value_info(n, float32, a.shape) for n, a in given.items()]
        output = helper.make_tensor_value_info("y", float32, None)
        node = helper.make_node(operator, names, ["y"], **attributes)
        graph = helper.make_graph([node], "one", inputs, [output])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=8)
        session = runtime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (result,) = session.run(None, {n: np.asarray(a, np.float32) for n, a in given.items()})
        return result

    return compute
