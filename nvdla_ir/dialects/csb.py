"""The csb dialect: register programs, readable. One operation programs one unit's register
group with named fields; exporters expand it to single writes.

The operations work in order on one device: its registers and its memory.
"""

from __future__ import annotations

from collections.abc import Iterable

from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.nvdla import target_of
from nvdla_ir.dialects.nvdla.types import CUBE
from nvdla_ir.hw.configuration import ConfigurationError, load_configuration
from nvdla_ir.hw.registers import RegisterError, register_map
from nvdla_ir.ir.attribute_kinds import DICT, ELEMENTS, INT, STRING
from nvdla_ir.ir.attributes import Attribute, IntegerAttr, StringAttr
from nvdla_ir.ir.definition import attribute, operand, optional_attribute, result
from nvdla_ir.ir.dialect import Dialect
from nvdla_ir.ir.types import I8, IntegerType, TensorType


class LoadOp(LayerOp):
    """Bytes that are in memory before the program starts: packed weights, operand tables."""

    name = "csb.load"

    address = attribute(INT)
    value = attribute(ELEMENTS)

    def verify(self) -> Iterable[str]:
        type = self.value.type
        if len(type.shape) != 1 or type.element not in (I8, IntegerType(8, "u")):
            yield f"loads '{type}', but it must be bytes: a tensor of one dimension of i8"


class UploadOp(LayerOp):
    """The host writes a tensor to memory in the layout of ``format`` (``feature`` or a pixel
    format)."""

    name = "csb.upload"

    input = operand(CUBE)
    address = attribute(INT)
    line_stride = attribute(INT)
    surface_stride = optional_attribute(INT)
    format = attribute(STRING, default="feature")


class DownloadOp(LayerOp):
    """The host reads a feature cube from memory."""

    name = "csb.download"

    address = attribute(INT)
    line_stride = attribute(INT)
    surface_stride = attribute(INT)
    output = result(CUBE)


class _GroupOp(LayerOp):
    positional = ("unit",)

    unit = attribute(STRING)
    group = attribute(INT)

    def verify(self) -> Iterable[str]:
        if self.group not in (0, 1):
            yield f"has 'group = {self.group}', but there are groups 0 and 1"
        target = target_of(self)
        if target is None:
            return
        try:
            blocks = register_map(load_configuration(target).register_map)
        except ConfigurationError:
            return  # reported where the target is named
        if self.unit not in blocks:
            yield f"names the unit '{self.unit}', which '{target}' does not have"


class ConfigureOp(_GroupOp):
    """``csb.configure SDP group=0 {CVT_SCALE = 21, CVT_SHIFT = 14}``

    Writes the registers of the group that hold the named fields; other fields of these registers
    get their reset value. Enumerated fields may be named by a string. Addresses and strides are
    in bytes.
    """

    name = "csb.configure"
    trailing = "fields"

    fields = attribute(DICT)

    def field_values(self) -> dict[str, int | str]:
        """The fields by name, with a number or the name of an enumerated value."""
        return {name: _field_value(value) for name, value in self.fields.items()}

    def verify(self) -> Iterable[str]:
        faults = list(super().verify())
        for name, value in self.fields.items():
            if not isinstance(value, IntegerAttr | StringAttr):
                faults.append(f"has '{name} = {value}', but a field takes a number or a name")
        target = target_of(self)
        if not faults and target is not None:
            try:
                block = register_map(load_configuration(target).register_map).block(self.unit)
                block.encode(self.field_values())
            except ConfigurationError:
                pass  # reported where the target is named
            except RegisterError as error:
                faults.append(f"programs '{self.unit}' wrongly: {error}")
        yield from faults


def _field_value(value: Attribute) -> int | str:
    assert isinstance(value, IntegerAttr | StringAttr)
    return value.value


class EnableOp(_GroupOp):
    """Sets OP_EN of a unit's register group: it runs when it is the group's turn."""

    name = "csb.enable"


class WaitOp(_GroupOp):
    """Waits for the interrupt that says a unit has finished its group, and clears it."""

    name = "csb.wait"


def byte_tensor(size: int) -> TensorType:
    """The type of ``size`` bytes."""
    return TensorType((size,), I8)


CSB = Dialect.of(
    "csb",
    "register programs",
    [LoadOp, UploadOp, DownloadOp, ConfigureOp, EnableOp, WaitOp],
)
