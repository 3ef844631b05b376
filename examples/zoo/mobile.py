"""Classifiers made for telephones."""

from __future__ import annotations

from network import Builder, Network, scaled

_CLASSES = 1000


def _filtered(
    net: Builder, x: str, name: str, kernels: int, kernel: int, stride: int = 1, groups: int = 1
) -> str:
    """A convolution without a bias, and a batch norm."""
    pad = kernel // 2
    x = net.conv(x, name, kernels, kernel, stride=stride, pad=pad, groups=groups, bias=False)
    return net.batch_norm(x, f"{name}/bn", f"{name}/scale")


def shufflenet_v2(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    """Half of the channels passes each unit by; a shuffle mixes the halves."""
    net = Builder("shufflenet_v2", (3, size, size), seed)

    def branch(x: str, name: str, kernels: int, stride: int) -> str:
        x = net.relu(_filtered(net, x, f"{name}/conv1", kernels, 1), f"{name}/relu1")
        x = _filtered(net, x, f"{name}/dw", kernels, 3, stride, kernels)
        return net.relu(_filtered(net, x, f"{name}/conv2", kernels, 1), f"{name}/relu2")

    def reducing(x: str, name: str, kernels: int) -> str:
        left = _filtered(net, x, f"{name}/left/dw", net.channels(x), 3, 2, net.channels(x))
        left = net.relu(_filtered(net, left, f"{name}/left/conv", kernels, 1), f"{name}/left/relu")
        x = net.concat([left, branch(x, name, kernels, 2)], f"{name}/concat")
        return net.channel_shuffle(x, f"{name}/shuffle", 2)

    def unit(x: str, name: str) -> str:
        half = net.channels(x) // 2
        kept = net.slice(x, f"{name}/kept", 0, half)
        x = branch(net.slice(x, f"{name}/taken", half, half), name, half, 1)
        return net.channel_shuffle(net.concat([kept, x], f"{name}/concat"), f"{name}/shuffle", 2)

    x = _filtered(net, net.input, "conv1", scaled(24, width), 3, 2)
    x = net.max_pool(net.relu(x, "conv1/relu"), "pool1", 3, 2, pad=1)
    for stage, (kernels, units) in enumerate(((116, 4), (232, 8), (464, 4)), start=2):
        x = reducing(
            x, f"stage{stage}_1", scaled(kernels // 2, width) if width != 1 else kernels // 2
        )
        for number in range(2, units + 1):
            x = unit(x, f"stage{stage}_{number}")
    x = net.relu(_filtered(net, x, "conv5", scaled(1024, width), 1), "conv5/relu")
    x = net.global_average_pool(x, "pool")
    return net.finish(net.softmax(net.fully_connected(x, "fc", _CLASSES), "prob"))


# Kernel, expanded channels, kernels, squeeze and excitation, hard swish, stride.
_Block = tuple[int, int, int, bool, bool, int]
_SMALL: tuple[_Block, ...] = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)
_LARGE: tuple[_Block, ...] = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


def mobilenet_v3_small(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    return _mobilenet_v3("mobilenet_v3_small", seed, width, size, _SMALL, 1024)


def mobilenet_v3_large(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    return _mobilenet_v3("mobilenet_v3_large", seed, width, size, _LARGE, 1280)


def _mobilenet_v3(
    name: str, seed: int, width: float, size: int, blocks: tuple[_Block, ...], hidden: int
) -> Network:
    """Inverted residuals, some with squeeze and excitation, as torchvision has them."""
    net = Builder(name, (3, size, size), seed)

    def activated(x: str, name: str, swish: bool) -> str:
        return net.hard_swish(x, name) if swish else net.relu(x, name)

    def excited(x: str, name: str) -> str:
        channels = net.channels(x)
        squeezed = _divisible(channels / 4, 8)
        gate = net.global_average_pool(x, f"{name}/pool")
        gate = net.relu(net.conv(gate, f"{name}/fc1", squeezed, 1), f"{name}/relu")
        gate = net.hard_sigmoid(net.conv(gate, f"{name}/fc2", channels, 1), f"{name}/gate")
        return net.mul(x, gate, f"{name}/mul")

    def block(x: str, name: str, settings: _Block) -> str:
        kernel, expanded, kernels, excites, swish, stride = settings
        start, channels = x, net.channels(x)
        inner, kernels = scaled(expanded, width), scaled(kernels, width)
        if inner != channels:
            x = activated(
                _filtered(net, x, f"{name}/expand", inner, 1), f"{name}/expand/act", swish
            )
        x = _filtered(net, x, f"{name}/dw", inner, kernel, stride, inner)
        x = activated(x, f"{name}/dw/act", swish)
        if excites:
            x = excited(x, f"{name}/se")
        x = _filtered(net, x, f"{name}/project", kernels, 1)
        return net.add(start, x, f"{name}/add") if stride == 1 and kernels == channels else x

    x = net.hard_swish(_filtered(net, net.input, "conv1", scaled(16, width), 3, 2), "conv1/act")
    for number, settings in enumerate(blocks, start=1):
        x = block(x, f"block{number}", settings)
    x = net.hard_swish(_filtered(net, x, "conv2", 6 * net.channels(x), 1), "conv2/act")
    x = net.fully_connected(net.global_average_pool(x, "pool"), "fc1", scaled(hidden, width))
    x = net.fully_connected(net.hard_swish(x, "fc1/act"), "fc2", _CLASSES)
    return net.finish(net.softmax(x, "prob"))


def _divisible(channels: float, divisor: int) -> int:
    """As torchvision rounds: to a multiple, and not down by more than a tenth."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def efficientnet_lite0(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    """EfficientNet for integers: ReLU6 instead of swish, no squeeze and excitation."""
    net = Builder("efficientnet_lite0", (3, size, size), seed)

    def block(x: str, name: str, expansion: int, kernels: int, kernel: int, stride: int) -> str:
        start, channels = x, net.channels(x)
        inner = channels * expansion
        if expansion != 1:
            x = net.relu6(_filtered(net, x, f"{name}/expand", inner, 1), f"{name}/expand/relu")
        x = _filtered(net, x, f"{name}/dw", inner, kernel, stride, inner)
        x = _filtered(net, net.relu6(x, f"{name}/dw/relu"), f"{name}/project", kernels, 1)
        return net.add(start, x, f"{name}/add") if stride == 1 and kernels == channels else x

    x = net.relu6(_filtered(net, net.input, "stem", scaled(32, width), 3, 2), "stem/relu")
    # Expansion, kernels, blocks, stride of the first, kernel.
    settings = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3))
    settings += ((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))
    for stage, (expansion, kernels, blocks, stride, kernel) in enumerate(settings, start=1):
        for number in range(1, blocks + 1):
            name, step = f"block{stage}_{number}", stride if number == 1 else 1
            x = block(x, name, expansion, scaled(kernels, width), kernel, step)
    x = net.relu6(_filtered(net, x, "head", scaled(1280, width), 1), "head/relu")
    x = net.dropout(net.global_average_pool(x, "pool"), "drop")
    return net.finish(net.softmax(net.fully_connected(x, "fc", _CLASSES), "prob"))
