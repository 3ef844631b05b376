"""Classifiers of separable convolutions and of cells that join many branches."""

from __future__ import annotations

from network import Builder, Network, scaled

_CLASSES = 1000


def xception(seed: int = 0, width: float = 1.0, size: int = 299) -> Network:
    """Depthwise and 1x1 convolutions throughout, the ReLU ahead of them."""
    net = Builder("xception", (3, size, size), seed)

    def normal(x: str, name: str, kernels: int, kernel: int, stride: int = 1) -> str:
        x = net.conv(x, name, kernels, kernel, stride=stride, pad=kernel // 2, bias=False)
        return net.batch_norm(x, f"{name}/bn", f"{name}/scale")

    def separable(x: str, name: str, kernels: int) -> str:
        channels = net.channels(x)
        x = net.conv(x, f"{name}/dw", channels, 3, pad=1, groups=channels, bias=False)
        return normal(x, f"{name}/pw", kernels, 1)

    def reducing(x: str, name: str, first: int, kernels: int, *, relu: bool = True) -> str:
        shortcut = normal(x, f"{name}/skip", kernels, 1, 2)
        x = separable(net.relu(x, f"{name}/relu1") if relu else x, f"{name}/sep1", first)
        x = separable(net.relu(x, f"{name}/relu2"), f"{name}/sep2", kernels)
        return net.add(net.max_pool(x, f"{name}/pool", 3, 2, pad=1), shortcut, f"{name}/add")

    x = net.relu(normal(net.input, "conv1", scaled(32, width), 3, 2), "conv1/relu")
    x = net.relu(normal(x, "conv2", scaled(64, width), 3), "conv2/relu")
    sizes = [scaled(kernels, width) for kernels in (128, 256, 728, 1024, 1536, 2048)]
    x = reducing(x, "block1", sizes[0], sizes[0], relu=False)
    x = reducing(x, "block2", sizes[1], sizes[1])
    x = reducing(x, "block3", sizes[2], sizes[2])
    for number in range(4, 12):
        shortcut = x
        for step in (1, 2, 3):
            name = f"block{number}/sep{step}"
            x = separable(net.relu(x, f"{name}/relu"), name, sizes[2])
        x = net.add(x, shortcut, f"block{number}/add")
    x = reducing(x, "block12", sizes[2], sizes[3])
    x = net.relu(separable(x, "conv3", sizes[4]), "conv3/relu")
    x = net.relu(separable(x, "conv4", sizes[5]), "conv4/relu")
    x = net.global_average_pool(x, "pool")
    return net.finish(net.softmax(net.fully_connected(x, "fc", _CLASSES), "prob"))


def efficientnet_b0(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    """SiLU, squeeze and excitation."""
    net = Builder("efficientnet_b0", (3, size, size), seed)

    def conv(
        x: str, name: str, kernels: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> str:
        pad = kernel // 2
        x = net.conv(x, name, kernels, kernel, stride=stride, pad=pad, groups=groups, bias=False)
        return net.batch_norm(x, f"{name}/bn", f"{name}/scale")

    def block(x: str, name: str, expansion: int, kernels: int, kernel: int, stride: int) -> str:
        start, channels = x, net.channels(x)
        inner = channels * expansion
        if expansion != 1:
            x = net.swish(conv(x, f"{name}/expand", inner), f"{name}/expand/act")
        x = net.swish(conv(x, f"{name}/dw", inner, kernel, stride, inner), f"{name}/dw/act")
        gate = net.global_average_pool(x, f"{name}/squeeze")
        gate = net.swish(net.conv(gate, f"{name}/down", max(1, channels // 4), 1), f"{name}/act")
        gate = net.sigmoid(net.conv(gate, f"{name}/up", inner, 1), f"{name}/gate")
        x = conv(net.mul(x, gate, f"{name}/excited"), f"{name}/project", kernels)
        return net.add(start, x, f"{name}/add") if stride == 1 and kernels == channels else x

    x = net.swish(conv(net.input, "stem", scaled(32, width), 3, 2), "stem/act")
    # Expansion, kernels, blocks, stride of the first, kernel.
    settings = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3))
    settings += ((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))
    for stage, (expansion, kernels, blocks, stride, kernel) in enumerate(settings, start=1):
        for number in range(1, blocks + 1):
            step = stride if number == 1 else 1
            name = f"block{stage}_{number}"
            x = block(x, name, expansion, scaled(kernels, width), kernel, step)
    x = net.swish(conv(x, "head", scaled(1280, width)), "head/act")
    x = net.dropout(net.global_average_pool(x, "pool"), "drop")
    return net.finish(net.softmax(net.fully_connected(x, "fc", _CLASSES), "prob"))


def inception_resnet_v2(seed: int = 0, width: float = 1.0, size: int = 299) -> Network:
    """Branches whose scaled sum is added to what they read; two blocks of two kinds, not twenty of
    three."""
    net = Builder("inception_resnet_v2", (3, size, size), seed)

    def conv(
        x: str, name: str, kernels: int, kernel: int | tuple[int, int] = 1, stride: int = 1,
        valid: bool = False,
    ) -> str:  # fmt: skip
        height, breadth = (kernel, kernel) if isinstance(kernel, int) else kernel
        pad = (0, 0) if valid else (height // 2, breadth // 2)
        x = net.conv(x, name, scaled(kernels, width), kernel, stride=stride, pad=pad, bias=False)
        return net.relu(net.batch_norm(x, f"{name}/bn", f"{name}/scale"), f"{name}/relu")

    def added(x: str, name: str, factor: float, branches: list[str]) -> str:
        y = net.conv(net.concat(branches, f"{name}/join"), f"{name}/up", net.channels(x), 1)
        return net.relu(net.add(x, net.scale(y, f"{name}/share", factor), name), f"{name}/relu")

    x = conv(conv(net.input, "conv1", 32, 3, 2, valid=True), "conv2", 32, 3, valid=True)
    x = net.max_pool(conv(x, "conv3", 64, 3), "pool1", 3, 2)
    x = net.max_pool(conv(conv(x, "conv4", 80), "conv5", 192, 3, valid=True), "pool2", 3, 2)
    for number in (1, 2):
        name = f"block35_{number}"
        third = conv(conv(conv(x, f"{name}/c1", 32), f"{name}/c2", 48, 3), f"{name}/c3", 64, 3)
        second = conv(conv(x, f"{name}/b1", 32), f"{name}/b2", 32, 3)
        x = added(x, name, 0.17, [conv(x, f"{name}/a", 32), second, third])
    branches = [conv(x, "reduce1/a", 384, 3, 2, valid=True), net.max_pool(x, "reduce1/pool", 3, 2)]
    x = net.concat(branches, "reduce1")
    for number in (1, 2):
        name = f"block17_{number}"
        second = conv(conv(x, f"{name}/b1", 128), f"{name}/b2", 160, (1, 7))
        second = conv(second, f"{name}/b3", 192, (7, 1))
        x = added(x, name, 0.1, [conv(x, f"{name}/a", 192), second])
    x = net.global_average_pool(conv(x, "conv6", 1536), "pool3")
    return net.finish(net.softmax(net.fully_connected(x, "logits", _CLASSES), "prob"))


def nasnet(seed: int = 0, width: float = 1.0, size: int = 224) -> Network:
    """Cells as NASNet's: five sums of separable convolutions, means and what comes from two cells
    before, side by side."""
    net = Builder("nasnet", (3, size, size), seed)

    def fitted(x: str, name: str, kernels: int, stride: int = 1) -> str:
        x = net.conv(net.relu(x, f"{name}/relu"), name, kernels, 1, stride=stride, bias=False)
        return net.batch_norm(x, f"{name}/bn", f"{name}/scale")

    def separable(x: str, name: str, kernel: int) -> str:
        kernels = net.channels(x)
        for step in "ab":
            y = net.relu(x, f"{name}{step}/relu")
            y = net.conv(
                y, f"{name}{step}/dw", kernels, kernel, pad=kernel // 2, groups=kernels, bias=False
            )
            y = net.conv(y, f"{name}{step}/pw", kernels, 1, bias=False)
            x = net.batch_norm(y, f"{name}{step}/bn", f"{name}{step}/scale")
        return x

    def cell(before: str, x: str, name: str, kernels: int) -> str:
        stride = net.height(before) // net.height(x)
        p, h = fitted(before, f"{name}/p", kernels, stride), fitted(x, f"{name}/h", kernels)
        mean = net.inner_average_pool(p, f"{name}/mean", 3, 1, 1)
        sums = [
            (separable(h, f"{name}/h3", 3), h),
            (separable(p, f"{name}/p3", 3), separable(h, f"{name}/h5", 5)),
            (net.inner_average_pool(h, f"{name}/mean_h", 3, 1, 1), p),
            (mean, net.inner_average_pool(p, f"{name}/mean_p", 3, 1, 1)),
            (separable(p, f"{name}/p5", 5), separable(p, f"{name}/p3b", 3)),
        ]
        parts = [net.add(a, b, f"{name}/sum{n}") for n, (a, b) in enumerate(sums, start=1)]
        return net.concat([p, *parts], f"{name}/join")

    x = net.conv(net.input, "stem", scaled(32, width), 3, stride=2, pad=1, bias=False)
    x = before = net.batch_norm(x, "stem/bn", "stem/scale")
    for stage, kernels in enumerate((44, 88, 176), start=1):
        for number in (1, 2):
            before, x = x, cell(before, x, f"cell{stage}_{number}", scaled(kernels, width))
        if stage < 3:
            x = net.max_pool(x, f"pool{stage}", 2, 2)
    x = net.global_average_pool(net.relu(x, "relu"), "pool")
    return net.finish(net.softmax(net.fully_connected(x, "fc", _CLASSES), "prob"))
