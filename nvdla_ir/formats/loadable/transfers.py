"""What an application hands to the hardware and takes from it: inputs and outputs of a loadable,
as a network of hardware layers has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import evolve, frozen

from nvdla_ir.dialects.func import ReturnOp
from nvdla_ir.dialects.layer import describe, layers_of
from nvdla_ir.dialects.nn import ReshapeOp
from nvdla_ir.dialects.nn.shapes import shape_of, text_of
from nvdla_ir.dialects.nvdla import DownloadOp, UploadOp
from nvdla_ir.dialects.quant import DequantizeCastOp, QuantizeCastOp, UniformType
from nvdla_ir.formats.loadable.faults import Faults
from nvdla_ir.interp.quantization import dtype_of, element_of
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import Location
from nvdla_ir.ir.operation import BlockArgument, Operation, Value
from nvdla_ir.passes.settings.memory import image_format
from nvdla_ir.passes.settings.networks import Network

_CASTS = (QuantizeCastOp, DequantizeCastOp, ReshapeOp)
"""What leaves the stored numbers as they are."""


@frozen(eq=False)
class Transfer:
    """An input or output of a loadable: ``value`` is the cube or image, which ``operation`` writes
    or reads. ``left`` is what the host does to it beside casts, which is the application's."""

    name: str
    value: Value
    operation: UploadOp | DownloadOp
    left: tuple[Operation, ...]
    location: Location

    @property
    def is_input(self) -> bool:
        return isinstance(self.operation, UploadOp)

    @property
    def is_unsigned(self) -> bool:
        element = element_of(self.value.type)
        return element is not None and dtype_of(element).kind == "u"

    def describe(self) -> str:
        """What the application must know of it: its numbers, and what is left to do."""
        element = element_of(self.value.type)
        verb = "is" if self.is_input else "gives"
        kind = "uint8" if self.is_unsigned else "int8"
        form = image_format(self.value)
        form = "a feature cube" if form is None else f"an image of format {form}"
        text = f"{self.title} {verb} {kind} of shape {text_of(shape_of(self.value))}, {form}"
        if isinstance(element, UniformType):
            point = element.zero_point
            stored = f"(stored {'-' if point > 0 else '+'} {abs(point)})" if point else "stored"
            text += f", real = {element.scale:.9g} * {stored}"
        if self.left:
            when = "ahead of it" if self.is_input else "behind it"
            text += f"; {_listed(self.left)} {when} stays with the application"
        return text

    @property
    def title(self) -> str:
        return f"{'input' if self.is_input else 'output'} '{self.name}'"


def _listed(operations: Sequence[Operation]) -> str:
    more = f" and {len(operations) - 1} more" if len(operations) > 1 else ""
    return f"{describe(operations[0])}{more}"


def network_transfers(
    network: Network, diagnostics: DiagnosticCollector
) -> tuple[list[Transfer], list[Transfer]]:
    """The inputs and the outputs of a network. Each is remarked, with its scale.

    Raises: DiagnosticError with every place at which the host computes between layers of the
    hardware, and for inputs or outputs of one name.
    """
    _check_names(network)
    inputs: list[Transfer] = []
    outputs: list[Transfer] = []
    faults = DiagnosticCollector()
    for operation in network.host.body.operations:
        if isinstance(operation, UploadOp) and operation.output.is_used:
            try:
                inputs.append(_input(operation, network))
            except DiagnosticError as error:
                faults.diagnostics += error.diagnostics
        elif isinstance(operation, DownloadOp):
            outputs.append(_output(operation, network, len(outputs)))
    # one operation may come between several programs
    faults.diagnostics = list(dict.fromkeys(faults.diagnostics))
    faults.raise_if_errors()
    inputs, outputs = _each_named(inputs), _each_named(outputs)
    for transfer in (*inputs, *outputs):
        diagnostics.remark(transfer.location, transfer.describe())
    return inputs, outputs


def _check_names(network: Network) -> None:
    """Raises: DiagnosticError for arguments, or results, of one name."""
    host = network.host
    faults = Faults(host.location)
    for what, names in (
        ("inputs", [host.argument_name(argument) for argument in host.body.arguments]),
        ("outputs", list(map(host.result_name, range(len(host.return_op.operands))))),
    ):
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                faults.add(
                    f"'@{host.sym_name}' has {names.count(name)} {what} named '{name}', which the "
                    "runtime tells apart by their names: give them different ones "
                    "('nvdla_ir.name')"
                )
    faults.raise_if_any()


def _each_named(transfers: Iterable[Transfer]) -> list[Transfer]:
    """With a name for each: one argument may be written in several forms."""
    found: dict[str, Transfer] = {}
    for transfer in transfers:
        name, number = transfer.name, 1
        while name in found:
            name = f"{transfer.name}.{number}"
            number += 1
        found[name] = evolve(transfer, name=name)
    return list(found.values())


# -------------------------------------------------------------- inputs


def _input(upload: UploadOp, network: Network) -> Transfer:
    """Raises: DiagnosticError where it comes of what the hardware computes, or of no argument."""
    arguments, operations = _sources(upload.input)
    downloads = [operation for operation in operations if isinstance(operation, DownloadOp)]
    between = [op for op in operations if not isinstance(op, (*_CASTS, DownloadOp))]
    if downloads:
        culprit = _on_the_way(operations) or upload
        raise DiagnosticError.at(
            culprit.location,
            f"{describe(culprit)} is computed by the host between layers of the hardware, but a "
            "loadable has tasks of the hardware alone: let one end before it and another one begin "
            "behind it ('nvdla-translate --outputs=… --inputs=…')",
            [Diagnostic.note(downloads[0].location, "what it is computed from is read back here")],
        )
    if not arguments:
        raise DiagnosticError.at(
            upload.location,
            f"{describe(upload)} writes what comes of no argument of '@{network.host.sym_name}': "
            "a loadable has inputs of the application and constants of the hardware's layers",
        )
    name = network.host.argument_name(arguments[0])
    if between or len(arguments) > 1:
        layers = layers_of(*between[:1])
        name = layers[-1] if layers else upload.output.name_hint or name
    return Transfer(name, upload.output, upload, tuple(between), arguments[0].location)


def _sources(value: Value) -> tuple[list[BlockArgument], list[Operation]]:
    """The arguments that ``value`` comes of, and the host's operations between, from ``value`` on,
    back to downloads."""
    arguments: dict[BlockArgument, None] = {}
    found: dict[Operation, None] = {}
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, BlockArgument):
            arguments[value] = None
            continue
        source = value.defining_operation
        if source is not None and source not in found:
            found[source] = None
            stack += () if isinstance(source, DownloadOp) else source.operands
    return list(arguments), list(found)


def _on_the_way(operations: Sequence[Operation]) -> Operation | None:
    """The first of them that computes on what is read back, in the order in which they run."""
    reached: set[Operation] = set()
    for operation in reversed(operations):
        if isinstance(operation, DownloadOp):
            reached.add(operation)
    changed = True
    while changed:
        changed = False
        for operation in reversed(operations):
            if operation in reached:
                continue
            if any(value.defining_operation in reached for value in operation.operands):
                if not isinstance(operation, _CASTS):
                    return operation
                reached.add(operation)
                changed = True
    return None


# -------------------------------------------------------------- outputs


def _output(download: DownloadOp, network: Network, number: int) -> Transfer:
    left = [
        operation
        for operation in _behind(download.output)
        if not isinstance(operation, (*_CASTS, ReturnOp))
    ]
    name = _returned_as(download.output, network)
    if name is None:
        source = network.source(download.input).defining_operation
        layers = layers_of(source)
        name = layers[-1] if layers else download.input.name_hint or f"output{number}"
    return Transfer(name, download.input, download, tuple(left), download.location)


def _behind(value: Value) -> Iterator[Operation]:
    """What the host computes of ``value``, in order."""
    found: dict[Operation, None] = {}
    stack = [value]
    while stack:
        for user in stack.pop().users:
            if user not in found:
                found[user] = None
                stack += user.results
    yield from found


def _returned_as(value: Value, network: Network) -> str | None:
    """The name of the host's result that is ``value``, or that casts make of it; None where
    something else is made of it."""
    while True:
        users = list(value.uses)
        if len(users) != 1:
            return None
        ((user, index),) = users
        if isinstance(user, ReturnOp):
            return network.host.result_name(index)
        if not isinstance(user, _CASTS):
            return None
        value = user.results[0]
