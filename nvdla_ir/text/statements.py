"""Makes operations while Lark reads: one method a rule of the grammar's statement part."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lark

from nvdla_ir.ir.attribute_kinds import SYMBOL
from nvdla_ir.ir.attributes import (
    Attribute,
    DenseArrayAttr,
    DictAttr,
    StringAttr,
    SymbolRefAttr,
)
from nvdla_ir.ir.definition import OPERAND_SEGMENT_SIZES, Op
from nvdla_ir.ir.dialect import Context, Dialect, did_you_mean
from nvdla_ir.ir.operation import Operation, UnregisteredOp, Value
from nvdla_ir.ir.types import I32, FunctionType, NoneType, Type
from nvdla_ir.ir.verifier import input_faults
from nvdla_ir.text.locations import token_location
from nvdla_ir.text.regions import RegionCallbacks

_SEPARATOR = re.compile(r"\s*,\s*")


class StatementCallbacks(RegionCallbacks):
    """Operations: what stands in blocks."""

    def __init__(self, context: Context, fragments: Mapping[str, str]) -> None:
        super().__init__(context, fragments)

    def _find_callback(self, dialect: Dialect, rule: str) -> Callable[[list[Any]], Any]:
        build = dialect.statement_parsers.get(rule)
        if build is not None:
            return functools.partial(build, self)
        return super()._find_callback(dialect, rule)

    def generic_operation(self, children: list[Any]) -> None:
        properties: dict[str, Attribute] | None
        attributes: dict[str, Attribute] | None
        results, name_token, operands, properties, *rest = children
        regions, attributes, signature, place = rest
        function_type: FunctionType = self.parse_leaf("leaf_type", signature)
        values = self.operands(operands, operands.rstrip()[1:-1].strip())
        if len(values) != len(function_type.inputs):
            raise self.error(
                signature,
                f"the type lists {len(function_type.inputs)} operands, but {len(values)} stand in "
                "parentheses",
            )
        self._compare_types(operands, values, function_type.inputs)
        name = self.unquote_token(name_token)
        if not name:
            raise self.error(name_token, "an operation needs a name")
        op_class = self._operation_class(name_token, name)
        location = self.explicit_location(place) or self.location_of(name_token)
        if op_class is None:
            op: Operation = UnregisteredOp(
                name, values, function_type.results, attributes, regions or (), location, properties
            )
        else:
            if properties and attributes:
                for twice in properties.keys() & attributes.keys():
                    raise self.error(name_token, f"'{name}' has '{twice}' in <{{…}}> and in {{…}}")
                properties.update(attributes)
            op = op_class(
                values, function_type.results, properties or attributes, regions or (), location
            )
        self.append(op, results)

    def check_types(
        self, token: lark.Token, values: Sequence[Value], types: Sequence[Type]
    ) -> None:
        """See that ``values``, which stand in ``token``, have the ``types`` that the text gives."""
        if len(values) != len(types):
            raise self.error(token, f"{len(values)} operands have {len(types)} types")
        self._compare_types(token, values, types)

    def _compare_types(
        self, token: lark.Token, values: Sequence[Value], types: Sequence[Type]
    ) -> None:
        for index, (value, type) in enumerate(zip(values, types, strict=True)):
            if value.type is not type and value.type != type and self._is_defined(value):
                self.diagnostics.error(
                    self.location_of(token),
                    f"operand {index} has type '{value.type}', but the operation's type says "
                    f"'{type}'",
                )

    def pretty_operation(self, children: list[Any]) -> None:
        (
            results,
            name_token,
            positionals,
            operands,
            keywords,
            trailing,
            discardable,
            types,
            regions,
            place,
        ) = children
        name = str(name_token)
        op_class = self._operation_class(name_token, name)
        if op_class is None:
            if self._context.allow_unregistered:
                raise self.error(
                    name_token, f"'{name}' is not registered: write it in generic form"
                )
            if results is not None:
                self._stand_in_for_results(results)
            return
        attributes, keyword_operands = self._keywords(op_class, positionals, keywords, name_token)
        if op_class.trailing is not None:
            entries = () if trailing is None else tuple(trailing.items())
            if entries or op_class.definition.attributes[op_class.trailing].required:
                attributes[op_class.trailing] = DictAttr(entries)
        elif trailing is not None:
            raise self.error(name_token, f"'{name}' takes no '{{…}}' of attributes")
        if discardable:
            attributes.update(discardable)
        values = self.operands(operands, str(operands)) if operands is not None else []
        if op_class.definition.has_operand_segments:
            values = self._segment(op_class, name_token, values, keyword_operands, attributes)
        elif keyword_operands:
            self._refuse_names(op_class, keyword_operands)
        location = self.explicit_location(place) or self.location_of(name_token)
        op = op_class(values, (), attributes, regions, location)
        if types is not None:
            op.set_result_types(self._result_types(types))
        elif op_class.definition.results:
            op.set_result_types(self._inferred_types(op, name_token))
        self.append(op, results)

    def maybe(self, children: list[Any]) -> Any:
        """What a part that may be left out stands for: None where it is."""
        return children[0]

    def positionals(self, children: list[lark.Token]) -> list[lark.Token]:
        return children

    def keywords(self, children: list[Any]) -> list[Any]:
        return children

    def keyword_operand(self, children: list[lark.Token]) -> tuple[lark.Token, str, lark.Token]:
        key, operands = children
        return key, key.rstrip("= \t\r\n"), operands

    def statement(self, children: list[Any]) -> None:
        """An operation with a syntax of its own has appended itself."""

    def operation(self, children: list[Any]) -> None:
        """Likewise."""

    def finish_statement(
        self, op: Operation, keyword: lark.Token, location: lark.Token | None
    ) -> None:
        """Append an operation that a dialect's own syntax has made, placed at ``location`` if
        there is one, else at its ``keyword``."""
        op.location = self.explicit_location(location) or self.location_of(keyword)
        self.current_block.append(op)

    def append(self, op: Operation, results: lark.Token | None) -> None:
        """Put ``op`` at the end of the current block and define its results."""
        if results is not None:
            self._define_results(op, results)
        self.current_block.append(op)

    def _stand_in_for_results(self, token: lark.Token) -> None:
        """Define the results of an unknown operation, so that their users are not reported."""
        for name in re.findall(r"%([\w.$-]+)", token):
            self.scope.define(name, Value(NoneType()), self.location_of(token))

    def _define_results(self, op: Operation, token: lark.Token) -> None:
        text = token[1:].rstrip("= \t\r\n")
        names = [text] if "," not in text else [n.lstrip("%") for n in _SEPARATOR.split(text)]
        location = self.location_of(token)
        sizes = [name.partition(":")[::2] for name in names]
        total = sum(int(count or 1) for _, count in sizes)
        if total != len(op.results):
            self.diagnostics.error(
                location,
                f"{total} results are named, but '{op.name}' has {len(op.results)}",
            )
            return
        results = iter(op.results)
        for name, count in sizes:
            group = [next(results) for _ in range(int(count or 1))]
            if not group:
                raise self.error(token, f"'%{name}:0' names no result")
            if not name.isdecimal():
                for result in group:
                    result.name_hint = name
            self.scope.define(name, group[0], location)
            if count:
                for index, result in enumerate(group):
                    self.scope.define(f"{name}#{index}", result, location)

    def operands(self, token: lark.Token, text: str) -> list[Value]:
        """The values that ``text``, which stands in ``token``, lists."""
        if not text:
            return []
        values = self.scope.values
        found: list[Value] = []
        for item in text.split(","):
            name = item.strip()[1:]
            value = values.get(name)
            if value is None:
                value = self._missing(token, name)
            found.append(value)
        return found

    def _missing(self, token: lark.Token, name: str) -> Value:
        if name.endswith("#0") and name[:-2] in self.scope.values:
            return self.scope.values[name[:-2]]
        offset = re.search(rf"%{re.escape(name)}(?![\w.$#-])", token)
        place = token_location(token, self.file, offset.start() if offset is not None else 0)
        return self.scope.stand_in(name, place)

    def _is_defined(self, value: Value) -> bool:
        try:
            value.owner  # noqa: B018
        except NotImplementedError:
            return False
        return True

    def _operation_class(self, token: lark.Token, name: str) -> type[Op] | None:
        op_class = self._context.operation_class(name)
        if op_class is None:
            namespace = name.partition(".")[0]
            known = self._context.dialect(namespace)
            if known is not None or not self._context.allow_unregistered:
                self.diagnostics.error(self.location_of(token), self._unknown(name, known))
        return op_class

    def _unknown(self, name: str, dialect: Dialect | None) -> str:
        if dialect is None and "." in name:
            namespace = name.partition(".")[0]
            names = self._context.dialect_names
            return (
                f"unknown operation '{name}': dialect '{namespace}' is not known"
                f"{did_you_mean(namespace, names)}"
            )
        match = self._context.nearest_operation(name)
        return f"unknown operation '{name}'" + (f"; did you mean '{match}'?" if match else "")

    def _keywords(
        self,
        op_class: type[Op],
        positionals: Sequence[lark.Token],
        keywords: Sequence[tuple[lark.Token, str, Any]],
        name_token: lark.Token,
    ) -> tuple[dict[str, Attribute], dict[str, lark.Token]]:
        attributes: dict[str, Attribute] = {}
        operands: dict[str, lark.Token] = {}
        definition = op_class.definition
        if len(positionals) > len(op_class.positional):
            extra = positionals[len(op_class.positional)]
            raise self.error(extra, f"'{extra}' is not expected after '{op_class.name}'")
        for field_name, token in zip(op_class.positional, positionals, strict=False):
            if definition.attributes[field_name].kind is SYMBOL:
                attributes[field_name] = SymbolRefAttr(self.symbol_name(token))
            else:
                attributes[field_name] = StringAttr(str(token))
        for key, name, value in keywords:
            if name in attributes or name in operands:
                raise self.error(key, f"'{name}' is given twice")
            if isinstance(value, lark.Token):
                operands[name] = value
            elif name in definition.attributes:
                attributes[name] = value
            else:
                known = [*definition.attributes, *(f.name for f in definition.operands)]
                raise self.error(
                    key,
                    f"'{op_class.name}' has no attribute '{name}'{did_you_mean(name, known)}",
                )
        return attributes, operands

    def _segment(
        self,
        op_class: type[Op],
        name_token: lark.Token,
        positional: Sequence[Value],
        named: Mapping[str, lark.Token],
        attributes: dict[str, Attribute],
    ) -> list[Value]:
        fields = op_class.definition.operands
        varying = {field.name for field in fields if not field.is_fixed}
        for name, token in named.items():
            if name not in varying:
                raise self.error(
                    token, f"'{op_class.name}' has no operand '{name}'{did_you_mean(name, varying)}"
                )
        fixed = iter(positional)
        groups: list[list[Value]] = []
        for field in fields:
            if field.is_fixed:
                groups.append([value for value in [next(fixed, None)] if value is not None])
            else:
                token = named.get(field.name)
                groups.append([] if token is None else self.operands(token, str(token)))
        if next(fixed, None) is not None:
            raise self.error(
                name_token,
                f"'{op_class.name}' takes {len(fields) - len(varying)} operands without a name; "
                f"the others are written {', '.join(f'{name}=%…' for name in sorted(varying))}",
            )
        attributes[OPERAND_SEGMENT_SIZES] = DenseArrayAttr(I32, tuple(map(len, groups)))
        return [value for group in groups for value in group]

    def _refuse_names(self, op_class: type[Op], named: Mapping[str, lark.Token]) -> None:
        known = [field.name for field in op_class.definition.operands]
        for name, token in named.items():
            message = f"'{op_class.name}' takes its operands without names, in order"
            if name not in known:
                message = f"'{op_class.name}' has no operand '{name}'{did_you_mean(name, known)}"
            raise self.error(token, message)

    def _result_types(self, token: lark.Token) -> Sequence[Type]:
        whole = lark.Token.new_borrow_pos(token.type, f"(){token}", token)
        whole.column = (token.column or 1) - 2
        function_type: FunctionType = self.parse_leaf("leaf_type", whole)
        return function_type.results

    def _inferred_types(self, op: Op, token: lark.Token) -> Sequence[Type]:
        if not all(map(self._is_defined, op.operands)):
            # Reported already; go on to find more faults.
            return [NoneType()] * len(op.definition.results)
        for fault in input_faults(op):
            raise self.error(token, f"'{op.name}' {fault}")
        try:
            types = op.infer_result_types()
        except (ValueError, IndexError) as error:
            raise self.error(
                token, f"the result types of '{op.name}' cannot be inferred: {error}"
            ) from None
        if types is None:
            raise self.error(token, f"'{op.name}' needs its result types: '-> type'")
        return types
