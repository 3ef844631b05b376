"""The func dialect: functions, in MLIR's spelling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nvdla_ir.ir.attribute_kinds import DICTS, FUNCTION_TYPE, STRING, SYMBOL, enumeration
from nvdla_ir.ir.attributes import ArrayAttr, Attribute, DictAttr, StringAttr, TypeAttr
from nvdla_ir.ir.constraints import ANY
from nvdla_ir.ir.definition import (
    Op,
    attribute,
    optional_attribute,
    region,
    variadic_operand,
    variadic_result,
)
from nvdla_ir.ir.dialect import Dialect, did_you_mean
from nvdla_ir.ir.operation import Block, BlockArgument, Operation, Region
from nvdla_ir.ir.traits import HasParent, IsolatedFromAbove, Terminator
from nvdla_ir.ir.types import FunctionType, Type

if TYPE_CHECKING:
    from nvdla_ir.text.printer import Printer
    from nvdla_ir.text.statements import StatementCallbacks

# The attribute of an argument or result that gives it the name users and tables call it by.
NAME_ATTRIBUTE = "nvdla_ir.name"
_VISIBILITIES = ("public", "private", "nested")
_PRIVATE = "private"


class FuncOp(Op):
    """``func.func @main(%x: type) -> type { … }``, or, without a body,
    ``func.func private @f(type) -> type``: a declaration."""

    name = "func.func"
    traits = (IsolatedFromAbove(),)

    sym_name = attribute(STRING)
    function_type = attribute(FUNCTION_TYPE)
    arg_attrs = optional_attribute(DICTS)
    res_attrs = optional_attribute(DICTS)
    sym_visibility = optional_attribute(enumeration(*_VISIBILITIES))
    body_region = region()

    @property
    def is_declaration(self) -> bool:
        """Whether there is no body: the function is defined elsewhere."""
        return not self.regions[0].blocks

    @property
    def body(self) -> Block:
        """Raises: ValueError for a declaration."""
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
        if isinstance(self.parent_op, FuncOp):
            yield f"stands in '@{self.parent_op.sym_name}': functions stand in modules"
        blocks = len(self.regions[0].blocks)
        if blocks > 1:
            yield f"must have one block, but has {blocks}"
        elif self.is_declaration:
            if self.sym_visibility in (None, "public"):
                yield "has no body, so it must be 'private' or 'nested'"
        else:
            yield from self._verify_body(function_type)
        for attributes, count, what in (
            (self.arg_attrs, len(function_type.inputs), "arg_attrs"),
            (self.res_attrs, len(function_type.results), "res_attrs"),
        ):
            if attributes is not None and len(attributes) != count:
                yield f"has {len(attributes)} entries in '{what}', but {count} are needed"
            for entries in attributes or ():
                for key in entries:
                    if "." not in key:
                        yield (
                            f"has '{key}' in '{what}', but attributes of arguments and results "
                            f"begin with a dialect: 'nvdla_ir.{key}'"
                        )

    def _verify_body(self, function_type: FunctionType) -> Iterable[str]:
        arguments = tuple(argument.type for argument in self.body.arguments)
        if arguments != function_type.inputs:
            yield f"has type '{function_type}', but its body takes {_listed(arguments)}"
        last = self.body.last_op
        if last is None or last.name != "func.return":
            yield "must end in 'func.return'"

    def print_pretty(self, printer: Printer) -> None:
        # The arguments are names of the body.
        with printer.scope():
            self._print_pretty(printer)

    def _print_pretty(self, printer: Printer) -> None:
        visibility = "" if self.sym_visibility is None else f"{self.sym_visibility} "
        printer.write(f"func.func {visibility}{printer.symbol(self.sym_name)}(")
        none: Mapping[str, Attribute] = {}
        attributes = self.arg_attrs or (none,) * len(self.function_type.inputs)
        if self.is_declaration:
            pairs = zip(self.function_type.inputs, attributes, strict=True)
            printer.write(", ".join(f"{type}{printer.suffix(each)}" for type, each in pairs))
        else:
            for index, argument in enumerate(self.body.arguments):
                if index:
                    printer.write(", ")
                printer.argument(argument, attributes[index])
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
        if not self.is_declaration:
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


class CallOp(Op):
    """``%y = func.call @f %x -> type``: a function of the same module, executed here."""

    name = "func.call"
    positional = ("callee",)

    callee = attribute(SYMBOL)
    arguments = variadic_operand(ANY)
    outputs = variadic_result(ANY)

    def infer_result_types(self) -> Sequence[Type]:
        """None: what returns something says its types."""
        return ()

    def verify(self) -> Iterable[str]:
        function = called_function(self)
        if function is None:
            known = [op.sym_name for op in _functions_around(self)]
            yield (
                f"calls '@{self.callee}', but there is no function of that name"
                f"{did_you_mean(self.callee, known)}"
            )
            return
        try:
            declared = function.function_type
        except ValueError:
            return  # told of the function
        given = FunctionType(
            tuple(operand.type for operand in self.operands),
            tuple(result.type for result in self.results),
        )
        if given != declared:
            yield f"calls '@{self.callee}' as '{given}', but it is '{declared}'"


def called_function(call: CallOp) -> FuncOp | None:
    """The function that is called; None where there is none of that name."""
    name = call.callee
    return next((op for op in _functions_around(call) if op.sym_name == name), None)


def entry_functions(module: Operation) -> list[FuncOp]:
    """The functions of a module that others may run: those with a body that are not private."""
    return [op for op in _functions_in(module) if op.sym_visibility != _PRIVATE]


def _functions_in(module: Operation) -> Iterable[FuncOp]:
    for op in module.regions[0].block.operations:
        if isinstance(op, FuncOp) and not op.is_declaration:
            yield op


def _functions_around(op: Operation) -> list[FuncOp]:
    """The functions beside the one that ``op`` stands in, and itself."""
    parent = op.parent_op
    while parent is not None and not isinstance(parent, FuncOp):
        parent = parent.parent_op
    block = None if parent is None else parent.parent
    return [] if block is None else [op for op in block.operations if isinstance(op, FuncOp)]


def _func(state: StatementCallbacks, children: list[Any]) -> None:
    (keyword, attributes, unnamed), body, location = children
    state.announced = []
    if body is not None and unnamed is not None:
        raise state.error(unnamed, "the arguments of a function with a body need names: '%x: type'")
    region = Region() if body is None else state.with_block(body)
    state.finish_statement(FuncOp((), (), attributes, [region]), keyword, location)


def _header(state: StatementCallbacks, children: list[Any]) -> tuple[Any, ...]:
    """The keyword, the attributes, and where the first type of an argument without a name is."""
    keyword, visibility, symbol, *arguments, results, discardable = children
    found = [argument for argument in arguments if argument is not None]
    named = [argument for argument in found if argument[0] is not None]
    unnamed = next((argument[4] for argument in found if argument[0] is None), None)
    if named and unnamed is not None:
        raise state.error(unnamed, "either all arguments have names or none")
    if visibility is not None and visibility not in _VISIBILITIES:
        raise state.error(visibility, f"'{visibility}' is none of {', '.join(_VISIBILITIES)}")
    state.announced = [(token, type, location) for token, type, _, location, _ in named]
    result_list: list[tuple[Type, dict[str, Attribute] | None]] = results or []
    attributes: dict[str, Attribute] = {
        "sym_name": StringAttr(state.symbol_name(symbol)),
        "function_type": TypeAttr(
            FunctionType(
                tuple(type for _, type, *_ in found), tuple(type for type, _ in result_list)
            )
        ),
    }
    for key, dictionaries in (
        ("arg_attrs", [attrs for _, _, attrs, *_ in found]),
        ("res_attrs", [attrs for _, attrs in result_list]),
    ):
        if any(dictionaries):
            attributes[key] = ArrayAttr(
                tuple(DictAttr(tuple((entries or {}).items())) for entries in dictionaries)
            )
    if visibility is not None:
        attributes["sym_visibility"] = StringAttr(str(visibility))
    attributes.update(discardable or {})
    return keyword, attributes, unnamed


def _argument(state: StatementCallbacks, children: list[Any]) -> tuple[Any, ...]:
    token, type, attributes, location = children
    place = state.explicit_location(location)
    return token, state.type_of(type), attributes, place, type


def _unnamed_argument(state: StatementCallbacks, children: list[Any]) -> tuple[Any, ...]:
    return _argument(state, [None, *children])


def _result(state: StatementCallbacks, children: list[Any]) -> tuple[Any, ...]:
    return state.type_of(children[0]), children[1]


def _single_result(state: StatementCallbacks, children: list[Any]) -> list[tuple[Any, ...]]:
    return [(state.type_of(children[0]), None)]


def _results(state: StatementCallbacks, children: list[Any]) -> list[Any]:
    return [child for child in children if child is not None]


def _return(state: StatementCallbacks, children: list[Any]) -> None:
    keyword, operands, types, discardable, location = children
    values = [] if operands is None else state.operands(operands, str(operands))
    if types is not None:
        state.check_types(operands or keyword, values, types)
    op = ReturnOp(values, (), discardable)
    state.finish_statement(op, keyword, location)


def _operand_types(state: StatementCallbacks, children: list[Any]) -> list[Type]:
    return list(map(state.type_of, children))


FUNC = Dialect.of(
    "func",
    "functions",
    [FuncOp, ReturnOp, CallOp],
    grammar="func",
    statement_parsers={
        "func_statement_func": _func,
        "func_header": _header,
        "func_argument": _argument,
        "func_unnamed_argument": _unnamed_argument,
        "func_statement_return": _return,
        "func_operand_types": _operand_types,
        "func_results": _results,
        "func_result_type": _single_result,
        "func_result": _result,
    },
)
