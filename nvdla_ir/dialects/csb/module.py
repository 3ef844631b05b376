"""What a module of register programs says about its memory."""

from __future__ import annotations

MEMORY_BASE_ATTRIBUTE = "nvdla.memory_base"
"""Of a module: the address of the first byte of memory that its programs use."""

MEMORY_BYTES_ATTRIBUTE = "nvdla.memory_bytes"
"""Of a module: how many bytes its programs use from there on."""
