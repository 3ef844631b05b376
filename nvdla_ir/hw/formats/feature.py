"""Feature cubes (convolution.md section 2.1, sdp.md section 2.1, pdp.md section 2), INT8.

A cube of C channels is cut into surfaces of ``atom`` channels. Byte address of element (c, y, x):
``base + (c div atom) * surface_stride + y * line_stride + x * atom + c mod atom``.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from attrs import frozen
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from nvdla_ir.hw.formats.sizes import (
    LayoutError,
    align_up,
    ceil_div,
    require_bytes,
    require_positive,
    require_shape,
)


@frozen
class FeatureLayout:
    """Where a cube of ``channels`` x ``height`` x ``width`` INT8 elements lies.

    Strides are bytes and multiples of ``atom`` (the memory atom in bytes, which is the number of
    INT8 channels in one atom). A stride that no address uses (lines of a one-line cube, surfaces of
    a one-surface cube) may be anything. Raises LayoutError for sizes below 1 or misaligned strides.
    """

    channels: int
    height: int
    width: int
    atom: int
    line_stride: int
    surface_stride: int

    def __attrs_post_init__(self) -> None:
        require_positive(
            "feature cube",
            channels=self.channels,
            height=self.height,
            width=self.width,
            atom=self.atom,
        )
        used = {"line_stride": self.height > 1, "surface_stride": self.surfaces > 1}
        for name, is_used in used.items():
            stride: int = getattr(self, name)
            if is_used and (stride < 0 or stride % self.atom):
                raise LayoutError(
                    f"feature cube: {name} = {stride}: must be a multiple of the memory atom, "
                    f"{self.atom} bytes"
                )

    @classmethod
    def packed(
        cls, channels: int, height: int, width: int, atom: int, line_alignment: int = 1
    ) -> FeatureLayout:
        """Return the layout without gaps; lines may be aligned to more than the atom.

        A 1x1 cube gets ``surface_stride = atom``, as the hardware demands (sdp.md section 2.1).
        """
        line_stride = align_up(width * atom, max(line_alignment, atom))
        if width == height == 1:
            line_stride = atom
        return cls(channels, height, width, atom, line_stride, height * line_stride)

    @property
    def surfaces(self) -> int:
        """Number of surfaces: channels / atom, rounded up."""
        return ceil_div(self.channels, self.atom)

    @property
    def size_bytes(self) -> int:
        """Bytes from the base to the end of the last atom."""
        return (
            (self.surfaces - 1) * self.surface_stride * (self.surfaces > 1)
            + (self.height - 1) * self.line_stride * (self.height > 1)
            + self.width * self.atom
        )

    @property
    def line_packed(self) -> bool:
        """The value of a LINE_PACKED flag (convolution.md section 2.1)."""
        return self.line_stride == self.width * self.atom

    @property
    def surface_packed(self) -> bool:
        """The value of a SURF_PACKED flag."""
        return self.surface_stride == self.width * self.height * self.atom

    @property
    def overlaps(self) -> bool:
        """Whether two atoms share bytes: legal to read, meaningless to write."""
        extent = self.width * self.atom
        steps = [(self.line_stride, self.height), (self.surface_stride, self.surfaces)]
        for stride, count in sorted(step for step in steps if step[1] > 1):
            if stride < extent:
                return True
            extent += stride * (count - 1)
        return False

    def atoms(self, memory: NDArray[np.generic], offset: int = 0) -> NDArray[np.int8]:
        """Return a view ``[surfaces, height, width, atom]`` of the cube at ``memory[offset:]``.

        All lanes of the last surface are there, also those beyond ``channels``. The view is
        writable if ``memory`` is. Raises LayoutError where the cube leaves the memory.
        """
        require_bytes("feature cube", memory, offset, self.size_bytes)
        return as_strided(
            memory.view(np.int8)[offset:],
            shape=(self.surfaces, self.height, self.width, self.atom),
            strides=(self.surface_stride, self.line_stride, self.atom, 1),
        )

    def unpack(self, memory: NDArray[np.generic], offset: int = 0) -> NDArray[np.int8]:
        """Return the cube at ``memory[offset:]`` as an array ``[channels, height, width]``."""
        return from_atoms(self.atoms(memory, offset), self.channels)

    def pack(self, array: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return the ``size_bytes`` bytes of a cube ``[channels, height, width]``.

        Gaps and the lanes beyond ``channels`` are zero. Raises LayoutError for another shape, or
        if the strides make atoms overlap.
        """
        require_shape("feature cube", array, (self.channels, self.height, self.width))
        if self.overlaps:
            raise LayoutError(
                f"feature cube: line_stride = {self.line_stride} and surface_stride = "
                f"{self.surface_stride} make lines of {self.width * self.atom} bytes overlap"
            )
        memory = np.zeros(self.size_bytes, np.int8)
        self.atoms(memory)[...] = to_atoms(array, self.atom)
        return memory


_Element = TypeVar("_Element", bound=np.generic)


def to_atoms(array: NDArray[_Element], atom: int) -> NDArray[_Element]:
    """Turn ``[C, H, W]`` into ``[surfaces, H, W, atom]``, lanes beyond C zero."""
    channels, height, width = array.shape
    surfaces = ceil_div(channels, atom)
    if channels % atom:
        padded = np.zeros((surfaces * atom, height, width), array.dtype)
        padded[:channels] = array
        array = padded
    return np.transpose(array.reshape(surfaces, atom, height, width), (0, 2, 3, 1))


def from_atoms(atoms: NDArray[_Element], channels: int) -> NDArray[_Element]:
    """Turn ``[surfaces, H, W, atom]`` into a new array ``[channels, H, W]``."""
    surfaces, height, width, atom = atoms.shape
    cube = np.transpose(atoms, (0, 3, 1, 2)).reshape(surfaces * atom, height, width)
    return np.ascontiguousarray(cube[:channels])
