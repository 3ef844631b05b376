"""Random networks of all operations, compiled for all configurations.

Each is compiled, with every pass checked to keep what the network computes, or refused with a place
and a reason; anything else is wrong.

python tests/unit/passes/random_networks.py --count 10000 --seed 1
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import numpy as np
from attrs import define, field, frozen

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.calibrated import takes_calibrated_result
from nvdla_ir.dialects.func import NAME_ATTRIBUTE, FuncOp, ReturnOp
from nvdla_ir.dialects.quant import CalibratedType
from nvdla_ir.evaluation.semantics import SemanticsCheck
from nvdla_ir.hw.configuration import names as configuration_names
from nvdla_ir.interp.machine import Machine
from nvdla_ir.ir.attributes import StringAttr
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN, NameLoc
from nvdla_ir.ir.operation import Block, Region, Value
from nvdla_ir.ir.types import F32, FunctionType, TensorType
from nvdla_ir.ir.verifier import operation_faults, verify
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import ALIASES, PassRegistry
from nvdla_ir.resources import ResourceStore

MOST_LAYERS = 6
MOST_ELEMENTS = 1 << 13
_INT8_MAXIMUM = 127


@define(eq=False)
class Network:
    """A function under construction."""

    rng: np.random.Generator
    resources: ResourceStore = field(factory=ResourceStore)
    block: Block = field(factory=Block)
    values: list[Value] = field(factory=list[Value])
    builder: Builder = field(init=False)
    count: int = 0
    plain: bool = False
    """Whether it is of the layers that most networks are of."""

    def __attrs_post_init__(self) -> None:
        self.builder = Builder(InsertionPoint.at_end(self.block))

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[self.number(0, len(choices) - 1)]

    def pair(self, low: int, high: int) -> tuple[int, int]:
        return self.number(low, high), self.number(low, high)

    def recent(self) -> Value:
        """Mostly the last result, so that networks are deep."""
        return self.values[-1] if self.chance(0.7) else self.pick(self.values)

    def image(self) -> Value | None:
        images = [value for value in self.values if len(nn.shape_of(value)) == 4]
        if not images:
            return None
        return images[-1] if self.chance(0.7) else self.pick(images)

    def constant(self, *shape: int, positive: bool = False) -> Value:
        """Some have channels of zeros, or one sign, or one that dwarfs the others."""
        array = self.rng.normal(size=shape).astype(np.float32)
        array /= np.float32(math.sqrt(max(1, math.prod(shape[1:]))))
        kind = self.number(0, 9)
        if kind == 0:
            array[self.number(0, shape[0] - 1)] = 0
        elif kind == 1:
            array[self.number(0, shape[0] - 1)] *= 50
        if positive or kind == 2:
            array = np.abs(array) + np.float32(0.1 * positive)
        attribute = self.resources.attribute_for(f"c{self.count}", array, F32)
        return self.builder.create(nn.ConstantOp, value=attribute).output

    def add(self, op_class: Any, **fields: Any) -> bool:
        """Whether such a layer may be: its shapes fit, and it is small."""
        name = f"layer{self.count}"
        try:
            op = op_class.create(layers=[name], location=NameLoc(name), **fields)
            faults = operation_faults(op)
            small = min(nn.shape_of(op.results[0]), default=1) > 0
            small = small and math.prod(nn.shape_of(op.results[0])) <= MOST_ELEMENTS
        except (ValueError, TypeError, IndexError, ZeroDivisionError):
            return False
        if faults or not small:
            op.drop_operands()
            return False
        self.builder.insert(op)
        op.results[0].name_hint = name
        self.values.append(op.results[0])
        self.count += 1
        return True


# -------------------------------------------------------------- layers

Maker = Callable[[Network], bool]
MAKERS: list[Maker] = []


def maker(function: Maker) -> Maker:
    MAKERS.append(function)
    return function


def _on_image(function: Callable[[Network, Value], bool]) -> Maker:
    def make(net: Network) -> bool:
        image = net.image()
        return image is not None and function(net, image)

    return maker(make)


def _pads(net: Network, kernel: Sequence[int]) -> list[int]:
    return [net.number(0, kernel[side % 2] - 1) if net.chance(0.5) else 0 for side in range(4)]


@_on_image
def convolution(net: Network, x: Value) -> bool:
    channels = nn.shape_of(x)[1]
    groups = net.pick([1, 1, channels, *(n for n in (2, 3, 4) if channels % n == 0)])
    kernels = groups * net.number(1, max(1, 12 // groups))
    kernel, dilations = net.pair(1, 4), net.pair(1, 2) if net.chance(0.2) else (1, 1)
    spans = [(tap - 1) * step + 1 for tap, step in zip(kernel, dilations, strict=True)]
    return net.add(
        nn.ConvOp,
        input=x,
        weight=net.constant(kernels, channels // groups, *kernel),
        bias=net.constant(kernels) if net.chance(0.5) else None,
        strides=net.pair(1, 3) if net.chance(0.4) else (1, 1),
        pads=_pads(net, spans),
        dilations=dilations,
        groups=groups,
    )


@_on_image
def transposed_convolution(net: Network, x: Value) -> bool:
    channels = nn.shape_of(x)[1]
    groups = net.pick([1, 1, channels])
    kernel, strides = net.pair(1, 4), net.pair(1, 3)
    return net.add(
        nn.ConvTransposeOp,
        input=x,
        weight=net.constant(channels, net.number(1, 4), *kernel),
        strides=strides,
        pads=_pads(net, kernel),
        output_padding=[net.number(0, stride - 1) for stride in strides],
        groups=groups,
    )


@maker
def fully_connected(net: Network) -> bool:
    x, outputs = net.recent(), net.number(1, 20)
    shape = nn.shape_of(x)
    bias = net.constant(outputs) if net.chance(0.5) else None
    weight = net.constant(outputs, math.prod(shape[1:]))
    return net.add(nn.FullyConnectedOp, input=x, weight=weight, bias=bias)


@maker
def affine(net: Network) -> bool:
    x = net.recent()
    shape = nn.shape_of(x)
    channels = shape[min(1, len(shape) - 1)]
    kind = net.number(0, 2)
    if kind == 0:
        return net.add(nn.BiasAddOp, input=x, bias=net.constant(channels))
    if kind == 1:
        bias = net.constant(channels) if net.chance(0.5) else None
        return net.add(nn.ScaleOp, input=x, scale=net.constant(channels), bias=bias)
    gamma, beta, mean = (net.constant(channels) for _ in range(3))
    variance = net.constant(channels, positive=True)
    return net.add(nn.BatchNormOp, input=x, gamma=gamma, beta=beta, mean=mean, variance=variance)


@maker
def unary(net: Network) -> bool:
    op_class = nn.ReluOp if net.plain else net.pick(nn.UNARY_OPS)
    fields: dict[str, Any] = {}
    if op_class is nn.ClipOp:
        fields = net.pick([{"minimum": 0.0, "maximum": 6.0}, {"minimum": -1.0}, {"maximum": 0.5}])
    if op_class is nn.GeluOp and net.chance(0.5):
        fields = {"approximate": "tanh"}
    return net.add(op_class, input=net.recent(), **fields)


@maker
def prelu(net: Network) -> bool:
    x = net.recent()
    shape = nn.shape_of(x)
    slopes = shape[min(1, len(shape) - 1)] if net.chance(0.7) else 1
    return net.add(nn.PReluOp, input=x, slope=net.constant(slopes))


@maker
def binary(net: Network) -> bool:
    """Of two tensors, or of one and a smaller one or a constant; additions are most frequent."""
    x = net.recent()
    shape = nn.shape_of(x)
    op_class = net.pick([nn.AddOp, nn.AddOp, nn.SubOp, nn.MulOp, nn.MaxOp, nn.MinOp])
    if net.plain:
        same = [value for value in net.values[:-1] if nn.shape_of(value) == shape]
        return bool(same) and net.add(nn.AddOp, lhs=x, rhs=net.pick(same))
    if net.chance(0.3):
        kept = net.pick([shape, (1,) * len(shape), (1, *shape[1:2], *[1] * (len(shape) - 2))])
        return net.add(op_class, lhs=x, rhs=net.constant(*kept))
    others = [
        value
        for value in net.values
        if len(nn.shape_of(value)) == len(shape)
        and all(m in (n, 1) for m, n in zip(nn.shape_of(value), shape, strict=True))
    ]
    return net.add(op_class, lhs=x, rhs=net.pick(others))


@_on_image
def pooling(net: Network, x: Value) -> bool:
    kernel = net.pair(1, 4)
    fields: dict[str, Any] = {
        "kernel": kernel,
        "strides": net.pair(1, 3),
        "pads": _pads(net, kernel),
    }
    if net.chance(0.2) and not net.plain:
        fields["ceil_extension"] = net.pair(0, 1)
    if net.chance(0.5):
        return net.add(nn.MaxPoolOp, input=x, **fields)
    return net.add(
        nn.AveragePoolOp, input=x, count_include_pad=net.plain or net.chance(0.5), **fields
    )


@_on_image
def whole_channels(net: Network, x: Value) -> bool:
    return net.add(net.pick([nn.GlobalAveragePoolOp, nn.GlobalMaxPoolOp]), input=x)


@_on_image
def normalization(net: Network, x: Value) -> bool:
    return net.add(nn.LrnOp, input=x, size=net.pick([1, 3, 4, 5, 11]), alpha=0.1)


@maker
def concatenation(net: Network) -> bool:
    x = net.recent()
    shape = nn.shape_of(x)
    axis = 1 if net.plain or net.chance(0.8) else net.number(0, len(shape) - 1)
    if axis >= len(shape):
        return False
    others = [
        value
        for value in net.values
        if len(nn.shape_of(value)) == len(shape)
        and all(
            a == b
            for i, (a, b) in enumerate(zip(nn.shape_of(value), shape, strict=True))
            if i != axis
        )
    ]
    return net.add(nn.ConcatOp, inputs=[x, net.pick(others)], axis=axis)


@maker
def part(net: Network) -> bool:
    x = net.recent()
    shape = nn.shape_of(x)
    axis = net.number(1, len(shape) - 1) if len(shape) > 1 else 0
    step = net.number(1, 2)
    start = net.number(0, shape[axis] - 1)
    size = net.number(1, max(1, (shape[axis] - start + step - 1) // step))
    return net.add(nn.SliceOp, input=x, axis=axis, start=start, size=size, step=step)


@_on_image
def padding(net: Network, x: Value) -> bool:
    mode = net.pick(["constant", "constant", "edge", "reflect"])
    pads = [net.number(0, 2) for _ in range(4)]
    value = net.pick([0.0, 0.0, 1.0]) if mode == "constant" else 0.0
    return net.add(nn.PadOp, input=x, pads=pads, mode=mode, value=value)


@_on_image
def enlarging(net: Network, x: Value) -> bool:
    if net.chance(0.5):
        return net.add(nn.UpsampleOp, input=x, scales=net.pair(1, 3))
    coordinates = net.pick(["half_pixel", "asymmetric", "align_corners"])
    return net.add(nn.InterpolateOp, input=x, scales=net.pair(1, 2), coordinates=coordinates)


@_on_image
def rearrangement(net: Network, x: Value) -> bool:
    shape = nn.shape_of(x)
    kind = net.number(0, 5)
    if kind == 0:
        return net.add(nn.ChannelShuffleOp, input=x, groups=net.number(2, 4))
    if kind == 1:
        mode = net.pick(["DCR", "CRD"])
        return net.add(nn.DepthToSpaceOp, input=x, block_size=2, mode=mode)
    if kind == 2:
        mode = net.pick(["DCR", "CRD"])
        return net.add(nn.SpaceToDepthOp, input=x, block_size=2, mode=mode)
    if kind == 3:
        return net.add(nn.FlattenOp, input=x)
    if kind == 4:
        others = [value for value in net.values if nn.shape_of(value) == shape]
        return net.add(nn.InterleaveOp, inputs=[x, net.pick(others)], axis=net.number(2, 3))
    order = [0, *(int(axis) + 1 for axis in net.rng.permutation(len(shape) - 1))]
    return net.add(nn.TransposeOp, input=x, permutation=order)


PLAIN: tuple[Maker, ...] = (
    *[convolution] * 4,
    fully_connected,
    affine,
    *[unary] * 2,
    binary,
    pooling,
    concatenation,
)

# -------------------------------------------------------------- networks


def random_module(seed: int) -> tuple[ModuleOp, Session]:
    """A calibrated network with up to ``MOST_LAYERS`` layers, of which all that nothing reads are
    outputs."""
    net = Network(np.random.default_rng(seed))
    shape = (2 if seed % 10 == 3 else 1, net.number(1, 18), *net.pair(1, 14))
    argument = net.block.add_argument(TensorType(shape, F32), "x")
    net.values.append(argument)
    wanted, net.plain = net.number(1, MOST_LAYERS), net.chance(0.5)
    while net.count < wanted:
        net.pick(PLAIN if net.plain else MAKERS)(net)
    if net.chance(0.2):
        net.add(nn.SoftmaxOp, input=net.values[-1], axis=1)
    for op in reversed(list(net.block.operations)):
        if isinstance(op, nn.ConstantOp) and not op.output.is_used:
            op.erase()
    returned = [value for value in net.values[1:] if not value.is_used]
    net.builder.create(ReturnOp, values=returned)
    types = FunctionType((argument.type,), tuple(value.type for value in returned))
    func = FuncOp.create(
        sym_name="main",
        function_type=types,
        arg_attrs=[{NAME_ATTRIBUTE: StringAttr("x")}],
        res_attrs=[{NAME_ATTRIBUTE: StringAttr(value.name_hint or "")} for value in returned],
        regions=[Region([net.block])],
    )
    module = ModuleOp.of([func])
    verify(module)
    _calibrate(func, net)
    verify(module)
    return module, Session(net.resources)


# What has the codes of its input.
_MOVING = (nn.RearrangementOp, nn.SliceOp, nn.UpsampleOp, nn.MaxPoolOp, nn.GlobalMaxPoolOp)


def _calibrate(func: FuncOp, net: Network) -> None:
    """Ranges that inputs of -2 to 2 make, or a little less."""
    peaks: dict[Value, float] = {}

    def observe(op: Any, results: Sequence[Any]) -> None:
        value = op.results[0]
        peaks[value] = max(peaks.get(value, 0.0), float(np.abs(results[0]).max()))

    (argument,) = func.body.arguments
    x = net.rng.uniform(-2, 2, (4, *nn.shape_of(argument))).astype(np.float32)
    machine = Machine(net.resources, observer=observe)
    for image in x:
        machine.run(func, {"x": image})
    share = net.pick([1.0, 1.0, 0.7])
    argument.type = _ranged(argument, 2.0)
    for op in func.body.operations:
        if isinstance(op, _MOVING) or (isinstance(op, nn.PadOp) and not op.value):
            element = nn.tensor_type(op.input).element
            op.output.type = nn.tensor_type(op.output).with_element(element)
        elif takes_calibrated_result(op):
            value = op.results[0]
            value.type = _ranged(value, (peaks[value] or 1.0) * share)
    func.update_function_type()


def _ranged(value: Value, peak: float) -> TensorType:
    scale = max(peak, 1e-6) / _INT8_MAXIMUM
    return nn.tensor_type(value).with_element(CalibratedType.of_scale(scale, 0, F32))


# -------------------------------------------------------------- outcomes


class Outcome(Enum):
    EQUAL = "compiled, and equal at all levels"
    REFUSED = "refused, with a place and a reason"
    WRONG = "wrong"


@frozen
class Trial:
    """What became of network number ``seed`` on ``target``; ``messages`` say why."""

    seed: int
    target: str
    outcome: Outcome
    messages: tuple[str, ...] = ()


# What only a fault of the compiler's own makes.
_OWN_FAULT = re.compile(r"pass '[^']*' (failed|left|changed|is at fault)|rule .* failed")


def compile_random(seed: int, target: str) -> Trial:
    module, session = random_module(seed)
    registry = PassRegistry()
    steps = [
        registry.create(step)
        for name, value in (("target", target), ("quantize", "per-channel"), ("compile", ""))
        for specifications in (ALIASES[name].specifications_ahead, ALIASES[name].specifications)
        for step in specifications(value, UNKNOWN)
    ]
    try:
        Pipeline(steps).run(module, session, [SemanticsCheck(session.resources, seed)])
    except DiagnosticError as error:
        found = [one for one in error.diagnostics if one.message]
        messages = tuple(one.message for one in found)
        nowhere = not found or any(one.location == UNKNOWN for one in found)
        own = any(map(_OWN_FAULT.search, messages))
        outcome = Outcome.WRONG if nowhere or own else Outcome.REFUSED
        return Trial(seed, target, outcome, messages)
    except Exception as error:  # whatever it is, it must not come out
        message = f"{type(error).__name__}: {error}"
        return Trial(seed, target, Outcome.WRONG, (message,))
    return Trial(seed, target, Outcome.EQUAL)


def trials(count: int, first_seed: int) -> list[tuple[int, str]]:
    """Seeds and targets: each network on one configuration, all of them in turn."""
    targets = configuration_names()
    return [(seed, targets[seed % len(targets)]) for seed in range(first_seed, first_seed + count)]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of the first network")
    arguments = parser.parse_args(argv)
    outcomes: Counter[Outcome] = Counter()
    refusals: Counter[str] = Counter()
    for seed, target in trials(arguments.count, arguments.seed):
        trial = compile_random(seed, target)
        outcomes[trial.outcome] += 1
        if trial.outcome is Outcome.WRONG:
            print(f"WRONG: seed {seed} on {target}: {'; '.join(trial.messages)}", flush=True)
        refusals.update(re.sub(r"'[^']*'|-?\d[\d.e+-]*", "…", text) for text in trial.messages)
    for outcome in Outcome:
        print(f"{outcomes[outcome]:6} {outcome.value}")
    for text, number in refusals.most_common(20):
        print(f"{number:6} {text}")
    return 1 if outcomes[Outcome.WRONG] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
