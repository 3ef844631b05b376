"""The settings of RUBIK and BDMA, from ``nvdla.rubik`` and ``nvdla.bdma``."""

from __future__ import annotations

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import BdmaOp, RubikOp
from nvdla_ir.hardware.bdma import BdmaSetting, Transfer, TransferPlaces
from nvdla_ir.hardware.place import BlockPlace, CubePlace
from nvdla_ir.hardware.rubik import RubikPlaces, RubikSetting
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.sizes import ceil_div
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.settings.memory import channels_height_width, placed_cube


def rubik_setting(op: RubikOp, hw: HardwareConfiguration) -> RubikSetting:
    """What ``op`` tells RUBIK.

    Raises: DiagnosticError for batches of several cubes, and for groups of channels that are not
    those whole atoms that the result has.
    """
    channels, height, width = channels_height_width(op.input)
    results, _, _ = channels_height_width(op.output)
    atoms = ceil_div(results, hw.memory_atom) * hw.memory_atom
    if hw.has_rubik and op.group != atoms:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} has groups of {op.group} channels, but for {results} channels of the "
            f"result RUBIK of {hw.name} takes groups of {atoms}: fill them up",
        )
    down, across = op.strides
    return RubikSetting("CONTRACT", channels, height, width, results, (down, across))


def rubik_places(op: RubikOp, hw: HardwareConfiguration) -> RubikPlaces:
    """Where source and destination lie. Raises: DiagnosticError where they have no place."""
    return RubikPlaces(placed_cube(op.input, op, hw), placed_cube(op.output, op, hw))


def bdma_setting(op: BdmaOp, hw: HardwareConfiguration) -> BdmaSetting:
    """What ``op`` tells BDMA: one transfer. Raises: DiagnosticError for batches of several
    cubes."""
    channels, height, width = channels_height_width(op.input)
    surfaces = ceil_div(channels, hw.memory_atom)
    return BdmaSetting((Transfer(width * hw.memory_atom, height, surfaces),))


def bdma_places(op: BdmaOp, hw: HardwareConfiguration) -> tuple[TransferPlaces, ...]:
    """Where source and destination lie. Raises: DiagnosticError where they have no place."""
    source, destination = (placed_cube(value, op, hw) for value in (op.input, op.output))
    return (TransferPlaces(_block(source), _block(destination)),)


def _block(cube: CubePlace) -> BlockPlace:
    layout = cube.layout
    return BlockPlace(cube.address, layout.line_stride, layout.surface_stride, cube.memory)
