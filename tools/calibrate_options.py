"""The command line of nvdla-calibrate, read and checked."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from attrs import frozen

from .command_line import Arguments, Flag, UsageError, check_distinct
from .plugin_files import plugin_flag

if TYPE_CHECKING:
    from nvdla_ir.calibration.datasets import Preparation

NAME = "nvdla-calibrate"
USAGE = f"{NAME} MODEL.ir --data IMAGES -o CALIB.json   or   {NAME} --evaluate MODEL.ir --data …"
DESCRIPTION = (
    "Run a float network over images and write a calibration table: a range for every tensor. "
    "IMAGES is x.npy, x.npz, x.npz:key or a folder of image files. The table is the same to the "
    "bit for any engine, number of workers and batch. FILE may be - for standard output, MODEL.ir "
    "for standard input."
)
AUTOMATIC = "auto"
METHOD_NAMES = (AUTOMATIC, "minmax", "mse", "percentile", "entropy")
ENGINES = ("local", "dask")
_CALIBRATION, _IMAGES, _WORK, _EVALUATION, _GENERAL = (
    "calibration",
    "images",
    "who works, and how",
    "evaluation",
    "general",
)
FLAGS = {
    flag.name: flag
    for flag in (
        Flag("data", "the images", _CALIBRATION, "IMAGES"),
        Flag(
            "method",
            "how ranges are chosen: by the largest magnitude, the mean squared error, a percentile "
            "of the magnitudes, the divergence of the int8 distribution from the real one, or the "
            "one of these with which the network's outputs come out best (auto, the default)",
            _CALIBRATION,
            "METHOD",
            choices=METHOD_NAMES,
        ),
        Flag(
            "percentile",
            "how many percent of the magnitudes must not saturate; by default 99.99",
            _CALIBRATION,
            "P",
        ),
        Flag(
            "unguarded",
            "let a method cut off inputs, too, and entropy whatever it likes, as TensorRT does",
            _CALIBRATION,
        ),
        Flag("o", "where the table goes, as NVDLA's JSON", _CALIBRATION, "FILE"),
        Flag("cache", "where the table goes as a TensorRT cache, too", _CALIBRATION, "FILE"),
        Flag(
            "mean",
            "what is subtracted from pixels: a number, or one a channel with commas",
            _IMAGES,
            "M",
        ),
        Flag(
            "scale",
            "what pixels are then multiplied by: a number, or one a channel with commas",
            _IMAGES,
            "S",
        ),
        Flag(
            "layout",
            "the order of axes in which the network takes images; by default what fits 1 or 3 "
            "channels",
            _IMAGES,
            "LAYOUT",
            choices=("NCHW", "NHWC"),
        ),
        Flag(
            "channels",
            "the order in which the network takes colours, of images with red first; by default "
            "rgb",
            _IMAGES,
            "ORDER",
            choices=("rgb", "bgr"),
        ),
        Flag(
            "resize",
            "image files to the network's size: 'stretch'; 'crop' covers it and takes the middle; "
            "N makes the shorter side N pixels and takes the middle",
            _IMAGES,
            "HOW",
        ),
        Flag("skip-bad", "leave out images that cannot be used, with a warning", _IMAGES),
        Flag(
            "engine",
            "processes of this machine (the default), or the workers of a Dask cluster",
            _WORK,
            "ENGINE",
            choices=ENGINES,
        ),
        Flag(
            "scheduler",
            "the Dask cluster's, as tcp://host:port; without it workers are started here",
            _WORK,
            "ADDRESS",
        ),
        Flag("jobs", "how many processes work; by default as many as processors", _WORK, "N"),
        Flag("batch", "how many images a worker gets at a time; by default 16", _WORK, "N"),
        Flag(
            "resume",
            "keep what is measured in FILE, and go on from there; all measured, another method "
            "takes no time",
            _WORK,
            "FILE",
        ),
        Flag(
            "evaluate",
            "show what INT8 costs this network, instead of calibrating it",
            _EVALUATION,
        ),
        Flag("calib", "the calibration table to evaluate with", _EVALUATION, "FILE"),
        Flag("labels", "the class of each image", _EVALUATION, "FILE"),
        Flag(
            "granularity",
            "one scale for each output channel of weights (the default), or one a tensor",
            _EVALUATION,
            "G",
            choices=("per-channel", "per-tensor"),
        ),
        Flag(
            "sensitivity-images",
            "on how many images single layers are measured; by default 64",
            _EVALUATION,
            "N",
        ),
        Flag("report", "where a page with plots goes", _EVALUATION, "FILE.html"),
        Flag("json", "where the figures go as JSON", _EVALUATION, "FILE"),
        plugin_flag(_GENERAL),
        Flag("help", "show this text", _GENERAL),
        Flag("version", "show the version", _GENERAL),
    )
}
_SHARED = (
    "data",
    "jobs",
    "batch",
    "mean",
    "scale",
    "layout",
    "channels",
    "resize",
    "load-pass-plugin",
)


def check_evaluation(arguments: Arguments) -> None:
    """Raises: UsageError for flags that mean nothing to an evaluation."""
    for given in arguments.flags:
        flag = given.flag
        if flag.group != _EVALUATION and flag.name not in _SHARED:
            dashes = "-" if len(flag.name) == 1 else "--"
            raise UsageError(f"'{dashes}{flag.name}' means nothing to '--evaluate'")


@frozen
class ImageOptions:
    """How images are prepared, see ``Preparation``."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    layout: str | None
    channels: str
    resize: str | int | None

    def preparation(self) -> Preparation:
        from nvdla_ir.calibration.datasets import Preparation

        return Preparation(self.mean, self.scale, self.layout, self.channels, self.resize)


def image_options(arguments: Arguments) -> ImageOptions:
    """Raises: UsageError"""
    return ImageOptions(
        _numbers(arguments, "mean", 0.0),
        _numbers(arguments, "scale", 1.0),
        arguments.value("layout"),
        arguments.value("channels") or "rgb",
        _resize(arguments),
    )


@frozen
class Options:
    """What is to be calibrated, and how."""

    model: str
    data: str
    method: str
    percentile: float | None
    unguarded: bool
    output: str
    cache: str | None
    images: ImageOptions
    skip_bad: bool
    engine: str
    scheduler: str | None
    jobs: int
    batch: int | None
    state_file: str | None
    plugins: tuple[str, ...]


def checked_options(arguments: Arguments) -> Options:
    """Raises: UsageError"""
    if len(arguments.positionals) != 1:
        given = ", ".join(arguments.positionals) or "none"
        raise UsageError(f"one network is calibrated, but {given} is given: {USAGE}")
    for given in arguments.flags:
        if given.flag.group == _EVALUATION:
            raise UsageError(f"'--{given.flag.name}' belongs to '--evaluate'")
    data, output = arguments.value("data"), arguments.value("o")
    if data is None:
        raise UsageError("'--data' must say which images to calibrate with")
    if output is None:
        raise UsageError("'-o' must say where the table goes; '-' is standard output")
    cache = arguments.value("cache")
    written = (output, cache, arguments.value("resume"))
    check_distinct((file, None) for file in written if file is not None)
    method = arguments.value("method") or METHOD_NAMES[0]
    engine = arguments.value("engine") or ENGINES[0]
    if arguments.has("percentile") and method != "percentile":
        raise UsageError(f"'--percentile' means nothing to the method '{method}'")
    if arguments.has("unguarded") and method in (AUTOMATIC, "minmax"):
        raise UsageError(f"'--unguarded' means nothing to the method '{method}'")
    if arguments.has("scheduler") and engine != "dask":
        raise UsageError("'--scheduler' means nothing without '--engine=dask'")
    return Options(
        arguments.positionals[0],
        data,
        method,
        _percentile(arguments),
        arguments.has("unguarded"),
        output,
        cache,
        image_options(arguments),
        arguments.has("skip-bad"),
        engine,
        arguments.value("scheduler"),
        arguments.count("jobs", 1) or _processors(),
        arguments.count("batch", 1),
        arguments.value("resume"),
        tuple(arguments.values("load-pass-plugin")),
    )


def _percentile(arguments: Arguments) -> float | None:
    text = arguments.value("percentile")
    if text is None:
        return None
    value = _number(text, "percentile")
    if not 0 < value <= 100:
        raise UsageError(f"'--percentile' takes a number above 0 and up to 100, not '{text}'")
    if value <= 1:
        raise UsageError(
            f"'--percentile' takes percent, not a share: '{text}' would saturate nearly everything"
            f"; for a share of {text} give {100 * value:g}"
        )
    return value


def _numbers(arguments: Arguments, name: str, default: float) -> tuple[float, ...]:
    text = arguments.value(name)
    if text is None:
        return (default,)
    return tuple(_number(part, name) for part in text.split(","))


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"'--{name}' takes numbers, not '{text}'")
    return value


def _resize(arguments: Arguments) -> str | int | None:
    text = arguments.value("resize")
    if text is None or text in ("stretch", "crop"):
        return text
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"'--resize' takes 'stretch', 'crop' or a number of pixels, not '{text}'")
    return int(text)


def _processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
