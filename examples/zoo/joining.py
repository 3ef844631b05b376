"""Classifiers whose layers read what several others have made."""

from __future__ import annotations

from network import Builder, Network, scaled

_CLASSES = 1000


def densenet121(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    """Each layer of a block reads all those before it: batch norm, ReLU, convolution."""
    net = Builder("densenet121", (3, size, size), seed)
    growth = scaled(32, width)

    def normal(x: str, name: str) -> str:
        return net.relu(net.batch_norm(x, f"{name}/bn", f"{name}/scale"), f"{name}/relu")

    def layer(x: str, name: str) -> str:
        y = net.conv(normal(x, f"{name}/x1"), f"{name}/x1", 4 * growth, 1, bias=False)
        y = net.conv(normal(y, f"{name}/x2"), f"{name}/x2", growth, 3, pad=1, bias=False)
        return net.concat([x, y], f"concat_{name.removeprefix('conv')}")

    x = net.conv(net.input, "conv1", 2 * growth, 7, stride=2, pad=3, bias=False)
    x = net.max_pool(normal(x, "conv1"), "pool1", 3, 2, pad=1)
    for stage, layers in enumerate((6, 12, 24, 16), start=2):
        for number in range(1, layers + 1):
            x = layer(x, f"conv{stage}_{number}")
        if stage < 5:
            name = f"conv{stage}_blk"
            x = net.conv(normal(x, name), name, net.channels(x) // 2, 1, bias=False)
            x = net.average_pool(x, f"pool{stage}", 2, 2)
    x = net.global_average_pool(normal(x, "conv5_blk"), "pool5")
    return net.finish(net.softmax(net.fully_connected(x, "fc6", _CLASSES), "prob"))


def inception_v3(seed: int = 0, width: float = 1.0, size: int = 299) -> Network:
    """Kernels of one row or column; averages that leave out padding. Without the auxiliary
    classifier, which serves training only."""
    net = Builder("inception_v3", (3, size, size), seed)

    def conv(
        x: str, name: str, kernels: int, kernel: int | tuple[int, int] = 1, stride: int = 1,
        valid: bool = False,
    ) -> str:  # fmt: skip
        height, breadth = (kernel, kernel) if isinstance(kernel, int) else kernel
        pad = (0, 0) if valid else (height // 2, breadth // 2)
        x = net.conv(x, name, scaled(kernels, width), kernel, stride=stride, pad=pad, bias=False)
        return net.relu(net.batch_norm(x, f"{name}/bn", f"{name}/scale"), f"{name}/relu")

    def several(x: str, name: str, *steps: tuple[int, int | tuple[int, int]]) -> str:
        for number, (kernels, kernel) in enumerate(steps, start=1):
            x = conv(x, f"{name}_{number}", kernels, kernel)
        return x

    def projected(x: str, name: str, kernels: int) -> str:
        return conv(net.inner_average_pool(x, f"{name}/pool", 3, 1, 1), f"{name}/proj", kernels)

    def narrow(x: str, name: str, projection: int) -> str:
        branches = [
            conv(x, f"{name}/1x1", 64),
            several(x, f"{name}/5x5", (48, 1), (64, 5)),
            several(x, f"{name}/3x3", (64, 1), (96, 3), (96, 3)),
            projected(x, name, projection),
        ]
        return net.concat(branches, name)

    def factored(x: str, name: str, inner: int) -> str:
        row, column = (1, 7), (7, 1)
        branches = [
            conv(x, f"{name}/1x1", 192),
            several(x, f"{name}/7x7", (inner, 1), (inner, row), (192, column)),
            several(
                x, f"{name}/7x7x2",
                (inner, 1), (inner, column), (inner, row), (inner, column), (192, row),
            ),
            projected(x, name, 192),
        ]  # fmt: skip
        return net.concat(branches, name)

    def forked(x: str, name: str) -> str:
        parts = [conv(x, f"{name}_row", 384, (1, 3)), conv(x, f"{name}_column", 384, (3, 1))]
        return net.concat(parts, name)

    def wide(x: str, name: str) -> str:
        branches = [
            conv(x, f"{name}/1x1", 320),
            forked(conv(x, f"{name}/3x3_1", 384), f"{name}/3x3"),
            forked(several(x, f"{name}/3x3x2", (448, 1), (384, 3)), f"{name}/3x3x2"),
            projected(x, name, 192),
        ]
        return net.concat(branches, name)

    x = conv(net.input, "conv1a", 32, 3, 2, valid=True)
    x = conv(conv(x, "conv2a", 32, 3, valid=True), "conv2b", 64, 3)
    x = conv(net.max_pool(x, "pool1", 3, 2), "conv3b", 80)
    x = net.max_pool(conv(x, "conv4a", 192, 3, valid=True), "pool2", 3, 2)
    for number, projection in enumerate((32, 64, 64), start=1):
        x = narrow(x, f"mixed5_{number}", projection)
    thin = several(x, "mixed6_1/3x3", (64, 1), (96, 3))
    branches = [
        conv(x, "mixed6_1/reduce", 384, 3, 2, valid=True),
        conv(thin, "mixed6_1/3x3_3", 96, 3, 2, valid=True),
        net.max_pool(x, "mixed6_1/pool", 3, 2),
    ]
    x = net.concat(branches, "mixed6_1")
    for number, inner in enumerate((128, 160, 160, 192), start=2):
        x = factored(x, f"mixed6_{number}", inner)
    thin = several(x, "mixed7_1/7x7", (192, 1), (192, (1, 7)), (192, (7, 1)))
    branches = [
        conv(conv(x, "mixed7_1/3x3_1", 192), "mixed7_1/3x3_2", 320, 3, 2, valid=True),
        conv(thin, "mixed7_1/7x7_4", 192, 3, 2, valid=True),
        net.max_pool(x, "mixed7_1/pool", 3, 2),
    ]
    x = wide(wide(net.concat(branches, "mixed7_1"), "mixed7_2"), "mixed7_3")
    x = net.dropout(net.global_average_pool(x, "pool3"), "drop")
    return net.finish(net.softmax(net.fully_connected(x, "logits", _CLASSES), "prob"))
