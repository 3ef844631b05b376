"""Whether a program has the waits that the hardware needs, and each convolution what it reuses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import define, evolve, field

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import ConvOp, WaitOp
from nvdla_ir.hardware.overlap import ends_with, has_read_before
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.operation import Block, Operation, Value
from nvdla_ir.passes.scheduling.footprints import Footprint, Footprints, Region
from nvdla_ir.passes.scheduling.in_flight import InFlight
from nvdla_ir.passes.settings.layers import HardwareLayer
from nvdla_ir.passes.settings.memory import Extent, extent_of, in_memory
from nvdla_ir.passes.settings.views import Views


def check_waits(
    block: Block, layers: Iterable[HardwareLayer], views: Views, hw: HardwareConfiguration
) -> None:
    """See that layers of a program that are in flight are left alone: their results, their register
    groups, the memory that they use; and that each convolution finds what it reuses.

    Raises: DiagnosticError with every layer and wait that comes too early, every layer that
    nothing waits for, and every one that reuses what is not there.
    """
    by_last: dict[Operation, HardwareLayer] = {layer.last: layer for layer in layers}
    check = _Check(hw, Footprints(views))
    if by_last and not any(isinstance(operation, WaitOp) for operation in block.operations):
        last = next(reversed(by_last.values()))
        raise DiagnosticError.at(
            last.location, f"nothing waits for {last.describe()}: run 'schedule-layers' first"
        )
    for operation in block.operations:
        layer = by_last.get(operation)
        if layer is not None:
            check.start(layer)
        elif isinstance(operation, WaitOp):
            check.wait(operation)
    check.end()
    if check.faults:
        raise DiagnosticError(*check.faults)


@define(eq=False)
class _Check:
    hw: HardwareConfiguration
    footprints: Footprints
    faults: list[Diagnostic] = field(factory=list[Diagnostic])
    _in_flight: InFlight = field(factory=InFlight)
    _extents: dict[Value, Extent] = field(factory=dict[Value, Extent])
    _convolution: ConvOp | None = None
    """The last one."""

    def start(self, layer: HardwareLayer) -> None:
        footprint = self.footprints.of_layer(layer)
        if layer.convolution is not None:
            self._reuse(layer.convolution)
            self._convolution = layer.convolution
        for other in tuple(self._in_flight.layers):
            reason = next(self._reasons(footprint, other), None)
            if reason is not None:
                self._fault(layer.last, f"{layer.describe()} {reason}", other)
        self._in_flight.start(footprint)

    def _reuse(self, op: ConvOp) -> None:
        """What ``op`` reuses must be what the convolution before keeps."""
        before = self._convolution
        data = before is not None and before.keep_data and self._is_same(before.input, op.input)
        weights = (
            before is not None
            and before.keep_weights
            and in_memory(before.weight, before).address == in_memory(op.weight, op).address
        )
        for what, reuses, kept in (
            ("input", op.reuse_data, data),
            ("weights", op.reuse_weights, weights),
        ):
            if reuses and not kept:
                found = "there is none" if before is None else f"{describe(before)} keeps no such"
                self.faults.append(
                    Diagnostic.error(
                        op.location,
                        f"{describe(op)} reuses the {what} that the convolution before keeps in "
                        f"the convolution buffer, but {found}",
                    )
                )

    def _is_same(self, one: Value, other: Value) -> bool:
        return self.footprints.region(one) == self.footprints.region(other)

    def wait(self, operation: WaitOp) -> None:
        self._in_flight.wait(operation)

    def end(self) -> None:
        self.faults += [
            Diagnostic.error(
                other.layer.location,
                f"nothing waits for {other.layer.describe()}: 'nvdla.wait' must come before the "
                "program ends",
            )
            for other in self._in_flight.layers
        ]

    def _reasons(self, layer: Footprint, other: Footprint) -> Iterator[str]:
        """Why ``layer`` must not run beside ``other``."""
        for unit in layer.units:
            if self._in_flight.holder(unit) is other:
                yield f"takes a register group of the {unit}"
        for unit in self._in_flight.changed_tables(layer).intersection(other.units):
            yield f"changes the look-up tables of the {unit}, and thereby those"
        if any(self._share(region, other.writes) for region in layer.reads):
            yield "reads the result"
        used = () if has_read_before(other.units, layer.units) else other.reads
        if not ends_with(other.units, layer.units):
            used = (*used, other.writes)
        if any(self._share(layer.writes, region) for region in used):
            yield "overwrites memory"

    def _fault(self, operation: Operation, what: str, other: Footprint) -> None:
        """``operation`` comes while ``other`` is in flight, which counts as waited for then."""
        self._in_flight.end(other)
        self.faults.append(
            Diagnostic.error(
                operation.location,
                f"{what} of {other.layer.describe()}, which may still run: 'nvdla.wait' must come "
                "between",
                (Diagnostic.note(other.layer.location, "it is enabled here"),),
            )
        )

    def _share(self, one: Region, other: Region) -> bool:
        """Whether two regions share bytes. Of different buffers whole ones count, unless one lies
        in place of the other."""
        if one.buffer is other.buffer:
            return one.meets(other)
        extent, other_extent = self._extent_of(one.buffer), self._extent_of(other.buffer)
        if extent.is_in_place_of(other_extent):
            return one.meets(evolve(other, buffer=one.buffer))
        return extent.meets(other_extent)

    def _extent_of(self, buffer: Value) -> Extent:
        found = self._extents.get(buffer)
        if found is None:
            found = self._extents[buffer] = extent_of(buffer, self.hw)
        return found
