"""Residual networks, with the layer names of the Caffe models."""

from __future__ import annotations

from network import Builder, Network

_CLASSES = 1000
_STAGES = "2345"


def resnet18(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    net, x = _start("resnet18", seed, width, size)
    for stage, kernels in zip(_STAGES, (64, 128, 256, 512), strict=True):
        for block in "ab":
            stride = 2 if block == "a" and stage != "2" else 1
            x = _basic(net, x, stage + block, max(4, int(kernels * width)), stride)
    return _finish(net, x)


def resnet50(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    net, x = _start("resnet50", seed, width, size)
    for stage, kernels, count in zip(_STAGES, (64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for block in "abcdef"[:count]:
            stride = 2 if block == "a" and stage != "2" else 1
            x = _bottleneck(net, x, stage + block, max(4, int(kernels * width)), stride)
    return _finish(net, x)


def resnext50(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    """32 groups; 4 where there are fewer channels."""
    net, x = _start("resnext50", seed, width, size)
    groups = 32 if width == 1 else 4
    for stage, kernels, count in zip(_STAGES, (128, 256, 512, 1024), (3, 4, 6, 3), strict=True):
        for block in "abcdef"[:count]:
            stride = 2 if block == "a" and stage != "2" else 1
            inner = max(groups, int(kernels * width))
            x = _bottleneck(net, x, stage + block, inner, stride, groups=groups, expansion=2)
    return _finish(net, x)


def se_resnet50(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    """Squeeze and excitation: a mean weighs the channels of each block."""
    net, x = _start("se_resnet50", seed, width, size)
    for stage, kernels, count in zip(_STAGES, (64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for block in "abcdef"[:count]:
            stride = 2 if block == "a" and stage != "2" else 1
            inner = max(4, int(kernels * width))
            x = _bottleneck(net, x, stage + block, inner, stride, excites=True)
    return _finish(net, x)


def _start(name: str, seed: int, width: float, size: int) -> tuple[Builder, str]:
    net = Builder(name, (3, size, size), seed)
    x = net.conv(net.input, "conv1", max(4, int(64 * width)), 7, stride=2, pad=3)
    x = net.relu(net.batch_norm(x, "bn_conv1", "scale_conv1"), "conv1_relu")
    return net, net.max_pool(x, "pool1", 3, 2, ceil=True)


def _finish(net: Builder, x: str) -> Network:
    x = net.average_pool(x, "pool5", net.height(x), 1)
    return net.finish(net.softmax(net.fully_connected(x, "fc1000", _CLASSES), "prob"))


def _branch(
    net: Builder, x: str, branch: str, kernels: int, kernel: int, stride: int = 1, groups: int = 1
) -> str:
    x = net.conv(
        x,
        f"res{branch}",
        kernels,
        kernel,
        stride=stride,
        pad=kernel // 2,
        groups=groups,
        bias=False,
    )
    return net.batch_norm(x, f"bn{branch}", f"scale{branch}")


def _joined(net: Builder, shortcut: str, x: str, name: str) -> str:
    return net.relu(net.add(shortcut, x, f"res{name}"), f"res{name}_relu")


def _basic(net: Builder, x: str, name: str, kernels: int, stride: int) -> str:
    shortcut = x
    if stride != 1 or net.channels(x) != kernels:
        shortcut = _branch(net, x, f"{name}_branch1", kernels, 1, stride)
    x = net.relu(
        _branch(net, x, f"{name}_branch2a", kernels, 3, stride), f"res{name}_branch2a_relu"
    )
    return _joined(net, shortcut, _branch(net, x, f"{name}_branch2b", kernels, 3), name)


def _bottleneck(
    net: Builder,
    x: str,
    name: str,
    kernels: int,
    stride: int,
    *,
    groups: int = 1,
    expansion: int = 4,
    excites: bool = False,
) -> str:
    shortcut, outputs = x, expansion * kernels
    if stride != 1 or net.channels(x) != outputs:
        shortcut = _branch(net, x, f"{name}_branch1", outputs, 1, stride)
    # Groups have the stride in the middle, as published.
    first, second = (stride, 1) if groups == 1 else (1, stride)
    x = _branch(net, x, f"{name}_branch2a", kernels, 1, first)
    x = net.relu(x, f"res{name}_branch2a_relu")
    x = _branch(net, x, f"{name}_branch2b", kernels, 3, second, groups)
    x = net.relu(x, f"res{name}_branch2b_relu")
    x = _branch(net, x, f"{name}_branch2c", outputs, 1)
    if excites:
        gate = net.global_average_pool(x, f"{name}_squeeze")
        gate = net.relu(net.conv(gate, f"{name}_down", max(4, outputs // 16), 1), f"{name}_relu")
        gate = net.sigmoid(net.conv(gate, f"{name}_up", outputs, 1), f"{name}_gate")
        x = net.mul(x, gate, f"{name}_excited")
    return _joined(net, shortcut, x, name)
