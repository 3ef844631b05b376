"""Networks that tell what is in an image.

``width`` scales the number of channels, so that tests need not carry whole networks.
"""

from __future__ import annotations

from network import Builder, Network, scaled

_CLASSES = 1000


def lenet5(seed: int = 0, width: float = 1.0, size: int = 32) -> Network:
    net = Builder("lenet5", (1, size, size), seed)
    x = net.tanh(net.conv(net.input, "c1", scaled(8, width), 5), "tanh1")
    x = net.average_pool(x, "s2", 2, 2)
    x = net.tanh(net.conv(x, "c3", scaled(16, width), 5), "tanh3")
    x = net.average_pool(x, "s4", 2, 2)
    x = net.tanh(net.conv(x, "c5", scaled(120, width), 5), "tanh5")
    x = net.tanh(net.fully_connected(x, "f6", 84), "tanh6")
    return net.finish(net.softmax(net.fully_connected(x, "output", 10), "prob"))


def alexnet(seed: int = 0, width: float = 1.0, size: int = 227) -> Network:
    """Two groups in conv2, conv4 and conv5, local response normalization."""
    net = Builder("alexnet", (3, size, size), seed)

    def block(x: str, number: int, kernels: int, kernel: int, pad: int, groups: int) -> str:
        x = net.conv(x, f"conv{number}", scaled(kernels, width), kernel, pad=pad, groups=groups)
        return net.relu(x, f"relu{number}")

    x = net.relu(net.conv(net.input, "conv1", scaled(96, width), 11, stride=4), "relu1")
    x = net.max_pool(net.lrn(x, "norm1", 5, 1e-4, 0.75), "pool1", 3, 2)
    x = block(x, 2, 256, 5, 2, 2)
    x = net.max_pool(net.lrn(x, "norm2", 5, 1e-4, 0.75), "pool2", 3, 2)
    x = block(x, 3, 384, 3, 1, 1)
    x = block(x, 4, 384, 3, 1, 2)
    x = net.max_pool(block(x, 5, 256, 3, 1, 2), "pool5", 3, 2)
    for number in (6, 7):
        x = net.fully_connected(x, f"fc{number}", scaled(4096, width))
        x = net.dropout(net.relu(x, f"relu{number}"), f"drop{number}")
    return net.finish(net.softmax(net.fully_connected(x, "fc8", _CLASSES), "prob"))


def vgg16(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    net = Builder("vgg16", (3, size, size), seed)
    x = net.input
    for stage, (kernels, layers) in enumerate(
        ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1
    ):
        for layer in range(1, layers + 1):
            x = net.conv(x, f"conv{stage}_{layer}", scaled(kernels, width), 3, pad=1)
            x = net.relu(x, f"relu{stage}_{layer}")
        x = net.max_pool(x, f"pool{stage}", 2, 2)
    for number in (6, 7):
        x = net.fully_connected(x, f"fc{number}", scaled(4096, width))
        x = net.dropout(net.relu(x, f"relu{number}"), f"drop{number}")
    return net.finish(net.softmax(net.fully_connected(x, "fc8", _CLASSES), "prob"))


def googlenet(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    """Without the two auxiliary classifiers, which serve training only."""
    net = Builder("googlenet", (3, size, size), seed)

    def conv(x: str, name: str, kernels: int, kernel: int, pad: int = 0, stride: int = 1) -> str:
        x = net.conv(x, name, scaled(kernels, width), kernel, pad=pad, stride=stride)
        return net.relu(x, f"{name.rpartition('/')[0]}/relu_{name.rpartition('/')[2]}")

    def inception(x: str, name: str, sizes: tuple[int, int, int, int, int, int]) -> str:
        one, three_reduce, three, five_reduce, five, projection = sizes
        branches = [
            conv(x, f"{name}/1x1", one, 1),
            conv(conv(x, f"{name}/3x3_reduce", three_reduce, 1), f"{name}/3x3", three, 3, 1),
            conv(conv(x, f"{name}/5x5_reduce", five_reduce, 1), f"{name}/5x5", five, 5, 2),
            conv(net.max_pool(x, f"{name}/pool", 3, 1, pad=1), f"{name}/pool_proj", projection, 1),
        ]
        return net.concat(branches, f"{name}/output")

    x = conv(net.input, "conv1/7x7_s2", 64, 7, 3, 2)
    x = net.lrn(net.max_pool(x, "pool1/3x3_s2", 3, 2, ceil=True), "pool1/norm1", 5, 1e-4, 0.75)
    x = conv(conv(x, "conv2/3x3_reduce", 64, 1), "conv2/3x3", 192, 3, 1)
    x = net.max_pool(net.lrn(x, "conv2/norm2", 5, 1e-4, 0.75), "pool2/3x3_s2", 3, 2, ceil=True)
    x = inception(x, "inception_3a", (64, 96, 128, 16, 32, 32))
    x = inception(x, "inception_3b", (128, 128, 192, 32, 96, 64))
    x = net.max_pool(x, "pool3/3x3_s2", 3, 2, ceil=True)
    x = inception(x, "inception_4a", (192, 96, 208, 16, 48, 64))
    x = inception(x, "inception_4b", (160, 112, 224, 24, 64, 64))
    x = inception(x, "inception_4c", (128, 128, 256, 24, 64, 64))
    x = inception(x, "inception_4d", (112, 144, 288, 32, 64, 64))
    x = inception(x, "inception_4e", (256, 160, 320, 32, 128, 128))
    x = net.max_pool(x, "pool4/3x3_s2", 3, 2, ceil=True)
    x = inception(x, "inception_5a", (256, 160, 320, 32, 128, 128))
    x = inception(x, "inception_5b", (384, 192, 384, 48, 128, 128))
    x = net.dropout(net.global_average_pool(x, "pool5"), "drop5")
    return net.finish(net.softmax(net.fully_connected(x, "loss3/classifier", _CLASSES), "prob"))


def squeezenet(seed: int = 0, width: float = 1.0, size: int = 227) -> Network:
    """Version 1.1."""
    net = Builder("squeezenet", (3, size, size), seed)

    def fire(x: str, number: int, squeezed: int, expanded: int) -> str:
        name = f"fire{number}"
        x = net.conv(x, f"{name}/squeeze1x1", scaled(squeezed, width), 1)
        x = net.relu(x, f"{name}/relu_squeeze1x1")
        branches = [
            net.relu(
                net.conv(x, f"{name}/expand{k}x{k}", scaled(expanded, width), k, pad=k // 2),
                f"{name}/relu_expand{k}x{k}",
            )
            for k in (1, 3)
        ]
        return net.concat(branches, f"{name}/concat")

    x = net.relu(net.conv(net.input, "conv1", scaled(64, width), 3, stride=2), "relu_conv1")
    x = net.max_pool(x, "pool1", 3, 2, ceil=True)
    x = fire(fire(x, 2, 16, 64), 3, 16, 64)
    x = net.max_pool(x, "pool3", 3, 2, ceil=True)
    x = fire(fire(x, 4, 32, 128), 5, 32, 128)
    x = net.max_pool(x, "pool5", 3, 2, ceil=True)
    x = fire(fire(fire(fire(x, 6, 48, 192), 7, 48, 192), 8, 64, 256), 9, 64, 256)
    x = net.relu(net.conv(net.dropout(x, "drop9"), "conv10", _CLASSES, 1), "relu_conv10")
    return net.finish(net.softmax(net.global_average_pool(x, "pool10"), "prob"))


def mobilenet_v1(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    net = Builder("mobilenet_v1", (3, size, size), seed)

    def block(x: str, name: str, kernels: int, kernel: int, stride: int, groups: int) -> str:
        pad = kernel // 2
        x = net.conv(x, name, kernels, kernel, stride=stride, pad=pad, groups=groups, bias=False)
        return net.relu(net.batch_norm(x, f"{name}/bn", f"{name}/scale"), f"{name}/relu")

    x = block(net.input, "conv1", scaled(32, width), 3, 2, 1)
    sizes = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    sizes += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    for number, (kernels, stride) in enumerate(sizes, start=2):
        channels = net.channels(x)
        x = block(x, f"conv{number}/dw", channels, 3, stride, channels)
        x = block(x, f"conv{number}/sep", scaled(kernels, width), 1, 1, 1)
    x = net.global_average_pool(x, "pool")
    return net.finish(net.softmax(net.conv(x, "fc", _CLASSES, 1), "prob"))


def mobilenet_v2(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    """Inverted residuals: expanded by 1x1, filtered channel by channel, projected by 1x1."""
    net = Builder("mobilenet_v2", (3, size, size), seed)

    def block(
        x: str, name: str, kernels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> str:
        pad = kernel // 2
        x = net.conv(x, name, kernels, kernel, stride=stride, pad=pad, groups=groups, bias=False)
        return net.batch_norm(x, f"{name}/bn", f"{name}/scale")

    def bottleneck(x: str, name: str, expansion: int, kernels: int, stride: int) -> str:
        start, channels = x, net.channels(x)
        inner = channels * expansion
        if expansion != 1:
            x = net.relu6(block(x, f"{name}/expand", inner, 1), f"{name}/expand/relu")
        x = net.relu6(block(x, f"{name}/dwise", inner, 3, stride, inner), f"{name}/dwise/relu")
        x = block(x, f"{name}/linear", kernels, 1)
        if stride == 1 and kernels == channels:
            return net.add(start, x, f"{name}/add")
        return x

    x = net.relu6(block(net.input, "conv1", scaled(32, width), 3, 2), "conv1/relu")
    settings = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2))
    settings += ((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for stage, (expansion, kernels, repeats, stride) in enumerate(settings, start=2):
        for repeat in range(1, repeats + 1):
            x = bottleneck(
                x,
                f"conv{stage}_{repeat}",
                expansion,
                scaled(kernels, width),
                stride if repeat == 1 else 1,
            )
    x = net.relu6(block(x, "conv9", scaled(1280, width), 1), "conv9/relu")
    x = net.global_average_pool(x, "pool")
    return net.finish(net.softmax(net.conv(x, "fc", _CLASSES, 1), "prob"))
