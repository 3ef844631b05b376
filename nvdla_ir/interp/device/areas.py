"""The parts of memory that a layer reads and writes, and which element of them an address is.

Index arithmetic alone, no data: what a debugger needs to turn the address of a wrong byte into a
surface, channel, row and column.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen


@frozen
class CubeElement:
    """One byte of a cube. ``surface`` counts the atoms along the channels.

    ``byte`` is the byte within an element of several bytes, ``batch`` the cube of a layer of
    several. ``padding`` marks what no element of the tensor is kept in: lanes beyond the last
    channel in the last atom, and the bytes that fill the lines of planes.
    """

    surface: int
    channel: int
    row: int
    column: int
    byte: int = 0
    batch: int = 0
    padding: bool = False

    def __str__(self) -> str:
        batch = f"cube {self.batch}, " if self.batch else ""
        byte = f", byte {self.byte}" if self.byte else ""
        padding = " (padding)" if self.padding else ""
        return (
            f"{batch}surface {self.surface}, channel {self.channel}, row {self.row}, "
            f"column {self.column}{byte}{padding}"
        )


@frozen
class LineByte:
    """One byte of a block of lines: ``block`` and ``line`` count the repetitions."""

    block: int
    line: int
    byte: int

    def __str__(self) -> str:
        return f"block {self.block}, line {self.line}, byte {self.byte}"


@frozen
class MemoryCube:
    """A cube as a layer reads or writes it.

    ``purpose`` says what it is to the layer ("input", "output", "BS operands", …), ``memory``
    which memory holds it. The byte ``lane`` of the atom (surface s, row y, column x) of cube n
    lies at ``base + n * batch_stride + s * surface_stride + y * line_stride + x * atom_bytes +
    lane`` and belongs to channel ``s * (atom_bytes // element_bytes) + lane // element_bytes``
    (convolution.md section 2.1, sdp.md section 2.2). Planes are cubes with an atom of one element.

    ``stored_columns`` is the number of columns that are really kept, ``width`` at least, 0 for
    just that. Strides may be anything from 0 on; where parts overlap, a byte belongs to the
    element that is written last, in the order of the formula.
    """

    purpose: str
    memory: str
    base: int
    channels: int
    height: int
    width: int
    line_stride: int
    surface_stride: int
    atom_bytes: int
    element_bytes: int = 1
    batches: int = 1
    batch_stride: int = 0
    stored_columns: int = 0

    @property
    def surfaces(self) -> int:
        """Atoms along the channels."""
        return -(-self.channels * self.element_bytes // self.atom_bytes)

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.base + sum(self._reaches) + 1

    def contains(self, address: int) -> bool:
        """Whether the byte at ``address`` is part of the cube, padding included."""
        return self.locate(address) is not None

    def locate(self, address: int) -> CubeElement | None:
        """Whose byte is at ``address``; None outside the cube and in the gaps of its strides."""
        _, in_surfaces, in_rows, in_line = self._reaches
        in_surface = in_rows + in_line
        offset = address - self.base
        for batch in _candidates(offset, self.batch_stride, self.batches, in_surfaces + in_surface):
            in_cube = offset - batch * self.batch_stride
            for surface in _candidates(in_cube, self.surface_stride, self.surfaces, in_surface):
                rest = in_cube - surface * self.surface_stride
                for row in _candidates(rest, self.line_stride, self.height, in_line):
                    return self._element(batch, surface, row, rest - row * self.line_stride)
        return None

    @property
    def line_bytes(self) -> int:
        """Bytes of one line of one surface, without the gap to the next."""
        return max(self.width, self.stored_columns) * self.atom_bytes

    @property
    def _reaches(self) -> tuple[int, int, int, int]:
        """From the first cube, surface, row and byte of a line to the last, in bytes."""
        return (
            (self.batches - 1) * self.batch_stride,
            (self.surfaces - 1) * self.surface_stride,
            (self.height - 1) * self.line_stride,
            self.line_bytes - 1,
        )

    def _element(self, batch: int, surface: int, row: int, offset: int) -> CubeElement:
        column, lane = divmod(offset, self.atom_bytes)
        lane, byte = divmod(lane, self.element_bytes)
        channel = surface * (self.atom_bytes // self.element_bytes) + lane
        return CubeElement(
            surface,
            channel,
            row,
            column,
            byte,
            batch,
            padding=channel >= self.channels or column >= self.width,
        )

    def __str__(self) -> str:
        batches = f"{self.batches} x " if self.batches > 1 else ""
        return (
            f"{self.purpose} {batches}{self.channels}x{self.height}x{self.width} at {self.base:#x} "
            f"({self.memory}), line stride {self.line_stride}, surface stride {self.surface_stride}"
        )


@frozen
class MemoryLines:
    """Bytes without elements: ``blocks`` of ``lines`` of ``line_bytes`` each.

    Byte b of line l of block k lies at ``base + k * block_stride + l * line_stride + b``: a
    transfer of BDMA (rubik-bdma-glb.md section 3), or a weight surface (one line).
    """

    purpose: str
    memory: str
    base: int
    line_bytes: int
    lines: int = 1
    line_stride: int = 0
    blocks: int = 1
    block_stride: int = 0

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        reach = (self.lines - 1) * self.line_stride + (self.blocks - 1) * self.block_stride
        return self.base + reach + self.line_bytes

    def contains(self, address: int) -> bool:
        """Whether the byte at ``address`` is part of a line."""
        return self.locate(address) is not None

    def locate(self, address: int) -> LineByte | None:
        """Which byte is at ``address``; None outside and in the gaps of the strides."""
        in_block = (self.lines - 1) * self.line_stride + self.line_bytes - 1
        offset = address - self.base
        for block in _candidates(offset, self.block_stride, self.blocks, in_block):
            rest = offset - block * self.block_stride
            for line in _candidates(rest, self.line_stride, self.lines, self.line_bytes - 1):
                return LineByte(block, line, rest - line * self.line_stride)
        return None

    def __str__(self) -> str:
        return (
            f"{self.purpose} {self.blocks}x{self.lines}x{self.line_bytes} bytes at {self.base:#x} "
            f"({self.memory})"
        )


MemoryArea = MemoryCube | MemoryLines
"""What a layer reads or writes as one."""


def _candidates(offset: int, stride: int, count: int, reach: int) -> Iterator[int]:
    """The i in [0, count) with ``0 <= offset - i * stride <= reach``, the last one first.

    With a stride of 0 all are the same, and the last stands for all.
    """
    if stride == 0:
        if 0 <= offset <= reach:
            yield count - 1
        return
    last = min(count - 1, offset // stride)
    first = max(0, -((reach - offset) // stride))
    yield from range(last, first - 1, -1)
