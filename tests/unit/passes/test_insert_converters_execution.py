"""Converted layers, executed: every element is within one unit of the output of what the layer
computes in reals, and of the fake-quantized numbers.

Each network has one int8 tensor between its arguments and its result, so that errors do not add
up. Ranges come from the numbers themselves, as calibration takes them.
"""

# IR does not break well.
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from attrs import field, frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from running import module_of, new_session

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.quant import CalibratedType
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.interp.quantization import round_to_grid
from nvdla_ir.ir.types import F32
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.quantize_weights import QuantizeWeights

Array = NDArray[Any]
IMAGES = 4


@frozen
class Network:
    """A function as text. ``{x}``, ``{y}`` … in it stand for element types.

    arguments: their shapes, by name
    weights:   their shapes, by key
    values:    names of all other tensors; the last is the result
    scales:    how much larger than one the numbers of an argument or constant are
    rounded:   the tensor between that may have to be int8, because the scales are far apart
    """

    body: str
    result: str
    arguments: Mapping[str, tuple[int, ...]]
    values: tuple[str, ...]
    weights: Mapping[str, tuple[int, ...]] = field(factory=dict[str, tuple[int, ...]])
    scales: Mapping[str, float] = field(factory=dict[str, float])

    rounded: str | None = None

    def between(self, types: Mapping[str, CalibratedType], unit: float) -> float:
        """The unit of the tensor between, in units of the result."""
        return 0.0 if self.rounded is None else types[self.rounded].scale / unit

    def text(self, types: Mapping[str, str]) -> str:
        arguments = ", ".join(
            f"%{name}: tensor<{'x'.join(map(str, shape))}x{{{name}}}>"
            for name, shape in self.arguments.items()
        )
        constants = "".join(
            f"%{key} = nn.constant value=dense_resource<{key}> : tensor<{'x'.join(map(str, shape))}xf32>\n"
            for key, shape in self.weights.items()
        )
        result = f"tensor<{self.result}x{{{self.values[-1]}}}>"
        head = f"func.func @main({arguments}) -> {result} {{\n"
        text = f"{head}{constants}{self.body}\nfunc.return %{self.values[-1]}\n}}"
        for name, type in types.items():
            text = text.replace(f"{{{name}}}", type)
        return text


def conv(attributes: str = "", more: str = "", **changes: Any) -> Network:
    """``y = conv(x)`` of 1x4x6x7 to 1x6x…, then ``more``."""
    fields: dict[str, Any] = {
        "body": f'%y = nn.conv %x, %w, %b pads=[1, 1, 1, 1] {attributes} layers=["conv"] -> tensor<1x6x6x7x{{y}}>\n{more}',
        "result": "1x6x6x7",
        "arguments": {"x": (1, 4, 6, 7)},
        "values": ("y",),
        "weights": {"w": (6, 4, 3, 3), "b": (6,)},
    }
    return Network(**(fields | changes))


SAME = "tensor<1x6x6x7x{%s}>"
WITH_RESIDUAL = {"x": (1, 4, 6, 7), "r": (1, 6, 6, 7)}


def residual(order: str, early: bool, late: bool, scale: float) -> Network:
    first = '%e = nn.relu %y layers=["early"] -> tensor<1x6x6x7x{e}>\n' if early else ""
    value = "%e" if early else "%y"
    operands = f"{value}, %r" if order == "conv first" else f"%r, {value}"
    text = f'{first}%s = nn.add {operands} layers=["sum"] -> tensor<1x6x6x7x{{s}}>\n'
    values = ["y", *(["e"] if early else []), "s"]
    if late:
        text += '%l = nn.relu %s layers=["late"] -> tensor<1x6x6x7x{l}>\n'
        values.append("l")
    return conv(
        more=text,
        arguments=WITH_RESIDUAL,
        values=tuple(values),
        scales={"r": scale},
        rounded="y" if scale < 1e-6 else None,
    )


def elementwise(body: str, *names: str, **changes: Any) -> Network:
    fields: dict[str, Any] = {
        "body": body,
        "result": "1x6x6x7",
        "arguments": dict.fromkeys(names, (1, 6, 6, 7)),
        "values": ("y",),
    }
    return Network(**(fields | changes))


def pool(attributes: str, result: str, name: str = "average_pool") -> Network:
    return Network(
        body=f'%y = nn.{name} %x {attributes} layers=["pool"] -> tensor<{result}x{{y}}>',
        result=result,
        arguments={"x": (1, 3, 7, 7)},
        values=("y",),
    )


NETWORKS: dict[str, Network] = {
    "convolution": conv(),
    "without bias": Network(
        body='%y = nn.conv %x, %w layers=["conv"] -> tensor<1x6x4x5x{y}>',
        result="1x6x4x5",
        arguments={"x": (1, 4, 6, 7)},
        values=("y",),
        weights={"w": (6, 4, 3, 3)},
    ),
    "strides, pads, dilations": Network(
        body='%y = nn.conv %x, %w, %b strides=[2, 1] pads=[2, 0, 1, 2] dilations=[2, 1] layers=["conv"] -> tensor<1x6x3x7x{y}>',
        result="1x6x3x7",
        arguments={"x": (1, 4, 6, 7)},
        values=("y",),
        weights={"w": (6, 4, 3, 3), "b": (6,)},
    ),
    "groups": conv("groups=2", weights={"w": (6, 2, 3, 3), "b": (6,)}),
    "large bias": conv(scales={"b": 1000.0}),
    "convolution, relu": conv(
        more='%r = nn.relu %y layers=["relu"] -> tensor<1x6x6x7x{r}>', values=("y", "r")
    ),
    "fully connected on a cube": Network(
        body='%y = nn.fully_connected %x, %w, %b layers=["fc"] -> tensor<1x5x{y}>',
        result="1x5",
        arguments={"x": (1, 4, 3, 3)},
        values=("y",),
        weights={"w": (5, 36), "b": (5,)},
    ),
    "flatten, fully connected, relu": Network(
        body='%f = nn.flatten %x layers=["flat"] -> tensor<1x36x{f}>\n'
        '%y = nn.fully_connected %f, %w, %b layers=["fc"] -> tensor<1x5x{y}>\n'
        '%r = nn.relu %y layers=["relu"] -> tensor<1x5x{r}>',
        result="1x5",
        arguments={"x": (1, 4, 3, 3)},
        values=("f", "y", "r"),
        weights={"w": (5, 36), "b": (5,)},
    ),
    **{
        f"residual, {order}, {'relu before, ' * early}{'relu behind, ' * late}x{scale:g}": residual(
            order, early, late, scale
        )
        for order, early, late, scale in [
            ("conv first", False, False, 1.0),
            ("conv second", False, False, 1000.0),
            ("conv first", False, True, 0.001),
            ("conv second", False, True, 1.0),
            ("conv first", True, False, 1000.0),
            ("conv second", True, False, 0.001),
            ("conv first", True, True, 1.0),
            ("conv first", False, False, 1e-9),
            ("conv first", False, True, 1e9),
        ]
    },
    "relu": elementwise('%y = nn.relu %x layers=["relu"] -> tensor<1x6x6x7x{y}>', "x"),
    "add": elementwise('%y = nn.add %a, %b layers=["sum"] -> tensor<1x6x6x7x{y}>', "a", "b"),
    "add, relu, x1000": elementwise(
        '%s = nn.add %a, %b layers=["sum"] -> tensor<1x6x6x7x{s}>\n'
        '%y = nn.relu %s layers=["relu"] -> tensor<1x6x6x7x{y}>',
        "a",
        "b",
        values=("s", "y"),
        scales={"a": 1000.0},
    ),
    "add, /1000000": elementwise(
        '%y = nn.add %a, %b layers=["sum"] -> tensor<1x6x6x7x{y}>', "a", "b", scales={"a": 1e-6}
    ),
    "add to itself": elementwise('%y = nn.add %x, %x layers=["sum"] -> tensor<1x6x6x7x{y}>', "x"),
    "concat": elementwise(
        '%y = nn.concat %a, %b, %a layers=["cat"] -> tensor<1x18x6x7x{y}>',
        "a",
        "b",
        result="1x18x6x7",
        scales={"b": 30.0},
    ),
    "concat, x1000000": elementwise(
        '%y = nn.concat %a, %b layers=["cat"] -> tensor<1x12x6x7x{y}>',
        "a",
        "b",
        result="1x12x6x7",
        scales={"b": 1e6},
    ),
    "scale": elementwise(
        '%y = nn.scale %x, %g, %h layers=["scale"] -> tensor<1x6x6x7x{y}>',
        "x",
        weights={"g": (6,), "h": (6,)},
    ),
    "scale without bias, relu": elementwise(
        '%s = nn.scale %x, %g layers=["scale"] -> tensor<1x6x6x7x{s}>\n'
        '%y = nn.relu %s layers=["relu"] -> tensor<1x6x6x7x{y}>',
        "x",
        values=("s", "y"),
        weights={"g": (6,)},
    ),
    "bias_add": elementwise(
        '%y = nn.bias_add %x, %h layers=["bias"] -> tensor<1x6x6x7x{y}>',
        "x",
        weights={"h": (6,)},
    ),
    "bias_add, relu, x100": elementwise(
        '%s = nn.bias_add %x, %h layers=["bias"] -> tensor<1x6x6x7x{s}>\n'
        '%y = nn.relu %s layers=["relu"] -> tensor<1x6x6x7x{y}>',
        "x",
        values=("s", "y"),
        weights={"h": (6,)},
        scales={"h": 100.0},
    ),
    "average pool": pool("kernel=[2, 2] strides=[2, 2]", "1x3x3x3"),
    "average pool, padded": pool("kernel=[3, 2] strides=[2, 1] pads=[1, 0, 1, 1]", "1x3x4x7"),
    "global pool": pool("", "1x3x1x1", "global_average_pool"),
    "global pool, relu": Network(
        body='%p = nn.global_average_pool %x layers=["pool"] -> tensor<1x3x1x1x{p}>\n'
        '%y = nn.relu %p layers=["relu"] -> tensor<1x3x1x1x{y}>',
        result="1x3x1x1",
        arguments={"x": (1, 3, 7, 7)},
        values=("p", "y"),
    ),
}


def numbers(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Random numbers; of one sign; at the ends of the range; on halves of a coarse grid."""
    if kind == "normal":
        return rng.normal(0, 0.4, shape)
    if kind == "one-signed":
        return np.abs(rng.normal(0, 0.4, shape)) + 0.01
    if kind == "ends":
        return rng.choice([-1.0, 1.0], shape)
    return rng.integers(-8, 9, shape) / 16.0


@frozen(eq=False)
class Case:
    """A network with its numbers."""

    network: Network
    inputs: dict[str, Array]
    constants: dict[str, Array]
    types: dict[str, CalibratedType]


def case_of(
    network: Network, seed: int, kind: str, weight_kind: str, symmetric: bool, stretch: float
) -> Case:
    """Calibrated from the numbers, the result's range ``stretch`` times as wide."""
    rng = np.random.default_rng(seed)

    def draw(kind: str, name: str, shape: tuple[int, ...]) -> Array:
        factor = network.scales.get(name, 1.0)
        return (numbers(kind, shape, rng) * factor).astype(np.float32)

    inputs = {
        name: draw(kind, name, (IMAGES, *shape[1:])) for name, shape in network.arguments.items()
    }
    constants = {key: draw(weight_kind, key, shape) for key, shape in network.weights.items()}
    if "g" in constants:  # factors may be zero, and much smaller than others
        constants["g"][:2] = 0.0, 1e-12
    floats = module_of(network.text(dict.fromkeys((*network.arguments, *network.values), "f32")))
    seen: dict[str, Array] = dict(inputs)

    def observe(op: Any, results: Any) -> None:
        if op.results[0].name_hint in network.values:
            seen[op.results[0].name_hint] = results[0]

    execute(floats, constants, inputs, Mode.FLOAT, observe)
    last = network.values[-1]
    largest = max(float(np.abs(seen[name]).max()) for name in network.values)
    if np.abs(seen[last]).max() < largest * 1e-4:  # a ReLU left nothing, which has no scale
        seen[last] = np.maximum(seen[last], largest * 1e-4)
    types = {
        name: range_of(values, symmetric, stretch if name == last else 1.0)
        for name, values in seen.items()
    }
    return Case(network, inputs, constants, types)


def range_of(values: Array, symmetric: bool, stretch: float) -> CalibratedType:
    low, high = min(float(values.min()), 0.0) * stretch, max(float(values.max()), 0.0) * stretch
    if symmetric or low == high:
        high = max(-low, high) or 1.0
        low = -high
    return CalibratedType(F32, low, high)


def execute(
    module: ModuleOp,
    constants: Mapping[str, Array],
    inputs: Mapping[str, Array],
    mode: Mode,
    observer: Any = None,
    session: Any = None,
) -> Array:
    session = session or new_session()
    for key, values in constants.items():
        session.resources.add(key, values)
    machine = Machine(session.resources, mode)
    machine.observer = observer
    func = next(op for op in module.walk() if isinstance(op, FuncOp))
    if machine.takes_any_batch(func):
        (output,) = machine.run(func, inputs).values()
        return output
    images = [
        next(iter(machine.run(func, {k: v[i : i + 1] for k, v in inputs.items()}).values()))
        for i in range(IMAGES)
    ]
    return np.concatenate(images)


def check(case: Case, granularity: str) -> None:
    network = case.network
    text = network.text({name: str(type) for name, type in case.types.items()})
    session = new_session()
    for key, values in case.constants.items():
        session.resources.add(key, values)
    module = module_of(text)
    Pipeline([QuantizeWeights(granularity)]).run(module, session)
    # The very numbers that the integers stand for.
    inputs = {
        name: round_to_grid(values, case.types[name].quantized())
        for name, values in case.inputs.items()
    }
    exact = execute(module, {}, inputs, Mode.FLOAT, session=session)
    Pipeline([InsertConverters()]).run(module, session)
    fake = execute(module, {}, inputs, Mode.FAKE_QUANTIZED, session=session)
    actual = execute(module, {}, inputs, Mode.INTEGER, session=session)
    element = output_element(module)
    grid = round_to_grid(exact.astype(np.float64), element)
    # What does not fit the pipeline is rounded to int8 between.
    unit = element.scale * (1.0 + network.between(case.types, element.scale))
    assert np.abs(actual - fake).max() <= unit * 1.001, "fake-quantized"
    assert np.abs(actual - grid).max() <= unit * 1.001, "reals"


def output_element(module: ModuleOp) -> Any:
    func = next(op for op in module.walk() if isinstance(op, FuncOp))
    cast = func.return_op.operands[0].defining_operation
    assert cast is not None and cast.name == "quant.dcast"
    return cast.operands[0].type.element  # type: ignore[attr-defined]


@pytest.mark.parametrize("element", ["ui8", "i8"])
@pytest.mark.parametrize("low, high", [(-2.0, 2.0), (-1.5, 3.1), (0.0, 2.55), (-2.55, 0.0)])
@pytest.mark.parametrize("means, scale", [("[103.9, 116.8, 123.7]", 0.0174), ("[0.0]", -0.01)])
def test_an_image_is_as_far_off_as_its_means_are(
    element: str, low: float, high: float, means: str, scale: float
) -> None:
    calibrated = CalibratedType(F32, low, high)
    text = f"""
        func.func @main(%x: tensor<1x3x16x16x{element}>) -> tensor<1x3x16x16x{calibrated}> {{
          %y = nn.normalize %x mean={means} scale={scale} layers=["data"] -> tensor<1x3x16x16x{calibrated}>
          func.return %y
        }}"""
    lowest = 0 if element == "ui8" else -128
    pixels = np.broadcast_to(np.arange(lowest, lowest + 256).reshape(16, 16), (IMAGES, 3, 16, 16))
    inputs = {"x": pixels.astype(np.uint8 if element == "ui8" else np.int8)}
    module, session = module_of(text), new_session()
    exact = execute(module, {}, inputs, Mode.FLOAT)
    Pipeline([InsertConverters()]).run(module, session)
    fake = execute(module, {}, inputs, Mode.FAKE_QUANTIZED)
    actual = execute(module, {}, inputs, Mode.INTEGER)
    unit = output_element(module).scale
    grid = round_to_grid(exact.astype(np.float64), output_element(module))
    assert np.abs(actual - fake).max() <= unit * 1.001
    # Whole numbers are subtracted: half a pixel at most.
    assert np.abs(actual - grid).max() <= abs(scale) / 2 + unit * 1.001


KINDS = ("normal", "one-signed", "ends", "ties")


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("name", NETWORKS)
def test_each_element_is_within_one_unit(name: str, symmetric: bool, granularity: str) -> None:
    for seed, (kind, stretch) in enumerate(zip(KINDS, (1.0, 0.6, 2.5, 1.0), strict=True)):
        for weight_kind in KINDS if NETWORKS[name].weights else KINDS[:1]:
            case = case_of(NETWORKS[name], seed, kind, weight_kind, symmetric, stretch)
            try:
                check(case, granularity)
            except AssertionError as error:
                raise AssertionError(f"{kind} inputs, {weight_kind} weights, {stretch}") from error


@settings(max_examples=60, deadline=None)
# A factor that vanishes beside the others, with a bias beyond the output's range.
@example("scale", 0, "normal", "normal", False, 0.125, "per-channel")
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    weight_kind=st.sampled_from(KINDS),
    symmetric=st.booleans(),
    stretch=st.floats(0.1, 20.0),
    granularity=st.sampled_from(["per-channel", "per-tensor"]),
)
def test_any_numbers_and_ranges(
    name: str,
    seed: int,
    kind: str,
    weight_kind: str,
    symmetric: bool,
    stretch: float,
    granularity: str,
) -> None:
    check(case_of(NETWORKS[name], seed, kind, weight_kind, symmetric, stretch), granularity)
