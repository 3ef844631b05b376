"""A network as a list of layers, with seeded random weights, before any file format.

    net = Builder("tiny", (3, 32, 32), seed=1)
    x = net.relu(net.conv(net.input, "conv1", 16, 3, pad=1), "relu1")
    network = net.finish(net.softmax(net.fully_connected(x, "fc", 10), "prob"))

Weights are drawn so that activations keep their size from layer to layer (He's rule), batch norms
have statistics that are not trivial.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

Weights = NDArray[np.float32]
Shape = tuple[int, ...]

INPUT = "data"


@frozen(eq=False)
class Layer:
    """``kind`` is what the Builder's method is called; parameters are that method's."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    shape: Shape
    parameters: Mapping[str, Any] = field(factory=dict)
    weights: Mapping[str, Weights] = field(factory=dict)


@frozen(eq=False)
class Network:
    """Shapes are those of one image, without the leading axis. Layers are called as their outputs
    are, the input ``data``."""

    name: str
    input_shape: Shape
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]

    @property
    def parameter_count(self) -> int:
        return sum(w.size for layer in self.layers for w in layer.weights.values())


class Builder:
    """Adds layers one by one; every method returns the new layer's name, to build on."""

    def __init__(self, name: str, input_shape: Shape, seed: int = 0) -> None:
        self.input = INPUT
        self._name = name
        self._seed = seed
        self._shapes: dict[str, Shape] = {INPUT: input_shape}
        self._layers: list[Layer] = []

    def finish(self, *outputs: str) -> Network:
        return Network(self._name, self._shapes[INPUT], tuple(self._layers), outputs)

    def channels(self, x: str) -> int:
        return self._shapes[x][0]

    def height(self, x: str) -> int:
        return self._shapes[x][1]

    # -------------------------------------------------------------- with weights

    def conv(
        self,
        x: str,
        name: str,
        kernels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        pad: int | tuple[int, int] = 0,
        groups: int = 1,
        dilation: int = 1,
        bias: bool = True,
    ) -> str:
        channels, *image = self._shapes[x]
        kernel, pad = _pair(kernel), _pair(pad)
        size = [
            (n + 2 * p - (k - 1) * dilation - 1) // stride + 1
            for n, k, p in zip(image, kernel, pad, strict=True)
        ]
        inner = channels // groups
        weights = {"weight": self._he(name, (kernels, inner, *kernel), inner * math.prod(kernel))}
        if bias:
            weights["bias"] = self._uniform(f"{name}.bias", (kernels,), -0.1, 0.1)
        parameters = {
            "kernel": kernel,
            "stride": stride,
            "pad": pad,
            "groups": groups,
            "dilation": dilation,
        }
        return self._add("conv", name, [x], (kernels, *size), parameters, weights)

    def deconv(
        self,
        x: str,
        name: str,
        kernels: int,
        kernel: int,
        *,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
        bias: bool = True,
    ) -> str:
        channels, height, width = self._shapes[x]
        size = [(n - 1) * stride + kernel - 2 * pad for n in (height, width)]
        # Weights are [input channel, kernel of the group, row, column], as ONNX and Caffe have it.
        shape = (channels, kernels // groups, kernel, kernel)
        fan_in = channels // groups * kernel**2 / stride**2
        weights = {"weight": self._he(name, shape, fan_in)}
        if bias:
            weights["bias"] = self._uniform(f"{name}.bias", (kernels,), -0.1, 0.1)
        parameters = {
            "kernel": _pair(kernel),
            "stride": stride,
            "pad": _pair(pad),
            "groups": groups,
        }
        return self._add("deconv", name, [x], (kernels, *size), parameters, weights)

    def fully_connected(self, x: str, name: str, outputs: int) -> str:
        inputs = math.prod(self._shapes[x])
        weights = {
            "weight": self._he(name, (outputs, inputs), inputs),
            "bias": self._uniform(f"{name}.bias", (outputs,), -0.1, 0.1),
        }
        return self._add("fully_connected", name, [x], (outputs,), {}, weights)

    def batch_norm(self, x: str, name: str, scale_name: str | None = None) -> str:
        """In Caffe two layers, a BatchNorm called ``name`` and a Scale called ``scale_name``."""
        count = (self.channels(x),)
        weights = {
            "gamma": self._uniform(f"{name}.gamma", count, 0.7, 1.3),
            "beta": self._uniform(f"{name}.beta", count, -0.3, 0.3),
            "mean": self._uniform(f"{name}.mean", count, -0.2, 0.2),
            "variance": self._uniform(f"{name}.variance", count, 0.6, 1.6),
        }
        parameters = {"epsilon": 1e-5, "statistics_name": name}
        output = scale_name or name
        return self._add("batch_norm", output, [x], self._shapes[x], parameters, weights)

    # -------------------------------------------------------------- elementwise

    def relu(self, x: str, name: str) -> str:
        return self._add("relu", name, [x], self._shapes[x])

    def relu6(self, x: str, name: str) -> str:
        return self._add("relu6", name, [x], self._shapes[x])

    def leaky_relu(self, x: str, name: str, slope: float) -> str:
        return self._add("leaky_relu", name, [x], self._shapes[x], {"slope": slope})

    def prelu(self, x: str, name: str) -> str:
        """A slope a channel."""
        slopes = self._uniform(name, (self.channels(x),), 0.05, 0.4)
        return self._add("prelu", name, [x], self._shapes[x], weights={"slope": slopes})

    def sigmoid(self, x: str, name: str) -> str:
        return self._add("sigmoid", name, [x], self._shapes[x])

    def swish(self, x: str, name: str) -> str:
        return self._add("swish", name, [x], self._shapes[x])

    def hard_swish(self, x: str, name: str) -> str:
        return self._add("hard_swish", name, [x], self._shapes[x])

    def hard_sigmoid(self, x: str, name: str) -> str:
        """``min(max(x / 6 + 1/2, 0), 1)``"""
        return self._add("hard_sigmoid", name, [x], self._shapes[x])

    def tanh(self, x: str, name: str) -> str:
        return self._add("tanh", name, [x], self._shapes[x])

    def dropout(self, x: str, name: str) -> str:
        return self._add("dropout", name, [x], self._shapes[x])

    def softmax(self, x: str, name: str, axis: int = 0) -> str:
        return self._add("softmax", name, [x], self._shapes[x], {"axis": axis})

    def add(self, a: str, b: str, name: str) -> str:
        return self._add("add", name, [a, b], self._shapes[a])

    def mul(self, a: str, b: str, name: str) -> str:
        """``b`` may have one number a channel."""
        return self._add("mul", name, [a, b], self._shapes[a])

    def scale(self, x: str, name: str, factor: float) -> str:
        """One factor for all."""
        return self._add("scale", name, [x], self._shapes[x], {"factor": factor})

    # -------------------------------------------------------------- structure

    def concat(self, inputs: Sequence[str], name: str, axis: int = 0) -> str:
        """Along the channels, or another axis of one image."""
        shape = list(self._shapes[inputs[0]])
        shape[axis] = sum(self._shapes[x][axis] for x in inputs)
        return self._add("concat", name, inputs, tuple(shape), {"axis": axis})

    def slice(self, x: str, name: str, start: int, size: int) -> str:
        """``size`` channels from ``start`` on."""
        shape = (size, *self._shapes[x][1:])
        return self._add("slice", name, [x], shape, {"start": start, "size": size})

    def channel_shuffle(self, x: str, name: str, groups: int) -> str:
        return self._add("channel_shuffle", name, [x], self._shapes[x], {"groups": groups})

    def depth_to_space(self, x: str, name: str, block: int) -> str:
        """A pixel shuffle: block * block channels become the pixels of a block."""
        channels, height, width = self._shapes[x]
        shape = (channels // block**2, height * block, width * block)
        return self._add("depth_to_space", name, [x], shape, {"block": block})

    def transpose(self, x: str, name: str, order: Sequence[int]) -> str:
        """The axes of one image in another order."""
        shape = tuple(self._shapes[x][axis] for axis in order)
        return self._add("transpose", name, [x], shape, {"order": tuple(order)})

    def reshape(self, x: str, name: str, shape: Shape) -> str:
        """Of one image; -1 takes what is left."""
        known = math.prod(n for n in shape if n != -1)
        found = tuple(math.prod(self._shapes[x]) // known if n == -1 else n for n in shape)
        return self._add("reshape", name, [x], found)

    def lrn(self, x: str, name: str, size: int, alpha: float, beta: float, k: float = 1.0) -> str:
        parameters = {"size": size, "alpha": alpha, "beta": beta, "k": k}
        return self._add("lrn", name, [x], self._shapes[x], parameters)

    def upsample(self, x: str, name: str, scale: int) -> str:
        """Nearest neighbour."""
        channels, height, width = self._shapes[x]
        shape = (channels, height * scale, width * scale)
        return self._add("upsample", name, [x], shape, {"scale": scale})

    def bilinear(self, x: str, name: str, scale: int) -> str:
        """Between the centres of pixels."""
        channels, height, width = self._shapes[x]
        shape = (channels, height * scale, width * scale)
        return self._add("bilinear", name, [x], shape, {"scale": scale})

    def max_pool(
        self, x: str, name: str, kernel: int, stride: int, *, pad: int = 0, ceil: bool = False
    ) -> str:
        return self._pool("max_pool", x, name, kernel, stride, pad, ceil)

    def average_pool(
        self, x: str, name: str, kernel: int, stride: int, *, pad: int = 0, ceil: bool = False
    ) -> str:
        """The divisor counts padding."""
        return self._pool("average_pool", x, name, kernel, stride, pad, ceil)

    def inner_average_pool(self, x: str, name: str, kernel: int, stride: int, pad: int) -> str:
        """The divisor leaves out padding."""
        return self._pool("inner_average_pool", x, name, kernel, stride, pad, ceil=False)

    def same_max_pool(self, x: str, name: str) -> str:
        """A 2x2 window at every pixel, padded behind the last row and column."""
        return self._add("same_max_pool", name, [x], self._shapes[x])

    def global_average_pool(self, x: str, name: str) -> str:
        return self._add("global_average_pool", name, [x], (self.channels(x), 1, 1))

    # -------------------------------------------------------------- inside

    def _pool(
        self, kind: str, x: str, name: str, kernel: int, stride: int, pad: int, ceil: bool
    ) -> str:
        channels, height, width = self._shapes[x]
        rounded = math.ceil if ceil else math.floor
        size = [rounded((n + 2 * pad - kernel) / stride) + 1 for n in (height, width)]
        parameters = {"kernel": kernel, "stride": stride, "pad": pad, "ceil": ceil}
        return self._add(kind, name, [x], (channels, *size), parameters)

    def _add(
        self,
        kind: str,
        name: str,
        inputs: Sequence[str],
        shape: Shape,
        parameters: Mapping[str, Any] | None = None,
        weights: Mapping[str, Weights] | None = None,
    ) -> str:
        if name in self._shapes:
            raise ValueError(f"there are two layers called '{name}'")
        if min(shape) < 1:
            raise ValueError(f"layer '{name}' has nothing left of its input: {shape}")
        self._shapes[name] = shape
        self._layers.append(
            Layer(kind, name, tuple(inputs), shape, parameters or {}, weights or {})
        )
        return name

    def _random(self, name: str) -> np.random.Generator:
        """Numbers of a layer's own: adding a layer leaves the others' weights as they are."""
        return np.random.default_rng((self._seed, zlib.crc32(name.encode())))

    def _he(self, name: str, shape: Shape, fan_in: float) -> Weights:
        scale = np.float32(math.sqrt(2 / fan_in))
        return self._random(name).standard_normal(shape, np.float32) * scale

    def _uniform(self, name: str, shape: Shape, low: float, high: float) -> Weights:
        return self._random(name).uniform(low, high, shape).astype(np.float32)


def _pair(number: int | tuple[int, int]) -> tuple[int, int]:
    return (number, number) if isinstance(number, int) else number


def scaled(channels: int, width: float) -> int:
    """A share of ``channels``, a multiple of 4 so that groups divide it."""
    return max(4, round(channels * width / 4) * 4)
