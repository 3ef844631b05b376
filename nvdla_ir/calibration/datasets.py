"""Images to calibrate with: where they come from, and how they become a network's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.interp.quantization import dtype_of
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.location import UNKNOWN
from nvdla_ir.ir.types import TensorType

Array = NDArray[Any]
Advance = Callable[[int], None]

_LISTED_FAULTS = 10
_COLOURS = (1, 3)
"""How many channels images have."""


@frozen
class ImageFault:
    """An image that cannot be used; ``reason`` completes the sentence "<name> …"."""

    index: int
    name: str
    reason: str


@frozen
class InputShape:
    """An input of the network: ``shape`` is that of one image, without the batch's axis."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def takes_integers(self) -> bool:
        return self.dtype.kind in "iu"


def input_shapes(func: FuncOp) -> tuple[InputShape, ...]:
    """Raises: DiagnosticError for inputs that are no tensors of images."""
    shapes: list[InputShape] = []
    for argument in func.body.arguments:
        type, name = argument.type, func.argument_name(argument)
        if not isinstance(type, TensorType) or not type.has_static_shape or not type.shape:
            raise DiagnosticError.at(
                func.location,
                f"input '{name}' is '{type}': images need a tensor of known shape with a leading "
                "axis",
            )
        shapes.append(InputShape(name, type.static_shape[1:], dtype_of(type.element)))
    if not shapes:
        raise DiagnosticError.at(func.location, f"'@{func.sym_name}' takes no inputs")
    return tuple(shapes)


class DataSet(Protocol):
    """Images by number, from 0 on, read some at a time."""

    @property
    def count(self) -> int: ...

    @property
    def files(self) -> Sequence[Path]:
        """The files that the images come from: no output may replace them."""
        ...

    @property
    def guesses(self) -> Sequence[str]:
        """What nobody said and was concluded from names and shapes, as sentences."""
        ...

    def name(self, index: int) -> str:
        """What to call an image in messages."""
        ...

    def faults(self, advance: Advance) -> list[ImageFault]:
        """Look at all images for such as cannot be used; ``advance`` is told how many are done.

        Raises: DiagnosticError where the data cannot be read at all.
        """
        ...

    def read(self, indices: Sequence[int]) -> dict[str, Array]:
        """The inputs of these images by the inputs' names, images along the first axis. Ascending
        numbers are read quickest."""
        ...

    def digest(self) -> str:
        """A text that tells this data, prepared so, from any other."""
        ...


@frozen
class Preparation:
    """How pixels become a network's input: (pixel - mean) · scale, channel by channel.

    mean, scale: one number, or one a channel
    layout:      the order of the network's axes, "NCHW" or "NHWC"; None: NCHW, in which ``nn``
                 computes, unless only NHWC fits 1 or 3 channels (see ``guesses``)
    channels:    the order in which the network takes colours: "rgb" or "bgr"
    resize:      of files whose size is not the network's: None (a fault), "stretch", "crop" (the
                 network's size is covered, and the middle taken), or the length of the shorter
                 side, of which the middle is taken
    """

    mean: tuple[float, ...] = field(default=(0.0,))
    scale: tuple[float, ...] = field(default=(1.0,))
    layout: str | None = None
    channels: str = "rgb"
    resize: str | int | None = None

    @property
    def changes_values(self) -> bool:
        return any(self.mean) or any(factor != 1.0 for factor in self.scale)

    @property
    def changes_pixels(self) -> bool:
        return self.changes_values or self.channels != "rgb"

    def check(self, inputs: Iterable[InputShape]) -> None:
        """Raises: DiagnosticError where it does not fit the network."""
        for taken in inputs:
            if self.changes_values and taken.takes_integers:
                raise DiagnosticError.at(
                    UNKNOWN,
                    f"the network takes pixels as integers ('{taken.name}' is {taken.dtype}) and "
                    "normalizes them itself: leave out mean and scale",
                )
            if not self.changes_pixels:
                continue
            channels = self.channel_count(taken)
            for what, numbers in (("mean", self.mean), ("scale", self.scale)):
                if len(numbers) not in (1, channels):
                    raise DiagnosticError.at(
                        UNKNOWN,
                        f"the {what} has {len(numbers)} numbers, but '{taken.name}' has {channels} "
                        "channels",
                    )
            if self.channels == "bgr" and channels != 3:
                raise DiagnosticError.at(
                    UNKNOWN, f"'{taken.name}' has {channels} channels: none is blue, green or red"
                )

    def layout_of(self, taken: InputShape) -> str:
        if self.layout is not None or len(taken.shape) != 3:
            return self.layout or "NCHW"
        fits_last = taken.shape[2] in _COLOURS and taken.shape[0] not in _COLOURS
        return "NHWC" if fits_last else "NCHW"

    def guesses(self, taken: InputShape) -> list[str]:
        """What is concluded from the shape of an input whose channels must be known.

        Raises: DiagnosticError where both ends of the shape may be channels.
        """
        if self.layout is not None or len(taken.shape) != 3:
            return []
        first, _, last = taken.shape
        if first in _COLOURS and last in _COLOURS and set(taken.shape) != {1}:
            raise DiagnosticError.at(
                UNKNOWN,
                f"'{taken.name}' takes {text_of(taken.shape)} for each image: its channels may be "
                "first or last; say --layout NCHW or --layout NHWC",
            )
        if self.layout_of(taken) != "NHWC":
            return []
        return [
            f"'{taken.name}' takes {text_of(taken.shape)} for each image: its last axis is taken "
            "for the channels, as --layout NHWC says (NCHW: the first)"
        ]

    def channel_axis(self, taken: InputShape) -> int:
        """Of arrays with images along the first axis."""
        return len(taken.shape) if self.layout_of(taken) == "NHWC" else 1

    def channel_count(self, taken: InputShape) -> int:
        return taken.shape[self.channel_axis(taken) - 1] if taken.shape else 1

    def apply(self, pixels: Array, taken: InputShape) -> Array:
        """``pixels`` (images, …) in the network's layout, with red first, as the network takes
        them."""
        if not self.changes_pixels:
            return pixels
        axis = self.channel_axis(taken)
        if self.channels == "bgr":
            pixels = np.flip(pixels, axis)
        if self.changes_values:
            shape = [1] * pixels.ndim
            shape[axis] = -1
            reals = pixels.astype(taken.dtype)
            reals -= np.asarray(self.mean, taken.dtype).reshape(shape)
            reals *= np.asarray(self.scale, taken.dtype).reshape(shape)
            return reals
        return np.ascontiguousarray(pixels)


def faults_diagnostic(
    faults: Sequence[ImageFault], count: int, *, skipped: bool = False, hint: str = ""
) -> Diagnostic:
    """One error, or a warning where they are skipped, for all of ``faults``; the first ones in
    notes. ``hint`` ends the error."""
    notes = [
        Diagnostic.note(UNKNOWN, f"{fault.name} {fault.reason}")
        for fault in faults[:_LISTED_FAULTS]
    ]
    if len(faults) > _LISTED_FAULTS:
        notes.append(Diagnostic.note(UNKNOWN, f"and {len(faults) - _LISTED_FAULTS} more"))
    what = f"{len(faults)} of {count} images"
    if skipped:
        return Diagnostic.warning(UNKNOWN, f"{what} cannot be used and are left out", notes)
    return Diagnostic.error(UNKNOWN, f"{what} cannot be used{hint}", notes)
