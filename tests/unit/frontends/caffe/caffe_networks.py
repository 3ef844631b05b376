"""What the tests of Caffe networks share: writing, importing and running them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.frontends.caffe import import_caffe
from nvdla_ir.interp.machine import Machine
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.resources import ResourceStore

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "examples" / "zoo"))

from caffe_writer import CaffeLayer, caffemodel, prototxt  # noqa: E402

__all__ = ["CaffeLayer", "Imported", "data_layer", "errors_of", "import_layers", "random", "run"]


@frozen(eq=False)
class Imported:
    module: ModuleOp
    resources: ResourceStore
    remarks: list[str]

    def run(self, **inputs: Any) -> dict[str, Any]:
        function = self.module.body.first_op
        assert isinstance(function, FuncOp)
        return Machine(self.resources).run(function, inputs)

    def layers(self) -> list[tuple[str, tuple[str, ...]]]:
        """The operations with layers: names and layers."""
        return [
            (op.name, tuple(op.layers)) for op in self.module.walk() if getattr(op, "layers", None)
        ]


def data_layer(*shape: int, name: str = "data") -> CaffeLayer:
    return CaffeLayer(name, "Input", (), (name,), {"input_param": {"shape": {"dim": list(shape)}}})


def import_files(
    directory: Path,
    text: str | bytes,
    weights: bytes | None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Imported:
    network = directory / "net.prototxt"
    network.write_bytes(text if isinstance(text, bytes) else text.encode())
    model = directory / "net.caffemodel"
    if weights is not None:
        model.write_bytes(weights)
    diagnostics, resources = DiagnosticCollector(), ResourceStore()
    module = import_caffe(
        network,
        None if weights is None else model,
        resources,
        shapes=shapes or {},
        diagnostics=diagnostics,
    )
    return Imported(module, resources, [d.message for d in diagnostics.diagnostics])


_SOME_WEIGHTS = CaffeLayer("unused", "Scale", (), (), {}, (np.zeros(1, np.float32),))


def import_layers(
    directory: Path,
    layers: Sequence[CaffeLayer],
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    old: bool = False,
    legacy_shapes: bool = False,
) -> Imported:
    weighted = layers if any(layer.blobs for layer in layers) else [*layers, _SOME_WEIGHTS]
    weights = caffemodel("net", weighted, old=old, legacy_shapes=legacy_shapes)
    return import_files(directory, prototxt("net", layers, old=old), weights, shapes)


def errors_of(directory: Path, layers: Sequence[CaffeLayer], **options: Any) -> list[str]:
    """The messages of the errors that an import ends with."""
    try:
        import_layers(directory, layers, **options)
    except DiagnosticError as error:
        return [d.message for d in error.diagnostics]
    return []


def run(directory: Path, layers: Sequence[CaffeLayer], *inputs: Any, **options: Any) -> list[Any]:
    """The outputs of ``layers`` behind inputs called data, data1, …, in the order of the network.
    The inputs' shapes are kept."""
    names = ["data", *(f"data{i}" for i in range(1, len(inputs)))]
    heads = [data_layer(*x.shape, name=n) for n, x in zip(names, inputs, strict=True)]
    shapes = {n: x.shape for n, x in zip(names, inputs, strict=True)}
    imported = import_layers(directory, [*heads, *layers], shapes=shapes, **options)
    return list(imported.run(**dict(zip(names, inputs, strict=True))).values())


def random(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
