"""The text of ``.dat`` files (convolution.md section 1.3)."""

from __future__ import annotations

_PACKET_BYTES = 32


def packets_text(data: bytes) -> str:
    """A file of packets without gaps that hold ``data``."""
    lines = ["{"]
    for offset in range(0, len(data), _PACKET_BYTES):
        part = data[offset : offset + _PACKET_BYTES]
        payload = "0x" + part.hex(" ").replace(" ", " 0x")
        lines.append(f"{{offset:{offset:#x}, size:{len(part)}, payload:{payload}}} ,")
    lines.append("}\n")
    return "\n".join(lines)
