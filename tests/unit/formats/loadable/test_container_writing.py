"""Containers and descriptors out: what is written is read back, by flatc as well."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from loadable_corpus import corpus

from nvdla_ir.formats.loadable.container import (
    AddressEntry,
    Blob,
    Container,
    EventEntry,
    MemoryEntry,
    RelocationEntry,
    SubmitEntry,
    TaskEntry,
    TensorEntry,
    read_container,
)
from nvdla_ir.formats.loadable.container_writer import write_container
from nvdla_ir.formats.loadable.structures import DescriptorError, structure

_FLATC = shutil.which("flatc")


def full() -> Container:
    """Every field of every table, at the ends of its range."""
    top: dict[str, Any] = {"u8": 0xFF, "u16": 0xFFFF, "u32": 0xFFFF_FFFF, "u64": (1 << 64) - 1}
    tensor = {
        column.name: {**top, "s32": -(1 << 31), "string": "tensor"}[column.metadata["kind"]]
        for column in attrs.fields(TensorEntry)
    }
    return Container(
        version=(0, 7, 0),
        task_list=(TaskEntry(1, 2, -(1 << 15), (0xFFFF, 0), (), (3,)),),
        memory_list=(
            MemoryEntry(1, 1, 31, top["u64"], 4096, ("näme", ""), (0, 1 << 40), 7, 8),
            MemoryEntry(0, 0, 0, 0, 0, (), (), 0, 0),
        ),
        address_list=(AddressEntry(3, 4, 5, 6),),
        event_list=(EventEntry(1, 2, 3, 4, 1),),
        blobs=(Blob("b", 3, 1, 5, (0, 12, 5), memoryview(b"xyz")),),
        tensor_desc_list=(TensorEntry(**cast("Any", tensor)),),
        reloc_list=(RelocationEntry(1, 2, 3, 4, 5, 6),),
        submit_list=(SubmitEntry(1, (0, 2)),),
    )


def plain(value: Any) -> Any:
    """With contents in place of views, to compare."""
    kind: Any = cast("Any", type(value))
    if kind is memoryview:
        return bytes(value)
    if kind is tuple:
        return tuple(map(plain, value))
    if attrs.has(kind):
        return {column.name: plain(getattr(value, column.name)) for column in attrs.fields(kind)}
    return value


def test_every_field_is_read_back() -> None:
    data = write_container(full())
    assert data[4:8] == b"NVDA"
    assert plain(read_container(data, "f")) == plain(full())


@pytest.mark.parametrize("data", [data for _, data in corpus()])
def test_the_containers_of_others_are_written_as_they_are_read(data: bytes) -> None:
    found = read_container(data, "f")
    assert plain(read_container(write_container(found), "f")) == plain(found)


def test_empty_vectors_are_there() -> None:
    """The vendor's runtime does not ask."""
    empty = Container((0, 7, 0), (), (), (), (), (), (), (), ())
    data = write_container(empty)
    root = struct.unpack_from("<I", data)[0]
    vtable = root - struct.unpack_from("<i", data, root)[0]
    assert struct.unpack_from("<9H", data, vtable + 4) != (0,) * 9
    assert 0 not in struct.unpack_from("<9H", data, vtable + 4)


_SCHEMA_KINDS = {
    "u8": "ubyte",
    "u16": "ushort",
    "s16": "short",
    "u32": "uint",
    "s32": "int",
    "u64": "ulong",
    "string": "string",
}


def schema() -> str:
    """The tables as a schema of flatbuffers."""
    tables: dict[type[Any], str] = {}

    def kind_of(column: Any) -> str:
        kind: str = column.metadata["kind"]
        if kind == "version":
            return "Version"
        if kind == "[table]":
            define(column.metadata["table"])
            return f"[{column.metadata['table'].__name__}]"
        return f"[{_SCHEMA_KINDS[kind[1:-1]]}]" if kind[0] == "[" else _SCHEMA_KINDS[kind]

    def define(table: type[Any]) -> None:
        columns = [f"  {column.name}:{kind_of(column)};" for column in attrs.fields(table)]
        tables[table] = "\n".join([f"table {table.__name__} {{", *columns, "}"])

    define(Container)
    version = "struct Version { major:ubyte; minor:ubyte; sub_minor:ubyte; }"
    end = 'root_type Container;\nfile_identifier "NVDA";'
    return "\n".join([version, *tables.values(), end])


@pytest.mark.skipif(_FLATC is None, reason="no flatc here (Debian: flatbuffers-compiler)")
def test_flatc_reads_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "loadable.fbs").write_text(schema())
    (tmp_path / "net.nvdla").write_bytes(write_container(full()))
    assert _FLATC is not None
    command = [_FLATC, "--json", "--strict-json", "--defaults-json", "loadable.fbs", "--"]
    subprocess.run([*command, "net.nvdla"], cwd=tmp_path, check=True, capture_output=True)
    found = json.loads((tmp_path / "net.json").read_text())
    expected = plain(full())
    for version in (expected, *expected["blobs"]):
        version["version"] = dict(
            zip(("major", "minor", "sub_minor"), version["version"], strict=True)
        )
    expected["blobs"][0]["data"] = tuple(expected["blobs"][0]["data"])
    assert found == json.loads(json.dumps(expected))


# -------------------------------------------------------------- descriptors


@pytest.mark.parametrize("old", [False, True], ids=["current layout", "old layout"])
def test_structures_are_read_back(old: bool) -> None:
    kind = structure("sdp_surface", not old)
    offset = {} if old else {"offset": 0xFFFF_FFFF}
    cube = {"type": 2, "address": -1, "size": 7, "plane_stride": 9, **offset}
    record = kind.read(memoryview(kind.write({"x2_data": cube})), 0, "s")
    assert record.part("x2_data").values == {
        **dict.fromkeys(record.part("y_data").values, 0),
        **cube,
    }
    assert set(record.part("y_data").values.values()) == {0}


def test_arrays_and_floats_are_read_back() -> None:
    network = structure("network").write({"op_head": [-1, 2, 3], "num_rois": 1})
    assert structure("network").read(memoryview(network), 0, "n").array("op_head")[:3] == (-1, 2, 3)
    host = structure("host_op").write({"op_type": 1, "input_scale": 0.5})
    assert structure("host_op").read(memoryview(host), 0, "h").real("input_scale") == 0.5


def test_numbers_that_do_not_fit_are_all_told() -> None:
    values = {"x1_op": {"truncate": 256, "alu_operand": 1 << 31}, "lut_index": -(1 << 15) - 1}
    with pytest.raises(DescriptorError) as error:
        structure("sdp_op").write(values)
    assert error.value.faults == (
        "x1_op.truncate = 256, which holds 0 to 255",
        "x1_op.alu_operand = 2147483648, which holds -2147483648 to 2147483647",
        "lut_index = -32769, which holds -32768 to 32767",
    )
