"""The bytes of a model file: large weights are found in place, the rest goes to protobuf.

Protobuf would copy every weight twice. So the file is mapped, its messages are walked field by
field, and the raw bytes of large initializers are left out of what protobuf reads: they are read
straight into their arrays later. (The wire format is that of the protobuf encoding specification:
a tag is ``field << 3 | wire type``.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from attrs import field, frozen

Bytes: TypeAlias = "bytes | memoryview"

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_LARGEST_FIELD = (1 << 29) - 1

# onnx.proto: the field of a model that is its graph, of a graph that are its initializers, of a
# tensor that is its raw data.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9

LEFT_IN_PLACE = 4096
"""Raw data of at least this many bytes is left in the file."""


class WireError(ValueError):
    """The bytes are no protobuf message. ``offset`` is where that shows."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


@frozen
class Span:
    """Bytes of the file: from ``start``, ``size`` of them."""

    start: int
    size: int


@frozen
class Skeleton:
    """A model without its large weights.

    message:      the rest, a protobuf message of its own
    initializers: by index among the graph's initializers, where their raw data is
    """

    message: bytes
    initializers: dict[int, Span] = field(factory=dict[int, Span])


@frozen
class _Field:
    number: int
    wire_type: int
    start: int
    """Where its tag begins."""
    payload: int
    end: int


def skeleton(data: Bytes) -> Skeleton:
    """Raises: WireError where ``data`` is cut off or is no protobuf message."""
    spans: dict[int, Span] = {}
    count = 0
    model: list[Bytes] = []
    for part in _fields(data, 0, len(data)):
        if part.number != _GRAPH or part.wire_type != _DELIMITED:
            model.append(data[part.start : part.end])
            continue
        graph: list[Bytes] = []
        for inner in _fields(data, part.payload, part.end):
            if inner.number == _INITIALIZER and inner.wire_type == _DELIMITED:
                raw = _raw_data(data, inner)
                if raw is not None:
                    spans[count] = Span(raw.payload, raw.end - raw.payload)
                    rest = [data[inner.payload : raw.start], data[raw.end : inner.end]]
                    graph += _delimited(_INITIALIZER, rest)
                    count += 1
                    continue
                count += 1
            graph.append(data[inner.start : inner.end])
        model += _delimited(_GRAPH, graph)
    return Skeleton(b"".join(model), spans)


def _raw_data(data: Bytes, tensor: _Field) -> _Field | None:
    """The raw data of a tensor that is large enough to stay in place."""
    found = [
        part
        for part in _fields(data, tensor.payload, tensor.end)
        if part.number == _RAW_DATA and part.wire_type == _DELIMITED
    ]
    # Of several, which no writer makes, the last would count: protobuf deals with that.
    if len(found) == 1 and found[0].end - found[0].payload >= LEFT_IN_PLACE:
        return found[0]
    return None


def _delimited(number: int, parts: list[Bytes]) -> list[Bytes]:
    header = _varint(number << 3 | _DELIMITED) + _varint(sum(map(len, parts)))
    return [header, *parts]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _fields(data: Bytes, start: int, end: int) -> Iterator[_Field]:
    """The fields of the message in ``data[start:end]``."""
    position = start
    while position < end:
        tag, payload = _read_varint(data, position, end)
        number, wire_type = tag >> 3, tag & 7
        if not 1 <= number <= _LARGEST_FIELD:
            raise WireError(position, f"there is no field {number}")
        if wire_type == _VARINT:
            _, after = _read_varint(data, payload, end)
        elif wire_type == _FIXED64:
            after = payload + 8
        elif wire_type == _FIXED32:
            after = payload + 4
        elif wire_type == _DELIMITED:
            size, payload = _read_varint(data, payload, end)
            after = payload + size
        else:
            raise WireError(position, f"field {number} has the unknown wire type {wire_type}")
        if after > end:
            raise WireError(
                position,
                f"field {number} should reach to byte {after}, but its message ends at {end}",
            )
        yield _Field(number, wire_type, position, payload, after)
        position = after


def _read_varint(data: Bytes, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(_LONGEST_VARINT):
        if position >= end:
            raise WireError(position, "a number is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position
    raise WireError(position, f"a number has more than {_LONGEST_VARINT} bytes")
