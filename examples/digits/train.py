"""Train the two digits networks and write everything that ``nvdla-opt`` and ``nvdla-run`` need.

    python train.py --network resnet

writes, next to this script, the text IR (``.ir``), the weights (``.safetensors``), the calibration
table (``.calib.json``) and the test images (``test_images.npz``). A network is a list of named
layers; training, calibration, the INT8 simulation and the export all walk that one list.

PyTorch and scikit-learn are needed here and nowhere else: ``pip install nvdla-ir[train]``.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
IMAGE_SIZE = 32
CLASSES = 10
TEST_IMAGES = 500
SPLIT_SEED = 0  # which images are held back; the same for every training seed
INPUT = "data"
EVALUATION_BATCH = 100


# --- Data ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Digits:
    """Pixels as float32 whole numbers 0..255, shape [N, 1, 32, 32]; labels int64 0..9, [N]."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_data() -> Digits:
    """scikit-learn's 1,797 digits (8x8, values 0..16), upsampled bilinearly, 500 held back."""
    digits: Any = load_digits()
    small = torch.tensor(digits.images, dtype=torch.float64)[:, None] * (255.0 / 16.0)
    large = functional.interpolate(small, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")
    pixels = large.round().clamp(0, 255).to(torch.uint8).numpy()
    labels = np.asarray(digits.target, dtype=np.int64)
    parts: list[Any] = train_test_split(
        pixels, labels, test_size=TEST_IMAGES, random_state=SPLIT_SEED, stratify=labels
    )
    train_images, test_images, train_labels, test_labels = map(torch.from_numpy, parts)
    return Digits(train_images.float(), train_labels, test_images.float(), test_labels)


def shift_randomly(images: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to ``limit`` pixels in x and in y; background (0) comes in."""
    padded = functional.pad(images, (limit, limit, limit, limit))
    offsets = torch.randint(0, 2 * limit + 1, (len(images), 2), generator=generator).tolist()
    size = IMAGE_SIZE
    return torch.stack(
        [p[:, y : y + size, x : x + size] for p, (y, x) in zip(padded, offsets, strict=True)]
    )


# --- Networks ------------------------------------------------------------------------------------


class Normalize(nn.Module):
    """(pixel - mean) * scale with one mean (a whole number of pixels) for the one channel."""

    def __init__(self, mean: int, scale: float) -> None:
        super().__init__()
        self.mean = float(mean)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) * self.scale


class Add(nn.Module):
    """Element-wise sum of two tensors of one shape."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Network(nn.Module):
    """Named layers in execution order; each takes the outputs of earlier layers by their names."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        self.sources: dict[str, tuple[str, ...]] = {}

    def append(self, name: str, layer: nn.Module, *sources: str) -> str:
        """Add a layer and return its name, which is the name of its output tensor too."""
        self.layers[name] = layer
        self.sources[name] = sources
        return name

    def walk(self) -> Iterator[tuple[str, nn.Module, tuple[str, ...]]]:
        """(name, layer, names of its inputs), in execution order."""
        for name, layer in self.layers.items():
            yield name, layer, self.sources[name]

    def consumers(self, name: str) -> list[tuple[nn.Module, int]]:
        """The layers that read tensor ``name``, each with the operand position it has there."""
        return [
            (layer, sources.index(name))
            for consumer, layer, sources in self.walk()
            if name in sources and consumer != name
        ]

    def tensors(self, images: Tensor) -> dict[str, Tensor]:
        """Every layer's output by layer name; ``data`` is the (normalized) image."""
        values = {INPUT: images}
        for name, layer, sources in self.walk():
            values[name] = layer(*(values[source] for source in sources))
        return values

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, 10]: the operand of the closing softmax."""
        return self.tensors(images)["fc"]


def build_lenet(_train_images: Tensor) -> Network:
    """conv-relu-pool twice, two fully connected layers, softmax; expects pixel / 255."""
    net = Network()
    x, channels = INPUT, 1
    for index, width in enumerate((16, 32), start=1):
        x = net.append(f"conv{index}", nn.Conv2d(channels, width, 5), x)
        x = net.append(f"relu{index}", nn.ReLU(), x)
        x = net.append(f"pool{index}", nn.MaxPool2d(2), x)
        channels = width
    x = net.append("flatten", nn.Flatten(), x)
    x = net.append("fc1", nn.Linear(channels * 5 * 5, 120), x)
    x = net.append("relu3", nn.ReLU(), x)
    x = net.append("fc", nn.Linear(120, CLASSES), x)
    net.append("prob", nn.Softmax(dim=1), x)
    return net


def build_resnet(train_images: Tensor) -> Network:
    """A stem, three stages of three residual blocks, global average pooling, FC, softmax.

    Takes pixels 0..255 and normalizes them itself. The third width is 56, not 64, so that the
    weights stay under 1 MB.
    """
    net = Network()
    mean = round(train_images.mean().item())
    scale = float(f"{1.0 / train_images.std().item():.3g}")

    def conv_bn(prefix: str, suffix: str, conv: nn.Conv2d, x: str) -> str:
        x = net.append(f"{prefix}conv{suffix}", conv, x)
        return net.append(f"{prefix}bn{suffix}", nn.BatchNorm2d(conv.out_channels), x)

    def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)

    x = net.append(INPUT, Normalize(mean, scale), INPUT)
    x = conv_bn("", "1", conv3x3(1, 16), x)
    x = net.append("relu1", nn.ReLU(), x)
    channels = 16
    for stage, width in enumerate((16, 32, 56), start=2):
        for letter in "abc":
            block = f"res{stage}{letter}_"
            stride = 1 if width == channels else 2
            shortcut = x
            if width != channels:
                projection = nn.Conv2d(channels, width, 1, stride, bias=False)
                shortcut = conv_bn(block, "_shortcut", projection, x)
            x = conv_bn(block, "1", conv3x3(channels, width, stride), x)
            x = net.append(f"{block}relu1", nn.ReLU(), x)
            x = conv_bn(block, "2", conv3x3(width, width), x)
            x = net.append(f"{block}add", Add(), x, shortcut)
            x = net.append(f"{block}relu2", nn.ReLU(), x)
            channels = width
    x = net.append("pool", nn.AdaptiveAvgPool2d(1), x)
    x = net.append("flatten", nn.Flatten(), x)
    x = net.append("fc", nn.Linear(channels, CLASSES), x)
    net.append("prob", nn.Softmax(dim=1), x)
    return net


@dataclass(frozen=True)
class Recipe:
    """How a network is built, what it is fed and how it is trained."""

    build: Callable[[Tensor], Network]
    pixel_scale: float  # network input = pixel * pixel_scale
    input_type: str  # element type of the network's input in the IR
    epochs: int
    learning_rate: float  # peak of the one-cycle schedule
    weight_decay: float
    seed: int


RECIPES = {
    "lenet": Recipe(build_lenet, 1 / 255, "f32", 40, 0.05, 5e-4, 0),
    "resnet": Recipe(build_resnet, 1.0, "ui8", 30, 0.1, 1e-3, 0),
}


# --- Training and evaluation ---------------------------------------------------------------------


def train(net: Network, recipe: Recipe, data: Digits, seed: int) -> None:
    """SGD with momentum on shifted images; leaves the network in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    batch = 64
    decayed = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others}],
        lr=recipe.learning_rate,
        momentum=0.9,
        nesterov=True,
    )
    count = len(data.train_images)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, recipe.epochs * math.ceil(count / batch)
    )
    net.train()
    for epoch in range(recipe.epochs):
        total = 0.0
        for chosen in torch.randperm(count, generator=generator).split(batch):
            images = shift_randomly(data.train_images[chosen], 3, generator)
            loss = functional.cross_entropy(
                net(images * recipe.pixel_scale), data.train_labels[chosen]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        print(f"epoch {epoch + 1:3d}: loss {total / count:.4f}", flush=True)
    net.eval()


def top1(logits: Tensor, labels: Tensor) -> float:
    """Share of images, in percent, whose largest logit is that of their label."""
    return 100.0 * (logits.argmax(1) == labels).float().mean().item()


def calibrate(net: Network, inputs: Tensor) -> dict[str, float]:
    """Min-max scale (peak / 127) of every layer's output, except views and the softmax."""
    peaks: dict[str, float] = {}
    for images in inputs.split(EVALUATION_BATCH):
        for name, tensor in net.tensors(images).items():
            peaks[name] = max(peaks.get(name, 0.0), tensor.abs().max().item())
    for name, layer, _ in net.walk():
        if isinstance(layer, (nn.Flatten, nn.Softmax)):
            del peaks[name]
    return {name: float(np.float32(peak / 127.0)) for name, peak in peaks.items()}


# --- Simulation of ideal INT8 --------------------------------------------------------------------


def batch_norm_factor(norm: nn.BatchNorm2d) -> Tensor:
    """gamma / sqrt(variance + epsilon), per channel."""
    assert norm.running_var is not None
    return norm.weight / torch.sqrt(norm.running_var + norm.eps)


def round_to(values: Tensor, scale: float | Tensor) -> Tensor:
    """The nearest whole multiple of ``scale`` within ±127 steps."""
    return (values / scale).round().clamp(-127, 127) * scale


def quantized_weight(net: Network, name: str, layer: nn.Conv2d | nn.Linear) -> Tensor:
    """Weights with a following batch norm's factor folded in, INT8 per output channel."""
    weight = layer.weight
    shape = (-1,) + (1,) * (weight.ndim - 1)
    for consumer, _ in net.consumers(name):
        if isinstance(consumer, nn.BatchNorm2d):
            weight = weight * batch_norm_factor(consumer).view(shape)
    scale = weight.abs().flatten(1).amax(1).clamp_min(1e-30).view(shape) / 127.0
    return round_to(weight, scale)


def is_stored(net: Network, name: str) -> bool:
    """Whether a tensor is rounded to INT8: not where batch norm, ReLU or add follow in one pass."""
    return not any(
        isinstance(consumer, (nn.BatchNorm2d, nn.ReLU))
        or (isinstance(consumer, Add) and position == 0)
        for consumer, position in net.consumers(name)
    )


def simulate_int8(net: Network, inputs: Tensor, scales: dict[str, float]) -> Tensor:
    """Logits with every stored tensor rounded to its own scale; biases and sums are exact."""
    values = {INPUT: inputs if INPUT in net.layers else round_to(inputs, scales[INPUT])}
    for name, layer, sources in net.walk():
        operands = [values[source] for source in sources]
        if isinstance(layer, nn.Conv2d):
            weight = quantized_weight(net, name, layer)
            result = functional.conv2d(operands[0], weight, layer.bias, layer.stride, layer.padding)
        elif isinstance(layer, nn.Linear):
            result = functional.linear(operands[0], quantized_weight(net, name, layer), layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):  # its factor is in the weights already
            assert layer.running_mean is not None
            offset = layer.bias - layer.running_mean * batch_norm_factor(layer)
            result = operands[0] + offset.view(1, -1, 1, 1)
        else:
            result = layer(*operands)
        if name in scales and is_stored(net, name):
            result = round_to(result, scales[name])
        values[name] = result
    return values["fc"]


def sqnr(reference: Tensor, approximation: Tensor) -> float:
    """Signal-to-quantization-noise ratio in dB."""
    noise = (reference - approximation).double().square().sum()
    return 10.0 * torch.log10(reference.double().square().sum() / noise).item()


# --- Export --------------------------------------------------------------------------------------


def float_text(value: float) -> str:
    """A float as IR text: the shortest exact decimal, always with a decimal point."""
    mantissa, exponent_mark, exponent = repr(value).partition("e")
    return (mantissa if "." in mantissa else mantissa + ".0") + exponent_mark + exponent


def tensor_type(shape: tuple[int, ...], element: str = "f32") -> str:
    return f"tensor<{'x'.join(map(str, shape))}x{element}>"


class Exporter:
    """Writes one network as text IR and collects the weights that the text refers to."""

    def __init__(self, net: Network, recipe: Recipe, image: Tensor) -> None:
        self.net = net
        self.input_type = tensor_type(tuple(image.shape), recipe.input_type)
        self.types = {n: tensor_type(tuple(t.shape)) for n, t in net.tensors(image).items()}
        self.weights: dict[str, np.ndarray] = {}
        self.lines: list[str] = []
        self.ssa_names = {INPUT: f"%{INPUT}"}

    def constant(self, key: str, value: Tensor | None) -> str:
        """Emit a constant kept in the weights file under ``key``; returns its SSA name."""
        assert value is not None
        self.weights[key] = np.ascontiguousarray(value.detach().numpy(), dtype=np.float32)
        ssa_name = "%" + key.replace(".", "_")
        result = tensor_type(tuple(value.shape))
        self.lines.append(f"{ssa_name} = nn.constant value=dense_resource<{key}> : {result}")
        return ssa_name

    def operation(self, name: str, op: str, operands: list[str], attributes: str = "") -> None:
        """Emit ``op`` for the layer ``name``."""
        # The normalization layer has the name of the input that it normalizes.
        ssa_name = "%normalized" if name == INPUT else f"%{name}"
        words = [f"{ssa_name} = nn.{op} {', '.join(operands)}", attributes, f'layers=["{name}"]']
        self.lines.append(f"{' '.join(filter(None, words))} -> {self.types[name]}")
        self.ssa_names[name] = ssa_name

    def emit(self, name: str, layer: nn.Module, operands: list[str]) -> None:
        """Emit one layer and the constants it needs."""
        if isinstance(layer, Normalize):
            mean, scale = float_text(layer.mean), float_text(layer.scale)
            self.operation(name, "normalize", operands, f"mean=[{mean}] scale={scale}")
        elif isinstance(layer, nn.Conv2d):
            self.convolution(name, layer, operands)
        elif isinstance(layer, nn.BatchNorm2d):
            self.batch_norm(name, layer, operands)
        elif isinstance(layer, nn.Linear):
            parameters = [
                self.constant(f"{name}.weight", layer.weight),
                self.constant(f"{name}.bias", layer.bias),
            ]
            self.operation(name, "fully_connected", operands + parameters)
        elif isinstance(layer, nn.MaxPool2d):
            size = f"[{layer.kernel_size}, {layer.kernel_size}]"
            attributes = f"kernel={size} strides={size} pads=[0, 0, 0, 0]"
            self.operation(name, "max_pool", operands, attributes)
        elif isinstance(layer, (nn.Flatten, nn.Softmax)):
            op = "flatten" if isinstance(layer, nn.Flatten) else "softmax"
            self.operation(name, op, operands, "axis=1")
        elif isinstance(layer, (nn.ReLU, Add, nn.AdaptiveAvgPool2d)):
            ops = {nn.ReLU: "relu", Add: "add", nn.AdaptiveAvgPool2d: "global_average_pool"}
            self.operation(name, ops[type(layer)], operands)
        else:
            raise TypeError(f"layer '{name}': no IR operation for {type(layer).__name__}")

    def convolution(self, name: str, layer: nn.Conv2d, operands: list[str]) -> None:
        parameters = [self.constant(f"{name}.weight", layer.weight)]
        if layer.bias is not None:
            parameters.append(self.constant(f"{name}.bias", layer.bias))
        assert not isinstance(layer.padding, str)
        pads = [*layer.padding, *layer.padding]  # top, left, bottom, right
        attributes = (
            f"strides={list(layer.stride)} pads={pads}"
            f" dilations={list(layer.dilation)} groups={layer.groups}"
        )
        self.operation(name, "conv", operands + parameters, attributes)

    def batch_norm(self, name: str, layer: nn.BatchNorm2d, operands: list[str]) -> None:
        parameters = [
            self.constant(f"{name}.gamma", layer.weight),
            self.constant(f"{name}.beta", layer.bias),
            self.constant(f"{name}.mean", layer.running_mean),
            self.constant(f"{name}.variance", layer.running_var),
        ]
        self.operation(
            name, "batch_norm", operands + parameters, f"epsilon={float_text(layer.eps)}"
        )

    def module(self, weights_file: str) -> str:
        """The whole module; fills ``weights`` on the way."""
        for name, layer, sources in self.net.walk():
            self.emit(name, layer, [self.ssa_names[source] for source in sources])
        result = list(self.net.layers)[-1]
        signature = (
            f'(%{INPUT}: {self.input_type} {{nvdla_ir.name = "{INPUT}"}})'
            f' -> ({self.types[result]} {{nvdla_ir.name = "{result}"}})'
        )
        body = [*self.lines, f"func.return {self.ssa_names[result]}"]
        return "\n".join(
            [
                f'module attributes {{nvdla_ir.weights = "{weights_file}"}} {{',
                f"  func.func @main{signature} {{",
                *(f"    {line}" for line in body),
                "  }",
                "}",
                "",
            ]
        )


def write_files(name: str, exporter: Exporter, scales: dict[str, float], data: Digits) -> None:
    """Write the four files of a network into the folder of this script."""
    weights_file = f"{name}.safetensors"
    (HERE / f"{name}.ir").write_text(exporter.module(weights_file), encoding="utf-8")
    (HERE / weights_file).write_bytes(save(exporter.weights))
    table = {n: {"scale": s, "min": 0, "max": 0, "offset": 0} for n, s in scales.items()}
    (HERE / f"{name}.calib.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    np.savez_compressed(
        HERE / "test_images.npz",
        images=data.test_images.to(torch.uint8).numpy(),
        labels=data.test_labels.numpy(),
    )


def main() -> None:
    """Train, measure and export the network named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", choices=sorted(RECIPES), required=True)
    parser.add_argument("--seed", type=int, help="training seed (default: that of the files here)")
    parser.add_argument("--dry-run", action="store_true", help="measure, but write no files")
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.network]
    seed = recipe.seed if arguments.seed is None else arguments.seed

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    data = load_data()
    net = recipe.build(data.train_images)
    start = time.perf_counter()
    train(net, recipe, data, seed)
    print(f"trained in {time.perf_counter() - start:.0f} s")

    with torch.inference_mode():
        inputs = data.test_images * recipe.pixel_scale
        scales = calibrate(net, data.train_images * recipe.pixel_scale)
        logits = net(inputs)
        int8_logits = simulate_int8(net, inputs, scales)
        print(f"top-1 float {top1(logits, data.test_labels):.1f} %")
        print(f"top-1 simulated INT8 {top1(int8_logits, data.test_labels):.1f} %")
        print(f"SQNR of the logits, simulated INT8: {sqnr(logits, int8_logits):.2f} dB")
        if not arguments.dry_run:
            write_files(arguments.network, Exporter(net, recipe, inputs[:1]), scales, data)


if __name__ == "__main__":
    main()
