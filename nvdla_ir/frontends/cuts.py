"""Part of a network: where an import begins and ends, and what tensors there are to choose from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from attrs import frozen

from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.ir.location import Location


@frozen
class Cut:
    """The tensors at which the network begins and ends, as its own inputs and outputs where there
    are none. Each text is one name, or several with commas between them; a name is a tensor's, or
    that of the node or layer whose first result is meant."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


WHOLE = Cut()


@frozen
class ListedTensor:
    """A tensor that a cut may name. shape: its extents, ``?`` where one is not known; producer:
    what computes it."""

    name: str
    shape: str
    dtype: str
    producer: str


def chosen(
    texts: Sequence[str],
    tensors: Collection[str],
    producers: Mapping[str, str],
    location: Location,
    faults: DiagnosticCollector,
) -> list[str]:
    """The tensors that ``texts`` name, each once. ``producers`` are the first results of nodes by
    the nodes' names. Names that are neither go to ``faults``."""
    found: dict[str, None] = {}
    for text in texts:
        for name in [text] if text in tensors or text in producers else text.split(","):
            if name in tensors:
                found[name] = None
            elif name in producers:
                found[producers[name]] = None
            else:
                hint = did_you_mean(name, [*tensors, *producers])
                faults.error(
                    location,
                    f"there is no tensor or node '{name}'{hint or '; --list-tensors lists them'}",
                )
    return list(found)
