"""A folder of image files, read through Pillow."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nvdla_ir.calibration.datasets import Advance, ImageFault, InputShape, Preparation
from nvdla_ir.dialects.nn.shapes import text_of
from nvdla_ir.files import read_bytes
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[Any]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_MODES = {1: "L", 3: "RGB"}
_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


class ImageFolder:
    """The image files in a folder and the folders in it, in the order of their paths.

    Files are images by their suffix. Colours become what the network takes: one channel of
    luminance, or red, green and blue; what is transparent is not.
    """

    def __init__(
        self, folder: Path, inputs: Sequence[InputShape], preparation: Preparation
    ) -> None:
        """Raises: DiagnosticError for a network that takes no images, a folder without any, or
        where Pillow is not installed."""
        _check_pillow()
        preparation.check(inputs)
        if len(inputs) != 1:
            names = ", ".join(f"'{taken.name}'" for taken in inputs)
            raise DiagnosticError.at(
                UNKNOWN,
                f"a folder of images is one input, but the network has {names}: give a .npz file",
            )
        self._taken = inputs[0]
        self.guesses: Sequence[str] = preparation.guesses(self._taken)
        channels = preparation.channel_count(self._taken)
        if len(self._taken.shape) != 3 or channels not in _MODES:
            raise DiagnosticError.at(
                UNKNOWN,
                f"'{self._taken.name}' takes {text_of(self._taken.shape)} for each image: image "
                "files have 1 or 3 channels, rows and columns",
            )
        self._mode = _MODES[channels]
        height, width = (
            self._taken.shape[:2]
            if preparation.layout_of(self._taken) == "NHWC"
            else self._taken.shape[1:]
        )
        self._size = (width, height)
        self._folder = folder
        self._preparation = preparation
        self._files = sorted(
            (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES),
            key=lambda file: file.relative_to(folder).as_posix(),
        )
        if not self._files:
            raise DiagnosticError.at(
                UNKNOWN, f"the folder '{folder}' holds no images ({', '.join(SUFFIXES)})"
            )

    @property
    def count(self) -> int:
        return len(self._files)

    @property
    def files(self) -> Sequence[Path]:
        return self._files

    def name(self, index: int) -> str:
        return f"'{self._files[index]}'"

    def faults(self, advance: Advance) -> list[ImageFault]:
        faults: list[ImageFault] = []
        for index in range(self.count):
            try:
                self._pixels(index)
            except _BadImageError as error:
                faults.append(ImageFault(index, self.name(index), str(error)))
            advance(1)
        return faults

    def read(self, indices: Sequence[int]) -> dict[str, Array]:
        images: list[Array] = []
        for index in indices:
            try:
                images.append(self._pixels(index))
            except _BadImageError as error:
                raise DiagnosticError.at(UNKNOWN, f"{self.name(index)} {error}") from None
        pixels: Array = np.stack(images)
        if self._preparation.layout_of(self._taken) == "NCHW":
            pixels = np.ascontiguousarray(np.moveaxis(pixels, 3, 1))
        return {self._taken.name: self._preparation.apply(pixels, self._taken)}

    def digest(self) -> str:
        state = blake2b(repr(self._preparation).encode(), digest_size=16)
        for file in self._files:
            state.update(file.relative_to(self._folder).as_posix().encode())
            state.update(blake2b(read_bytes(file)).digest())
        return state.hexdigest()

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        """Rows, columns, channels. Raises: _BadImageError"""
        from PIL import Image

        try:
            with warnings.catch_warnings():
                # A large image is no fault; one that is a bomb is an exception of its own.
                warnings.simplefilter("ignore")
                opened: Any = Image.open(self._files[index])
                with opened as image:
                    if image.mode not in _EIGHT_BIT_MODES:
                        raise _BadImageError(f"has pixels of mode {image.mode}, not of 8 bits")
                    sized = self._sized(image.convert(self._mode))
        except _BadImageError:
            raise
        except Exception as error:
            # Decoders of damaged files raise anything.
            reason = str(error) or type(error).__name__
            raise _BadImageError(f"cannot be read: {reason}") from error
        pixels = np.asarray(sized)
        return pixels[:, :, None] if pixels.ndim == 2 else pixels

    def _sized(self, image: Image) -> Image:
        """``image`` in the network's size. Raises: _BadImageError"""
        import PIL.Image
        from PIL.Image import Resampling

        width, height = self._size
        how = self._preparation.resize
        if how is None:
            if image.size != self._size:
                raise _BadImageError(
                    f"is {image.width}x{image.height}, but '{self._taken.name}' takes "
                    f"{width}x{height}; --resize makes it fit"
                )
            return image
        if how == "stretch":
            return image.resize(self._size, Resampling.BILINEAR)
        if isinstance(how, int):
            factor = how / min(image.size)
        else:
            factor = max(width / image.width, height / image.height)
        scaled = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
        if scaled[0] < width or scaled[1] < height:
            raise _BadImageError(
                f"is {scaled[0]}x{scaled[1]} when resized, smaller than {width}x{height}"
            )
        limit = 2 * (PIL.Image.MAX_IMAGE_PIXELS or math.inf)
        if scaled[0] * scaled[1] > limit:
            raise _BadImageError(
                f"is {scaled[0]}x{scaled[1]} when resized, more than {limit} pixels; crop it"
            )
        left, top = (scaled[0] - width) // 2, (scaled[1] - height) // 2
        resized = image.resize(scaled, Resampling.BILINEAR)
        return resized.crop((left, top, left + width, top + height))


class _BadImageError(Exception):
    """What is wrong with an image; completes "'x.png' …"."""


def _check_pillow() -> None:
    try:
        import PIL  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise DiagnosticError.at(
            UNKNOWN, "image files are read with Pillow: pip install 'nvdla-ir[calibrate]'"
        ) from None
