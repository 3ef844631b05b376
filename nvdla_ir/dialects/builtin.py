"""The builtin dialect: modules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nvdla_ir.ir.attribute_kinds import STRING
from nvdla_ir.ir.attributes import Attribute, StringAttr
from nvdla_ir.ir.definition import Op, optional_attribute, region
from nvdla_ir.ir.dialect import Dialect
from nvdla_ir.ir.operation import Block, Operation, Region
from nvdla_ir.ir.traits import IsolatedFromAbove, SingleBlock, SymbolTable

if TYPE_CHECKING:
    from nvdla_ir.text.printer import Printer
    from nvdla_ir.text.statements import StatementCallbacks

# The module attribute that names the safetensors file with the module's resources.
WEIGHTS_ATTRIBUTE = "nvdla_ir.weights"


class ModuleOp(Op):
    """``module @name attributes {…} { … }``: the top of everything."""

    name = "builtin.module"
    traits = (IsolatedFromAbove(), SingleBlock(), SymbolTable())

    sym_name = optional_attribute(STRING)
    sym_visibility = optional_attribute(STRING)
    body_region = region()

    @property
    def body(self) -> Block:
        return self.regions[0].block

    @staticmethod
    def of(operations: Iterable[Operation]) -> ModuleOp:
        """A module of ``operations``."""
        block = Block()
        for operation in operations:
            block.append(operation)
        return ModuleOp.create(regions=[Region([block])])

    @property
    def weights_file(self) -> str | None:
        attribute = self.attributes.get(WEIGHTS_ATTRIBUTE)
        return attribute.value if isinstance(attribute, StringAttr) else None

    def verify(self) -> Iterable[str]:
        weights = self.attributes.get(WEIGHTS_ATTRIBUTE)
        if weights is not None and not isinstance(weights, StringAttr):
            yield f"has '{WEIGHTS_ATTRIBUTE} = {weights}', but it must be a file name"
        for name, _ in self.discardable_attributes():
            if "." not in name:
                yield (
                    f"has the attribute '{name}', but those of modules begin with a dialect: "
                    f"'nvdla_ir.{name}'"
                )

    def print_pretty(self, printer: Printer) -> None:
        printer.write("module")
        if self.sym_name is not None:
            printer.write(f" {printer.symbol(self.sym_name)}")
        printer.discardable(self, also=("sym_visibility",))
        printer.write(" ")
        printer.region(self.regions[0])


def _module(state: StatementCallbacks, children: list[Any]) -> None:
    keyword, name, discardable, body, location = children
    attributes: dict[str, Attribute] = dict(discardable or {})
    if name is not None:
        attributes["sym_name"] = StringAttr(state.symbol_name(name))
    op = ModuleOp((), (), attributes, [state.with_block(body)])
    state.finish_statement(op, keyword, location)


BUILTIN = Dialect.of(
    "builtin",
    "modules",
    [ModuleOp],
    grammar="builtin",
    statement_parsers={"builtin_statement_module": _module},
)
