"""Safetensors files: mapped into memory to read, written tensor by tensor.

A file is the length of its header as 8 bytes, little-endian; the header in JSON, each tensor's
element type, shape, and where its bytes begin and end behind the header; the bytes.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nvdla_ir.files import is_directory
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import Location
from nvdla_ir.resources.tensors import MappedTensor, Tensor

_LENGTH_BYTES = 8
_HEADER_ALIGNMENT = 8

_DTYPES: dict[str, str] = {
    "BOOL": "bool",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
}
"""Names of element types, as numpy's."""

_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

# The library lays the tensors of larger elements first, in this order.
_ORDER = ("U64", "I64", "F64", "F32", "U32", "I32", "F16", "U16", "I16", "I8", "U8", "BOOL")


def map_file(file: Path, location: Location) -> dict[str, MappedTensor]:
    """The tensors of ``file`` by key. Element types that numpy lacks keep the file's name.

    Raises: DiagnosticError at ``location`` where the file is missing or malformed.
    """
    from safetensors import SafetensorError, safe_open

    if is_directory(file):
        raise DiagnosticError.at(location, f"weights file '{file}' is a directory")
    try:
        # The library checks the header; what it hands out are copies.
        safe_open(file, framework="numpy")
        with file.open("rb") as opened:
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise DiagnosticError.at(location, f"weights file '{file}' does not exist") from None
    except OSError as error:
        raise DiagnosticError.at(
            location, f"weights file '{file}' cannot be read: {error.strerror or error}"
        ) from None
    except SafetensorError as error:
        raise DiagnosticError.at(
            location, f"weights file '{file}' is no valid safetensors file: {error}"
        ) from None
    start = _LENGTH_BYTES + int.from_bytes(mapped[:_LENGTH_BYTES], "little")
    header: dict[str, dict[str, Any]] = json.loads(mapped[_LENGTH_BYTES:start])
    return {
        key: MappedTensor(
            mapped,
            start + entry["data_offsets"][0],
            _dtype(entry["dtype"]),
            tuple(entry["shape"]),
        )
        for key, entry in header.items()
        if key != "__metadata__"
    }


def _dtype(name: str) -> str:
    return _DTYPES.get(name, name)


def file_parts(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The bytes of a file with ``tensors``, as the library writes them, in parts: no more than one
    of the tensors is there at once, or one part of it."""
    import numpy as np

    def place(item: tuple[str, Tensor]) -> tuple[int, str]:
        return _ORDER.index(_NAMES[item[1].dtype]), item[0]

    ordered = sorted(tensors.items(), key=place)
    header: dict[str, object] = {}
    begin = 0
    for key, tensor in ordered:
        end = begin + tensor.nbytes
        header[key] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": tensor.shape,
            "data_offsets": (begin, end),
        }
        begin = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _HEADER_ALIGNMENT)
    yield len(text).to_bytes(_LENGTH_BYTES, "little") + text
    for _, tensor in ordered:
        for part in tensor.parts():
            yield np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
