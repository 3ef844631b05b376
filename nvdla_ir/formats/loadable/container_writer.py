"""The flatbuffer container of a loadable, written. Source: loadable.md section 1.

Fields and their order are those of the tables that the reader knows. Every vector is there, also
an empty one: the vendor's runtime does not ask whether it is.
"""

# flatbuffers has neither stubs nor types of its own
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import Attribute, field, fields, frozen
from flatbuffers import Builder

from nvdla_ir.formats.loadable.container import IDENTIFIER, Container

_PREPEND: dict[str, Any] = {
    "u8": Builder.PrependUint8Slot,
    "u16": Builder.PrependUint16Slot,
    "s16": Builder.PrependInt16Slot,
    "u32": Builder.PrependUint32Slot,
    "s32": Builder.PrependInt32Slot,
    "u64": Builder.PrependUint64Slot,
}
_ELEMENTS: dict[str, tuple[int, Any]] = {
    "u16": (2, Builder.PrependUint16),
    "u64": (8, Builder.PrependUint64),
}
_OFFSET_BYTES = 4
_ROOM_BYTES = 1 << 12
"""For all but the blobs; the builder makes more where that is not enough."""


def write_container(container: Container) -> bytes:
    """The bytes of a loadable with these tables: the inverse of ``read_container``."""
    size = sum(len(blob.data) for blob in container.blobs)
    writer = _Writer(Builder(size + _ROOM_BYTES))
    root = writer.table(container)
    writer.builder.Finish(root, file_identifier=IDENTIFIER)
    builder = writer.builder
    return bytes(memoryview(builder.Bytes)[builder.Head() :])


@frozen(eq=False)
class _Writer:
    builder: Any = field()

    def table(self, value: object) -> int:
        """The place of a table."""
        columns: tuple[Attribute[Any], ...] = fields(type(value))
        references = {
            column.name: self._reference(column.metadata["kind"], getattr(value, column.name))
            for column in columns
            if column.metadata["kind"] not in (*_PREPEND, "version")
        }
        self.builder.StartObject(len(columns))
        for slot, column in enumerate(columns):
            kind, content = column.metadata["kind"], getattr(value, column.name)
            if column.name in references:
                self.builder.PrependUOffsetTRelativeSlot(slot, references[column.name], 0)
            elif kind == "version":
                self.builder.PrependStructSlot(slot, self._version(content), 0)
            else:
                _PREPEND[kind](self.builder, slot, content, 0)
        return self.builder.EndObject()

    def _reference(self, kind: str, content: Any) -> int:
        if kind == "string":
            return self.builder.CreateString(content)
        if kind == "[u8]":
            # bytes as they are, if these are all
            whole = content.obj
            is_whole = isinstance(whole, bytes) and len(whole) == len(content)
            return self.builder.CreateByteVector(whole if is_whole else bytes(content))
        kind = kind[1:-1]
        if kind in _ELEMENTS:
            width, prepend = _ELEMENTS[kind]
            self.builder.StartVector(width, len(content), width)
            for number in reversed(content):
                prepend(self.builder, number)
            return self.builder.EndVector()
        if kind == "string":
            return self._offsets([self.builder.CreateString(text) for text in content])
        return self._offsets([self.table(entry) for entry in content])

    def _offsets(self, places: Sequence[int]) -> int:
        self.builder.StartVector(_OFFSET_BYTES, len(places), _OFFSET_BYTES)
        for place in reversed(places):
            self.builder.PrependUOffsetTRelative(place)
        return self.builder.EndVector()

    def _version(self, version: tuple[int, int, int]) -> int:
        """Three bytes, inside the table."""
        self.builder.Prep(1, len(version))
        for number in reversed(version):
            self.builder.PrependUint8(number)
        return self.builder.Offset()
