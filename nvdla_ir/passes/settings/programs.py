"""From hardware layers to what the hardware is told of them."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects.nvdla import BdmaOp, CdpOp, RubikOp
from nvdla_ir.hardware.bdma import BdmaSetting, TransferPlaces
from nvdla_ir.hardware.cdp import CdpPlaces, CdpSetting
from nvdla_ir.hardware.convolution import ConvolutionPlaces
from nvdla_ir.hardware.faults import Fault
from nvdla_ir.hardware.fields import Fields, UnitFields
from nvdla_ir.hardware.layer import AloneSetting, Layer
from nvdla_ir.hardware.look_up_tables import table_faults
from nvdla_ir.hardware.pdp import PdpPlaces
from nvdla_ir.hardware.program import LayerProgram, Tables
from nvdla_ir.hardware.rubik import RubikPlaces, RubikSetting
from nvdla_ir.hardware.sdp import SdpPlaces
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.passes.settings.cdp import cdp_places, cdp_setting
from nvdla_ir.passes.settings.convolution import convolution_places, convolution_setting
from nvdla_ir.passes.settings.layers import AloneOp, HardwareLayer
from nvdla_ir.passes.settings.movement import (
    bdma_places,
    bdma_setting,
    rubik_places,
    rubik_setting,
)
from nvdla_ir.passes.settings.pdp import pdp_places, pdp_setting
from nvdla_ir.passes.settings.sdp import sdp_places, sdp_setting


def layer_setting(layer: HardwareLayer, hw: HardwareConfiguration) -> Layer:
    """What the units of a layer are told, without addresses.

    Raises: DiagnosticError for what no register can say, and with every limit of the hardware that
    the layer breaks.
    """
    setting = Layer(
        None if layer.convolution is None else convolution_setting(layer.convolution, hw),
        None if layer.processor is None else sdp_setting(layer.processor, hw),
        None if layer.pooling is None else pdp_setting(layer.pooling),
        None if layer.alone is None else _alone_setting(layer.alone, hw),
    )
    of_tables = [
        fault
        for tables in layer_tables(layer)
        for fault in table_faults(tables.contents, hw, tables.unit)
    ]
    _raise(layer, hw, setting.faults(hw) + of_tables)
    return setting


def layer_tables(layer: HardwareLayer) -> tuple[Tables, ...]:
    """What look-up tables must hold while the layer runs."""
    found: list[Tables] = []
    if layer.processor is not None and layer.processor.tables is not None:
        found.append(Tables("SDP", layer.processor.tables))
    if isinstance(layer.alone, CdpOp):
        found.append(Tables("CDP", layer.alone.tables))
    return tuple(found)


def _alone_setting(op: AloneOp, hw: HardwareConfiguration) -> AloneSetting:
    if isinstance(op, CdpOp):
        return cdp_setting(op, hw)
    return rubik_setting(op, hw) if isinstance(op, RubikOp) else bdma_setting(op, hw)


def fitted_setting(layer: HardwareLayer, hw: HardwareConfiguration) -> Layer:
    """As ``layer_setting``, of a layer that has its share of the convolution buffer.

    Raises: DiagnosticError also where it has none.
    """
    setting = layer_setting(layer, hw)
    if setting.convolution is not None and setting.convolution.banks is None:
        raise DiagnosticError.at(
            layer.location,
            f"{layer.describe()} has no share of the convolution buffer: run "
            "'fit-convolution-buffer' first",
        )
    return setting


@frozen
class PlacedLayer:
    """The settings of a layer's units, and where their tensors lie: of units that it does not have,
    None."""

    setting: Layer
    convolution: ConvolutionPlaces | None = None
    processor: SdpPlaces | None = None
    pooling: PdpPlaces | None = None
    cdp: CdpPlaces | None = None
    rubik: RubikPlaces | None = None
    bdma: tuple[TransferPlaces, ...] | None = None


def placed_layer(layer: HardwareLayer, hw: HardwareConfiguration) -> PlacedLayer:
    """What a layer whose tensors have their places tells the hardware.

    Raises: DiagnosticError as ``fitted_setting``, and for tensors that have no place in memory.
    """
    setting = fitted_setting(layer, hw)
    processor = None if layer.processor is None else sdp_places(layer.processor, hw)
    if setting.processor is not None and processor is not None:
        _raise(layer, hw, setting.processor.place_faults(processor))
    destination = None if processor is None else processor.destination
    bdma = bdma_places(layer.alone, hw) if isinstance(layer.alone, BdmaOp) else None
    if bdma is not None and isinstance(setting.alone, BdmaSetting):
        _raise(layer, hw, setting.alone.place_faults(bdma))
    return PlacedLayer(
        setting,
        None
        if layer.convolution is None
        else convolution_places(layer.convolution, destination, hw),
        processor,
        None if layer.pooling is None else pdp_places(layer.pooling, hw),
        cdp_places(layer.alone, hw) if isinstance(layer.alone, CdpOp) else None,
        rubik_places(layer.alone, hw) if isinstance(layer.alone, RubikOp) else None,
        bdma,
    )


def layer_program(layer: HardwareLayer, hw: HardwareConfiguration) -> LayerProgram:
    """The registers of a layer whose tensors have their places.

    Raises: DiagnosticError as ``placed_layer``.
    """
    placed = placed_layer(layer, hw)
    setting = placed.setting
    units: UnitFields = {}
    if setting.convolution is not None and placed.convolution is not None:
        units |= setting.convolution.fields(hw, placed.convolution)
    if setting.processor is not None and placed.processor is not None:
        units |= setting.processor.fields(hw, placed.processor)
    if setting.pooling is not None and placed.pooling is not None:
        units |= setting.pooling.fields(hw, placed.pooling)
    transfers: tuple[Fields, ...] = ()
    if isinstance(setting.alone, CdpSetting) and placed.cdp is not None:
        units |= setting.alone.fields(hw, placed.cdp)
    elif isinstance(setting.alone, RubikSetting) and placed.rubik is not None:
        units |= setting.alone.fields(hw, placed.rubik)
    elif isinstance(setting.alone, BdmaSetting) and placed.bdma is not None:
        transfers = setting.alone.fields(hw, placed.bdma)
    tables = layer_tables(layer)
    return LayerProgram(units, setting.interrupts, layer.names, layer.location, transfers, tables)


def _raise(layer: HardwareLayer, hw: HardwareConfiguration, faults: list[Fault]) -> None:
    if faults:
        raise DiagnosticError(
            *(
                Diagnostic.error(
                    layer.location, f"{layer.describe()} cannot run on {hw.name}: it has {fault}"
                )
                for fault in faults
            )
        )
