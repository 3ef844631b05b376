"""Layers without bottoms: inputs and data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.frontends.caffe.context import MOST_ELEMENTS
from nvdla_ir.frontends.caffe.net import Layer
from nvdla_ir.ir.diagnostics import DiagnosticCollector

DATA_TYPES = frozenset(
    [
        "AnnotatedData",
        "Data",
        "DummyData",
        "HDF5Data",
        "ImageData",
        "Input",
        "MemoryData",
        "WindowData",
    ]
)
"""Layer types that bring data in. Of those that read data bases the first top is the image, the
others are labels."""

_ALL_TOPS = ("Input", "DummyData")


def image_tops(layer: Layer) -> tuple[str, ...]:
    """The tops of a data layer that are no labels."""
    return layer.tops if layer.type in _ALL_TOPS else layer.tops[:1]


@frozen(eq=False)
class InputTensor:
    """An input of the network. ``mean`` and ``scale`` are what a data layer does to its pixels."""

    name: str
    shape: tuple[int, ...]
    layer: Layer
    mean: tuple[float, ...] = ()
    scale: float = 1.0

    @property
    def is_pixels(self) -> bool:
        return bool(self.mean) or self.scale != 1


def input_tensors(
    layer: Layer, shapes: Mapping[str, tuple[int, ...]], diagnostics: DiagnosticCollector
) -> Iterator[InputTensor]:
    """The inputs that ``layer`` stands for, one image each unless ``shapes`` says otherwise.

    Faults and remarks go to ``diagnostics``; an input at fault is left out.
    """
    tops = image_tops(layer)
    if not tops:
        diagnostics.error(layer.location, f"layer '{layer.name}' has no tops")
    if layer.bottoms:
        diagnostics.error(
            layer.location, f"layer '{layer.name}' of type '{layer.type}' has bottoms"
        )
    for index, name in enumerate(tops):
        shape = shapes.get(name)
        if shape is None:
            shape = _stated_shape(layer, index)
            if shape and shape[0] > 1:
                diagnostics.remark(
                    layer.location,
                    f"input '{name}' is taken one image at a time; the network says {shape[0]}: "
                    f"--shape {name}={text_of(shape)}",
                )
                shape = (1, *shape[1:])
        fault = _fault(name, shape)
        if fault is None and shape is not None:
            yield _input(name, shape, layer, diagnostics)
        else:
            diagnostics.error(layer.location, f"input '{name}' {fault}")


def _fault(name: str, shape: tuple[int, ...] | None) -> str | None:
    if not shape:
        return f"has no shape in the network: give it, as --shape {name}=1x3x224x224"
    if min(shape) < 1:
        return (
            f"has the shape {text_of(shape)}, whose extents must be at least 1: give it, as "
            f"--shape {name}=1x3x224x224"
        )
    if math.prod(shape) > MOST_ELEMENTS or len(shape) > 32:
        return (
            f"has the shape {text_of(shape[:8])}, of more than the {MOST_ELEMENTS} elements that "
            "are taken"
        )
    return None


def _input(
    name: str, shape: tuple[int, ...], layer: Layer, diagnostics: DiagnosticCollector
) -> InputTensor:
    p = layer.parameters("transform_param")
    if p.mean_file:
        diagnostics.warning(
            layer.location,
            f"layer '{layer.name}' subtracts the image of '{p.mean_file}': that is left to whoever "
            "makes the input",
        )
    mean: tuple[float, ...] = tuple(p.mean_value)
    scale: float = p.scale
    if not (mean or scale != 1):
        return InputTensor(name, shape, layer)
    if len(shape) != 4 or len(mean) not in (0, 1, shape[1]):
        diagnostics.error(
            layer.location,
            f"layer '{layer.name}' has {len(mean)} times 'mean_value' for an input of "
            f"{text_of(shape)}",
        )
        return InputTensor(name, shape, layer)
    if not all(map(math.isfinite, (*mean, scale))):
        diagnostics.error(layer.location, f"layer '{layer.name}' has a mean or scale not finite")
        return InputTensor(name, shape, layer)
    diagnostics.remark(
        layer.location,
        f"input '{name}' takes the pixels as they are, 0 to 255: the network subtracts the mean "
        "and scales",
    )
    return InputTensor(name, shape, layer, mean or (0.0,), scale)


def _stated_shape(layer: Layer, index: int) -> tuple[int, ...] | None:
    """The shape of a layer's top as far as the text states it."""
    if layer.type == "Input":
        return _of_shapes(layer.parameters("input_param").shape, index)
    if layer.type == "DummyData":
        p = layer.parameters("dummy_data_param")
        return _of_shapes(p.shape, index) or _of_lists(p, index)
    if layer.type == "MemoryData":
        p = layer.parameters("memory_data_param")
        return tuple(p.dim) or (p.batch_size, p.channels, p.height, p.width)
    if layer.type == "ImageData":
        p = layer.parameters("image_data_param")
        crop: int = layer.parameters("transform_param").crop_size
        height, width = (crop or p.new_height, crop or p.new_width)
        if height and width:
            return p.batch_size, 3 if p.is_color else 1, height, width
    return None


def _of_shapes(shapes: Any, index: int) -> tuple[int, ...] | None:
    if not shapes:
        return None
    return tuple(shapes[index if index < len(shapes) else 0].dim)


def _of_lists(p: Any, index: int) -> tuple[int, ...] | None:
    lists = (p.num, p.channels, p.height, p.width)
    if not all(lists):
        return None
    return tuple(values[index if index < len(values) else 0] for values in lists)
