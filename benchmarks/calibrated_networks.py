"""Networks of real sizes as text, calibrated, with weights that are all alike: what a compiler
does with them is up to sizes only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field

_ELEMENT = "!quant.calibrated<f32<-1.0:1.0>>"


@define
class _Text:
    """The lines of a function, and the shape of each value."""

    lines: list[str] = field(factory=list[str])
    shapes: dict[str, tuple[int, int, int]] = field(factory=dict[str, "tuple[int, int, int]"])

    def conv(self, x: str, kernels: int, size: int, stride: int = 1, *, relu: bool = True) -> str:
        """A convolution that pads by half its kernel, with a bias and a ReLU."""
        channels, height, width = self.shapes[x]
        number, pad = len(self.lines), size // 2
        self.lines.append(
            f"%w{number} = nn.constant value=dense<0.01> : "
            f"tensor<{kernels}x{channels}x{size}x{size}xf32>"
        )
        shape = (kernels, (height - 1) // stride + 1, (width - 1) // stride + 1)
        options = f"strides=[{stride}, {stride}] pads=[{pad}, {pad}, {pad}, {pad}]"
        y = self._add("nn.conv", f"%{x}, %w{number} {options}", shape)
        return self._add("nn.relu", f"%{y}", shape) if relu else y

    def pool(self, x: str, size: int, stride: int) -> str:
        """A max pool; with a stride of 1 it pads, else it rounds up."""
        channels, height, width = self.shapes[x]
        if stride == 1:
            pad = size // 2
            options, shape = f" pads=[{pad}, {pad}, {pad}, {pad}]", self.shapes[x]
        else:
            extents = [-(-(extent - size) // stride) + 1 for extent in (height, width)]
            more = [
                (count - 1) * stride + size - extent
                for count, extent in zip(extents, (height, width), strict=True)
            ]
            options = f" ceil_extension=[{more[0]}, {more[1]}]" if any(more) else ""
            shape = (channels, extents[0], extents[1])
        window = f"kernel=[{size}, {size}] strides=[{stride}, {stride}]{options}"
        return self._add("nn.max_pool", f"%{x} {window}", shape)

    def add(self, x: str, y: str) -> str:
        return self._add("nn.relu", f"%{self._add('nn.add', f'%{x}, %{y}', self.shapes[x])}")

    def concat(self, parts: Sequence[str]) -> str:
        channels = sum(self.shapes[part][0] for part in parts)
        shape = (channels, *self.shapes[parts[0]][1:])
        return self._add("nn.concat", f"{', '.join(f'%{part}' for part in parts)} axis=1", shape)

    def mean(self, x: str) -> str:
        return self._add("nn.global_average_pool", f"%{x}", (self.shapes[x][0], 1, 1))

    def _add(
        self, operation: str, arguments: str, shape: tuple[int, int, int] | None = None
    ) -> str:
        name = f"v{len(self.lines)}"
        shape = shape or self.shapes[arguments.split()[0].strip("%,")]
        self.shapes[name] = shape
        self.lines.append(f'%{name} = {operation} {arguments} layers=["{name}"] -> {_type(shape)}')
        return name


def _type(shape: tuple[int, int, int]) -> str:
    return f"tensor<1x{'x'.join(map(str, shape))}x{_ELEMENT}>"


def _network(shape: tuple[int, int, int], body: Callable[[_Text, str], str]) -> str:
    text = _Text(shapes={"x": shape})
    result = body(text, "x")
    lines = "\n  ".join([*text.lines, f"func.return %{result}"])
    returned = _type(text.shapes[result])
    return f"func.func @main(%x: {_type(shape)}) -> {returned} {{\n  {lines}\n}}\n"


def resnet50() -> str:
    """ResNet-50 with the stride in the middle convolution of a block."""

    def body(net: _Text, x: str) -> str:
        x = net.pool(net.conv(x, 64, 7, 2), 3, 2)
        for stage, blocks in enumerate((3, 4, 6, 3)):
            width = 64 << stage
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                y = net.conv(net.conv(x, width, 1), width, 3, stride)
                y = net.conv(y, 4 * width, 1, relu=False)
                if not block:
                    x = net.conv(x, 4 * width, 1, stride, relu=False)
                x = net.add(y, x)
        return net.conv(net.mean(x), 1000, 1, relu=False)

    return _network((3, 224, 224), body)


_INCEPTIONS = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Of each stage: kernels of 1x1, 3x3 with its reduction before it, 5x5 likewise, and behind the
pool."""


def googlenet() -> str:
    """GoogLeNet without its two normalizations and the classifiers that serve training."""

    def inception(net: _Text, x: str, sizes: tuple[int, ...]) -> str:
        one, reduce3, three, reduce5, five, projection = sizes
        return net.concat(
            [
                net.conv(x, one, 1),
                net.conv(net.conv(x, reduce3, 1), three, 3),
                net.conv(net.conv(x, reduce5, 1), five, 5),
                net.conv(net.pool(x, 3, 1), projection, 1),
            ]
        )

    def body(net: _Text, x: str) -> str:
        x = net.pool(net.conv(x, 64, 7, 2), 3, 2)
        x = net.pool(net.conv(net.conv(x, 64, 1), 192, 3), 3, 2)
        for stage, modules in enumerate(_INCEPTIONS):
            x = net.pool(x, 3, 2) if stage else x
            for sizes in modules:
                x = inception(net, x, sizes)
        return net.conv(net.mean(x), 1000, 1, relu=False)

    return _network((3, 224, 224), body)
