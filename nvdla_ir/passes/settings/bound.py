"""Inputs and outputs of a network that must lie at a given address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen

from nvdla_ir.dialects.nvdla import ADDRESS_ATTRIBUTE, DownloadOp, UploadOp
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.attributes import Attribute, IntegerAttr
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector
from nvdla_ir.ir.location import Location
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.passes.settings.memory import buffer_bytes
from nvdla_ir.passes.settings.networks import Network
from nvdla_ir.passes.settings.views import Views


@frozen(eq=False)
class Bound:
    """A cube or image that lies in no other, and is or holds an input or output.

    what:       the input or output, for messages
    begin, end: the bytes that it takes
    """

    what: str
    location: Location
    root: Value
    begin: int
    end: int

    def overlaps(self, begin: int, end: int) -> bool:
        """Whether it has a byte of those from ``begin`` on that end before ``end``."""
        return self.begin < end and begin < self.end

    @property
    def text(self) -> str:
        return f"{self.what} is bound to [{self.begin:#x}, {self.end:#x})"


def bound_buffers(
    network: Network, views: Views, hw: HardwareConfiguration, alignment: int
) -> list[Bound]:
    """What ``nvdla.address`` of the host's arguments and results asks for.

    Raises: DiagnosticError with every one that is of no tensor in memory, or of several, or at an
    address that the hardware cannot use.
    """
    faults = DiagnosticCollector()
    found: list[Bound] = []
    for what, location, address, values in _asked_for(network):
        if len(values) != 1:
            faults.error(location, f"{what} {_unclear(values)}")
            continue
        view = views.place(values[0])
        if view.window.row or view.window.column or view.window.channel:
            faults.error(
                location,
                f"{what} cannot be bound: it is a part of another tensor in memory, behind its "
                "beginning",
            )
            continue
        end = address + buffer_bytes(view.buffer, hw, alignment)
        bound = Bound(what, location, view.buffer, address, end)
        same = next((one for one in found if one.root is bound.root), None)
        if address % hw.memory_atom:
            faults.error(
                location,
                f"{what} is bound to {address:#x}, but addresses of {hw.name} are multiples of its "
                f"memory atom, {hw.memory_atom}",
            )
        elif address < 0 or end > 1 << hw.address_bits:
            faults.error(
                location,
                f"{bound.text}, but addresses of {hw.name} go from 0 to "
                f"{(1 << hw.address_bits) - 1:#x}",
            )
        elif same is None:
            found.append(bound)
        elif same.begin != address:
            faults.error(location, f"{bound.text}, but {same.what} is the same tensor in memory")
    faults.raise_if_errors()
    return found


def check_apart(bounds: Sequence[Bound], begin: int, end: int) -> None:
    """Raises: DiagnosticError with all that overlap, or lie in the memory from ``begin`` to
    ``end``, excluded, that everything else takes."""
    faults = DiagnosticCollector()
    ordered = sorted(bounds, key=lambda bound: bound.begin)
    for number, bound in enumerate(ordered):
        if bound.overlaps(begin, end):
            faults.error(
                bound.location,
                f"{bound.text}, but constants and activations take [{begin:#x}, {end:#x}): bind it "
                "elsewhere, or give 'allocate-memory' another 'base'",
            )
        for other in ordered[:number]:
            if other.overlaps(bound.begin, bound.end):
                note = Diagnostic.note(other.location, f"{other.text} here")
                faults.error(bound.location, f"{bound.text}, which overlaps {other.what}", [note])
    faults.raise_if_errors()


def _asked_for(network: Network) -> Iterator[tuple[str, Location, int, Sequence[Value]]]:
    """Inputs and outputs with an address: name, place in the text, address, and the tensors in
    memory that hold them."""
    host = network.host
    for argument in host.body.arguments:
        address = _address(host.arg_attrs, argument.index)
        if address is not None:
            uploads = [op.output for op in _uses(argument) if isinstance(op, UploadOp)]
            name = f"input '{host.argument_name(argument)}'"
            yield name, argument.location, address, uploads
    returned = host.return_op
    for index, value in enumerate(returned.operands):
        address = _address(host.res_attrs, index)
        if address is not None:
            downloads = [op.input for op in _sources(value) if isinstance(op, DownloadOp)]
            yield f"output '{host.result_name(index)}'", returned.location, address, downloads


def _address(attributes: Sequence[Mapping[str, Attribute]] | None, index: int) -> int | None:
    found = attributes[index].get(ADDRESS_ATTRIBUTE) if attributes else None
    return found.value if isinstance(found, IntegerAttr) else None


def _uses(value: Value) -> Iterable[Operation]:
    """The host's operations that work on ``value`` or on what comes of it, up to uploads."""
    found: dict[Operation, None] = {}
    stack = [value]
    while stack:
        for user in stack.pop().users:
            if user not in found:
                found[user] = None
                stack += () if isinstance(user, UploadOp) else user.results
    return found


def _sources(value: Value) -> Iterable[Operation]:
    """The host's operations that ``value`` comes of, back to downloads."""
    found: dict[Operation, None] = {}
    stack = [value]
    while stack:
        source = stack.pop().defining_operation
        if source is not None and source not in found:
            found[source] = None
            stack += () if isinstance(source, DownloadOp) else source.operands
    return found


def _unclear(values: Sequence[Value]) -> str:
    if not values:
        return "cannot be bound: the host alone works with it"
    return f"cannot be bound: it is {len(values)} tensors in the memory of the hardware"
