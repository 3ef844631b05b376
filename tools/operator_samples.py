"""A small network for each operation of the ``nn`` dialect, and for each of its forms of which the
hardware may take one and not another. ``docs/operators.md`` says what the compiler makes of them.
"""

from __future__ import annotations

import math

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

_TYPE = "!quant.calibrated<f32<-2.0:2.0>>"
_AXES = 4
_AROUND = "nn.max_pool %{} kernel=[3, 3] pads=[1, 1, 1, 1]"

LAYER = "y"
"""The name of the layer that a sample is about."""


@frozen
class Sample:
    """``body`` is an operation on ``%x`` and, where ``other`` has a shape, ``%b``.

    form:      what is special, or nothing
    constants: shapes of the other operands, by name
    result:    the shape of the result, calibrated, or its whole type
    """

    name: str
    body: str
    result: str
    form: str = ""
    shape: str = "1x8x6x6"
    other: str | None = None
    constants: dict[str, str] = field(factory=dict[str, str], kw_only=True)
    input_type: str = field(default=_TYPE, kw_only=True)
    rest: tuple[str, str] | None = field(default=None, kw_only=True)
    """Another operation, on ``%y``, with the shape of its result."""

    @property
    def text(self) -> str:
        """The network: the operation is ``LAYER``. Others stand around it, so that it works on what
        the hardware has."""
        arguments = {"x": f"tensor<{self.shape}x{self.input_type}>"}
        if self.other is not None:
            arguments["b"] = _tensor(self.other)
        lines = [
            f"%{name} = nn.constant value=dense_resource<{name}> : tensor<{shape}xf32>"
            for name, shape in self.constants.items()
        ]
        body = self.body
        if self.input_type == _TYPE:
            for name, type in arguments.items():
                lines.append(f'%{name}_0 = {_AROUND.format(name)} layers=["{name}_0"] -> {type}')
                body = body.replace(f"%{name}", f"%{name}_0")
        steps = [(body, self.result)] if self.rest is None else [(body, self.result), self.rest]
        if self.result.count("x") == _AXES - 1:
            steps.append((_AROUND.format("y"), steps[-1][1]))
        names = [LAYER, *(f"{LAYER}_{index}" for index in range(1, len(steps)))]
        for name, before, (step, result) in zip(names, ["", *names], steps, strict=False):
            source = step.replace(f"%{LAYER}", f"%{before}")
            lines.append(f'%{name} = {source} layers=["{name}"] -> {_tensor(result)}')
        lines.append(f"func.return %{names[-1]}")
        listed = ", ".join(f"%{name}: {type}" for name, type in arguments.items())
        head = f"func.func @main({listed}) -> {_tensor(steps[-1][1])} {{"
        return "\n".join((head, *lines, "}\n"))

    @property
    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Its constants: positive, and all different."""
        found: dict[str, NDArray[np.float32]] = {}
        for name, shape in self.constants.items():
            extents = tuple(map(int, shape.split("x")))
            found[name] = np.linspace(0.1, 1.5, math.prod(extents), dtype=np.float32)
            found[name] = found[name].reshape(extents)
        return found


def _tensor(result: str) -> str:
    return result if result.startswith("tensor<") else f"tensor<{result}x{_TYPE}>"


_X = "1x8x6x6"
_CHANNEL, _SCALAR_MAP, _ROWS = "1x8x1x1", "1x1x6x6", "1x8x6x6"


def _binary(name: str, *, repeated: bool = True) -> tuple[Sample, ...]:
    found = [
        Sample(name, f"{name} %x, %b", _X, "of two tensors", other=_X),
        Sample(name, f"{name} %x, %k", _X, "with a constant", constants={"k": _ROWS}),
        Sample(name, f"{name} %x, %k", _X, "with constants a channel", constants={"k": _CHANNEL}),
    ]
    if repeated:
        form = "with a tensor of one number a channel"
        found.append(Sample(name, f"{name} %x, %b", _X, form, other=_CHANNEL))
        form = "with a tensor of one channel"
        found.append(Sample(name, f"{name} %x, %b", _X, form, other=_SCALAR_MAP))
    return tuple(found)


_CONV = {"w": "8x8x3x3", "k": "8"}
_PADS = "pads=[1, 1, 1, 1]"

SAMPLES: tuple[Sample, ...] = (
    Sample("nn.conv", f"nn.conv %x, %w, %k {_PADS}", _X, constants=_CONV),
    Sample(
        "nn.conv",
        f"nn.conv %x, %w, %k {_PADS} groups=8",
        _X,
        "depthwise",
        constants={"w": "8x1x3x3", "k": "8"},
    ),
    Sample(
        "nn.conv_transpose",
        "nn.conv_transpose %x, %w strides=[2, 2]",
        "1x8x12x12",
        constants={"w": "8x8x2x2"},
    ),
    Sample(
        "nn.fully_connected",
        "nn.fully_connected %x, %w, %k",
        "1x5",
        constants={"w": "5x288", "k": "5"},
    ),
    Sample(
        "nn.normalize",
        "nn.normalize %x mean=[100.0] scale=0.0125",
        "1x3x6x6",
        "of an image, ahead of a convolution",
        "1x3x6x6",
        input_type="ui8",
        constants={"w": "8x3x3x3"},
        rest=(f"nn.conv %y, %w {_PADS}", _X),
    ),
    Sample(
        "nn.batch_norm",
        "nn.batch_norm %x, %k, %k, %k, %k",
        _X,
        constants={"k": "8"},
    ),
    Sample("nn.scale", "nn.scale %x, %k, %k", _X, constants={"k": "8"}),
    Sample("nn.bias_add", "nn.bias_add %x, %k", _X, constants={"k": "8"}),
    Sample("nn.clip", "nn.clip %x minimum=0.0 maximum=2.0", _X, "from 0 to the largest code"),
    Sample("nn.clip", "nn.clip %x minimum=-0.5 maximum=1.0", _X, "to any limits"),
    Sample("nn.prelu", "nn.prelu %x, %k", _X, constants={"k": "8"}),
    *(
        Sample(name, f"{name} %x{fields}", _X)
        for name, fields in {
            "nn.relu": "",
            "nn.leaky_relu": "",
            "nn.thresholded_relu": "",
            "nn.elu": "",
            "nn.celu": "",
            "nn.selu": "",
            "nn.sigmoid": "",
            "nn.hard_sigmoid": "",
            "nn.swish": "",
            "nn.hard_swish": "",
            "nn.gelu": "",
            "nn.mish": "",
            "nn.softplus": "",
            "nn.softsign": "",
            "nn.tanh": "",
            "nn.erf": "",
            "nn.exp": "",
            "nn.abs": "",
            "nn.power": " power=2.0",
        }.items()
    ),
    Sample("nn.lrn", "nn.lrn %x size=5", _X, "over 3, 5, 7 or 9 channels"),
    Sample("nn.lrn", "nn.lrn %x size=4", _X, "over other numbers of channels"),
    Sample("nn.softmax", "nn.softmax %x", f"tensor<{_X}xf32>"),
    Sample("nn.argmax", "nn.argmax %x", "tensor<1x1x6x6xi64>"),
    *_binary("nn.add"),
    *_binary("nn.sub"),
    *_binary("nn.mul"),
    *_binary("nn.div")[:3],
    *_binary("nn.max"),
    *_binary("nn.min"),
    Sample("nn.max_pool", "nn.max_pool %x kernel=[2, 2] strides=[2, 2]", "1x8x3x3"),
    Sample(
        "nn.max_pool",
        "nn.max_pool %x kernel=[10, 10] strides=[2, 2]",
        "1x8x4x4",
        "of a window above 8",
        "1x8x16x16",
    ),
    Sample("nn.average_pool", "nn.average_pool %x kernel=[2, 2] strides=[2, 2]", "1x8x3x3"),
    Sample(
        "nn.average_pool",
        f"nn.average_pool %x kernel=[3, 3] {_PADS} count_include_pad=false",
        _X,
        "that leaves out padding",
    ),
    Sample("nn.global_average_pool", "nn.global_average_pool %x", "1x8x1x1"),
    Sample("nn.global_max_pool", "nn.global_max_pool %x", "1x8x1x1"),
    Sample("nn.concat", "nn.concat %x, %b", "1x16x6x6", "along the channels", other=_X),
    Sample("nn.concat", "nn.concat %x, %b axis=2", "1x8x12x6", "along the rows", other=_X),
    Sample("nn.reshape", "nn.reshape %x", "1x8x36x1", "that moves elements"),
    Sample("nn.flatten", "nn.flatten %x", "1x288"),
    Sample("nn.transpose", "nn.transpose %x permutation=[0, 2, 3, 1]", "1x6x6x8"),
    Sample("nn.slice", "nn.slice %x size=3 start=2", "1x3x6x6"),
    Sample("nn.pad", f"nn.pad %x {_PADS}", "1x8x8x8"),
    Sample("nn.upsample", "nn.upsample %x scales=[2, 2]", "1x8x12x12"),
    Sample("nn.interpolate", "nn.interpolate %x scales=[2, 2]", "1x8x12x12"),
    Sample("nn.channel_shuffle", "nn.channel_shuffle %x groups=2", _X),
    Sample("nn.depth_to_space", "nn.depth_to_space %x block_size=2", "1x2x12x12"),
    Sample("nn.space_to_depth", "nn.space_to_depth %x block_size=2", "1x32x3x3"),
    Sample("nn.interleave", "nn.interleave %x, %b", "1x8x12x6", other=_X),
)
"""In the order of the table."""
