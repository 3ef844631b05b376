"""Loadables for tests, made with the flatbuffers builder: containers from dictionaries, and
networks whose dependency graph follows from the order of their layers."""

# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import struct
from typing import Any

import flatbuffers
from attrs import define, field

from nvdla_ir.formats.loadable.structures import Structure, structure

KINDS = ("bdma", "conv", "sdp", "pdp", "cdp", "rubik")
_CODES = {"u8": "B", "s8": "b", "u16": "H", "s16": "h", "u32": "I", "s32": "i", "u64": "Q"}
_CODES |= {"s64": "q", "f32": "f"}

# ---------------------------------------------------------------- descriptors


def packed(name: str, values: dict[str, Any], *, old: bool = False) -> bytes:
    """A descriptor; what ``values`` leaves out is 0. Structures inside are dictionaries."""
    return _packed(structure(name, not old), values)


def _packed(kind: Structure, values: dict[str, Any]) -> bytes:
    unknown = values.keys() - {member.name for member in kind.members}
    assert not unknown, f"{kind.name} has no {unknown}"
    data = b""
    for member in kind.members:
        value = values.get(member.name)
        if member.kind in _CODES:
            numbers = value if isinstance(value, list | tuple) else [value or 0] * member.count
            numbers = [*numbers, *[0] * (member.count - len(numbers))]
            data += struct.pack(f"<{member.count}{_CODES[member.kind]}", *numbers)
            continue
        inner = structure(member.kind, kind.has_cube_offset)
        parts = value if isinstance(value, list) else [value]
        parts = [*parts, *[None] * (member.count - len(parts))]
        data += b"".join(_packed(inner, part or {}) for part in parts)
    assert len(data) == kind.size
    return data


# ---------------------------------------------------------------- container

_SCHEMA = {
    "task": "id:u16 interface:u32 instance:s16 address_list:[u16] pre_actions:[u16] "
    "post_actions:[u16]",
    "memory": "id:u16 domain:u8 flags:u16 size:u64 alignment:u32 contents:[string] offsets:[u64] "
    "bind_id:u16 tensor_desc_id:u16",
    "address": "id:u16 mem_id:u16 offset:u64 size:u64",
    "blob": "name:string size:u64 interface:u32 sub_interface:u32 version:version data:[u8]",
    "tensor": "name:string id:u16 mem_id:u16 size:u64 offset:u64 data_format:u8 data_type:u8 "
    "data_category:u8 pixel_format:u8 pixel_mapping:u8 n:s32 c:s32 h:s32 w:s32 stride_0:u32 "
    "stride_1:u32 stride_2:u32 stride_3:u32 stride_4:u32 stride_5:u32 stride_6:u32 stride_7:u32",
    "submit": "id:u16 task_id:[u16]",
}
_LISTS = ("task", "memory", "address", "", "blob", "tensor", "", "submit")

_PREPEND = {
    "u8": "PrependUint8Slot",
    "u16": "PrependUint16Slot",
    "s16": "PrependInt16Slot",
    "u32": "PrependUint32Slot",
    "s32": "PrependInt32Slot",
    "u64": "PrependUint64Slot",
}


def container(
    lists: dict[str, list[dict[str, Any]]], version: tuple[int, ...] = (0, 7, 0)
) -> bytes:
    """A loadable with the entries of ``lists`` (by the names in the schema above)."""
    builder = flatbuffers.Builder(1 << 12)
    vectors: list[int] = []
    for name in _LISTS:
        entries = [_entry(builder, _SCHEMA[name], e) for e in lists.get(name, [])] if name else []
        vectors.append(_offsets(builder, entries))
    builder.StartObject(9)
    for slot, vector in enumerate(vectors, 1):
        builder.PrependUOffsetTRelativeSlot(slot, vector, 0)
    builder.PrependStructSlot(0, _version(builder, version), 0)
    builder.Finish(builder.EndObject(), file_identifier=b"NVDA")
    return bytes(builder.Output())


def _entry(builder: Any, schema: str, values: dict[str, Any]) -> int:
    columns = [item.split(":") for item in schema.split()]
    unknown = values.keys() - {name for name, _ in columns}
    assert not unknown, unknown
    references: dict[str, int] = {}
    for name, kind in columns:
        value = values.get(name)
        if value is None:
            continue
        if kind == "string":
            references[name] = builder.CreateString(value)
        elif kind == "[u8]":
            references[name] = builder.CreateByteVector(bytes(value))
        elif kind == "[string]":
            references[name] = _offsets(builder, [builder.CreateString(v) for v in value])
        elif kind in ("[u16]", "[u64]"):
            width = int(kind[2:-1]) // 8
            builder.StartVector(width, len(value), width)
            for number in reversed(value):
                getattr(builder, f"PrependUint{8 * width}")(number)
            references[name] = builder.EndVector()
    builder.StartObject(len(columns))
    for slot, (name, kind) in enumerate(columns):
        if name in references:
            builder.PrependUOffsetTRelativeSlot(slot, references[name], 0)
        elif kind == "version":
            version = values.get(name, (0, 0, 0))
            builder.PrependStructSlot(slot, _version(builder, version), 0)
        elif kind in _PREPEND:
            getattr(builder, _PREPEND[kind])(slot, values.get(name, 0), 0)
    return builder.EndObject()


def _version(builder: Any, version: tuple[int, ...]) -> int:
    builder.Prep(1, 3)
    for number in reversed(version):
        builder.PrependUint8(number)
    return builder.Offset()


def _offsets(builder: Any, entries: list[int]) -> int:
    builder.StartVector(4, len(entries), 4)
    for entry in reversed(entries):
        builder.PrependUOffsetTRelative(entry)
    return builder.EndVector()


# ---------------------------------------------------------------- networks

ALLOC, SET, INPUT, OUTPUT = 1, 2, 4, 8
MC, CV, FLYING = 0, 1, 2
HARDWARE, HOST = 1, 2


@define
class Loadable:
    """A loadable under construction. Its address list has one entry a memory, in order, so that
    indices of addresses and memories are the same; entry 0 is a page that nothing uses.

    ``old`` selects the layout of firmware up to 0.11.
    """

    old: bool = False
    lists: dict[str, list[dict[str, Any]]] = field(factory=lambda: {"submit": [], "task": []})

    def __attrs_post_init__(self) -> None:
        self.memory(4096)

    def _add(self, list_name: str, **values: Any) -> int:
        entries = self.lists.setdefault(list_name, [])
        entries.append({"id": len(entries), **values} if list_name != "blob" else values)
        return len(entries) - 1

    def memory(
        self, size: int, content: bytes | None = None, *, flags: int = ALLOC, domain: int = 0
    ) -> int:
        """The index of a new memory, and of its address."""
        index = len(self.lists.get("memory", []))
        more: dict[str, Any] = {}
        if content is not None:
            name = self.blob(content)
            flags |= SET
            more = {"contents": [name], "offsets": [0]}
        self._add("memory", domain=domain, flags=flags, size=size, alignment=4096, **more)
        self._add("address", mem_id=index, offset=0, size=size)
        return index

    def blob(self, data: bytes, version: tuple[int, ...] = (0, 0, 0)) -> str:
        name = f"blob-{len(self.lists.get('blob', []))}"
        self._add("blob", name=name, size=len(data), version=version, data=data)
        return name

    def bound(
        self, name: str, flag: int, shape: tuple[int, int, int], atom: int, **changes: Any
    ) -> int:
        """A memory for a bound INT8 feature cube of ``shape`` (channels, height, width)."""
        channels, height, width = shape
        surfaces = -(-channels // atom)
        line = width * atom
        size = surfaces * height * line
        index = self.memory(size, flags=ALLOC | flag)
        number = sum(bool(m["flags"] & flag) for m in self.lists["memory"]) - 1
        values = {
            "name": name,
            "mem_id": index,
            "size": size,
            "data_format": 3,
            "data_type": 4,
            "data_category": 2,
            "pixel_format": 37 if atom == 8 and not self.old else 36,
            "n": 1,
            "c": channels,
            "h": height,
            "w": width,
            "stride_0": 1,
            "stride_1": line,
            "stride_2": height * line,
        }
        tensor = self._add("tensor", **values | changes)
        self.lists["memory"][index] |= {"bind_id": number, "tensor_desc_id": tensor}
        return index

    def hardware_task(
        self,
        *layers: list[dict[str, Any]],
        luts: list[dict[str, Any]] | None = None,
        **network: Any,
    ) -> int:
        """A task of hardware layers, run one after the other, each a list of fused operations:
        dictionaries with the kind, ``op`` and ``surface``. ``network`` changes its descriptor."""
        operations = [operation for layer in layers for operation in layer]
        graph = self.graph(*layers)
        changed = network.pop("graph", {})
        for index, change in changed.items():
            graph[index] = graph[index] | change
        heads = [-1] * 6
        for index in reversed(range(len(operations))):
            heads[KINDS.index(operations[index]["kind"])] = index
        lists = [
            b"".join(self._pack("common", entry) for entry in graph),
            b"".join(
                self._pack(f"{op['kind']}_op", op.get("op", {})).ljust(116, b"\0")
                for op in operations
            ),
            b"".join(
                self._pack(f"{op['kind']}_surface", op.get("surface", {})).ljust(644, b"\0")
                for op in operations
            ),
            b"".join(self._pack("lut", lut) for lut in luts or [{}]),
        ]
        context = [self.memory(len(data), data) for data in lists]
        used = len(self.lists["memory"])
        descriptor = {
            "dependency_graph_index": context[0],
            "operation_desc_index": context[1],
            "surface_desc_index": context[2],
            "lut_data_index": context[3],
            "roi_array_index": -1,
            "surface_index": -1,
            "stat_list_index": -1,
            "op_head": heads,
            "num_rois": 1,
            "num_operations": len(operations),
            "num_luts": len(luts or []),
            "num_addresses": used,
        }
        first = self.memory(40)
        self.lists["memory"][first] |= {
            "flags": ALLOC | SET,
            "contents": [
                self.blob(
                    self._pack("network", descriptor | network),
                    (0, 11 if self.old else 12, 0),
                )
            ],
            "offsets": [0],
        }
        # index 0 is the network descriptor, the others are the memories' own indices
        return self._task(HARDWARE, [first, *range(1, used)])

    def _task(self, interface: int, addresses: list[int]) -> int:
        task = self._add("task", interface=interface, instance=-1, address_list=addresses)
        self._add("submit", task_id=[task])
        return task

    def _pack(self, name: str, values: dict[str, Any]) -> bytes:
        return packed(name, values, old=self.old)

    def graph(self, *layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The dependency graph of layers that run one after the other (loadable.md section 3)."""
        kinds = [KINDS.index(operation["kind"]) for layer in layers for operation in layer]
        consumers = [[{"index": -1} for _ in KINDS] for _ in kinds]
        parents = [{"index": -1, "event": 0} for _ in kinds]
        start = 0
        for number, layer in enumerate(layers):
            for index in range(start, start + len(layer)):
                later = [i for i in range(index + 1, len(kinds)) if kinds[i] == kinds[index]]
                if later:
                    consumers[index][kinds[index]] = {"index": later[0], "event": 2}
                if index > start:
                    consumers[index - 1][kinds[index]] = {"index": index, "event": 2}
                    parents[index] = {"index": index - 1, "event": 3}
            end = start + len(layer)
            if number + 1 < len(layers):
                consumers[end - 1][kinds[end]] = {"index": end, "event": 1}
            start = end
        counts = [0] * len(kinds)
        for entry in [*(c for links in consumers for c in links), *parents]:
            if entry["index"] >= 0:
                counts[entry["index"]] += 1
        return [
            {
                "index": index,
                "op_type": kind,
                "dependency_count": counts[index],
                "consumers": consumers[index],
                "fused_parent": parents[index],
            }
            for index, kind in enumerate(kinds)
        ]

    def host_task(self, *operations: dict[str, Any]) -> int:
        """A task of the host: dictionaries with ``op``, ``source`` and ``destination``."""
        data = b"".join(packed("host_op", operation["op"]) for operation in operations)
        surfaces = b"".join(
            packed("host_buffer", operation[end]).ljust(256, b"\0")
            for operation in operations
            for end in ("source", "destination")
        )
        lists = [self.memory(len(item), item) for item in (data, surfaces)]
        network = packed(
            "host_network",
            {
                "operation_desc_index": lists[0],
                "operation_buffer_desc_index": lists[1],
                "num_operations": len(operations),
            },
        ).ljust(256, b"\0")
        first = self.memory(len(network), network)
        return self._task(HOST, [first, *range(1, first)])

    def data(self) -> bytes:
        return container(self.lists)


def cube(
    address: int, shape: tuple[int, int, int], atom: int, *, type: int = MC, **changes: Any
) -> dict[str, Any]:
    """A data cube without gaps; of ``type`` FLYING without address."""
    channels, height, width = shape
    line = width * atom
    return {
        "type": type,
        "address": -1 if type == FLYING else address,
        "size": -(-channels // atom) * height * line,
        "width": width,
        "height": height,
        "channel": channels,
        "line_stride": line,
        "surf_stride": height * line,
    } | changes


IDENTITY = {"scale": 1, "enable": 1}


def sdp(source: dict[str, Any], destination: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An SDP operation that copies, unless ``changes`` say more: of its descriptor, or of its
    surfaces x1_data, x2_data and y_data."""
    operands = {
        name: changes.pop(name) for name in ("x1_data", "x2_data", "y_data") if name in changes
    }
    return {
        "kind": "sdp",
        "op": {"lut_index": -1, "out_cvt": IDENTITY, "batch_num": 1} | changes,
        "surface": {"src_data": source, "dst_data": destination} | operands,
    }


def pdp(source: dict[str, Any], destination: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Maximum pooling with windows of 1x1, unless ``changes`` say more."""
    op = {"split_num": 1, "pool_mode": 1, "stride_x": 1, "stride_y": 1}
    surface = {"src_data": source, "dst_data": destination}
    return {"kind": "pdp", "op": op | changes, "surface": surface}


def convolution(
    source: dict[str, Any],
    destination: dict[str, Any],
    weights: dict[str, Any],
    entries: int,
    **changes: Any,
) -> dict[str, Any]:
    """A convolution with kernels of 1x1."""
    channels = source["channel"]
    op = {
        "entry_per_slice": entries,
        "data_format": 36,
        "fetch_grain": 1,
        "batch": 1,
        "data_bank": 1,
        "weight_bank": 1,
        "release": source["height"],
        "input_width_csc": source["width"],
        "input_height_csc": source["height"],
        "input_channel_csc": channels,
        "kernel_width_csc": 1,
        "kernel_height_csc": 1,
        "kernel_channel_csc": channels,
        "input_width_cmac": destination["width"],
        "input_height_cmac": destination["height"],
        "bytes_per_kernel": channels,
        "conv_stride_x": 1,
        "conv_stride_y": 1,
        "dilation_x": 1,
        "dilation_y": 1,
        "in_cvt": {"scale": 1},
        "out_cvt": IDENTITY,
    }
    surface = {"src_data": source, "dst_data": destination, "weight_data": weights}
    return {"kind": "conv", "op": op | changes, "surface": surface}
