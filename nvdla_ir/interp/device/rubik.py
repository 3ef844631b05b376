"""RBK (RUBIK): one layer of data reshaping, INT8. Source: rubik-bdma-glb.md section 2."""

from __future__ import annotations

import numpy as np
from attrs import evolve, frozen

from nvdla_ir.hw.formats.feature import from_atoms, to_atoms
from nvdla_ir.hw.formats.sizes import align_up, ceil_div
from nvdla_ir.interp.device.environment import Environment, Surface
from nvdla_ir.interp.device.memory import Memory
from nvdla_ir.interp.device.overlaps import overlaps_itself
from nvdla_ir.interp.device.record import LayerNotes
from nvdla_ir.interp.device.registers import Fields

_CONTRACT, _SPLIT, _MERGE = 0, 1, 2


def run_rubik(environment: Environment, fields: Fields, notes: LayerNotes) -> None:
    """Move the data of one layer."""
    environment.unsupported(
        fields["IN_PRECISION"] == 0, fields, "IN_PRECISION", "only INT8 (0) is modelled"
    )
    layer = _Layer(
        environment,
        fields,
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
    environment: Environment
    fields: Fields
    source: Memory
    destination: Memory
    source_base: int
    destination_base: int
    notes: LayerNotes

    @property
    def atom(self) -> int:
        return self.environment.configuration.memory_atom

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.fields["DATAIN_HEIGHT"] + 1, self.fields["DATAIN_WIDTH"] + 1

    def contract(self) -> tuple[int, ...]:
        """Interleave groups of channels into rows and columns (deconvolution). Section 2.1."""
        fields, (height, width) = self.fields, self.size
        channels = fields["DATAOUT_CHANNEL"] + 1
        surfaces = ceil_div(channels, self.atom)
        down, across = fields["DECONV_Y_STRIDE"] + 1, fields["DECONV_X_STRIDE"] + 1
        line, surface = fields["DAIN_LINE_STRIDE"], fields["DAIN_SURF_STRIDE"]
        implied = {
            "CONTRACT_STRIDE_0": (surfaces * surface, across > 1),
            "CONTRACT_STRIDE_1": (down * fields["DAOUT_LINE_STRIDE"], height > 1),
        }
        for name, (right, used) in implied.items():
            self.environment.require(
                not used or fields[name] == right, fields, name, f"must be {right}, as implied"
            )
        # Channels of the input lie in groups that are padded to whole atoms.
        groups = down * across * surfaces
        self._note_read(self._surface("DAIN", "SURF", self.atom), groups * self.atom)
        size = channels, height * down, width * across
        self._note_write(self._surface("DAOUT", "SURF", self.atom), size)
        self._bound(groups * self.atom * height * width)
        atoms = self.source.read_strided(
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
            np.transpose(atoms, (2, 3, 0, 4, 1, 5)),
        )
        return size

    def split(self) -> tuple[int, ...]:
        """A feature cube to planes, whose lines are filled up with zeros. Section 2.2."""
        height, width = self.size
        channels = self.fields["DATAOUT_CHANNEL"] + 1
        size = channels, height, width
        stored = align_up(width, self.atom)
        source, target = self._surface("DAIN", "SURF", self.atom), self._surface("DAOUT", "PLANAR")
        self._note_read(source, channels)
        self._note_write(target, size, stored)
        self._bound(channels * height * stored)
        atoms = source.read(ceil_div(channels, self.atom), height, width)
        filled = np.zeros((channels, height, stored), np.uint8)
        filled[..., :width] = from_atoms(atoms.view(np.int8), channels).view(np.uint8)
        target.write(filled[..., np.newaxis])
        return size

    def merge(self) -> tuple[int, ...]:
        """Planes to a feature cube; lanes beyond the last channel become zero. Section 2.3."""
        height, width = self.size
        channels = self.fields["DATAIN_CHANNEL"] + 1
        size = channels, height, width
        source, target = self._surface("DAIN", "PLANAR"), self._surface("DAOUT", "SURF", self.atom)
        self._note_read(source, channels)
        self._note_write(target, size)
        self._bound(align_up(channels, self.atom) * height * width)
        planes = source.read(channels, height, width)[..., 0].view(np.int8)
        target.write(to_atoms(planes, self.atom).view(np.uint8))
        return size

    def _surface(self, end: str, kind: str, element_bytes: int = 1) -> Surface:
        """Input (DAIN) or output (DAOUT): a feature cube ("SURF") or planes ("PLANAR")."""
        reads = end == "DAIN"
        return Surface(
            self.source if reads else self.destination,
            self.source_base if reads else self.destination_base,
            self.fields[f"{end}_LINE_STRIDE"],
            self.fields[f"{end}_{kind}_STRIDE"],
            element_bytes,
        )

    def _note_read(self, surface: Surface, channels: int) -> None:
        self.notes.shape["input"] = channels, *self.size
        self.notes.reads.append(surface.area("input", (channels, *self.size)))

    def _note_write(
        self, surface: Surface, size: tuple[int, int, int], stored_columns: int = 0
    ) -> None:
        area = evolve(surface.area("output", size), stored_columns=stored_columns)
        self.notes.writes.append(area)
        self.environment.require(
            not overlaps_itself(area),
            self.fields,
            "DAOUT_LINE_STRIDE",
            f"lines overlap: {area} of {area.line_bytes} bytes a line",
        )
        self.environment.check_output(self.fields, "DAOUT_ADDR_LOW", area, self.notes.reads)

    def _bound(self, size: int) -> None:
        self.environment.bounded(self.fields, "DATAIN_WIDTH", size)
