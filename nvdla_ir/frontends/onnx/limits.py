"""What an import takes at most, so that no model, however small, fills the memory."""

from __future__ import annotations

from nvdla_ir.frontends.onnx.faults import UnsupportedError

LARGEST_MADE_CONSTANT = 1 << 26
"""Constants that the import makes larger than they are in the file have at most this many
elements."""

MOST_DIMENSIONS = 32
"""Of a tensor: what all versions of numpy compute with."""


def require_size(count: int) -> None:
    """Raises: UnsupportedError where a constant of ``count`` elements is too large to be made."""
    if count > LARGEST_MADE_CONSTANT:
        raise UnsupportedError(
            f"makes a constant of {count} elements, but at most {LARGEST_MADE_CONSTANT} are made "
            "on import: make it an input of the network, --inputs=TENSOR"
        )


def require_rank(rank: int) -> None:
    """Raises: UnsupportedError for more dimensions than tensors may have."""
    if rank > MOST_DIMENSIONS:
        raise UnsupportedError(
            f"makes a tensor of {rank} dimensions, but at most {MOST_DIMENSIONS} are supported"
        )
