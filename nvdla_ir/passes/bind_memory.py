"""The pass bind-memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp, entry_functions
from nvdla_ir.dialects.nvdla import ADDRESS_ATTRIBUTE
from nvdla_ir.ir.attributes import Attribute, IntegerAttr
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.passes.base import Pass, Session, option


@frozen
class BindMemory(Pass):
    """Says where inputs and outputs of a network are to lie in memory.

    Before::

        func.func @main(%data: tensor<1x3x8x8xf32>) -> tensor<1x8x8x8xf32> { … }

    After, with ``places="data:0x90000000"``::

        func.func @main(%data: tensor<1x3x8x8xf32> {nvdla.address = 2415919104}) -> … { … }

    ``allocate-memory`` puts what the host uploads of an input there, and what it downloads for an
    output, and nothing else. Names are those of arguments and results; a name that is both is the
    argument's. It may run anywhere ahead of ``allocate-memory``.
    """

    name = "bind-memory"

    places: str = option(help="NAME:ADDRESS, with commas between several")

    def run(self, module: ModuleOp, session: Session) -> None:
        ports = [port for function in entry_functions(module) for port in _ports(function)]
        for text in self.places.split(","):
            name, _, number = text.strip().rpartition(":")
            address = _number(number)
            if not name or address is None:
                session.diagnostics.error(
                    module.location,
                    f"option 'places' of '{self.name}' is NAME:ADDRESS, as data:0x90000000, not "
                    f"'{text.strip()}'",
                )
                continue
            port = next((port for port in ports if port.name == name), None)
            if port is None:
                names = list(dict.fromkeys(port.name for port in ports))
                hint = did_you_mean(name, names) or f"; there are {', '.join(names)}"
                session.diagnostics.error(
                    module.location, f"there is no input or output '{name}'{hint}"
                )
                continue
            port.bind(address)


def _number(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


@frozen
class _Port:
    """Argument or result ``index`` of a function."""

    function: FuncOp
    is_input: bool
    index: int
    name: str

    def bind(self, address: int) -> None:
        """Say where it is to lie."""
        function = self.function
        if self.is_input:
            count = len(function.body.arguments)
            function.arg_attrs = self._with_address(function.arg_attrs, count, address)
        else:
            count = len(function.return_op.operands)
            function.res_attrs = self._with_address(function.res_attrs, count, address)

    def _with_address(
        self, attributes: Sequence[Mapping[str, Attribute]] | None, count: int, address: int
    ) -> tuple[Mapping[str, Attribute], ...]:
        changed: list[dict[str, Attribute]] = [{} for _ in range(count)]
        for entries, known in zip(changed, attributes or (), strict=False):
            entries.update(known)
        changed[self.index][ADDRESS_ATTRIBUTE] = IntegerAttr(address)
        return tuple(changed)


def _ports(function: FuncOp) -> Iterator[_Port]:
    for argument in function.body.arguments:
        yield _Port(function, True, argument.index, function.argument_name(argument))
    for index in range(len(function.return_op.operands)):
        yield _Port(function, False, index, function.result_name(index))
