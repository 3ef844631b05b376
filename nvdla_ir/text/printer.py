"""IR to text, in pretty or generic form. Both parse back to the same IR."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager

from attrs import frozen

from nvdla_ir.ir.attributes import (
    Attribute,
    DenseElementsAttr,
    DenseResourceAttr,
    DictAttr,
    StringAttr,
    StructureAttr,
    SymbolRefAttr,
    UnitAttr,
    quote_key,
)
from nvdla_ir.ir.definition import OPERAND_SEGMENT_SIZES, Op
from nvdla_ir.ir.operation import (
    Block,
    BlockArgument,
    Operation,
    Region,
    UnregisteredOp,
    Value,
)
from nvdla_ir.ir.types import FunctionType, Type


@frozen
class PrintOptions:
    """generic:    MLIR's generic form, that mlir-opt reads
    locations:  print ``loc(…)`` after each operation
    elide_larger_than: print ``dense<…>`` with more elements as ``dense_resource<__elided__>``
    """

    generic: bool = False
    locations: bool = False
    elide_larger_than: int | None = None


def print_operations(operations: Iterable[Operation], options: PrintOptions | None = None) -> str:
    """The text of ``operations``, each ending in a line feed."""
    printer = Printer(options or PrintOptions())
    for operation in operations:
        printer.operation(operation)
    return printer.text()


def print_operation(operation: Operation, options: PrintOptions | None = None) -> str:
    """The text of one operation, ending in a line feed."""
    return print_operations([operation], options)


_INDENT = "  "
# What MLIR takes as the name of a value. Numbers are for values without one.
_VALUE_NAME = re.compile(r"[A-Za-z_$.-][\w$.-]*", re.ASCII)


def _value_name(hint: str) -> str | None:
    """A name for a value like ``hint``; None for none."""
    name = re.sub(r"[^\w$.-]", "_", hint, flags=re.ASCII)
    if not name or name.isdecimal():
        return None
    return name if _VALUE_NAME.fullmatch(name) else f"_{name}"


class Printer:
    """Writes operations; operation classes with a syntax of their own call its methods."""

    def __init__(self, options: PrintOptions) -> None:
        self.options = options
        self._parts: list[str] = []
        self._indent = ""
        self._names: dict[Value, str] = {}
        self._taken: set[str] = set()
        self._next_number = 0
        self._next_block = 0
        # Types and attributes repeat; their text is made once. Keyed by identity, since hashing
        # a long per-channel type costs more than printing it; kept alive, so that no other takes
        # its identity.
        self._texts: dict[int, str] = {}
        self._kept: list[Type | Attribute] = []
        self._keys: dict[str, str] = {}
        self._result_texts: dict[tuple[int, ...], str] = {}

    def text(self) -> str:
        return "".join(self._parts)

    def write(self, text: str) -> None:
        self._parts.append(text)

    # -------------------------------------------------------------- names

    def name(self, value: Value) -> str:
        """The name of a value, with its percent sign."""
        name = self._names.get(value)
        return name if name is not None else self._define(value)

    def _define(self, value: Value) -> str:
        hint = value.name_hint
        if hint is not None and not _VALUE_NAME.fullmatch(hint):
            hint = _value_name(hint)
        if hint is None:
            name = f"%{self._next_number}"
            self._next_number += 1
        else:
            name = f"%{hint}"
            suffix = 0
            while name in self._taken:
                name = f"%{hint}_{suffix}"
                suffix += 1
            self._taken.add(name)
        self._names[value] = name
        return name

    def symbol(self, name: str) -> str:
        return str(SymbolRefAttr(name))

    # -------------------------------------------------------------- types and attributes

    def type(self, type: Type) -> str:
        text = self._texts.get(id(type))
        if text is None:
            text = self._texts[id(type)] = str(type)
            self._kept.append(type)
        return text

    def attribute(self, attribute: Attribute) -> str:
        text = self._texts.get(id(attribute))
        if text is None:
            text = self._texts[id(attribute)] = self._attribute(attribute)
            self._kept.append(attribute)
        return text

    def _attribute(self, attribute: Attribute) -> str:
        limit = self.options.elide_larger_than
        if (
            limit is not None
            and isinstance(attribute, DenseElementsAttr)
            and attribute.type.element_count > limit
        ):
            return str(DenseResourceAttr("__elided__", attribute.type))
        if isinstance(attribute, DictAttr):
            return f"{{{self._entries(attribute.entries)}}}"
        if isinstance(attribute, StructureAttr):
            return f"#{attribute.mnemonic}<{self._entries(attribute.entries)}>"
        return str(attribute)

    def _entries(self, entries: Iterable[tuple[str, Attribute]]) -> str:
        keys, texts = self._keys, self._texts
        parts: list[str] = []
        for name, value in entries:
            key = keys.get(name)
            if key is None:
                key = keys[name] = quote_key(name)
            if isinstance(value, UnitAttr):
                parts.append(key)
            else:
                parts.append(f"{key} = {texts.get(id(value)) or self.attribute(value)}")
        return ", ".join(parts)

    def suffix(self, attributes: Mapping[str, Attribute] | None) -> str:
        """`` {a = 1}``, or nothing where there are none."""
        return f" {{{self._entries(attributes.items())}}}" if attributes else ""

    def discardable(self, op: Op, also: Iterable[str] = ()) -> None:
        """`` attributes {…}`` with what is discardable, and of the class's attributes ``also``."""
        entries = [(name, op.attributes[name]) for name in also if name in op.attributes]
        entries += op.discardable_attributes()
        if entries:
            self.write(f" attributes {{{self._entries(entries)}}}")

    def result_types(self, types: Sequence[Type]) -> None:
        self.write(f" -> {self._results(types)}")

    def _results(self, types: Sequence[Type]) -> str:
        joined = ", ".join(map(self.type, types))
        return (
            joined if len(types) == 1 and not isinstance(types[0], FunctionType) else f"({joined})"
        )

    # -------------------------------------------------------------- operations

    def operation(self, op: Operation) -> None:
        """One statement with its line feed."""
        write = self._parts.append
        write(self._indent)
        if op.results:
            names = self._names
            define = self._define
            if len(op.results) == 1:
                write(f"{define(op.results[0])} = ")
            else:
                write(f"{', '.join([names.get(r) or define(r) for r in op.results])} = ")
        if self.options.generic or not isinstance(op, Op) or not self._try_pretty(op):
            self._generic(op)
        if self.options.locations:
            write(f" loc({op.location})")
        write("\n")

    def _try_pretty(self, op: Op) -> bool:
        """Write the pretty form; write nothing and return False where the operation is so faulty
        that it has none."""
        start, indent, scope = len(self._parts), self._indent, (self._taken, self._next_number)
        custom: Callable[[Printer], None] | None = getattr(op, "print_pretty", None)
        try:
            if custom is None:
                self._pretty(op)
            else:
                custom(self)
        except (ValueError, LookupError, AssertionError):
            del self._parts[start:]
            self._indent, (self._taken, self._next_number) = indent, scope
            return False
        return True

    def _generic(self, op: Operation) -> None:
        write = self._parts.append
        operands = op.operands
        names = self._names
        listed = ", ".join([names.get(operand) or self._define(operand) for operand in operands])
        write(f'"{op.name}"({listed})')
        if isinstance(op, Op):
            inherent: Iterable[tuple[str, Attribute]] = op.inherent_attributes()
            rest: Iterable[tuple[str, Attribute]] = op.discardable_attributes()
        else:
            inherent = op.properties.items() if isinstance(op, UnregisteredOp) else ()
            rest = op.attributes.items()
        properties = self._entries(inherent)
        if properties:
            write(f" <{{{properties}}}>")
        if op.regions:
            write(" (")
            for index, region in enumerate(op.regions):
                if index:
                    write(", ")
                self.region(region, always_label=True)
            write(")")
        entries = self._entries(rest)
        if entries:
            write(f" {{{entries}}}")
        write(self._signature([operand.type for operand in operands], [r.type for r in op.results]))

    def _signature(self, inputs: list[Type], results: list[Type]) -> str:
        key = (*map(id, inputs), 0, *map(id, results))
        text = self._result_texts.get(key)
        if text is None:
            text = f" : ({', '.join(map(self.type, inputs))}) -> {self._results(results)}"
            self._result_texts[key] = text
        return text

    def _pretty(self, op: Op) -> None:
        write = self._parts.append
        write(op.name)
        hidden = {*op.positional, op.trailing, OPERAND_SEGMENT_SIZES}
        for field in op.positional:
            attribute = op.attributes.get(field)
            if isinstance(attribute, StringAttr):
                write(f" {attribute.value}")
            elif attribute is not None:
                write(f" {attribute}")
        definition = op.definition
        if definition.has_operand_segments:
            fixed = [v for f in definition.operands if f.is_fixed for v in f.values(op)]
            named = [
                f" {f.name}={', '.join(map(self.name, f.values(op)))}"
                for f in definition.operands
                if not f.is_fixed and f.values(op)
            ]
        else:
            fixed, named = op.operands, []
        if fixed:
            write(f" {', '.join(map(self.name, fixed))}")
        self._parts.extend(named)
        for name, value in op.inherent_attributes():
            if name not in hidden:
                write(f" {name}={self.attribute(value)}")
        trailing = op.attributes.get(op.trailing) if op.trailing is not None else None
        if isinstance(trailing, DictAttr) and trailing.entries:
            write(f" {self.attribute(trailing)}")
        self.discardable(op)
        types = [result.type for result in op.results]
        if types and not (op.elide_result_types and op.infer_result_types() == types):
            self.result_types(types)
        for region in op.regions:
            write(" ")
            self.region(region)

    # -------------------------------------------------------------- regions

    def argument(
        self, argument: BlockArgument, attributes: Mapping[str, Attribute] | None = None
    ) -> None:
        """``%x: type {attributes}``"""
        self.write(f"{self.name(argument)}: {self.type(argument.type)}{self.suffix(attributes)}")
        if self.options.locations:
            self.write(f" loc({argument.location})")

    def region(
        self, region: Region, *, with_arguments: bool = True, always_label: bool = False
    ) -> None:
        """``{ … }``

        with_arguments: whether to print the first block's arguments, or the operation has done so
        always_label:   print the label of an empty first block: without it, the generic form of
                        MLIR has no block

        Raises: ValueError where there is no block, which only the generic form can say.
        """
        if not region.blocks and not always_label:
            raise ValueError("the region has no block")
        self.write("{\n")
        outer = self._indent
        with self.scope():
            self._blocks(region.blocks, outer, with_arguments, always_label)
        self._indent = outer
        self.write(f"{outer}}}")

    @contextmanager
    def scope(self) -> Generator[None, None, None]:
        """Names given inside may be given again afterwards."""
        before = (set(self._taken), self._next_number)
        yield
        self._taken, self._next_number = before

    def _blocks(
        self, blocks: Sequence[Block], outer: str, with_arguments: bool, always_label: bool
    ) -> None:
        for index, block in enumerate(blocks):
            # An empty first block needs its label to be told from the second.
            is_lost = block.is_empty and (always_label or len(blocks) > 1)
            if index or is_lost or (block.arguments and with_arguments):
                self.write(f"{outer}^{self._block_label()}")
                if block.arguments:
                    self.write("(")
                    for position, argument in enumerate(block.arguments):
                        if position:
                            self.write(", ")
                        self.argument(argument)
                    self.write(")")
                self.write(":\n")
            self._indent = outer + _INDENT
            for op in block.operations:
                self.operation(op)

    def _block_label(self) -> str:
        self._next_block += 1
        return f"bb{self._next_block - 1}"
