"""The shapes of inputs, and what to say where they are open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nvdla_ir.frontends.onnx.limits import MOST_DIMENSIONS
from nvdla_ir.frontends.onnx.model import Model, Port
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.ir.location import Location


def input_shapes(
    model: Model, shapes: Mapping[str, tuple[int, ...]], diagnostics: DiagnosticCollector
) -> dict[str, tuple[int, ...]]:
    """The shape of each input: stated by ``shapes``, else by the model. A batch that the model
    leaves open is one image, which is told in a remark.

    Raises: DiagnosticError for other open extents, saying how to state them, and for shapes that
    do not fit the model.
    """
    faults = DiagnosticCollector()
    names = [port.name for port in model.inputs]
    for name in shapes:
        if name not in names:
            known = ", ".join(f"'{other}'" for other in names) or "none"
            hint = did_you_mean(name, names) or f"; the inputs are {known}"
            faults.error(model.location, f"there is no input '{name}'{hint}")
    found: dict[str, tuple[int, ...]] = {}
    for port in model.inputs:
        stated = shapes.get(port.name)
        extents = stated or _extents(port, model.location, diagnostics)
        fault = _open(port) if extents is None else _fault(port, extents)
        if fault is not None:
            faults.error(model.location, fault)
        elif extents is not None:
            found[port.name] = extents
            if stated is not None:
                _compare(port, stated, model.location, diagnostics)
    faults.raise_if_errors()
    return found


def likely_extents(
    model: Model, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The shapes of the inputs as far as they can be told; see ``input_shapes``."""
    unheard = DiagnosticCollector()
    found = {
        port.name: shapes.get(port.name) or _extents(port, model.location, unheard)
        for port in model.inputs
    }
    return {name: extents for name, extents in found.items() if extents is not None}


def _extents(
    port: Port, location: Location, diagnostics: DiagnosticCollector
) -> tuple[int, ...] | None:
    """What the model says, an open batch as 1; None where more is open."""
    if port.shape is None:
        return None
    known = [extent for extent in port.shape if isinstance(extent, int)]
    first = port.shape[0] if port.shape else 1
    if len(known) == len(port.shape) and first != 0:
        return tuple(known)
    # Some exporters write an open batch as 0.
    rest = known[1:] if first == 0 else known
    if len(rest) != len(port.shape) - 1 or 0 in rest or (isinstance(first, int) and first):
        return None
    extents = (1, *rest)
    diagnostics.remark(
        location,
        f"input '{port.name}' is taken one image at a time, since the model leaves its batch open "
        f"({shape_text(port.shape)}); --shape {port.name}=… states another one",
    )
    return extents


def _fault(port: Port, extents: Sequence[int]) -> str | None:
    if len(extents) > MOST_DIMENSIONS:
        return (
            f"input '{port.name}' has {len(extents)} dimensions, but at most {MOST_DIMENSIONS} are "
            "supported"
        )
    if min(extents, default=1) < 1:
        return (
            f"input '{port.name}' has the shape {shape_text(extents)}, but extents must "
            "be numbers from 1 on"
        )
    if port.shape is not None and len(port.shape) != len(extents):
        return (
            f"input '{port.name}' has {len(port.shape)} dimensions ({shape_text(port.shape)}), not "
            f"{len(extents)} ({shape_text(extents)})"
        )
    return None


def _compare(
    port: Port, stated: Sequence[int], location: Location, diagnostics: DiagnosticCollector
) -> None:
    """Remark where ``stated`` is not what the model says."""
    if port.shape is not None and any(
        isinstance(extent, int) and extent not in (0, new)
        for extent, new in zip(port.shape, stated, strict=True)
    ):
        diagnostics.remark(
            location,
            f"input '{port.name}' is {shape_text(port.shape)} in the model, {shape_text(stated)} "
            "as stated",
        )


def _open(port: Port) -> str:
    if port.shape is None:
        return (
            f"the model leaves the shape of input '{port.name}' open; state it, for example with "
            f"--shape {port.name}=1x3x224x224"
        )
    # A batch of one is meant most often; the rest nobody can guess.
    example = [
        extent if isinstance(extent, int) and extent else 1 if axis == 0 else f"<{extent or '?'}>"
        for axis, extent in enumerate(port.shape)
    ]
    return (
        f"input '{port.name}' has the open shape {shape_text(port.shape)}; state it with --shape "
        f"{port.name}={shape_text(example)}"
    )


def shape_text(shape: Sequence[int | str | None]) -> str:
    """As ``1x3x224x224``; what is not known is ``?``."""
    return "x".join("?" if extent is None else str(extent) for extent in shape) or "scalar"
