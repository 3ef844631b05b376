"""Networks whose output has the size of an image: segmentation, poses, larger images."""

from __future__ import annotations

from network import Builder, Network, scaled


def _block(net: Builder, x: str, name: str, kernels: int, stride: int, dilation: int) -> str:
    """A residual block whose kernels may be spread."""

    def conv(x: str, name: str, kernel: int, stride: int = 1, dilation: int = 1) -> str:
        x = net.conv(
            x,
            name,
            kernels,
            kernel,
            stride=stride,
            pad=dilation * (kernel // 2),
            dilation=dilation,
            bias=False,
        )
        return net.batch_norm(x, f"{name}/bn", f"{name}/scale")

    shortcut = x
    if stride != 1 or net.channels(x) != kernels:
        shortcut = conv(x, f"{name}/skip", 1, stride)
    x = net.relu(conv(x, f"{name}/a", 3, stride, dilation), f"{name}/a/relu")
    x = conv(x, f"{name}/b", 3, 1, dilation)
    return net.relu(net.add(shortcut, x, f"{name}/add"), f"{name}/relu")


def _backbone(net: Builder, width: float, dilations: tuple[int, ...]) -> list[str]:
    """Four stages of two blocks each; one that is dilated keeps the size."""
    x = net.conv(net.input, "conv1", scaled(64, width), 7, stride=2, pad=3, bias=False)
    x = net.relu(net.batch_norm(x, "conv1/bn", "conv1/scale"), "conv1/relu")
    x = net.max_pool(x, "pool1", 3, 2, pad=1)
    stages: list[str] = []
    for stage, (kernels, dilation) in enumerate(
        zip((64, 128, 256, 512), dilations, strict=True), start=2
    ):
        for block in "ab":
            stride = 2 if stage > 2 and block == "a" and dilation == 1 else 1
            x = _block(net, x, f"res{stage}{block}", scaled(kernels, width), stride, dilation)
        stages.append(x)
    return stages


def deeplab_v3(seed: int = 0, width: float = 1.0, size: int = 256) -> Network:
    """Kernels spread by 6, 12 and 18 side by side with a mean of the whole; bilinear upsampling."""
    net = Builder("deeplab_v3", (3, size, size), seed)

    def conv(x: str, name: str, kernel: int = 1, dilation: int = 1) -> str:
        pad, kernels = dilation * (kernel // 2), scaled(256, width)
        x = net.conv(x, name, kernels, kernel, pad=pad, dilation=dilation, bias=False)
        return net.relu(net.batch_norm(x, f"{name}/bn", f"{name}/scale"), f"{name}/relu")

    x = _backbone(net, width, (1, 1, 2, 4))[-1]
    branches = [conv(x, "aspp/1")]
    branches += [conv(x, f"aspp/{rate}", 3, rate) for rate in (6, 12, 18)]
    mean = conv(net.global_average_pool(x, "aspp/pool"), "aspp/mean")
    branches.append(net.upsample(mean, "aspp/spread", net.height(x)))
    x = conv(net.concat(branches, "aspp/join"), "aspp/project")
    return net.finish(net.bilinear(net.conv(x, "classes", 21, 1), "scores", 8))


def fcn8s(seed: int = 0, width: float = 1.0, size: int = 256) -> Network:
    """Scores of three stages, each brought to the size of the one before by a deconvolution a
    channel."""
    net = Builder("fcn8s", (3, size, size), seed)
    classes = 21

    def up(x: str, name: str, factor: int) -> str:
        kernel, pad = 2 * factor, factor // 2
        return net.deconv(
            x, name, classes, kernel, stride=factor, pad=pad, groups=classes, bias=False
        )

    _, third, fourth, fifth = _backbone(net, width, (1, 1, 1, 1))
    x = net.conv(fifth, "score5", classes, 1)
    for stage, skipped in ((4, fourth), (3, third)):
        score = net.conv(skipped, f"score{stage}", classes, 1)
        x = net.add(up(x, f"up{stage}", 2), score, f"sum{stage}")
    return net.finish(up(x, "upscore", 8))


def pose(seed: int = 0, width: float = 1.0, size: int = 256) -> Network:
    """A heat map for each of 17 joints, by deconvolutions behind a residual network."""
    net = Builder("pose", (3, size, size), seed)
    x = _backbone(net, width, (1, 1, 1, 1))[-1]
    for number in (1, 2, 3):
        name = f"up{number}"
        x = net.deconv(x, name, scaled(256, width), 4, stride=2, pad=1, bias=False)
        x = net.relu(net.batch_norm(x, f"{name}/bn", f"{name}/scale"), f"{name}/relu")
    return net.finish(net.conv(x, "joints", 17, 1))


def fsrcnn(seed: int = 0, width: float = 1.0, size: int = 64) -> Network:
    """Super-resolution by one deconvolution at the end; a slope a channel."""
    net = Builder("fsrcnn", (1, size, size), seed)

    def conv(x: str, name: str, kernels: int, kernel: int) -> str:
        x = net.conv(x, name, scaled(kernels, width), kernel, pad=kernel // 2)
        return net.prelu(x, f"{name}/prelu")

    x = conv(conv(net.input, "extract", 56, 5), "shrink", 12, 1)
    for number in (1, 2, 3, 4):
        x = conv(x, f"map{number}", 12, 3)
    x = conv(x, "expand", 56, 1)
    return net.finish(net.deconv(x, "larger", 1, 8, stride=2, pad=3))


def autoencoder(seed: int = 0, width: float = 1.0, size: int = 64) -> Network:
    """Down to a short code, and back."""
    net = Builder("autoencoder", (1, size, size), seed)
    x, sizes = net.input, [scaled(kernels, width) for kernels in (32, 64, 128)]
    for number, kernels in enumerate(sizes, start=1):
        x = net.conv(x, f"down{number}", kernels, 3, stride=2, pad=1)
        x = net.leaky_relu(x, f"down{number}/act", 0.2)
    side, channels = net.height(x), net.channels(x)
    x = net.tanh(net.fully_connected(x, "code", 32), "code/tanh")
    x = net.relu(net.fully_connected(x, "decode", channels * side * side), "decode/relu")
    x = net.reshape(x, "decode/map", (channels, side, side))
    for number, kernels in enumerate((*sizes[1::-1], 1), start=1):
        x = net.deconv(x, f"up{number}", kernels, 4, stride=2, pad=1)
        x = net.relu(x, f"up{number}/relu") if number < 3 else net.sigmoid(x, "image")
    return net.finish(x)
