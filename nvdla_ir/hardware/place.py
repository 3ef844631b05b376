"""Where a layer's tensors lie: which memory, at what address, with which strides."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from nvdla_ir.hw.formats.feature import FeatureLayout


class Memory(Enum):
    """The two memories, by the names that RAM_TYPE fields have for them."""

    PRIMARY = ("MCIF", "MC", "MC")
    SECONDARY = ("CVIF", "CV", "CVSRAM")

    @property
    def interface(self) -> str:
        """What CDMA and RUBIK call it."""
        return self.value[0]

    @property
    def ram_type(self) -> str:
        """What SDP, PDP and CDP call it."""
        return self.value[1]

    @property
    def bdma_type(self) -> str:
        """What BDMA calls it."""
        return self.value[2]


@frozen
class CubePlace:
    """A feature cube in memory."""

    address: int
    layout: FeatureLayout
    memory: Memory = Memory.PRIMARY


@frozen
class ImagePlace:
    """An image in memory: the address of each of its planes, and the bytes from row to row."""

    addresses: tuple[int, ...]
    line_strides: tuple[int, ...]
    memory: Memory = Memory.PRIMARY


@frozen
class BytesPlace:
    """Bytes without rows: weights, and tables with one operand a channel."""

    address: int
    memory: Memory = Memory.PRIMARY


@frozen
class PlanesPlace:
    """Channels in memory as planes, one behind the other."""

    address: int
    line_stride: int
    plane_stride: int
    memory: Memory = Memory.PRIMARY


@frozen
class BlockPlace:
    """Lines and surfaces of bytes in memory."""

    address: int
    line_stride: int
    surface_stride: int
    memory: Memory = Memory.PRIMARY


@frozen
class OperandPlace:
    """What an SDP stream reads: a cube, or a table with one entry a channel, which has no lines.

    Strides are those of the registers: bytes, used as sdp.md section 8 says.
    """

    address: int
    line_stride: int | None
    surface_stride: int
    memory: Memory = Memory.PRIMARY
