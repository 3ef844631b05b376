"""Folders of images: how files become inputs, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nvdla_ir.calibration.datasets import InputShape, Preparation
from nvdla_ir.calibration.image_folder import ImageFolder
from nvdla_ir.ir.diagnostics import DiagnosticError

image_module: Any = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

NCHW = InputShape("data", (3, 4, 6), np.dtype(np.float32))
NHWC = InputShape("data", (4, 6, 3), np.dtype(np.float32))
GRAY = InputShape("data", (1, 4, 6), np.dtype(np.uint8))


def pixels(seed: int, rows: int = 4, columns: int = 6) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), np.uint8)


def save(file: Path, array: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image_module.fromarray(array).save(file)


def folder_of(folder: Path, taken: InputShape = NCHW, **preparation: Any) -> ImageFolder:
    return ImageFolder(folder, [taken], Preparation(**preparation))


def read(images: ImageFolder, *indices: int) -> Any:
    return images.read(indices)["data"]


def faults(images: ImageFolder) -> dict[str, str]:
    done: list[int] = []
    found = {Path(f.name.strip("'")).name: f.reason for f in images.faults(done.append)}
    assert sum(done) == images.count
    return found


def test_files_come_in_the_order_of_their_paths_whatever_else_is_there(tmp_path: Path) -> None:
    for seed, name in enumerate(("b/1.png", "a.PNG", "b.bmp")):
        save(tmp_path / name, pixels(seed))
    (tmp_path / "labels.txt").write_text("1 2 3")
    images = folder_of(tmp_path)
    assert images.count == 3
    # a.PNG, b.bmp, b/1.png: '.' comes before '/'.
    expected = np.stack([pixels(1), pixels(2), pixels(0)]).transpose(0, 3, 1, 2)
    assert np.array_equal(read(images, 0, 1, 2), expected)
    assert np.array_equal(read(images, 2), expected[2:])


def test_mean_scale_and_order_of_colours(tmp_path: Path) -> None:
    save(tmp_path / "x.png", pixels(1))
    plain = pixels(1).astype(np.float32)
    mean, scale = np.float32([1, 2, 3]), np.float32([0.5, 0.25, 2])
    expected = (plain[:, :, ::-1] - mean) * scale
    preparation = {"mean": (1, 2, 3), "scale": (0.5, 0.25, 2), "channels": "bgr"}
    assert np.array_equal(
        read(folder_of(tmp_path, **preparation), 0)[0], expected.transpose(2, 0, 1)
    )
    # Channels last: by the shape alone, or as declared.
    for layout in (None, "NHWC"):
        images = folder_of(tmp_path, NHWC, layout=layout, **preparation)
        assert np.array_equal(read(images, 0)[0], expected)


def test_gray_networks_get_luminance_as_integers(tmp_path: Path) -> None:
    save(tmp_path / "x.png", pixels(1))
    expected = np.asarray(image_module.fromarray(pixels(1)).convert("L"))
    found = read(folder_of(tmp_path, GRAY), 0)
    assert found.dtype == np.uint8
    assert np.array_equal(found[0, 0], expected)


@pytest.mark.parametrize(
    ("resize", "size", "box"),
    [
        # Columns and rows the file is scaled to, and what is cut out.
        ("stretch", (6, 4), (0, 0, 6, 4)),
        ("crop", (6, 8), (0, 2, 6, 6)),
        (8, (8, 11), (1, 3, 7, 7)),
    ],
)
def test_resizing(
    tmp_path: Path, resize: Any, size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    save(tmp_path / "x.png", pixels(1, rows=40, columns=30))
    image = image_module.fromarray(pixels(1, rows=40, columns=30))
    expected = image.resize(size, image_module.Resampling.BILINEAR).crop(box)
    found = read(folder_of(tmp_path, resize=resize), 0)[0]
    assert np.array_equal(found, np.asarray(expected).transpose(2, 0, 1))


def test_files_that_cannot_be_used_are_all_found(tmp_path: Path) -> None:
    save(tmp_path / "good.png", pixels(1))
    save(tmp_path / "large.png", pixels(1, rows=9))
    data = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no image")
    image_module.fromarray(np.zeros((4, 6), np.uint16)).save(tmp_path / "deep.png")
    images = folder_of(tmp_path)
    found = faults(images)
    assert sorted(found) == ["cut.png", "deep.png", "empty.jpg", "large.png", "text.jpg"]
    assert found["large.png"] == "is 6x9, but 'data' takes 6x4; --resize makes it fit"
    assert "not of 8 bits" in found["deep.png"]
    assert all(found[name].startswith("cannot be read: ") for name in ("cut.png", "text.jpg"))
    with pytest.raises(DiagnosticError, match="cannot be read"):
        read(images, 0)


def test_resizing_to_less_than_the_network_takes(tmp_path: Path) -> None:
    save(tmp_path / "x.png", pixels(1, rows=40, columns=30))
    assert faults(folder_of(tmp_path, resize=5)) == {
        "x.png": "is 5x7 when resized, smaller than 6x4"
    }


def test_the_digest_tells_names_contents_and_preparation(tmp_path: Path) -> None:
    save(tmp_path / "x.png", pixels(1))
    digests = {folder_of(tmp_path).digest(), folder_of(tmp_path, mean=(1.0,)).digest()}
    assert folder_of(tmp_path).digest() in digests
    save(tmp_path / "x.png", pixels(2))
    digests.add(folder_of(tmp_path).digest())
    (tmp_path / "x.png").rename(tmp_path / "y.png")
    digests.add(folder_of(tmp_path).digest())
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("inputs", "preparation", "message"),
    [
        ([NCHW, GRAY], {}, "a folder of images is one input, but the network has 'data', 'data'"),
        ([InputShape("data", (10,), np.dtype(np.float32))], {}, "takes 10 for each image"),
        ([InputShape("data", (7, 4, 6), np.dtype(np.float32))], {}, "1 or 3 channels"),
        ([NCHW], {"mean": (1.0, 2.0)}, "the mean has 2 numbers, but 'data' has 3 channels"),
        ([GRAY], {"channels": "bgr"}, "none is blue, green or red"),
        ([GRAY], {"scale": (0.5,)}, "leave out mean and scale"),
    ],
)
def test_networks_and_preparations_that_do_not_fit(
    tmp_path: Path, inputs: list[InputShape], preparation: Any, message: str
) -> None:
    save(tmp_path / "x.png", pixels(1))
    with pytest.raises(DiagnosticError, match=message):
        ImageFolder(tmp_path, inputs, Preparation(**preparation))


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(DiagnosticError, match="holds no images"):
        folder_of(tmp_path)


def test_a_thin_image_is_not_made_huge(tmp_path: Path) -> None:
    image_module.new("RGB", (1, 60_000)).save(tmp_path / "thin.png")
    taken = InputShape("data", (3, 224, 224), np.dtype(np.float32))
    images = ImageFolder(tmp_path, [taken], Preparation(resize="crop"))
    (fault,) = images.faults(lambda _: None)
    assert "is 224x13440000 when resized, more than " in fault.reason
