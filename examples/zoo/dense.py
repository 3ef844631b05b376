"""Networks whose output is a map: boxes, or a class for each pixel."""

from __future__ import annotations

from network import Builder, Network, scaled

_SLOPE = 0.1


def _darknet(net: Builder, x: str, name: str, kernels: int, kernel: int = 3) -> str:
    x = net.conv(x, name, kernels, kernel, pad=kernel // 2, bias=False)
    x = net.batch_norm(x, f"{name}/bn", f"{name}/scale")
    return net.leaky_relu(x, f"{name}/leaky", _SLOPE)


def tiny_yolo_v2(seed: int = 0, width: float = 1.0, size: int = 416) -> Network:
    """Five boxes with 20 classes for each of 13x13 cells."""
    net = Builder("tiny_yolo_v2", (3, size, size), seed)
    x = net.input
    for number, kernels in enumerate((16, 32, 64, 128, 256, 512), start=1):
        x = _darknet(net, x, f"conv{number}", scaled(kernels, width))
        x = net.max_pool(x, f"pool{number}", 2, 2) if number < 6 else net.same_max_pool(x, "pool6")
    for number in (7, 8):
        x = _darknet(net, x, f"conv{number}", scaled(1024, width))
    return net.finish(net.conv(x, "conv9", 125, 1))


def tiny_yolo_v3(seed: int = 0, width: float = 1.0, size: int = 416) -> Network:
    """Three boxes with 80 classes for each of 13x13 and 26x26 cells."""
    net = Builder("tiny_yolo_v3", (3, size, size), seed)
    x = net.input
    fine = x
    for number, kernels in enumerate((16, 32, 64, 128, 256, 512), start=1):
        x = _darknet(net, x, f"conv{number}", scaled(kernels, width))
        if number == 5:
            fine = x
        x = net.max_pool(x, f"pool{number}", 2, 2) if number < 6 else net.same_max_pool(x, "pool6")
    x = _darknet(net, x, "conv7", scaled(1024, width))
    neck = _darknet(net, x, "conv8", scaled(256, width), 1)
    coarse = net.conv(_darknet(net, neck, "conv9", scaled(512, width)), "boxes13", 255, 1)
    x = net.upsample(_darknet(net, neck, "conv11", scaled(128, width), 1), "upsample", 2)
    x = _darknet(net, net.concat([x, fine], "route"), "conv12", scaled(256, width))
    return net.finish(coarse, net.conv(x, "boxes26", 255, 1))


def unet(seed: int = 0, width: float = 1.0, size: int = 128) -> Network:
    """Three steps down, three deconvolutions up, two classes a pixel."""
    net = Builder("unet", (1, size, size), seed)

    def double(x: str, name: str, kernels: int) -> str:
        for step in "ab":
            x = net.relu(net.conv(x, f"{name}{step}", kernels, 3, pad=1), f"{name}{step}/relu")
        return x

    sizes = [scaled(kernels, width) for kernels in (16, 32, 64)]
    x, skipped = net.input, list[str]()
    for level, kernels in enumerate(sizes, start=1):
        skipped.append(double(x, f"down{level}", kernels))
        x = net.max_pool(skipped[-1], f"pool{level}", 2, 2)
    x = double(x, "bottom", scaled(128, width))
    for level, kernels in reversed(list(enumerate(sizes, start=1))):
        x = net.deconv(x, f"up{level}/deconv", kernels, 4, stride=2, pad=1)
        x = double(net.concat([skipped.pop(), x], f"up{level}/concat"), f"up{level}", kernels)
    return net.finish(net.sigmoid(net.conv(x, "classes", 2, 1), "probabilities"))


def ssd_mobilenet_v1(seed: int = 0, width: float = 1.0, size: int = 300) -> Network:
    """Boxes from six maps, 21 classes: scores and places of all boxes, one behind the other."""
    net = Builder("ssd_mobilenet_v1", (3, size, size), seed)
    classes = 21

    def block(x: str, name: str, kernels: int, kernel: int, stride: int, groups: int = 1) -> str:
        pad = kernel // 2
        x = net.conv(x, name, kernels, kernel, stride=stride, pad=pad, groups=groups, bias=False)
        return net.relu6(net.batch_norm(x, f"{name}/bn", f"{name}/scale"), f"{name}/relu")

    def head(x: str, name: str, boxes: int, numbers: int) -> str:
        """Of each pixel ``boxes`` rows of ``numbers``."""
        x = net.conv(x, name, boxes * numbers, 1)
        x = net.transpose(x, f"{name}/perm", (1, 2, 0))
        return net.reshape(x, f"{name}/rows", (-1, numbers))

    x = block(net.input, "conv0", scaled(32, width), 3, 2)
    sizes = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    sizes += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    maps: list[tuple[str, str]] = []
    for number, (kernels, stride) in enumerate(sizes, start=1):
        channels = net.channels(x)
        x = block(x, f"conv{number}/dw", channels, 3, stride, channels)
        x = block(x, f"conv{number}", scaled(kernels, width), 1, 1)
        if number in (11, 13):
            maps.append((x, f"conv{number}"))
    for number, (squeezed, kernels) in enumerate(
        ((256, 512), (128, 256), (128, 256), (64, 128)), start=14
    ):
        x = block(x, f"conv{number}_1", scaled(squeezed, width), 1, 1)
        x = block(x, f"conv{number}_2", scaled(kernels, width), 3, 2)
        maps.append((x, f"conv{number}_2"))
    boxes = [3, 6, 6, 6, 6, 6]
    places, scores = (
        net.concat(
            [
                head(x, f"{name}_mbox_{kind}", count, numbers)
                for (x, name), count in zip(maps, boxes, strict=True)
            ],
            f"mbox_{kind}",
        )
        for kind, numbers in (("loc", 4), ("conf", classes))
    )
    return net.finish(places, net.softmax(scores, "mbox_conf_softmax", axis=1))


def yolo_v5(seed: int = 0, width: float = 1.0, size: int = 640) -> Network:
    """As YOLOv5n: cross-stage blocks with SiLU, pyramid pooling in a row, three maps of three boxes
    with 80 classes."""
    net = Builder("yolo_v5", (3, size, size), seed)

    def conv(x: str, name: str, kernels: int, kernel: int = 1, stride: int = 1) -> str:
        # The first one has kernels of 6x6, and 2 rows and columns of padding.
        pad = (kernel - stride + 1) // 2 if kernel > 1 else 0
        x = net.conv(x, name, kernels, kernel, stride=stride, pad=pad, bias=False)
        return net.swish(net.batch_norm(x, f"{name}/bn", f"{name}/scale"), f"{name}/act")

    def cross_stage(x: str, name: str, kernels: int, depth: int, shortcut: bool) -> str:
        inner = max(4, kernels // 2)
        passed = conv(x, f"{name}/cv2", inner)
        x = conv(x, f"{name}/cv1", inner)
        for number in range(depth):
            y = conv(conv(x, f"{name}/m{number}/cv1", inner), f"{name}/m{number}/cv2", inner, 3)
            x = net.add(x, y, f"{name}/m{number}/add") if shortcut else y
        return conv(net.concat([x, passed], f"{name}/concat"), f"{name}/cv3", kernels)

    def pyramid(x: str, name: str, kernels: int) -> str:
        pools = [conv(x, f"{name}/cv1", max(4, kernels // 2))]
        for number in (1, 2, 3):
            pools.append(net.max_pool(pools[-1], f"{name}/pool{number}", 5, 1, pad=2))
        return conv(net.concat(pools, f"{name}/concat"), f"{name}/cv2", kernels)

    def boxes(x: str, name: str) -> str:
        height = net.height(x)
        x = net.reshape(net.conv(x, name, 3 * 85, 1), f"{name}/view", (3, 85, height, height))
        return net.sigmoid(net.transpose(x, f"{name}/perm", (0, 2, 3, 1)), f"{name}/sigmoid")

    first, *sizes = (scaled(kernels, width) for kernels in (16, 32, 64, 128, 256))
    x = conv(net.input, "model0", first, 6, 2)
    stages: list[str] = []
    for number, (kernels, depth) in enumerate(zip(sizes, (1, 2, 3, 1), strict=True)):
        x = conv(x, f"model{2 * number + 1}", kernels, 3, 2)
        x = cross_stage(x, f"model{2 * number + 2}", kernels, depth, shortcut=True)
        stages.append(x)
    top = conv(pyramid(x, "model9", sizes[3]), "model10", sizes[2])
    x = net.concat([net.upsample(top, "model11", 2), stages[2]], "model12")
    middle = conv(cross_stage(x, "model13", sizes[2], 1, shortcut=False), "model14", sizes[1])
    x = net.concat([net.upsample(middle, "model15", 2), stages[1]], "model16")
    fine = cross_stage(x, "model17", sizes[1], 1, shortcut=False)
    x = net.concat([conv(fine, "model18", sizes[1], 3, 2), middle], "model19")
    medium = cross_stage(x, "model20", sizes[2], 1, shortcut=False)
    x = net.concat([conv(medium, "model21", sizes[2], 3, 2), top], "model22")
    coarse = cross_stage(x, "model23", sizes[3], 1, shortcut=False)
    return net.finish(*(boxes(x, f"boxes{n}") for n, x in enumerate((fine, medium, coarse))))


def espcn(seed: int = 0, width: float = 1.0, size: int = 72) -> Network:
    """Super-resolution: an image three times as high and wide."""
    net = Builder("espcn", (1, size, size), seed)
    x = net.tanh(net.conv(net.input, "conv1", scaled(64, width), 5, pad=2), "tanh1")
    x = net.tanh(net.conv(x, "conv2", scaled(32, width), 3, pad=1), "tanh2")
    return net.finish(net.depth_to_space(net.conv(x, "conv3", 9, 3, pad=1), "shuffle", 3))
