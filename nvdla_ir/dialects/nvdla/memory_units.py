"""Units that read memory and write memory, each a hardware layer of its own."""

from __future__ import annotations

from collections.abc import Iterable

from nvdla_ir.dialects.nn.shapes import shape_of, text_of
from nvdla_ir.dialects.nvdla.look_up_tables import LUT
from nvdla_ir.dialects.nvdla.operations import MemoryOp
from nvdla_ir.dialects.nvdla.types import CUBE
from nvdla_ir.ir.attribute_kinds import BOOL, INT, INTS, enumeration
from nvdla_ir.ir.definition import attribute, operand, result
from nvdla_ir.ir.traits import Pure

CDP_WINDOWS = (3, 5, 7, 9)
"""Channels whose squares the CDP may add up."""

CDP_LIMITS = {
    "input_offset": (-(1 << 7), (1 << 7) - 1),
    "input_scale": (-(1 << 15), (1 << 15) - 1),
    "input_shift": (0, 31),
    "output_offset": (-(1 << 24), (1 << 24) - 1),
    "output_scale": (-(1 << 15), (1 << 15) - 1),
    "output_shift": (0, 63),
}
"""What the converters of ``nvdla.cdp`` take."""


class CdpOp(MemoryOp):
    """The CDP: each element times what the tables say of the squares around it (cdp.md section 2).

    window:     3, 5, 7 or 9 channels whose squares are added up
    tables:     what the sum is looked up in
    square_sum: false: the element itself is looked up
    multiply:   false: what is found is not multiplied with the element
    input_…:    ``sat9(rha((x - offset) * scale, shift))``, ahead of all else
    output_…:   ``sat8(rha((x - offset) * scale, shift))``, at the end
    """

    name = "nvdla.cdp"
    traits = (Pure(),)

    input = operand(CUBE)
    window = attribute(INT, default=3)
    square_sum = attribute(BOOL, default=True)
    multiply = attribute(BOOL, default=True)
    input_offset = attribute(INT, default=0)
    input_scale = attribute(INT, default=1)
    input_shift = attribute(INT, default=0)
    output_offset = attribute(INT, default=0)
    output_scale = attribute(INT, default=1)
    output_shift = attribute(INT, default=0)
    tables = attribute(LUT)
    output = result(CUBE)

    def verify(self) -> Iterable[str]:
        if shape_of(self.output) != shape_of(self.input):
            yield "changes the shape"
        if self.window not in CDP_WINDOWS:
            windows = ", ".join(map(str, CDP_WINDOWS))
            yield f"has 'window' {self.window}, but it must be one of {windows}"
        for name, (low, high) in CDP_LIMITS.items():
            value: int = getattr(self, name)
            if not low <= value <= high:
                yield f"has '{name}' {value}, but it must be from {low} to {high}"


class RubikOp(MemoryOp):
    """``nvdla.rubik contract %x strides=[2, 2]``: RUBIK moves groups of channels to rows and
    columns (rubik-bdma-glb.md section 2.1).

    Of ``strides`` (down, across) the input has ``down * across`` groups of channels, one behind the
    other, each of whole memory atoms: ``y[c, down * h + i, across * w + j]`` is channel ``c`` of
    group ``across * i + j``. The result may have fewer channels than a group.
    """

    name = "nvdla.rubik"
    traits = (Pure(),)
    positional = ("mode",)

    mode = attribute(enumeration("contract"))
    input = operand(CUBE)
    strides = attribute(INTS)
    output = result(CUBE)

    @property
    def group(self) -> int:
        """Channels of a group."""
        return shape_of(self.input)[1] // (self.strides[0] * self.strides[1])

    def verify(self) -> Iterable[str]:
        if len(self.strides) != 2 or min(self.strides) < 1:
            yield f"has 'strides' {list(self.strides)}, but they must be two, of 1 or more"
            return
        down, across = self.strides
        shape, made = shape_of(self.input), shape_of(self.output)
        if shape[1] % (down * across):
            yield f"has {shape[1]} channels, which are not {down * across} groups"
            return
        expected = (shape[0], made[1], shape[2] * down, shape[3] * across)
        if made != expected or made[1] > self.group:
            most = text_of((shape[0], self.group, *expected[2:]))
            yield f"has a result of shape {text_of(made)}, but its operands make {most} at most"


class BdmaOp(MemoryOp):
    """BDMA: a copy of a cube (rubik-bdma-glb.md section 3)."""

    name = "nvdla.bdma"
    traits = (Pure(),)

    input = operand(CUBE)
    output = result(CUBE)

    def verify(self) -> Iterable[str]:
        if shape_of(self.output) != shape_of(self.input):
            yield "changes the shape"
