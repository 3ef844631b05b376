"""Makes regions and blocks while Lark reads a file, and knows the names the text gives: of values,
blocks, types, attributes and locations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import lark
from attrs import frozen

from nvdla_ir.ir.attributes import TypeAttr
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector
from nvdla_ir.ir.dialect import Context
from nvdla_ir.ir.location import UNKNOWN, Location
from nvdla_ir.ir.operation import Block, Operation, Region
from nvdla_ir.ir.types import Type
from nvdla_ir.text.leaves import ResourceSection
from nvdla_ir.text.locations import token_location
from nvdla_ir.text.scope import Scope
from nvdla_ir.text.values import MAXIMUM_DEPTH, ValueCallbacks

_LOCATION_ALIAS = re.compile(r"loc\s*\(\s*(#[\w$.-]+)\s*\)")


@frozen(eq=False)
class DeferredLocation(Location):
    """Stands for a location until its ``alias`` is defined, at the end of the text at latest."""

    token: lark.Token
    alias: str

    def __str__(self) -> str:
        return self.alias


class RegionCallbacks(ValueCallbacks):
    """The state of one parse. ``begin`` resets it."""

    def __init__(self, context: Context, fragments: Mapping[str, str]) -> None:
        super().__init__(context, fragments)
        self.begin("", DiagnosticCollector())

    def begin(self, file: str, diagnostics: DiagnosticCollector) -> None:
        self.file = file
        self.diagnostics = diagnostics
        self.scope = Scope(diagnostics)
        self.resources = ResourceSection({})
        # The current block of each open region, and where its labels stand.
        self._blocks: list[Block] = [Block()]
        self._labels: list[dict[str, Location]] = [{}]
        self._deferred = False
        if self.aliases:
            # The texts that use them mean something else in another file.
            self._leaves.clear()
            self.aliases.clear()
        self._depth = 0
        # Arguments that a header has announced for the region that comes next.
        self.announced: list[tuple[lark.Token, Type, Location | None]] = []

    @property
    def top_level(self) -> Block:
        return self._blocks[0]

    @property
    def current_block(self) -> Block:
        return self._blocks[-1]

    def finish(self, children: list[Any]) -> None:
        token = children[-1]
        if token is not None:
            self.resources = self.parse_leaf("leaf_resources", token)
            for what, offset in self.resources.ignored:
                place = token_location(token, self.file, offset)
                self.diagnostics.emit(Diagnostic.warning(place, what))
            # Large, and never met again.
            del self._leaves["leaf_resources", str(token)]
        if self._deferred:
            for operation in self.top_level.operations:
                self._resolve_locations(operation)

    # -------------------------------------------------------------- regions

    def region_open(self, children: list[lark.Token]) -> None:
        if self.scope.depth > MAXIMUM_DEPTH:
            raise self.error(children[0], f"regions nest deeper than {MAXIMUM_DEPTH}")
        self.scope.open_region()
        block = Block()
        for token, type, location in self.announced:
            self._add_argument(block, token, type, location)
        self.announced = []
        self._blocks.append(block)
        self._labels.append({})

    def block_label(self, children: list[Any]) -> None:
        label, *arguments = children
        block = self._blocks[-1]
        labels = self._labels[-1]
        if label in labels:
            self.diagnostics.error(
                self.location_of(label),
                f"redefinition of block '{label}'",
                [Diagnostic.note(labels[label], "previously defined here")],
            )
        if labels or not block.is_empty or block.arguments:
            following = Block()
            self._region_blocks(block).append(following)
            self._blocks[-1] = block = following
        labels[str(label)] = self.location_of(label)
        for argument in arguments:
            if argument is not None:
                self._add_argument(block, *argument)

    def _region_blocks(self, block: Block) -> Region:
        """The region that ``block`` is part of; made when there is more than one block."""
        if block.parent is None:
            Region([block])
        assert block.parent is not None
        return block.parent

    def block_argument(self, children: list[Any]) -> tuple[lark.Token, Type, Location | None]:
        name, type, location = children
        return name, self.type_of(type), self.explicit_location(location)

    def _add_argument(
        self, block: Block, token: lark.Token, type: Type, location: Location | None
    ) -> None:
        name = str(token[1:])
        hint = None if name.isdecimal() else name
        place = self.location_of(token)
        self.scope.define(name, block.add_argument(type, hint, location or place), place)

    def explicit_location(self, token: lark.Token | None) -> Location | None:
        """What ``loc(…)`` says, or None where nothing says anything."""
        if token is None:
            return None
        alias = _LOCATION_ALIAS.fullmatch(token)
        if alias is not None and alias[1] not in self.aliases:
            self._deferred = True
            return DeferredLocation(token, alias[1])
        return self.parse_leaf("leaf_location", token)

    def _resolve_locations(self, root: Operation) -> None:
        """Give what refers to a location that was named later its location."""
        for operation in root.walk():
            operation.location = self._resolved(operation.location)
            for region in operation.regions:
                for block in region.blocks:
                    for argument in block.arguments:
                        argument.location = self._resolved(argument.location)

    def _resolved(self, location: Location) -> Location:
        if not isinstance(location, DeferredLocation):
            return location
        if location.alias not in self.aliases:
            self.diagnostics.error(
                self.location_of(location.token), f"location '{location.alias}' is never defined"
            )
            return UNKNOWN
        return self.parse_leaf("leaf_location", location.token)

    def labelled_block(self, children: list[Any]) -> None:
        """A block is finished when the next one starts."""

    def region_close(self, children: list[Any]) -> Region:
        block = self._blocks.pop()
        labels = self._labels.pop()
        self.scope.close_region()
        if block.parent is not None:
            return block.parent
        # Without label, arguments and operations there is no block.
        is_block = labels or block.arguments or not block.is_empty
        return Region([block] if is_block else ())

    def region(self, children: list[Any]) -> Region:
        return children[-1]

    def region_list(self, children: list[Region]) -> list[Region]:
        return children

    def pretty_regions(self, children: list[Region]) -> list[Region]:
        return list(map(self.with_block, children))

    def with_block(self, region: Region) -> Region:
        """``region`` as the body of an operation whose syntax always means a block."""
        if not region.blocks:
            region.append(Block())
        return region

    # -------------------------------------------------------------- operations

    def define_alias(self, children: list[Any]) -> None:
        token, value = children
        name = token[:-1].rstrip()
        kind = "type" if name[0] == "!" else "attribute"
        if "." in name:
            raise self.error(token, f"'{name}': names with a '.' are those of dialects")
        if name in self.aliases:
            raise self.error(token, f"redefinition of {kind} alias '{name}'")
        if kind == "attribute":
            self.aliases[name] = value
        elif isinstance(value, TypeAttr):
            self.aliases[name] = value.type
        else:
            raise self.error(token, f"'{name}' must be a type, not '{value}'")

    def refuse_successors(self, children: list[Any]) -> None:
        raise self.error(children[0], "successors are not supported: there is no control flow")
