"""A device program as a task of the firmware: its layers' descriptors, in the lists that the
firmware reads. Source: loadable.md sections 3 and 4."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, field, frozen

from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.formats.loadable.container import SubInterface
from nvdla_ir.formats.loadable.convolution import convolution_descriptor
from nvdla_ir.formats.loadable.dependencies import dependencies, heads
from nvdla_ir.formats.loadable.descriptors import Addresses, Descriptor, WritingContext
from nvdla_ir.formats.loadable.look_up_tables import table_values
from nvdla_ir.formats.loadable.movement import bdma_descriptor, rubik_descriptor
from nvdla_ir.formats.loadable.network import NONE, Kind
from nvdla_ir.formats.loadable.planar import cdp_descriptor, pdp_descriptor
from nvdla_ir.formats.loadable.sdp_writing import sdp_descriptor
from nvdla_ir.formats.loadable.structures import (
    OPERATION_BYTES,
    SURFACE_BYTES,
    DescriptorError,
    Values,
    structure,
)
from nvdla_ir.hardware.bdma import BdmaSetting
from nvdla_ir.hardware.cdp import CdpSetting
from nvdla_ir.hardware.program import Tables
from nvdla_ir.hardware.rubik import RubikSetting
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.look_up_tables import LookUpTables
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.passes.settings.layers import HardwareLayer, hardware_layers
from nvdla_ir.passes.settings.programs import PlacedLayer, layer_tables, placed_layer

_MOST_OPERATIONS = (1 << 15) - 1
"""Of a task: indices are signed 16-bit numbers."""

CONTEXT = (
    SubInterface.DEPENDENCIES,
    SubInterface.OPERATIONS,
    SubInterface.SURFACES,
    SubInterface.TABLES,
)
"""The lists of a task, in the order of its addresses behind those of its surfaces."""


@frozen(eq=False)
class Task:
    """A task's operations, without the indices of its lists."""

    groups: tuple[tuple[Kind, ...], ...]
    lists: dict[SubInterface, bytes]
    tables: int

    def network_values(self, surfaces: int) -> Values:
        """Its network descriptor, where the task's address list names ``surfaces`` addresses
        before those of its lists, and a page behind them."""
        first = surfaces + 1
        return {
            "dependency_graph_index": first,
            "operation_desc_index": first + 1,
            "surface_desc_index": first + 2,
            "lut_data_index": first + 3,
            "roi_array_index": NONE,
            "surface_index": NONE,
            "stat_list_index": NONE,
            "op_head": heads(self.groups),
            "num_rois": 1,
            "num_operations": sum(map(len, self.groups)),
            "num_luts": self.tables,
            "num_addresses": first + len(CONTEXT) + 1,
        }


def task_of(program: FuncOp, hw: HardwareConfiguration, addresses: Addresses) -> Task:
    """The task that runs the layers of ``program``, one after the other.

    Raises: DiagnosticError with everything that the firmware's descriptors cannot say, each at its
    layer.
    """
    writer = _Writer(WritingContext(hw, addresses))
    faults = DiagnosticCollector()
    for layer in hardware_layers(program.body):
        try:
            writer.add(layer)
        except DiagnosticError as error:
            faults.diagnostics += error.diagnostics
    faults.raise_if_errors()
    count = len(writer.operations)
    if count > _MOST_OPERATIONS:
        raise DiagnosticError.at(
            program.location,
            f"'@{program.sym_name}' takes {count} operations of the hardware, but a task has "
            f"{_MOST_OPERATIONS} at most",
        )
    return writer.task()


@define(eq=False)
class _Writer:
    context: WritingContext
    groups: list[tuple[Kind, ...]] = field(factory=list[tuple[Kind, ...]])
    operations: list[bytes] = field(factory=list[bytes])
    surfaces: list[bytes] = field(factory=list[bytes])
    tables: dict[LookUpTables, int] = field(factory=dict[LookUpTables, int])

    def add(self, layer: HardwareLayer) -> None:
        """Raises: DiagnosticError with what the descriptors cannot say of the layer."""
        context = self.context
        context.faults.clear()
        descriptors = list(_descriptors(placed_layer(layer, context.hw), layer, context))
        for descriptor in descriptors:
            prefix = descriptor.kind.name.lower()
            operation = descriptor.operation
            if descriptor.tables is not None:
                index = self.tables.setdefault(descriptor.tables.contents, len(self.tables))
                operation = {**operation, "lut_index": index}
            made = self._packed(f"{prefix}_op", operation, OPERATION_BYTES)
            self.operations.append(made)
            made = self._packed(f"{prefix}_surface", descriptor.surface, SURFACE_BYTES)
            self.surfaces.append(made)
        self.groups.append(tuple(descriptor.kind for descriptor in descriptors))
        if context.faults:
            faults = DiagnosticCollector()
            for fault in context.faults:
                faults.error(
                    layer.location,
                    f"{layer.describe()} cannot be told to the vendor's firmware: it has {fault}",
                )
            faults.raise_if_errors()

    def task(self) -> Task:
        tables = [self._packed("lut", table_values(table)) for table in self.tables]
        # one table is there in any case
        lists = {
            SubInterface.DEPENDENCIES: [
                self._packed("common", values) for values in dependencies(self.groups)
            ],
            SubInterface.OPERATIONS: self.operations,
            SubInterface.SURFACES: self.surfaces,
            SubInterface.TABLES: tables or [self._packed("lut", {})],
        }
        joined = {kind: b"".join(parts) for kind, parts in lists.items()}
        return Task(tuple(self.groups), joined, len(tables))

    def _packed(self, name: str, values: Values, size: int = 0) -> bytes:
        """A structure, filled up to ``size``; what does not fit is a fault."""
        kind = structure(name, self.context.addresses.has_offset)
        try:
            return kind.write(values).ljust(size, b"\0")
        except DescriptorError as error:
            self.context.faults += [f"'{fault}' in its descriptor" for fault in error.faults]
            return bytes(max(size, kind.size))


def _descriptors(
    placed: PlacedLayer, layer: HardwareLayer, context: WritingContext
) -> Iterable[Descriptor]:
    """Those of a layer's operations, in the order of the data flow."""
    setting = placed.setting
    if setting.convolution is not None and placed.convolution is not None:
        yield convolution_descriptor(setting.convolution, placed.convolution, context)
    tables = _of_unit(layer_tables(layer))
    if setting.processor is not None and placed.processor is not None:
        yield sdp_descriptor(setting.processor, placed.processor, tables, context)
    if setting.pooling is not None and placed.pooling is not None:
        yield pdp_descriptor(setting.pooling, placed.pooling, context)
    if isinstance(setting.alone, CdpSetting) and placed.cdp is not None:
        assert tables is not None
        yield cdp_descriptor(setting.alone, placed.cdp, tables, context)
    elif isinstance(setting.alone, RubikSetting) and placed.rubik is not None:
        yield rubik_descriptor(setting.alone, placed.rubik, context)
    elif isinstance(setting.alone, BdmaSetting) and placed.bdma is not None:
        yield bdma_descriptor(setting.alone, placed.bdma, context)


def _of_unit(tables: Sequence[Tables]) -> Tables | None:
    """The tables of the one unit of a layer that has some."""
    return tables[0] if tables else None
