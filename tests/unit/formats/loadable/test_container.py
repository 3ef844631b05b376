"""The flatbuffer container: what is read, and how garbled files are refused."""

from __future__ import annotations

import struct

import flatbuffers
import pytest
from loadable_building import Loadable, container, cube, sdp

from nvdla_ir.formats.loadable.container import MemoryFlag, read_container
from nvdla_ir.ir.diagnostics import DiagnosticError


def small() -> bytes:
    return container(
        {
            "task": [{"id": 3, "interface": 1, "instance": -1, "address_list": [7, 8]}],
            "memory": [
                {
                    "flags": 3,
                    "size": 1 << 40,
                    "contents": ["näme", ""],
                    "offsets": [0, 1 << 33],
                    "bind_id": 9,
                }
            ],
            "blob": [{"name": "b", "size": 3, "version": (0, 12, 5), "data": b"xyz"}],
            "tensor": [{"name": "t", "n": 1, "c": -2, "stride_7": 5}],
            "submit": [{"task_id": [0, 0]}],
        }
    )


def test_fields_are_read_and_absent_ones_are_zero() -> None:
    found = read_container(small(), "f")
    (task,) = found.task_list
    assert (task.id, task.interface, task.instance, task.address_list) == (3, 1, -1, (7, 8))
    assert task.pre_actions == task.post_actions == ()
    (memory,) = found.memory_list
    assert (memory.size, memory.contents, memory.offsets) == (1 << 40, ("näme", ""), (0, 1 << 33))
    assert memory.has(MemoryFlag.SET)
    assert not memory.is_bindable
    assert memory.bind_id == 9
    assert memory.alignment == memory.tensor_desc_id == 0
    (blob,) = found.blobs
    assert (blob.version, bytes(blob.data)) == ((0, 12, 5), b"xyz")
    (tensor,) = found.tensor_desc_list
    assert (tensor.c, tensor.stride_7, tensor.stride_0) == (-2, 5, 0)
    assert found.version == (0, 7, 0)
    assert found.address_list == found.reloc_list == ()
    assert found.submit_list[0].task_id == (0, 0)


def test_vectors_may_be_absent() -> None:
    builder = flatbuffers.Builder(64)
    builder.StartObject(9)
    builder.Prep(1, 3)
    for number in (0, 7, 0):
        builder.PrependUint8(number)
    builder.PrependStructSlot(0, builder.Offset(), 0)
    builder.Finish(builder.EndObject())
    assert read_container(bytes(builder.Output()), "f").task_list == ()


@pytest.mark.parametrize("version", [(0, 6, 0), (1, 7, 0), (0, 8, 3)])
def test_other_versions_are_refused(version: tuple[int, int, int]) -> None:
    with pytest.raises(DiagnosticError, match=rf"version {'.'.join(map(str, version))}"):
        read_container(container({}, version), "f")


def test_every_truncation_is_refused() -> None:
    net = Loadable()
    x = net.memory(64)
    net.hardware_task([sdp(cube(x, (8, 1, 1), 8), cube(x, (8, 1, 1), 8))])
    data = net.data()
    for length in [*range(200), *range(200, len(data), 7)]:
        with pytest.raises(DiagnosticError, match="is no valid loadable: at byte"):
            read_container(data[:length], "f")


@pytest.mark.parametrize("data", [b"", b"NVDA", b"\0" * 64, b"\xff" * 64])
def test_files_that_are_something_else_are_refused(data: bytes) -> None:
    with pytest.raises(DiagnosticError, match="no valid loadable"):
        read_container(data, "f")


def corrupted(before: bytes, after: bytes) -> bytes:
    data = small()
    assert data.count(before) == 1
    return data.replace(before, after)


def test_a_vector_that_is_too_long_is_named() -> None:
    data = corrupted(b"\x03\0\0\0xyz", struct.pack("<I", 1 << 31) + b"xyz")
    with pytest.raises(
        DiagnosticError, match=r"Loadable, field 'blobs'\[0\], field 'data': a vector of 2147483648"
    ):
        read_container(data, "f")


def test_a_name_that_is_not_utf8_is_refused() -> None:
    data = corrupted("näme".encode(), b"n\xff\xffme")
    with pytest.raises(DiagnosticError, match="field 'contents'\\[0\\]: the string is not UTF-8"):
        read_container(data, "f")


def test_tables_cannot_share_one_large_vector() -> None:
    """Memory and time stay bounded: 4,000 tables that each name the same 4,000 numbers."""
    builder = flatbuffers.Builder(1 << 16)
    count = 4000
    builder.StartVector(2, count, 2)
    for number in range(count):
        builder.PrependUint16(number & 0xFF)
    shared = builder.EndVector()
    entries: list[int] = []
    for _ in range(count):
        builder.StartObject(2)
        builder.PrependUOffsetTRelativeSlot(1, shared, 0)
        entries.append(builder.EndObject())
    builder.StartVector(4, count, 4)
    for entry in entries:
        builder.PrependUOffsetTRelative(entry)
    submissions = builder.EndVector()
    builder.StartObject(9)
    builder.PrependUOffsetTRelativeSlot(8, submissions, 0)
    builder.Finish(builder.EndObject())
    with pytest.raises(DiagnosticError, match="share the same bytes"):
        read_container(bytes(builder.Output()), "f")
