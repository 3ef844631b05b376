"""The order of a task's operations, and dependency graphs that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from loadable_building import Loadable

from nvdla_ir.formats.loadable.buffers import allocate_buffers
from nvdla_ir.formats.loadable.container import read_container
from nvdla_ir.formats.loadable.network import read_network
from nvdla_ir.formats.loadable.scheduling import schedule
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN

CONV, SDP, PDP, CDP = 1, 2, 3, 4
NOBODY = {"index": -1}

Graph = list[dict[str, Any]]


def order(
    *layers: list[str], change: Callable[[Graph], object] | None = None, heads: Any = None
) -> list[list[int]]:
    """The fused groups of a network of ``layers`` (kinds), in the order in which they run."""
    net = Loadable()
    operations = [[{"kind": kind} for kind in layer] for layer in layers]
    graph = net.graph(*operations)
    if change is not None:
        change(graph)
    changes = {"graph": dict(enumerate(graph))} | ({} if heads is None else {"op_head": heads})
    net.hardware_task(*operations, **changes)
    buffers = allocate_buffers(read_container(net.data(), "f"), UNKNOWN)
    groups = schedule(read_network(buffers, 0))
    return [[operation.index for operation in group] for group in groups]


def test_fused_operations_run_as_one_layer() -> None:
    layers = [["conv", "sdp", "pdp"], ["cdp"], ["conv", "sdp"], ["sdp"], ["sdp", "pdp"], ["rubik"]]
    expected = [[0, 1, 2], [3], [4, 5], [6], [7, 8], [9]]
    assert order(*layers) == expected


def test_the_lists_order_does_not_matter() -> None:
    """Two pooling operations, the second of the list first."""

    def change(graph: Graph) -> None:
        graph[0]["consumers"][PDP], graph[1]["consumers"][PDP] = NOBODY, {"index": 0, "event": 1}
        graph[0]["dependency_count"], graph[1]["dependency_count"] = 1, 0

    assert order(["pdp"], ["pdp"], change=change, heads=[-1, -1, -1, 1, -1, -1]) == [[1], [0]]


def test_the_stored_index_is_not_trusted() -> None:
    assert order(["sdp"], ["pdp"], change=lambda graph: graph[0].update(index=7)) == [[0], [1]]


def test_an_empty_network_runs_nothing() -> None:
    assert order() == []


def test_a_long_chain_uses_both_register_groups() -> None:
    assert order(*[["sdp"]] * 50) == [[index] for index in range(50)]


def link(kind: int, index: int, event: int = 1, of: int = 0) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        graph[of]["consumers"][kind] = {"index": index, "event": event}

    return change


FAULTS: dict[str, tuple[list[list[str]], Callable[[Graph], object], str]] = {
    "index": (
        [["sdp"], ["pdp"]],
        link(PDP, 9),
        "operation 0 (SDP): its PDP consumer is 9, but there are 2 operations",
    ),
    "negative index": ([["sdp"], ["pdp"]], link(PDP, -2), "its PDP consumer is -2"),
    "kind": (
        [["sdp"], ["pdp"]],
        link(CDP, 1),
        "operation 0 (SDP): its CDP consumer is operation 1 (PDP)",
    ),
    "event": ([["sdp"], ["pdp"]], link(PDP, 1, 6), "waits for event 6, but there are 1 to 5"),
    "parent": (
        [["sdp"], ["pdp"], ["cdp"]],
        lambda graph: graph[2].update(fused_parent={"index": 1, "event": 3}),
        "operation 2 (CDP): its fused parent is operation 1 (PDP)",
    ),
    "chain": (
        [["sdp"], ["sdp"]],
        link(SDP, 0, of=1),
        "the chain of operation 0 (SDP), operation 1 (SDP) leads back to operation 0 (SDP)",
    ),
    "chain of one": ([["sdp"]], link(SDP, 0), "leads back to operation 0 (SDP): it never ends"),
    "lost": (
        [["sdp"], ["sdp"], ["sdp"]],
        lambda graph: graph[0]["consumers"].__setitem__(SDP, NOBODY),
        "operation 1 (SDP), operation 2 (SDP) are never reached",
    ),
    "count": (
        [["sdp"], ["pdp"]],
        lambda graph: graph[1].update(dependency_count=2),
        "operation 1 (PDP) waits for 2 events, but 1 lead to it: of operation 0 (SDP)",
    ),
    "no count": (
        [["sdp"], ["pdp"]],
        lambda graph: graph[1].update(dependency_count=0),
        "operation 1 (PDP) waits for 0 events, but 1 lead to it",
    ),
    "two children": (
        [["conv", "sdp"], ["sdp"]],
        lambda graph: [
            graph[2].update(fused_parent={"index": 0, "event": 3}),
            graph[0].update(dependency_count=2),
        ],
        "operation 2 (SDP) and operation 1 (SDP) both have operation 0 (CONV) as fused parent",
    ),
    "deadlock": (
        [["sdp"], ["pdp"]],
        lambda graph: [
            graph[1]["consumers"].__setitem__(SDP, {"index": 0, "event": 1}),
            graph[0].update(dependency_count=1),
        ],
        "the operations never finish: operation 0 (SDP) waits for 1 events; operation 1 (PDP)",
    ),
    "order within a kind": (
        [["sdp"], ["sdp"], ["pdp"]],
        lambda graph: [
            graph[1]["consumers"].__setitem__(PDP, NOBODY),
            graph[2]["consumers"].__setitem__(SDP, {"index": 0, "event": 1}),
            graph[1]["consumers"].__setitem__(PDP, {"index": 2, "event": 1}),
            graph[0].update(dependency_count=1),
        ],
        "the operations never finish",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_graphs_are_refused(fault: str) -> None:
    layers, change, message = FAULTS[fault]
    with pytest.raises(DiagnosticError) as caught:
        order(*layers, change=change)
    assert any(message in d.message for d in caught.value.diagnostics), caught.value


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([-1, -1, 5, -1, -1, -1], "the first SDP operation is said to be 5, but there are 2"),
        ([-1, -1, -2, -1, -1, -1], "the first SDP operation is said to be -2"),
        ([-1, -1, 0, 0, -1, -1], "the first PDP operation is said to be operation 0 (SDP)"),
        ([-1, -1, -1, 1, -1, -1], "operation 0 (SDP) is never reached"),
    ],
)
def test_wrong_heads_are_refused(heads: list[int], message: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        order(["sdp"], ["pdp"], heads=heads)
    assert message in str(caught.value)


def test_regions_of_interest_are_refused() -> None:
    net = Loadable()
    net.hardware_task([{"kind": "sdp"}], num_rois=2)
    buffers = allocate_buffers(read_container(net.data(), "f"), UNKNOWN)
    with pytest.raises(DiagnosticError, match="has 2 regions of interest"):
        read_network(buffers, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_operations": 3}, "the dependency graph takes 108 bytes"),
        ({"operation_desc_index": 77}, "has the address index 77, but task 0 has"),
        ({"surface_desc_index": -1}, "has the address index -1"),
        ({"dependency_graph_index": 1}, "the dependency graph takes 36 bytes from 0 on"),
        ({"num_luts": 2}, "the look-up tables takes 1400 bytes"),
    ],
)
def test_lists_must_lie_in_constants(changes: dict[str, int], message: str) -> None:
    net = Loadable()
    net.memory(4096)
    net.hardware_task([{"kind": "sdp", "op": {"lut_index": -1}}], **changes)
    buffers = allocate_buffers(read_container(net.data(), "f"), UNKNOWN)
    with pytest.raises(DiagnosticError) as caught:
        read_network(buffers, 0)
    assert message in str(caught.value)
