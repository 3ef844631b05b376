"""Register programs: hardware layers one after another, as csb operations.

Sources: rubik-bdma-glb.md sections 5 to 7, sdp.md section 11, convolution.md section 6.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field, frozen

from nvdla_ir.dialects.csb import (
    INTERRUPT_CONTROL,
    ConfigureOp,
    EnableOp,
    PollOp,
    WaitOp,
    WriteTableOp,
)
from nvdla_ir.hardware.fields import Fields, UnitFields
from nvdla_ir.hardware.look_up_tables import table_fields
from nvdla_ir.hardware.overlap import GROUPS
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.look_up_tables import LookUpTables, TableUnit
from nvdla_ir.hw.registers import Block, register_map
from nvdla_ir.ir.attributes import Attribute, DictAttr, IntegerAttr, StringAttr
from nvdla_ir.ir.builder import Builder
from nvdla_ir.ir.location import Location

_REGISTER_BLOCKS = {"RUBIK": "RBK"}
"""Units whose interrupts have another name than their registers."""


@frozen
class Tables:
    """What the look-up tables of ``unit`` must hold for a layer."""

    unit: TableUnit
    contents: LookUpTables


@frozen(eq=False)
class LayerProgram:
    """What one hardware layer needs.

    units:      the fields of each unit, from the first in the data flow to the last
    interrupts: the units whose interrupts say that it is done, in the order in which they come
    transfers:  the fields of BDMA for each of its transfers
    tables:     look-up tables that must be there
    """

    units: UnitFields
    interrupts: tuple[str, ...]
    names: tuple[str, ...] | None
    location: Location
    transfers: tuple[Fields, ...] = ()
    tables: tuple[Tables, ...] = ()


@define(eq=False)
class ProgramBuilder:
    """Writes layers behind each other, and the waits for them.

    Each unit's layers alternate between its two register groups, so that a layer is programmed
    while those before it run. A wait that is asked for ahead of a layer comes as late as it may:
    behind the layer's registers, unless it frees one of its groups, and before it is enabled.
    Units are enabled from the last in the data flow to the first.
    """

    hw: HardwareConfiguration
    writes: int = 0
    """Single register writes so far."""
    # The register group of each unit's next layer, who has each group, what its tables hold.
    _groups: dict[str, int] = field(factory=dict[str, int])
    _holders: dict[tuple[str, int], LayerProgram] = field(
        factory=dict["tuple[str, int]", LayerProgram]
    )
    _tables: dict[TableUnit, LookUpTables] = field(factory=dict["TableUnit", "LookUpTables"])
    # The waits for each layer in flight; those that were asked for and are not written yet.
    _waits: dict[LayerProgram, list[WaitOp]] = field(factory=dict[LayerProgram, "list[WaitOp]"])
    _asked: list[LayerProgram] = field(factory=list[LayerProgram])
    # The attribute of each value: most come again and again.
    _attributes: dict[int | str, Attribute] = field(factory=dict["int | str", Attribute])

    def start(self, builder: Builder, awaited: Iterable[str], *, convolves: bool) -> None:
        """Begin a program. Mask all interrupts but those of the ``awaited`` units. Silicon clears
        the convolution buffer after reset; where it is used, CDMA must not start before that.

        A program trusts nothing that others left in masks and look-up tables. Only the register
        groups go on alternating, as they do in the hardware (rubik-bdma-glb.md section 6).
        """
        self._tables.clear()
        names = self._block(INTERRUPT_CONTROL).register("S_INTR_MASK").fields
        kept = frozenset(awaited)
        masks: Fields = {name: int(name.partition("_DONE_")[0] not in kept) for name in names}
        self._configure(builder, INTERRUPT_CONTROL, None, masks, None)
        if convolves:
            builder.create(PollOp, unit="CDMA", register="S_CBUF_FLUSH_STATUS", value=1)

    def add(self, layer: LayerProgram, builder: Builder) -> None:
        """Program and enable a layer; it runs when this returns.

        Those that had its register groups must have been waited for, and where it changes look-up
        tables, all layers of their unit.

        Raises: RegisterError for values that the registers cannot hold.
        """
        builder.location = layer.location
        self._write_tables(layer, builder)
        groups = {unit: self._next_group(unit, layer, builder) for unit in layer.units}
        for unit, fields in layer.units.items():
            self._configure(builder, unit, groups[unit], fields, layer.names)
        # this layer may read what those asked for write
        self.settle(builder)
        for transfer in layer.transfers:
            self._configure(builder, "BDMA", None, transfer, layer.names)
        if layer.transfers:
            groups["BDMA"] = self._next_group("BDMA", layer, builder)
            launch: Fields = {f"GRP{groups['BDMA']}_LAUNCH": "YES"}
            self._configure(builder, "BDMA", None, launch, layer.names)
        for unit in reversed(layer.units):
            builder.create(EnableOp, unit=unit, group=groups[unit])
            self.writes += 2
        self._waits[layer] = [
            WaitOp.create(
                unit=unit,
                group=groups[_REGISTER_BLOCKS.get(unit, unit)],
                layers=layer.names,
                location=layer.location,
            )
            for unit in layer.interrupts
        ]

    def wait_for(self, layer: LayerProgram) -> None:
        """Wait for a layer's end before the next one is enabled, or before ``settle``."""
        self._asked.append(layer)

    def settle(self, builder: Builder) -> None:
        """Write the waits that were asked for."""
        self._settle(builder, len(self._asked))

    def _settle(self, builder: Builder, count: int) -> None:
        """Write the first ``count`` of them."""
        for layer in self._asked[:count]:
            for wait in self._waits.pop(layer):
                builder.insert(wait)
                self.writes += 1
        del self._asked[:count]

    def _release(self, layer: LayerProgram, builder: Builder) -> None:
        """See that a layer whose registers are needed has been waited for."""
        if layer in self._waits:
            self._settle(builder, self._asked.index(layer) + 1)

    def _write_tables(self, layer: LayerProgram, builder: Builder) -> None:
        """Write the look-up tables that are not there; no layer of the unit may use them then."""
        for tables in layer.tables:
            unit, contents = tables.unit, tables.contents
            if self._tables.get(unit) == contents:
                continue
            for group in range(GROUPS):
                holder = self._holders.get((unit, group))
                if holder is not None:
                    self._release(holder, builder)
            self._tables[unit] = contents
            for name, entries in contents.entries.items():
                builder.create(
                    WriteTableOp, unit=unit, table=name, values=entries, layers=layer.names
                )
                self.writes += 1 + len(entries)
            self._configure(builder, unit, None, table_fields(contents, unit), layer.names)

    def _next_group(self, unit: str, layer: LayerProgram, builder: Builder) -> int:
        """The group of ``unit`` that ``layer`` gets."""
        group = self._groups.get(unit, 0)
        self._groups[unit] = (group + 1) % GROUPS
        holder = self._holders.get((unit, group))
        if holder is not None:
            self._release(holder, builder)
        self._holders[unit, group] = layer
        return group

    def _configure(
        self,
        builder: Builder,
        unit: str,
        group: int | None,
        fields: Fields,
        names: tuple[str, ...] | None,
    ) -> None:
        block = self._block(unit)
        words = encoded(unit, fields, self.hw)
        builder.create(
            ConfigureOp,
            unit=unit,
            group=group,
            layers=names,
            fields=self._dictionary(block, fields),
        )
        self.writes += len(words) + (group is not None)

    def _dictionary(self, block: Block, fields: Fields) -> DictAttr:
        """``fields`` in the order of their registers."""
        order, known = block.field_order, self._attributes
        entries: list[tuple[str, Attribute]] = []
        for name in sorted(fields, key=order.__getitem__):
            value = fields[name]
            attribute = known.get(value)
            if attribute is None:
                attribute = StringAttr(value) if isinstance(value, str) else IntegerAttr(value)
                known[value] = attribute
            entries.append((name, attribute))
        return DictAttr(tuple(entries))

    def _block(self, unit: str) -> Block:
        return register_map(self.hw.register_map).block(unit)


def encoded(unit: str, fields: Fields, hw: HardwareConfiguration) -> dict[str, int]:
    """The words of the unit's registers. Raises: RegisterError for values they cannot hold."""
    block = register_map(hw.register_map).block(unit)
    return block.encode(fields, alignment=hw.memory_atom)
