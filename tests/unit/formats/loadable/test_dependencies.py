"""The dependency graph that is written: counts, chains, and that nothing starts early."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from nvdla_ir.formats.loadable.dependencies import dependencies, heads
from nvdla_ir.formats.loadable.network import Kind, Network, Operation
from nvdla_ir.formats.loadable.scheduling import schedule
from nvdla_ir.formats.loadable.structures import Record, structure
from nvdla_ir.ir.location import UNKNOWN

LAYERS: tuple[tuple[Kind, ...], ...] = (
    (Kind.CONV, Kind.SDP),
    (Kind.CONV, Kind.SDP, Kind.PDP),
    (Kind.SDP,),
    (Kind.SDP, Kind.PDP),
    (Kind.PDP,),
    (Kind.CDP,),
    (Kind.RUBIK,),
    (Kind.BDMA,),
)


def records(groups: list[tuple[Kind, ...]]) -> list[Record]:
    kind = structure("common")
    made = dependencies(groups)
    return [kind.read(memoryview(kind.write(values)), 0, "common") for values in made]


def network(groups: list[tuple[Kind, ...]]) -> Network:
    kinds = [kind for group in groups for kind in group]
    empty = Record("", {}, {}, {})
    operations = tuple(
        Operation(0, index, kind, record, empty, empty, UNKNOWN)
        for index, (kind, record) in enumerate(zip(kinds, records(groups), strict=True))
    )
    return Network(0, UNKNOWN, operations, tuple(heads(groups)), (), False)


def random_groups(seed: int) -> list[tuple[Kind, ...]]:
    rng = np.random.default_rng(seed)
    return [LAYERS[index] for index in rng.integers(0, len(LAYERS), rng.integers(1, 25))]


@pytest.mark.parametrize(
    "groups",
    [*itertools.permutations(LAYERS, 2), *map(random_groups, range(30))],
    ids=lambda groups: "-".join("+".join(kind.name for kind in group) for group in groups)[:60],
)
def test_the_firmware_runs_layers_in_their_order(groups: Any) -> None:
    """It checks the counts, finds all operations, and ends."""
    groups = list(groups)
    order = schedule(network(groups))
    indices = [operation.index for group in order for operation in group]
    assert indices == sorted(indices)
    assert [len(group) for group in order] == [len(group) for group in groups]


@pytest.mark.parametrize("seed", range(10))
def test_every_operation_waits_for_the_layer_before(seed: int) -> None:
    """An SDP that is enabled early fetches what it adds before that is there."""
    groups = random_groups(seed)
    found = records(groups)
    first = 0
    for group, following in itertools.pairwise(groups):
        last = first + len(group) - 1
        links = found[last].each("consumers")
        for member, kind in enumerate(following):
            assert (links[kind]["index"], links[kind]["event"]) == (last + 1 + member, 1)
        first = last + 1


def test_counts_of_a_chain_on_the_fly() -> None:
    """The convolution and the SDP of the second layer wait for each other, for those of their kind
    and for the layer before; the PDP for its SDP's program, its own kind and the layer."""
    groups = [(Kind.CONV, Kind.SDP, Kind.PDP)] * 2
    found = records(groups)
    # of the first: the child's enabled parent; program, and its child; program
    assert [record["dependency_count"] for record in found] == [1, 2, 1, 3, 4, 2]
    assert heads(groups) == [-1, 0, 1, 2, -1, -1]
