"""Small ONNX models, written by the tests, and what runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.verifier import verify
from nvdla_ir.resources import ResourceStore

onnx = pytest.importorskip("onnx", reason="the package 'onnx' is not installed")

Arrays = Mapping[str, np.ndarray[Any, Any]]


def runtime_version() -> tuple[int, ...]:
    """ONNX Runtime's: major and minor."""
    runtime = pytest.importorskip("onnxruntime", reason="'onnxruntime' is not installed")
    return tuple(int(part) for part in runtime.__version__.split(".")[:2])


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Sequence[int | str | None] | None],
    outputs: Sequence[str] = ("y",),
    constants: Arrays | None = None,
    opset: int = 13,
    element: int = 1,
    output_element: int = 1,
) -> Any:
    """A model of ``nodes`` whose ``constants`` are initializers."""
    helper = onnx.helper
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, element, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, output_element, None) for name in outputs],
        [
            onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
            for name, array in (constants or {}).items()
        ],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=min(10, 3 + opset // 3))


def node(op_type: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    return onnx.helper.make_node(op_type, inputs, outputs, **attributes)


def save(proto: Any, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


class Imported:
    """A module with its resources and what was said about it."""

    def __init__(
        self, proto: Any, folder: Path, shapes: Mapping[str, tuple[int, ...]] | None = None
    ) -> None:
        from nvdla_ir.frontends.onnx import import_onnx

        self.resources = ResourceStore()
        self.diagnostics = DiagnosticCollector()
        self.module: ModuleOp = import_onnx(
            save(proto, folder),
            self.resources,
            shapes=shapes or {},
            diagnostics=self.diagnostics,
        )
        found = DiagnosticCollector()
        verify(self.module, found)
        found.raise_if_errors()

    @property
    def main(self) -> FuncOp:
        function = self.module.body.first_op
        assert isinstance(function, FuncOp)
        return function

    @property
    def operations(self) -> list[str]:
        """Their names, constants left out."""
        names = [op.name for op in self.main.body.operations]
        return [name for name in names if name not in ("nn.constant", "func.return")]

    def run(self, inputs: Arrays, mode: Mode = Mode.FLOAT) -> dict[str, Any]:
        return Machine(self.resources, mode).run(self.main, inputs)


def messages(proto: Any, folder: Path, **arguments: Any) -> list[str]:
    """The errors of an import that must fail."""
    with pytest.raises(DiagnosticError) as caught:
        Imported(proto, folder, **arguments)
    return [diagnostic.message for diagnostic in caught.value.diagnostics]


def runtime_outputs(proto: Any, inputs: Arrays) -> list[Any]:
    """What ONNX Runtime computes, without optimizations."""
    runtime = pytest.importorskip("onnxruntime", reason="'onnxruntime' is not installed")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = runtime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(inputs))


def relative_error(found: Any, expected: Any) -> float:
    """The largest difference relative to the largest number."""
    assert found.shape == expected.shape
    if not expected.size:
        return 0.0
    scale = max(float(np.abs(expected).max()), 1e-6)
    return float(np.abs(found.astype(np.float64) - expected).max()) / scale


def check_against_runtime(
    proto: Any, inputs: Arrays, folder: Path, tolerance: float = 1e-4
) -> Imported:
    """Import ``proto`` and compare all outputs with ONNX Runtime's."""
    imported = Imported(proto, folder)
    expected = runtime_outputs(proto, inputs)
    found = imported.run(inputs)
    assert list(found) == [output.name for output in proto.graph.output]
    for name, array in zip(found, expected, strict=True):
        error = relative_error(found[name], array)
        assert error <= tolerance, f"{name}: relative error {error:.2e}"
    return imported
