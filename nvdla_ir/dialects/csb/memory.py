"""Operations of the host on the hardware's memories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.nvdla import FEATURE
from nvdla_ir.dialects.nvdla.types import CUBE
from nvdla_ir.ir.attribute_kinds import ELEMENTS, INT, STRING, TYPE, enumeration
from nvdla_ir.ir.attributes import IntegerAttr
from nvdla_ir.ir.definition import attribute, operand, optional_attribute, result
from nvdla_ir.ir.types import I8, IntegerType, TensorType, Type

if TYPE_CHECKING:
    from nvdla_ir.text.printer import Printer

PRIMARY, SECONDARY = "primary", "secondary"
BYTES = "bytes"
"""The ``format`` of a transfer of bytes in a row."""

FILL_PATTERNS = ("ALL_ZERO", "ONES", "AFIVE", "FIVEA", "ADDR")
"""convolution.md section 1.2: bytes 0x00, 0xff, 0xa5, 0x5a, or the low 8 bits of the address."""


def is_bytes(type: Type) -> bool:
    """Whether ``type`` is a tensor of one dimension of bytes."""
    return (
        isinstance(type, TensorType)
        and len(type.shape) == 1
        and type.element in (I8, IntegerType(8, "u"))
    )


class AddressOp(LayerOp):
    """An operation on a memory from byte ``address`` on.

    The ``primary`` memory (MC) is the one behind RAM_TYPE 1, the ``secondary`` (CV) that behind
    RAM_TYPE 0.
    """

    verified_by_signature = True

    address = attribute(INT)
    memory = attribute(enumeration(PRIMARY, SECONDARY), default=PRIMARY)

    def print_pretty(self, printer: Printer) -> None:
        printer.write(self.name)
        if self.operands:
            printer.write(f" {', '.join(map(printer.name, self.operands))}")
        printer.write(f" address={self.address:#x}")
        for name, value in self.inherent_attributes():
            if name == "crc" and isinstance(value, IntegerAttr):
                printer.write(f" crc={value.value:#010x}")
            elif name != "address":
                printer.write(f" {name}={printer.attribute(value)}")
        printer.discardable(self)
        if self.results:
            printer.result_types([result.type for result in self.results])


class LoadOp(AddressOp):
    """Bytes that are in memory before the program starts: packed weights, operand tables."""

    name = "csb.load"

    value = attribute(ELEMENTS)

    def verify(self) -> Iterable[str]:
        if not is_bytes(self.value.type):
            yield (
                f"loads '{self.value.type}', but it must be bytes: a tensor of one dimension of i8"
            )


class FillOp(AddressOp):
    """``size`` bytes of a pattern, in memory before the program starts."""

    name = "csb.fill"

    size = attribute(INT)
    pattern = attribute(enumeration(*FILL_PATTERNS), default="ALL_ZERO")

    def verify(self) -> Iterable[str]:
        if self.size < 1:
            yield f"has 'size = {self.size}', but it must be at least 1"


class TensorOp(AddressOp):
    """A tensor in memory in the layout of ``format``: ``feature``, ``bytes`` or a pixel format."""

    line_stride = attribute(INT, default=0)
    surface_stride = attribute(INT, default=0)
    format = attribute(STRING, default=FEATURE)

    @property
    def tensor(self) -> Type:
        """The tensor's type."""
        raise NotImplementedError

    def verify(self) -> Iterable[str]:
        type = self.tensor
        if self.format != BYTES:
            if "line_stride" not in self.attributes:
                yield "needs 'line_stride', the bytes from one row to the next"
        elif not is_bytes(type):
            yield f"moves bytes, but '{type}' is no tensor of one dimension of i8"


class UploadOp(TensorOp):
    """The host writes a tensor to memory in the layout of ``format``. The second plane of a pixel
    format of two starts ``surface_stride`` bytes behind the first; its rows are as short as the
    memory atom allows.
    """

    name = "csb.upload"

    input = operand(CUBE)

    @property
    def tensor(self) -> Type:
        return self.input.type


class DownloadOp(TensorOp):
    """The host reads a feature cube, or bytes, from memory."""

    name = "csb.download"

    output = result(CUBE)

    @property
    def tensor(self) -> Type:
        return self.output.type

    def verify(self) -> Iterable[str]:
        if self.format not in (FEATURE, BYTES):
            yield f"reads the format '{self.format}', but only '{FEATURE}' and '{BYTES}' are read"
        yield from super().verify()


class BoundOp(TensorOp):
    """A tensor of ``type`` that a device program and its surroundings share, called
    ``label``; columns that do not follow each other are ``column_stride`` bytes apart. It tells of
    the program and does nothing."""

    label = optional_attribute(STRING, descriptive=True)
    type = attribute(TYPE)
    column_stride = optional_attribute(INT)

    @property
    def tensor(self) -> Type:
        return self.type

    def verify(self) -> Iterable[str]:
        if not CUBE.accepts(self.type):
            yield f"has 'type = {self.type}', but it must be {CUBE.description}"
            return
        yield from super().verify()


class InputOp(BoundOp):
    """A tensor that is in memory when the program starts: the host or an earlier program wrote
    it."""

    name = "csb.input"


class OutputOp(BoundOp):
    """A tensor that is in memory when the program has ended, for the host or a later program."""

    name = "csb.output"
