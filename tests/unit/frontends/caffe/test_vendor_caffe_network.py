"""A trained Caffe network that the vendor's compiler compiled: float logits and INT8 ones."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caffe_networks import import_files

from nvdla_ir.tools import nvdla_opt, nvdla_run, nvdla_translate

ARCHIVE = Path(__file__).resolve().parents[5] / "shared" / "nvidia" / "compiled.tar.xz"

INPUT_STEP, OUTPUT_STEP = np.float32(0.005511810929756465), np.float32(0.06880631033829816)
"""The int8 steps that both of the vendor's tables state for data and ip2."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not ARCHIVE.is_file():
        pytest.skip(f"the vendor's networks ({ARCHIVE.name}) are not here")
    directory = tmp_path_factory.mktemp("neta7")
    with tarfile.open(ARCHIVE) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            if file is not None:
                (directory / Path(member.name).name).write_bytes(file.read())
    return directory


def images(files: Path) -> Any:
    stored = np.fromfile(files / "inputs4_a8b8g8r8.bin", np.int8)
    return (stored.reshape(4, 32, 32, 4)[..., 0].astype(np.float32) * INPUT_STEP)[:, None]


def reference(files: Path) -> Any:
    with np.load(files / "ref4.npz") as arrays:
        return arrays["fp32_logits"], arrays["labels"]


def call(main: Any, *argv: object) -> None:
    errors = io.StringIO()
    code = main([str(argument) for argument in argv], sys.stdin, io.StringIO(), errors)
    assert code == 0, errors.getvalue()


def test_float_logits(files: Path, tmp_path: Path) -> None:
    text, weights = (files / f"neta7.{kind}" for kind in ("prototxt", "caffemodel"))
    imported = import_files(tmp_path, text.read_bytes(), weights.read_bytes())
    logits, labels = reference(files)
    ours = imported.run(data=images(files))["ip2"]
    assert ours.argmax(1).tolist() == labels.tolist()
    # The reference is of images before they were rounded to int8.
    assert float(np.abs(ours - logits).max()) < 0.05


@pytest.mark.parametrize("table", ["maxabs", "kl"])
@pytest.mark.parametrize(
    ("granularity", "vendors", "steps"),
    [("per-tensor", "per-kernel", 0), ("per-channel", "per-filter", 1)],
)
def test_compiled_logits(
    files: Path, tmp_path: Path, table: str, granularity: str, vendors: str, steps: int
) -> None:
    """With one scale a tensor the same integers as the vendor's; with one a channel, where our
    multipliers are finer, one step off at most and nearer to the floats."""
    network, compiled, output = (tmp_path / name for name in ("n.ir", "c.ir", "y.npy"))
    model = (files / "neta7.prototxt", files / "neta7.caffemodel")
    call(nvdla_translate.main, "--import-caffe", *model, "-o", network)
    call(
        nvdla_opt.main,
        f"--import-calib={files / f'calib_{table}.json'}",
        f"--quantize={granularity}",
        "--compile=nv_small",
        network,
        "-o",
        compiled,
    )
    np.save(tmp_path / "x.npy", images(files))
    call(
        nvdla_run.main, compiled, "--input", f"data={tmp_path / 'x.npy'}",
        "--output", f"ip2={output}",
    )  # fmt: skip
    ours = np.load(output)
    stored = np.fromfile(files / f"neta7.{table}.nv_small.{vendors}.out4.bin", np.int8)
    theirs = stored.reshape(4, -1)[:, :10]
    logits, labels = reference(files)
    assert ours.argmax(1).tolist() == labels.tolist()
    assert int(np.abs(np.rint(ours / OUTPUT_STEP) - theirs).max()) <= steps
    errors = [np.square(each - logits).mean() for each in (ours, theirs * OUTPUT_STEP)]
    assert errors[0] <= errors[1] * 1.001
