"""Which cubes may lie where one lies that the SDP reads for them, element by element.

The SDP writes an element when it has read those of its input and operands at the same place, and
reads none of them again: so a cube of the same layout may take the bytes of one that nobody needs
any more. Source: sdp.md section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import define, evolve, field, frozen

from nvdla_ir.dialects.nvdla import SdpOp, UploadOp, cube_shape
from nvdla_ir.hardware.overlap import has_read_before
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.passes.scheduling.footprints import Footprint, Footprints, Region
from nvdla_ir.passes.scheduling.in_flight import InFlight
from nvdla_ir.passes.scheduling.lifetimes import Span


@frozen(eq=False)
class Place:
    """Bytes that cubes of one layout, or one image, take one after the other: ``roots``, by their
    first writers, from the first step of ``span`` to its last one."""

    roots: tuple[Value, ...]
    span: Span


def sharing_places(spans: Mapping[Value, Span], replaced: Mapping[Value, Value]) -> list[Place]:
    """The places that what has these lifetimes takes, those in place of others with them, in order
    of their first steps."""
    roots: dict[Value, list[Value]] = {}
    for root in spans:
        if root in replaced:
            roots[root] = roots[replaced[root]]
            roots[root].append(root)
        else:
            roots[root] = [root]
    return [
        Place(tuple(those), (spans[first][0], max(spans[root][1] for root in those)))
        for first, those in roots.items()
        if first is those[0]
    ]


@define(eq=False)
class InPlace:
    """Finds cubes of a network that may lie in place of others. It watches a walk.

    All layers that write such a cube, its pieces, read the same elements of the other and no more
    of it; nobody else reads that from the first of them on, be it a layer that is in flight then.
    """

    footprints: Footprints
    # Of each cube that is written, what it may replace as far as the layers so far tell.
    _sources: dict[Value, list[Value]] = field(factory=dict[Value, list[Value]], init=False)
    # The other way round: a cube is read again, and is not to be replaced by what it was.
    _takers: dict[Value, list[Value]] = field(factory=dict[Value, list[Value]], init=False)

    def run(self, layer: Footprint, step: int, in_flight: InFlight) -> None:
        result = layer.writes.buffer
        known = self._sources.get(result)
        fitting = [
            source
            for source in self._replaceable(layer, in_flight)
            if known is None or source in known
        ]
        self._read(region for region in layer.reads if region.buffer not in fitting)
        for source in fitting:
            self._give_up(source, but_for=result)
        self._set_sources(result, fitting)

    def use_by_host(self, operation: Operation, step: int, in_flight: InFlight) -> None:
        self._read(self.footprints.reads(operation))
        if isinstance(operation, UploadOp):
            self._set_sources(self.footprints.region(operation.output).buffer, [])

    def found(self) -> dict[Value, Value]:
        """Of each cube that may lie in place of another, that one, in the order of their first
        writers. Neither lies in others, and each is taken by one at most."""
        return {result: sources[0] for result, sources in self._sources.items() if sources}

    def _set_sources(self, result: Value, sources: list[Value]) -> None:
        for source in self._sources.get(result, ()):
            if source not in sources:
                self._takers[source].remove(result)
        for source in sources:
            takers = self._takers.setdefault(source, [])
            if result not in takers:
                takers.append(result)
        self._sources[result] = sources

    def _read(self, regions: Iterable[Region]) -> None:
        for region in regions:
            self._give_up(region.buffer)

    def _give_up(self, source: Value, but_for: Value | None = None) -> None:
        """``source`` is read now, so it was not to be replaced before."""
        for result in tuple(self._takers.get(source, ())):
            if result is not but_for:
                kept = [one for one in self._sources[result] if one is not source]
                self._set_sources(result, kept)

    def _replaceable(self, layer: Footprint, in_flight: InFlight) -> list[Value]:
        """The cubes that the layer reads at the places that it writes, and that neither the layer
        reads at others nor one in flight that need not have read them before."""
        processor = layer.layer.last
        if not isinstance(processor, SdpOp):
            return []
        shape = cube_shape(layer.writes.buffer.type)
        fitting: dict[Value, None] = {}
        unfit: set[Value] = set()
        for operation in layer.layer.operations:
            for region in self.footprints.reads(operation):
                if (
                    operation is processor
                    and cube_shape(region.buffer.type) == shape
                    and evolve(region, buffer=layer.writes.buffer) == layer.writes
                ):
                    fitting[region.buffer] = None
                else:
                    unfit.add(region.buffer)
        for other in in_flight.layers:
            if not has_read_before(other.units, layer.units):
                unfit.update(region.buffer for region in other.reads)
        return [buffer for buffer in fitting if buffer not in unfit]
