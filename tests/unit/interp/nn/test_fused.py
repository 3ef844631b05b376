"""A convolution with what follows it in one step makes what the steps one by one make."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nvdla_ir.dialects import nn
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.interp.nn import blocks
from nvdla_ir.ir.operation import Value

Array = NDArray[Any]
seeds = st.integers(0, 2**32 - 1)


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


class Chain(Graph):
    """A convolution of 3x6x5 images to four channels, and layers behind it by their names."""

    def __init__(self, seed: int, images: int, *, bias: bool = True) -> None:
        super().__init__()
        self.rng = rng = np.random.default_rng(seed)
        self.images = images
        x = self.input(floats(rng, images, 3, 6, 5), batch=1)
        w = self.constant(floats(rng, 4, 3, 3, 3))
        b = self.constant(floats(rng, 4)) if bias else None
        self.value = self.add(nn.ConvOp, input=x, weight=w, bias=b, pads=(1, 1, 1, 1))

    def channels(self) -> Value:
        return self.constant(self.rng.uniform(0.2, 1.5, 4).astype(np.float32))

    def follow(self, layer: str) -> None:
        x = self.value
        if layer == "batch_norm":
            names = ("gamma", "beta", "mean", "variance")
            fields = {name: self.channels() for name in names}
            self.value = self.add(nn.BatchNormOp, input=x, **fields)
        elif layer == "scale":
            self.value = self.add(nn.ScaleOp, input=x, scale=self.channels())
        elif layer == "bias_add":
            self.value = self.add(nn.BiasAddOp, input=x, bias=self.channels())
        elif layer == "add_input":
            other = self.input(floats(self.rng, self.images, 4, 6, 5), batch=1)
            self.value = self.add(nn.AddOp, lhs=x, rhs=other)
        elif layer == "add_constant":
            other = self.constant(floats(self.rng, 1, 4, 6, 5))
            self.value = self.add(nn.AddOp, lhs=other, rhs=x)
        elif layer == "add_channels":
            other = self.constant(floats(self.rng, 1, 4, 1, 1))
            self.value = self.add(nn.AddOp, lhs=x, rhs=other)
        elif layer == "add_itself":
            self.value = self.add(nn.AddOp, lhs=x, rhs=x)
        elif layer == "relu":
            self.value = self.add(nn.ReluOp, input=x)
        else:
            self.value = self.add(nn.ClipOp, input=x, minimum=-0.5, maximum=1.0)

    def both_ways(self, *results: Value) -> tuple[list[Array], list[Array], list[str]]:
        """What the results are in one step and one by one, and the operations seen then."""
        func = self.function(*results)
        together = Machine(self.resources).run(func, self.inputs)
        seen: list[str] = []
        machine = Machine(self.resources, observer=lambda op, _: seen.append(op.name))
        one_by_one = machine.run(func, self.inputs)
        return list(together.values()), list(one_by_one.values()), seen


LAYERS = (
    "batch_norm",
    "scale",
    "bias_add",
    "add_input",
    "add_constant",
    "add_channels",
    "add_itself",
    "relu",
    "clip",
)


@given(
    seed=seeds,
    images=st.integers(1, 3),
    bias=st.booleans(),
    layers=st.lists(st.sampled_from(LAYERS), max_size=5),
    block=st.sampled_from((1, 60, blocks.BLOCK_ELEMENTS)),
)
def test_chains(seed: int, images: int, bias: bool, layers: list[str], block: int) -> None:
    chain = Chain(seed, images, bias=bias)
    for layer in layers:
        chain.follow(layer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_ELEMENTS", block)
        (together,), (one_by_one,), seen = chain.both_ways(chain.value)
    assert len(seen) == 1 + len(layers)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, one_by_one, rtol=2e-5, atol=5e-5)


def test_a_residual_block_is_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two convolutions meet in an addition: it joins the first, the second is computed before."""
    lengths: list[int] = []
    finish = blocks.finish

    def counted(x: Array, *rest: Any) -> None:
        lengths.append(len(x))
        finish(x, *rest)

    monkeypatch.setattr(blocks, "finish", counted)
    chain = Chain(1, 2)
    chain.follow("batch_norm")
    left, source = chain.value, chain.block.arguments[0]
    w = chain.constant(floats(chain.rng, 4, 3, 1, 1))
    chain.value = chain.add(nn.ConvOp, input=source, weight=w)
    chain.follow("batch_norm")
    chain.value = chain.add(nn.AddOp, lhs=left, rhs=chain.value)
    chain.follow("relu")
    (together,), (one_by_one,), _ = chain.both_ways(chain.value)
    np.testing.assert_allclose(together, one_by_one, rtol=2e-5, atol=5e-5)
    assert lengths == [2, 2]


def test_results_that_others_read_are_not_passed_over() -> None:
    chain = Chain(2, 1)
    first = chain.value
    chain.follow("relu")
    chain.follow("add_input")
    second = chain.value
    together, one_by_one, _ = chain.both_ways(first, second)
    for result, expected in zip(together, one_by_one, strict=True):
        np.testing.assert_allclose(result, expected, rtol=2e-5, atol=5e-5)


def test_inputs_and_weights_stay_what_they_are() -> None:
    chain = Chain(3, 1)
    for layer in ("batch_norm", "add_input", "relu"):
        chain.follow(layer)
    func = chain.function(chain.value)
    machine = Machine(chain.resources)
    before = {name: array.copy() for name, array in chain.inputs.items()}
    first = next(iter(machine.run(func, chain.inputs).values())).copy()
    again = next(iter(machine.run(func, chain.inputs).values()))
    np.testing.assert_array_equal(first, again)
    for name, array in chain.inputs.items():
        np.testing.assert_array_equal(array, before[name])


def test_simulated_quantization_rounds_each_result() -> None:
    """Nothing is joined where each result has to be seen."""
    chain = Chain(4, 1)
    chain.follow("relu")
    func = chain.function(chain.value)
    expected = Machine(chain.resources).run(func, chain.inputs)
    result = Machine(chain.resources, Mode.FAKE_QUANTIZED).run(func, chain.inputs)
    for a, b in zip(result.values(), expected.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=5e-5)
