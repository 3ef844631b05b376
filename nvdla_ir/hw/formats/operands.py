"""Operand tensors of SDP's BS, BN and EW stages (sdp.md sections 2.2 and 8), INT8 processing.

Each element has one component (MUL or ALU) or two (BOTH, interleaved with the ALU operand first),
of one or two bytes, signed and little-endian. Values of an option are the register enumerations'
names, so they can be written to ``*RDMA_DATA_USE``, ``_SIZE`` and ``_MODE`` as they are.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from attrs import frozen
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from nvdla_ir.hw.formats.feature import to_atoms
from nvdla_ir.hw.formats.sizes import (
    LayoutError,
    ceil_div,
    require_bytes,
    require_positive,
    require_shape,
)

StageName = Literal["BS", "BN", "EW"]
"""The SDP's stages in the order of the data flow."""

DataUse = Literal["MUL", "ALU", "BOTH"]
DataSize = Literal["ONE_BYTE", "TWO_BYTE"]
DataMode = Literal["PER_KERNEL", "PER_ELEMENT"]


@frozen
class OperandLayout:
    """Where the operands for a cube ``channels`` x ``height`` x ``width`` lie.

    ``atom`` is the memory atom in bytes, which is the number of channels in a group. With
    ``mode = "PER_KERNEL"`` there is one element a channel, packed, and strides mean nothing; with
    "PER_ELEMENT" there is one for each element of the cube, and strides are bytes, multiples of
    ``atom``. Raises LayoutError for sizes below 1 and for strides that are misaligned or make
    positions overlap.
    """

    channels: int
    height: int
    width: int
    atom: int
    use: DataUse
    size: DataSize
    mode: DataMode
    line_stride: int = 0
    surface_stride: int = 0

    def __attrs_post_init__(self) -> None:
        require_positive(
            "SDP operand",
            channels=self.channels,
            height=self.height,
            width=self.width,
            atom=self.atom,
        )
        if self.contiguous:
            return
        line = self.width * self.group_bytes
        self._require_stride("line_stride", self.line_stride, line, self.height)
        plane = (self.height - 1) * self.line_stride * (self.height > 1) + line
        self._require_stride("surface_stride", self.surface_stride, plane, self.surfaces)

    def _require_stride(self, name: str, stride: int, extent: int, count: int) -> None:
        if count > 1 and (stride % self.atom or stride < extent):
            raise LayoutError(
                f"SDP operand: {name} = {stride}: must be a multiple of the memory atom, "
                f"{self.atom} bytes, and at least {extent}"
            )

    @classmethod
    def packed(
        cls,
        channels: int,
        height: int,
        width: int,
        atom: int,
        use: DataUse,
        size: DataSize,
        mode: DataMode,
    ) -> OperandLayout:
        """Return the layout without gaps.

        Strides are those to program, for PER_KERNEL and 1x1 cubes too (sdp.md section 2.1: the
        surface stride of a 1x1 cube is one group).
        """
        group = atom * _component_bytes(size) * _components(use)
        positions = (1, 1) if mode == "PER_KERNEL" else (height, width)
        line = positions[1] * group
        return cls(channels, height, width, atom, use, size, mode, line, positions[0] * line)

    @property
    def components(self) -> int:
        """Operands per element: 2 for BOTH, else 1."""
        return _components(self.use)

    @property
    def group_bytes(self) -> int:
        """Bytes of one group of ``atom`` channels at one position."""
        return self.atom * self.components * _component_bytes(self.size)

    @property
    def surfaces(self) -> int:
        """Number of channel groups: channels / atom, rounded up."""
        return ceil_div(self.channels, self.atom)

    @property
    def positions(self) -> tuple[int, int]:
        """Height and width of the tensor: 1, 1 for PER_KERNEL."""
        return (1, 1) if self.mode == "PER_KERNEL" else (self.height, self.width)

    @property
    def contiguous(self) -> bool:
        """Whether groups follow one another whatever the strides: PER_KERNEL, or a 1x1 cube."""
        return self.positions == (1, 1)

    @property
    def size_bytes(self) -> int:
        """Bytes from the base to the end of the last group."""
        if self.contiguous:
            return self.surfaces * self.group_bytes
        return (
            (self.surfaces - 1) * self.surface_stride * (self.surfaces > 1)
            + (self.height - 1) * self.line_stride * (self.height > 1)
            + self.width * self.group_bytes
        )

    def lanes(self, memory: NDArray[np.generic], offset: int = 0) -> NDArray[np.signedinteger]:
        """Return the tensor at ``memory[offset:]`` as ``[surfaces, h, w, atom, components]``.

        It is a view of int8 or int16 elements, lanes beyond ``channels`` included. ``h, w`` are
        ``positions``, so it broadcasts against a cube's atoms. Raises LayoutError where the tensor
        leaves the memory.
        """
        require_bytes("SDP operand", memory, offset, self.size_bytes)
        width = _component_bytes(self.size)
        dtype = np.dtype("<i2") if width == 2 else np.dtype(np.int8)
        record = width * self.components
        height, columns = self.positions
        strides = (
            (self.group_bytes, 0) if self.contiguous else (self.surface_stride, self.line_stride)
        )
        # bytes may begin at an odd address, which a plain view of two-byte elements refuses
        octets = as_strided(
            memory.view(np.uint8)[offset:],
            shape=(self.surfaces, height, columns, self.atom, record),
            strides=(*strides, self.group_bytes, record, 1),
        )
        return octets.view(dtype)

    def unpack(
        self, memory: NDArray[np.generic], offset: int = 0
    ) -> tuple[NDArray[np.signedinteger] | None, NDArray[np.signedinteger] | None]:
        """Return the ALU and the MUL operands, each ``[surfaces, h, w, atom]``, None where unused.

        They are int8 or int16 views of the memory, and broadcast against ``FeatureLayout.atoms``.
        """
        lanes = self.lanes(memory, offset)
        alu = lanes[..., 0] if self.use != "MUL" else None
        mul = lanes[..., -1] if self.use != "ALU" else None
        return alu, mul

    def pack(
        self, alu: NDArray[np.integer] | None = None, mul: NDArray[np.integer] | None = None
    ) -> NDArray[np.int8]:
        """Return the ``size_bytes`` bytes of the operands that ``use`` asks for.

        Arrays are ``[channels]`` for PER_KERNEL, ``[channels, height, width]`` for PER_ELEMENT.
        Lanes beyond ``channels`` and gaps are zero. Raises LayoutError for operands missing or
        superfluous, another shape, or values that do not fit ``size``.
        """
        expected = {"alu": self.use != "MUL", "mul": self.use != "ALU"}
        given = {"alu": alu, "mul": mul}
        for name, needed in expected.items():
            if (given[name] is not None) != needed:
                verb = "needs" if needed else "takes no"
                raise LayoutError(f"SDP operand: use {self.use} {verb} {name} operand")
        memory = np.zeros(self.size_bytes, np.int8)
        lanes = self.lanes(memory)
        operands = [array for array in (alu, mul) if array is not None]
        for component, array in enumerate(operands):
            lanes[..., component] = self._to_lanes(array)
        return memory

    def _to_lanes(self, array: NDArray[np.integer]) -> NDArray[np.integer]:
        if self.mode == "PER_KERNEL":
            require_shape("SDP operand", array, (self.channels,))
            array = array.reshape(self.channels, 1, 1)
        else:
            require_shape("SDP operand", array, (self.channels, self.height, self.width))
        limit = 1 << (8 * _component_bytes(self.size) - 1)
        low, high = int(array.min()), int(array.max())
        if low < -limit or high >= limit:
            raise LayoutError(
                f"SDP operand: values {low} to {high} do not fit {self.size}, "
                f"{-limit} to {limit - 1}"
            )
        return to_atoms(array, self.atom)


def _components(use: DataUse) -> int:
    return 2 if use == "BOTH" else 1


def _component_bytes(size: DataSize) -> int:
    return 2 if size == "TWO_BYTE" else 1
