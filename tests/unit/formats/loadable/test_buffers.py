"""The runtime's memories: what is allocated, where it is placed, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from loadable_building import ALLOC, INPUT, OUTPUT, SET, Loadable, cube, sdp

from nvdla_ir.formats.loadable.buffers import MEMORY_BASE, Buffers, allocate_buffers
from nvdla_ir.formats.loadable.container import read_container
from nvdla_ir.hw.configuration import load_configuration
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN

SHAPE = (8, 2, 2)


def copying() -> Loadable:
    """A copy of input ``x`` (memory 1) to output ``y`` (memory 2)."""
    net = Loadable()
    x, y = net.bound("x", INPUT, SHAPE, 8), net.bound("y", OUTPUT, SHAPE, 8)
    net.hardware_task([sdp(cube(x, SHAPE, 8), cube(y, SHAPE, 8))])
    return net


def allocated(net: Loadable) -> Buffers:
    return allocate_buffers(read_container(net.data(), "f"), UNKNOWN)


def test_buffers_are_aligned_disjoint_and_in_the_hardwares_reach() -> None:
    net = copying()
    net.memory(100, domain=1)
    net.memory(100, domain=1)
    net.lists["memory"][1]["alignment"] = 1 << 16
    buffers = allocated(net)
    buffers.place(load_configuration("nv_large"))
    for in_sram in (False, True):
        ranges = sorted(
            (buffer.address, buffer.address + buffer.size)
            for buffer in buffers.by_memory
            if buffer is not None and buffer.in_sram == in_sram
        )
        assert ranges[0][0] == MEMORY_BASE
        assert all(end <= start for (_, end), (start, _) in pairwise(ranges))
        assert all(start % 4096 == 0 for start, _ in ranges)
    first = buffers.by_memory[1]
    assert first is not None
    assert first.address % (1 << 16) == 0


def test_contents_lie_at_their_offsets() -> None:
    net = Loadable()
    memory = net.memory(64, flags=ALLOC | SET)
    names = [net.blob(b"abc"), net.blob(b"de")]
    net.lists["memory"][memory] |= {"contents": names, "offsets": [10, 40]}
    net.hardware_task()
    buffer = allocated(net).by_memory[memory]
    assert buffer is not None
    assert bytes(buffer.constant_bytes(11, 2) or b"") == b"bc"
    assert bytes(buffer.constant_bytes(40, 2) or b"") == b"de"
    assert buffer.constant_bytes(10, 4) is None
    assert buffer.constant_bytes(0, 1) is None


def test_bound_buffers_are_sorted_by_their_bind_ids() -> None:
    net = copying()
    other = net.bound("z", INPUT, SHAPE, 8)
    net.lists["memory"][1]["bind_id"], net.lists["memory"][other]["bind_id"] = 1, 0
    names = [buffer.tensor.name for buffer in allocated(net).inputs if buffer.tensor is not None]
    assert names == ["z", "x"]


Change = Callable[[dict[str, list[dict[str, Any]]]], object]

FAULTS: dict[str, tuple[Change, str]] = {
    "no submission": (lambda n: n["submit"].clear(), "has no submission"),
    "no task": (lambda n: [n["task"].clear(), n["submit"].clear()], "has no task"),
    "task id": (lambda n: n["task"][0].update(id=4), "entry 0 of the task list has the id 4"),
    "memory id": (lambda n: n["memory"][2].update(id=7), "entry 2 of the memory list"),
    "tensor id": (lambda n: n["tensor"][1].update(id=0), "entry 1 of the tensor list"),
    "task of submission": (
        lambda n: n["submit"][0].update(task_id=[1]),
        "submission 0 runs task 1, but there are 1",
    ),
    "address of task": (
        lambda n: n["task"][0].update(address_list=[99]),
        "task 0 uses address 99",
    ),
    "too many addresses": (
        lambda n: n["task"][0].update(address_list=[0] * 6145),
        "has 6145 addresses, but may have 6144",
    ),
    "memory of address": (
        lambda n: n["address"][1].update(mem_id=50),
        "address 1 is in memory 50",
    ),
    "address range": (
        lambda n: n["address"][1].update(offset=30),
        "address 1 is for bytes 30 to 62 of memory 1, which has 32",
    ),
    "missing blob": (
        lambda n: n["memory"][3].update(contents=["nothing"]),
        "memory 3 holds blob 'nothing', but there is none",
    ),
    "blob size": (
        lambda n: n["blob"][0].update(size=5),
        "blob 'blob-0' says 5 bytes, but holds",
    ),
    "two blobs": (lambda n: n["blob"][1].update(name="blob-0"), "two blobs named 'blob-0'"),
    "content does not fit": (
        lambda n: n["memory"][3].update(offsets=[1]),
        "does not fit into memory 3 at 1",
    ),
    "contents without offsets": (
        lambda n: n["memory"][3].update(offsets=[]),
        "memory 3 has 1 contents, but 0 offsets",
    ),
    "alignment": (
        lambda n: n["memory"][1].update(alignment=48),
        "memory 1 has the alignment 48, but it must be a power of two",
    ),
    "large alignment": (
        lambda n: n["memory"][1].update(alignment=1 << 31),
        "must be a power of two up to",
    ),
    "large memory": (
        lambda n: n["memory"][1].update(size=1 << 63),
        "memory 1 has 9223372036854775808 bytes",
    ),
    "domain": (lambda n: n["memory"][1].update(domain=2), "memory 1 has the domain 2"),
    "bind ids": (lambda n: n["memory"][1].update(bind_id=1), "input 0 of 1 has no memory"),
    "same bind id": (
        lambda n: n["memory"][2].update(flags=ALLOC | INPUT),
        "two memories are input 0",
    ),
    "tensor": (
        lambda n: n["memory"][1].update(tensor_desc_id=8),
        "memory 1 is for tensor 8, but there are 2",
    ),
    "tensor of another memory": (
        lambda n: n["memory"][1].update(tensor_desc_id=1),
        "memory 1 is for tensor 1, which says memory 2",
    ),
    "tensor size": (
        lambda n: n["tensor"][0].update(offset=8),
        "tensor 0 takes 32 bytes from 8 on, but its memory has 32",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_inconsistent_lists_are_refused(fault: str) -> None:
    change, message = FAULTS[fault]
    net = copying()
    change(net.lists)
    with pytest.raises(DiagnosticError) as caught:
        allocated(net)
    assert any(message in d.message for d in caught.value.diagnostics), caught.value


def test_all_faults_are_told_at_once_but_not_thousands() -> None:
    net = copying()
    for address in net.lists["address"]:
        address["mem_id"] = 1000
    for _ in range(30):
        net.lists["address"].append({"id": len(net.lists["address"]), "mem_id": 1000})
    with pytest.raises(DiagnosticError) as caught:
        allocated(net)
    assert len(caught.value.diagnostics) == 21
    assert "more faults" in caught.value.diagnostics[-1].message


def test_buffers_that_do_not_fit_the_address_space_are_refused() -> None:
    net = copying()
    for _ in range(3):
        net.memory(1 << 28)
    with pytest.raises(DiagnosticError, match="must fit into 536870912 bytes"):
        allocated(net).place(load_configuration("nv_small"))


def test_sram_needs_a_secondary_memory() -> None:
    net = copying()
    net.memory(64, domain=1)
    with pytest.raises(DiagnosticError, match="nv_small has no secondary memory"):
        allocated(net).place(load_configuration("nv_small"))
