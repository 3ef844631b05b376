"""How often a classifier is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.evaluation.statistics import places_of
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN


@frozen
class Hits:
    """The label was among the first ``places`` of ``hits`` images of ``images``."""

    places: int
    hits: int
    images: int

    @property
    def percentage(self) -> float:
        return 100.0 * self.hits / self.images


def check_labels(labels: NDArray[Any], images: int) -> None:
    """Raises: DiagnosticError unless ``labels`` are integers, one for each of ``images``."""
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise _fault(
            f"labels must be integers, one an image, not {labels.dtype} of shape "
            f"{'x'.join(map(str, labels.shape)) or 'scalar'}"
        )
    if len(labels) != images:
        raise _fault(f"there are {len(labels)} labels for {images} images")


def count_hits(scores: NDArray[Any], labels: NDArray[Any]) -> list[Hits]:
    """Top-1 and, with more than five classes, top-5 of ``scores`` [N, …] for ``labels`` [N].

    Of equal scores the one of the lower class comes first.
    Raises: DiagnosticError where labels and scores do not fit together.
    """
    images = len(scores) if scores.ndim else 0
    check_labels(labels, images)
    classes = scores.size // images
    flat = scores.reshape(images, classes)
    if labels.min() < 0 or labels.max() >= classes:
        raise _fault(
            f"labels span {labels.min()} to {labels.max()}, but there are {classes} classes"
        )
    places = places_of(flat, labels)
    return [
        Hits(limit, int(np.count_nonzero(places < limit)), images)
        for limit in (1, 5)
        if limit < classes
    ]


def _fault(message: str) -> DiagnosticError:
    return DiagnosticError.at(UNKNOWN, message)
