"""The func dialect: functions, in MLIR's spelling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nvdla_ir.ir.attribute_kinds import DICTS, FUNCTION_TYPE, STRING
from nvdla_ir.ir.attributes import ArrayAttr, Attribute, DictAttr, StringAttr, TypeAttr
from nvdla_ir.ir.constraints import ANY
from nvdla_ir.ir.definition import Op, attribute, optional_attribute, region, variadic_operand
from nvdla_ir.ir.dialect import Dialect
from nvdla_ir.ir.operation import Block, BlockArgument
from nvdla_ir.ir.traits import HasParent, IsolatedFromAbove, SingleBlock, Terminator
from nvdla_ir.ir.types import FunctionType, Type

if TYPE_CHECKING:
    from nvdla_ir.text.printer import Printer
    from nvdla_ir.text.statements import StatementCallbacks

# The attribute of an argument or result that gives it the name users and tables call it by.
NAME_ATTRIBUTE = "nvdla_ir.name"


class FuncOp(Op):
    """``func.func @main(%x: type) -> type { … }``"""

    name = "func.func"
    traits = (IsolatedFromAbove(), SingleBlock())

    sym_name = attribute(STRING)
    function_type = attribute(FUNCTION_TYPE)
    arg_attrs = optional_attribute(DICTS)
    res_attrs = optional_attribute(DICTS)
    body_region = region()

    @property
    def body(self) -> Block:
        return self.regions[0].block

    @property
    def return_op(self) -> ReturnOp:
        """Raises: ValueError where the body does not end in ``func.return``."""
        last = self.body.last_op
        if not isinstance(last, ReturnOp):
            raise ValueError(f"the body of '@{self.sym_name}' does not end in 'func.return'")
        return last

    def argument_name(self, argument: BlockArgument) -> str:
        """The name users call an argument by: its name attribute, else its SSA name or index."""
        attributes = self.arg_attrs
        return _name(attributes[argument.index] if attributes else {}) or (
            argument.name_hint or str(argument.index)
        )

    def result_name(self, index: int) -> str:
        """The name users call a result by: its name attribute, else its SSA name or index."""
        attributes = self.res_attrs
        named = _name(attributes[index] if attributes else {})
        return named or self.return_op.operands[index].name_hint or str(index)

    def update_function_type(self) -> None:
        """Make the function type that of the arguments and of what is returned."""
        self.function_type = FunctionType(
            tuple(argument.type for argument in self.body.arguments),
            tuple(operand.type for operand in self.return_op.operands),
        )

    def verify(self) -> Iterable[str]:
        function_type = self.function_type
        arguments = tuple(argument.type for argument in self.body.arguments)
        if arguments != function_type.inputs:
            yield f"has type '{function_type}', but its body takes {_listed(arguments)}"
        last = self.body.last_op
        if last is None or last.name != "func.return":
            yield "must end in 'func.return'"
        for attributes, count, what in (
            (self.arg_attrs, len(function_type.inputs), "arg_attrs"),
            (self.res_attrs, len(function_type.results), "res_attrs"),
        ):
            if attributes is not None and len(attributes) != count:
                yield f"has {len(attributes)} entries in '{what}', but {count} are needed"

    def print_pretty(self, printer: Printer) -> None:
        # The arguments are names of the body.
        with printer.scope():
            self._print_pretty(printer)

    def _print_pretty(self, printer: Printer) -> None:
        printer.write(f"func.func {printer.symbol(self.sym_name)}(")
        argument_attributes = self.arg_attrs
        for index, argument in enumerate(self.body.arguments):
            if index:
                printer.write(", ")
            printer.argument(argument, argument_attributes[index] if argument_attributes else {})
        printer.write(")")
        results = self.function_type.results
        result_attributes = self.res_attrs
        if result_attributes and any(result_attributes):
            parts = [
                f"{type}{printer.suffix(attributes)}"
                for type, attributes in zip(results, result_attributes, strict=True)
            ]
            printer.write(f" -> ({', '.join(parts)})")
        elif results:
            printer.result_types(results)
        printer.discardable(self)
        printer.write(" ")
        printer.region(self.regions[0], with_arguments=False)


def _name(attributes: Mapping[str, Attribute]) -> str | None:
    name = attributes.get(NAME_ATTRIBUTE)
    return name.value if isinstance(name, StringAttr) else None


def _listed(types: Iterable[Type]) -> str:
    return f"({', '.join(map(str, types))})"


class ReturnOp(Op):
    """``func.return %x``"""

    name = "func.return"
    traits = (Terminator(), HasParent(("func.func",)))

    values = variadic_operand(ANY)

    def verify(self) -> Iterable[str]:
        parent = self.parent_op
        if isinstance(parent, FuncOp):
            returned = tuple(operand.type for operand in self.operands)
            try:
                declared = parent.function_type.results
            except ValueError:
                return  # told of the function
            if returned != declared:
                yield (
                    f"returns {_listed(returned)}, but '@{parent.sym_name}' is declared to return "
                    f"{_listed(declared)}"
                )


def _func(state: StatementCallbacks, children: list[Any]) -> None:
    (keyword, attributes), body, location = children
    state.finish_statement(FuncOp((), (), attributes, [body]), keyword, location)


def _header(state: StatementCallbacks, children: list[Any]) -> tuple[Any, dict[str, Attribute]]:
    keyword, symbol, *arguments, results, discardable = children
    found = [argument for argument in arguments if argument is not None]
    state.announced = [(token, type, location) for token, type, _, location in found]
    result_list: list[tuple[Type, dict[str, Attribute] | None]] = results or []
    attributes: dict[str, Attribute] = {
        "sym_name": StringAttr(state.symbol_name(symbol)),
        "function_type": TypeAttr(
            FunctionType(
                tuple(type for _, type, _, _ in found), tuple(type for type, _ in result_list)
            )
        ),
    }
    for key, dictionaries in (
        ("arg_attrs", [attrs for _, _, attrs, _ in found]),
        ("res_attrs", [attrs for _, attrs in result_list]),
    ):
        if any(dictionaries):
            attributes[key] = ArrayAttr(
                tuple(DictAttr(tuple((entries or {}).items())) for entries in dictionaries)
            )
    return keyword, {**attributes, **(discardable or {})}


def _argument(state: StatementCallbacks, children: list[Any]) -> tuple[Any, ...]:
    token, type, attributes, location = children
    place = None if location is None else state.parse_leaf("leaf_location", location)
    return token, state.type_of(type), attributes, place


def _result(state: StatementCallbacks, children: list[Any]) -> tuple[Any, ...]:
    return state.type_of(children[0]), children[1]


def _single_result(state: StatementCallbacks, children: list[Any]) -> list[tuple[Any, ...]]:
    return [(state.type_of(children[0]), None)]


def _results(state: StatementCallbacks, children: list[Any]) -> list[Any]:
    return [child for child in children if child is not None]


FUNC = Dialect.of(
    "func",
    "functions",
    [FuncOp, ReturnOp],
    grammar="func",
    statement_parsers={
        "func_statement_func": _func,
        "func_header": _header,
        "func_argument": _argument,
        "func_results": _results,
        "func_result_type": _single_result,
        "func_result": _result,
    },
)
