"""Part of a network: layers between named blobs.

A blob that layers change in place has several versions: its own name means the last one, the name
of one of these layers what that layer makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from attrs import evolve, frozen

from nvdla_ir.frontends.caffe.net import Layer, Net
from nvdla_ir.frontends.caffe.schema import message_class
from nvdla_ir.frontends.cuts import Cut, chosen
from nvdla_ir.ir.diagnostics import DiagnosticCollector

Point: TypeAlias = "tuple[int, str]"
"""What the layer of this index makes of its top of this name."""


@frozen(eq=False)
class Versions:
    """The blobs of ``net``. writers: by layer, what each bottom was made by; names: the points that
    have a name of their own; layers: by the name of a layer, the name of its first top's point."""

    net: Net
    reads: Sequence[tuple[Point, ...]]
    names: Mapping[str, Point]
    layers: Mapping[str, str]

    @classmethod
    def of(cls, net: Net) -> Versions:
        current: dict[str, Point] = {}
        reads: list[tuple[Point, ...]] = []
        for index, layer in enumerate(net.layers):
            reads.append(tuple(current.get(bottom, (-1, bottom)) for bottom in layer.bottoms))
            current.update((top, (index, top)) for top in layer.tops)
        names = dict(current)
        layers: dict[str, str] = {}
        for index, layer in enumerate(net.layers):
            if layer.tops and layer.name not in names:
                point = (index, layer.tops[0])
                if current[layer.tops[0]] == point:
                    layers[layer.name] = layer.tops[0]
                else:
                    names[layer.name] = point
        return cls(net, reads, names, layers)

    def points(self) -> Iterator[tuple[str, Point]]:
        """All points in the order of the layers, with what they are called."""
        called = {point: name for name, point in self.names.items()}
        for index, layer in enumerate(self.net.layers):
            for top in dict.fromkeys(layer.tops):
                if (index, top) in called:
                    yield called[index, top], (index, top)


def with_cut(
    versions: Versions,
    cut: Cut,
    results: Sequence[str],
    shapes: Mapping[Point, tuple[int, ...]],
    diagnostics: DiagnosticCollector,
) -> tuple[Net, list[str]]:
    """The layers between the blobs of ``cut`` and the blobs that are their results.

    ``results`` are the results of the whole network, ``shapes`` those of its blobs as far as they
    are known. Inputs that are not needed any longer are left out. Raises: DiagnosticError with all
    names that are unknown, or of inputs that nothing needs.
    """
    net, names = versions.net, versions.names
    faults = DiagnosticCollector()
    begins = chosen(cut.inputs, names, versions.layers, net.location, faults)
    ends = chosen(cut.outputs, names, versions.layers, net.location, faults) or list(results)
    faults.raise_if_errors()
    cut_points = {names[name]: name for name in begins}
    needed, read = _needed(versions, [names[name] for name in ends], cut_points)
    for name in begins:
        if names[name] not in read:
            faults.error(net.location, f"nothing that the outputs need reads '{name}'")
    faults.raise_if_errors()
    # Of blobs with a version in the cut, each version has a name of its own from here on.
    apart = {names[name][1] for name in (*begins, *ends) if names[name][1] != name}
    renamed = {point: name for name, point in names.items() if point[1] in apart}
    layers = [_input(name, shapes.get(names[name]), net) for name in begins]
    for index, layer in enumerate(net.layers):
        if index in needed:
            bottoms = [renamed.get(point, point[1]) for point in versions.reads[index]]
            tops = [
                f"{top}.uncut" if (index, top) in cut_points else renamed.get((index, top), top)
                for top in layer.tops
            ]
            layers.append(evolve(layer, bottoms=tuple(bottoms), tops=tuple(tops)))
        elif not layer.bottoms:
            diagnostics.remark(
                layer.location, f"input layer '{layer.name}' is left out with the rest"
            )
    return evolve(net, layers=tuple(layers)), ends


def _needed(
    versions: Versions, ends: Sequence[Point], begins: Mapping[Point, str]
) -> tuple[set[int], set[Point]]:
    """The layers that the ``ends`` depend on, and the points that are read."""
    layers: set[int] = set()
    read: set[Point] = set()
    waiting = [*ends]
    while waiting:
        point = waiting.pop()
        read.add(point)
        index = point[0]
        if point not in begins and index >= 0 and index not in layers:
            layers.add(index)
            waiting += versions.reads[index]
    return layers, read


def _input(name: str, shape: tuple[int, ...] | None, net: Net) -> Layer:
    message = message_class("LayerParameter")(name=name, type="Input", top=[name])
    if shape is not None:
        message.input_param.shape.add(dim=shape)
    return Layer(name, "Input", (), (name,), net.location, message)
