"""Cases of what only the largest configurations have."""

from __future__ import annotations

import numpy as np
from attrs import evolve
from trace_cases import SUM, case, to_memory
from trace_convolutions import Layer, feature_convolution, winograd_convolution
from trace_planar import contract, copy, launch, merge, plane_region, split
from trace_sdp import Memory, Sdp, Unit
from trace_writer import PRIMARY, Cube, Trace


@case(lambda hw: hw.has_winograd)
def wino(trace: Trace) -> None:
    """Padding, the rounding of the transformed input; strides folded into channels with batches."""
    lanes, folded = trace.hw.memory_atom, (1, 2) if trace.hw.has_batch else (1, 1)
    source = trace.source(trace.bytes(2, 8, 12 * folded[1] - 6), filled=False)
    weights = np.zeros((3, lanes * folded[1], 4, 4), np.int8)
    for fold in range(folded[1]):
        weights[:, fold * lanes : fold * lanes + 2] = trace.bytes(3, 2, 4, 4)
    sums = winograd_convolution(
        trace, source, Layer(weights, pads=(4, 2, 1, 3)), shift=2, folded=folded, output=(8, 8),
        side_value=-44,
    )  # fmt: skip
    to_memory(trace, Sdp(3, fields={"WINOGRAD": 1}), sums)


@case(lambda hw: hw.has_weight_compression)
def dc_compressed(trace: Trace) -> None:
    """Weights without their zeros, in two kernel groups."""
    kernels = trace.hw.atomic_k + 3
    weights = trace.bytes(kernels, 5, 1, 2)
    weights[trace.rng.random(weights.shape) < 0.6] = 0
    source = trace.source(trace.bytes(5, 2, 3), filled=False)
    to_memory(
        trace, Sdp(kernels), feature_convolution(trace, source, Layer(weights, compressed=True))
    )


@case(lambda hw: hw.has_batch)
def dc_batch(trace: Trace) -> None:
    """Two cubes of one layer."""
    cube = trace.cube(5, 3, 3, batches=2)
    for number in range(2):
        lanes = trace.bytes(cube.lanes, 3, 3)
        lanes[5:] = 0
        for element in cube.elements():
            trace.load(PRIMARY, cube.address(*element, number), [lanes[element]])
    bias = Unit(alu=SUM, alu_operand=Memory(2, per_element=False), alu_shift=0)
    sums = feature_convolution(trace, cube, Layer(trace.bytes(4, 5, 2, 2)))
    to_memory(trace, Sdp(4, {"BS": bias}), sums)


@case(lambda hw: hw.has_rubik)
def rubik(trace: Trace) -> None:
    """To planes and back, and channel groups into pixels."""
    trace.go_high()
    source = trace.source(trace.bytes(5, 2, 3), trace.other_memory)
    planes = trace.cube(5, 2, 3, atom=1)
    plane_region(trace, planes)
    split(trace, source, planes)
    trace.enable("RBK")
    trace.finish(("RBK",), [planes])
    merged = trace.destination(5, 2, 3, memory=trace.other_memory)
    merge(trace, planes, merged)
    trace.enable("RBK")
    trace.finish(("RBK",), [merged])
    groups = trace.source(trace.bytes(2 * trace.hw.memory_atom, 2, 2))
    pixels = trace.destination(7, 2, 4)
    contract(trace, groups, pixels, (1, 2))
    trace.enable("RBK")
    trace.finish(("RBK",), [pixels])


@case(lambda hw: hw.has_bdma)
def bdma(trace: Trace) -> None:
    """Two queued transfers into secondary memory, and one back."""
    trace.go_high()
    data = trace.bytes(384)
    first = trace.allocate(384, alignment=32)
    trace.load(PRIMARY, first, data)
    second = trace.allocate(512, trace.other_memory, 32)
    trace.fill(trace.other_memory, second, 512)
    third = trace.allocate(320, alignment=32)
    trace.fill(PRIMARY, third, 320)
    there = Cube(trace.other_memory, second, 1, 1, 1, 0, 0, 1)
    ends = (PRIMARY, first), (trace.other_memory, second)
    copy(trace, ends, 64, (2, 96, 64), (2, 224, 192))
    copy(
        trace,
        ((PRIMARY, first + 32), (trace.other_memory, second + 352)),
        32,
        (3, 160, 32),
        (1, 0, 0),
    )
    launch(trace)
    trace.finish(("BDMA",), [there])
    copy(trace, ((trace.other_memory, second + 32), (PRIMARY, third)), 96, (3, 128, 96), (1, 0, 0))
    launch(trace)
    trace.finish(("BDMA",), [evolve(there, memory=PRIMARY, base=third)])
