"""Networks of sound and of plain numbers: spectra, samples, features."""

from __future__ import annotations

from network import Builder, Network, scaled


def ds_cnn(seed: int = 0, width: float = 1.0, size: int = 49) -> Network:
    """Keyword spotting: 10 coefficients of ``size`` moments, depthwise separable convolutions."""
    net = Builder("ds_cnn", (1, size, 10), seed)
    kernels = scaled(64, width)

    def normal(x: str, name: str) -> str:
        return net.relu(net.batch_norm(x, f"{name}/bn", f"{name}/scale"), f"{name}/relu")

    x = net.conv(net.input, "conv1", kernels, (10, 4), stride=2, pad=(5, 1), bias=False)
    x = normal(x, "conv1")
    for number in range(2, 6):
        name = f"conv{number}"
        x = net.conv(x, f"{name}/dw", kernels, 3, pad=1, groups=kernels, bias=False)
        x = net.conv(normal(x, f"{name}/dw"), f"{name}/pw", kernels, 1, bias=False)
        x = normal(x, f"{name}/pw")
    x = net.global_average_pool(x, "pool")
    return net.finish(net.softmax(net.fully_connected(x, "fc", 12), "prob"))


def wave(seed: int = 0, width: float = 1.0, size: int = 1024) -> Network:
    """Convolutions along samples, ever more spread, as in a temporal convolutional network."""
    net = Builder("wave", (2, 1, size), seed)
    kernels = scaled(32, width)
    x = net.conv(net.input, "conv1", kernels, (1, 9), pad=(0, 4))
    for number in range(1, 5):
        y, spread = x, 2**number
        y = net.conv(
            y, f"tcn{number}", kernels, (1, 3), pad=(0, spread), dilation=spread, bias=False
        )
        y = net.relu(net.batch_norm(y, f"tcn{number}/bn", f"tcn{number}/scale"), f"relu{number}")
        x = net.add(x, y, f"sum{number}")
    x = net.global_average_pool(x, "pool")
    return net.finish(net.softmax(net.fully_connected(x, "fc", 8), "prob"))


def mlp(seed: int = 0, width: float = 1.0, size: int = 28) -> Network:
    """Fully connected layers only."""
    net = Builder("mlp", (1, size, size), seed)
    x = net.input
    for number in (1, 2, 3):
        x = net.fully_connected(x, f"fc{number}", scaled(512, width))
        x = net.relu(x, f"relu{number}")
    return net.finish(net.softmax(net.fully_connected(x, "fc4", 10), "prob"))
