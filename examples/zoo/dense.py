"""Networks whose output is a map: boxes, or a class for each pixel."""

from __future__ import annotations

from network import Builder, Network

_SLOPE = 0.1


def _scaled(channels: int, width: float) -> int:
    return max(4, round(channels * width / 4) * 4)


def _darknet(net: Builder, x: str, name: str, kernels: int, kernel: int = 3) -> str:
    x = net.conv(x, name, kernels, kernel, pad=kernel // 2, bias=False)
    x = net.batch_norm(x, f"{name}/bn", f"{name}/scale")
    return net.leaky_relu(x, f"{name}/leaky", _SLOPE)


def tiny_yolo_v2(seed: int = 0, width: float = 1.0) -> Network:
    """Five boxes with 20 classes for each of 13x13 cells."""
    net = Builder("tiny_yolo_v2", (3, 416, 416), seed)
    x = net.input
    for number, kernels in enumerate((16, 32, 64, 128, 256, 512), start=1):
        x = _darknet(net, x, f"conv{number}", _scaled(kernels, width))
        x = net.max_pool(x, f"pool{number}", 2, 2) if number < 6 else net.same_max_pool(x, "pool6")
    for number in (7, 8):
        x = _darknet(net, x, f"conv{number}", _scaled(1024, width))
    return net.finish(net.conv(x, "conv9", 125, 1))


def tiny_yolo_v3(seed: int = 0, width: float = 1.0) -> Network:
    """Three boxes with 80 classes for each of 13x13 and 26x26 cells."""
    net = Builder("tiny_yolo_v3", (3, 416, 416), seed)
    x = net.input
    fine = x
    for number, kernels in enumerate((16, 32, 64, 128, 256, 512), start=1):
        x = _darknet(net, x, f"conv{number}", _scaled(kernels, width))
        if number == 5:
            fine = x
        x = net.max_pool(x, f"pool{number}", 2, 2) if number < 6 else net.same_max_pool(x, "pool6")
    x = _darknet(net, x, "conv7", _scaled(1024, width))
    neck = _darknet(net, x, "conv8", _scaled(256, width), 1)
    coarse = net.conv(_darknet(net, neck, "conv9", _scaled(512, width)), "boxes13", 255, 1)
    x = net.upsample(_darknet(net, neck, "conv11", _scaled(128, width), 1), "upsample", 2)
    x = _darknet(net, net.concat([x, fine], "route"), "conv12", _scaled(256, width))
    return net.finish(coarse, net.conv(x, "boxes26", 255, 1))


def unet(seed: int = 0, width: float = 1.0) -> Network:
    """Three steps down, three deconvolutions up, two classes a pixel."""
    net = Builder("unet", (1, 128, 128), seed)

    def double(x: str, name: str, kernels: int) -> str:
        for step in "ab":
            x = net.relu(net.conv(x, f"{name}{step}", kernels, 3, pad=1), f"{name}{step}/relu")
        return x

    sizes = [_scaled(kernels, width) for kernels in (16, 32, 64)]
    x, skipped = net.input, list[str]()
    for level, kernels in enumerate(sizes, start=1):
        skipped.append(double(x, f"down{level}", kernels))
        x = net.max_pool(skipped[-1], f"pool{level}", 2, 2)
    x = double(x, "bottom", _scaled(128, width))
    for level, kernels in reversed(list(enumerate(sizes, start=1))):
        x = net.deconv(x, f"up{level}/deconv", kernels, 4, stride=2, pad=1)
        x = double(net.concat([skipped.pop(), x], f"up{level}/concat"), f"up{level}", kernels)
    return net.finish(net.sigmoid(net.conv(x, "classes", 2, 1), "probabilities"))
