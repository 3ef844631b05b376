"""RBK (RUBIK): one layer of data reshaping, INT8. Source: rubik-bdma-glb.md section 2."""

# numpy's stubs leave members such as view partly untyped
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import numpy as np
from attrs import evolve, frozen

from nvdla_ir.hw.formats.feature import from_atoms, to_atoms
from nvdla_ir.hw.formats.sizes import align_up, ceil_div
from nvdla_ir.interp.device.areas import MemoryCube
from nvdla_ir.interp.device.environment import Environment
from nvdla_ir.interp.device.memory import Memory
from nvdla_ir.interp.device.record import LayerNotes
from nvdla_ir.interp.device.registers import Fields

_CONTRACT, _SPLIT, _MERGE = 0, 1, 2


def run_rubik(environment: Environment, fields: Fields, notes: LayerNotes) -> None:
    """Move the data of one layer."""
    environment.unsupported(
        fields["IN_PRECISION"] == 0, fields, "IN_PRECISION", "only INT8 (0) is modelled"
    )
    layer = _Layer(
        fields,
        environment.configuration.memory_atom,
        environment.memory(fields, "DATAIN_RAM_TYPE"),
        environment.memory(fields, "DATAOUT_RAM_TYPE"),
        environment.address(fields, "DAIN_ADDR_LOW", "DAIN_ADDR_HIGH"),
        environment.address(fields, "DAOUT_ADDR_LOW", "DAOUT_ADDR_HIGH"),
        notes,
    )
    mode = fields["RUBIK_MODE"]
    if mode == _CONTRACT:
        notes.shape["output"] = layer.contract()
    elif mode == _SPLIT:
        notes.shape["output"] = layer.split()
    elif mode == _MERGE:
        notes.shape["output"] = layer.merge()
    else:
        environment.unsupported(
            False, fields, "RUBIK_MODE", "must be 0 (contract), 1 (split) or 2 (merge)"
        )


@frozen
class _Layer:
    fields: Fields
    atom: int
    source: Memory
    destination: Memory
    source_base: int
    destination_base: int
    notes: LayerNotes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.fields["DATAIN_HEIGHT"] + 1, self.fields["DATAIN_WIDTH"] + 1

    def _area(
        self,
        purpose: str,
        base: int,
        size: tuple[int, int, int],
        strides: tuple[int, int],
        atom: int,
    ) -> MemoryCube:
        """A feature cube, or planes (an atom of 1), with strides of lines and surfaces."""
        memory = self.source if purpose == "input" else self.destination
        return MemoryCube(purpose, memory.name, base, *size, *strides, atom)

    def contract(self) -> tuple[int, ...]:
        """Interleave groups of channels into rows and columns (deconvolution). Section 2.1."""
        fields, (height, width) = self.fields, self.size
        channels = fields["DATAOUT_CHANNEL"] + 1
        surfaces = ceil_div(channels, self.atom)
        down, across = fields["DECONV_Y_STRIDE"] + 1, fields["DECONV_X_STRIDE"] + 1
        line, surface = fields["DAIN_LINE_STRIDE"], fields["DAIN_SURF_STRIDE"]
        notes = self.notes
        # Channels of the input lie in groups that are padded to whole atoms.
        filled = down * across * surfaces * self.atom
        notes.reads.append(
            self._area(
                "input", self.source_base, (filled, height, width), (line, surface), self.atom
            )
        )
        output_strides = fields["CONTRACT_STRIDE_1"], fields["DAOUT_SURF_STRIDE"]
        for row in range(down):
            base = self.destination_base + row * fields["DAOUT_LINE_STRIDE"]
            size = channels, height, width * across
            part = self._area("output", base, size, output_strides, self.atom)
            notes.writes.append(evolve(part, first_row=row, row_step=down))
        groups = self.source.read_strided(
            self.source_base,
            (down, across, surfaces, height, width, self.atom),
            (across * surfaces * surface, surfaces * surface, surface, line, self.atom, 1),
        )
        self.destination.write_strided(
            self.destination_base,
            (
                fields["DAOUT_SURF_STRIDE"],
                fields["CONTRACT_STRIDE_1"],
                fields["DAOUT_LINE_STRIDE"],
                across * self.atom,
                self.atom,
                1,
            ),
            np.transpose(groups, (2, 3, 0, 4, 1, 5)),
        )
        return channels, height * down, width * across

    def split(self) -> tuple[int, ...]:
        """A feature cube to planes, whose lines are filled up with zeros. Section 2.2."""
        fields, (height, width) = self.fields, self.size
        channels = fields["DATAOUT_CHANNEL"] + 1
        atoms = self.source.read_strided(
            self.source_base,
            (ceil_div(channels, self.atom), height, width, self.atom),
            (fields["DAIN_SURF_STRIDE"], fields["DAIN_LINE_STRIDE"], self.atom, 1),
        )
        filled = np.zeros((channels, height, align_up(width, self.atom)), np.uint8)
        filled[..., :width] = from_atoms(atoms.view(np.int8), channels).view(np.uint8)
        size = channels, height, width
        line, surface = fields["DAIN_LINE_STRIDE"], fields["DAIN_SURF_STRIDE"]
        self.notes.reads.append(
            self._area("input", self.source_base, size, (line, surface), self.atom)
        )
        line, plane = fields["DAOUT_LINE_STRIDE"], fields["DAOUT_PLANAR_STRIDE"]
        planes = self._area("output", self.destination_base, size, (line, plane), 1)
        self.notes.writes.append(evolve(planes, stored_columns=filled.shape[2]))
        strides = (plane, line, 1)
        self.destination.write_strided(self.destination_base, strides, filled)
        return channels, height, width

    def merge(self) -> tuple[int, ...]:
        """Planes to a feature cube; lanes beyond the last channel become zero. Section 2.3."""
        fields, (height, width) = self.fields, self.size
        channels = fields["DATAIN_CHANNEL"] + 1
        planes = self.source.read_strided(
            self.source_base,
            (channels, height, width),
            (fields["DAIN_PLANAR_STRIDE"], fields["DAIN_LINE_STRIDE"], 1),
        )
        size = channels, height, width
        line, plane = fields["DAIN_LINE_STRIDE"], fields["DAIN_PLANAR_STRIDE"]
        self.notes.reads.append(self._area("input", self.source_base, size, (line, plane), 1))
        line, surface = fields["DAOUT_LINE_STRIDE"], fields["DAOUT_SURF_STRIDE"]
        self.notes.writes.append(
            self._area("output", self.destination_base, size, (line, surface), self.atom)
        )
        self.destination.write_strided(
            self.destination_base,
            (surface, line, self.atom, 1),
            to_atoms(planes.view(np.int8), self.atom).view(np.uint8),
        )
        return channels, height, width
