"""Networks of hardware layers with work of the host between."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from running import module_of, new_session

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp, entry_functions
from nvdla_ir.dialects.nvdla import ConstantOp
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.attributes import DenseResourceAttr
from nvdla_ir.ir.types import TensorType
from nvdla_ir.passes.base import Session

Array = NDArray[Any]

Q = "!quant.uniform<i8:f32, 0.5>"


def cube(channels: int, height: int = 6, width: int = 5) -> str:
    return f"tensor<1x{channels}x{height}x{width}x{Q}>"


def _turned(name: str, source: str, channels: int, height: int, width: int) -> str:
    """Rows and columns changed by the host."""
    return f"""
  %{name}_down = nvdla.download {source} -> {cube(channels, height, width)}
  %{name}_turn = nn.transpose %{name}_down permutation=[0, 1, 3, 2] layers=["{name}"]
    -> {cube(channels, width, height)}
  %{name} = nvdla.upload %{name}_turn -> {cube(channels, width, height)}"""


def _convolution(name: str, source: str, inputs: int, outputs: int, plane: str, sdp: str) -> str:
    return f"""
  %{name}_w = nvdla.constant value=dense_resource<{name}_w> : tensor<{outputs}x{inputs}x3x3xi8>
  %{name}_c = nvdla.conv {source}, %{name}_w pads=[1, 1, 1, 1] layers=["{name}"]
    -> !nvdla.stream<1x{outputs}x{plane}xi32>
  %{name} = nvdla.sdp %{name}_c {sdp} layers=["{name}"] -> tensor<1x{outputs}x{plane}x{Q}>"""


SCALED = "cvt_scale=3 cvt_shift=10"
ADDED = f'bn_operand=%cross bn=#nvdla.x_stage<alu = "sum"> {SCALED}'
TWO_ISLANDS = f"""
func.func @main(%x: {cube(13)}) -> ({cube(11)}, {cube(13, 5, 6)}) {{
  %a = nvdla.upload %x -> {cube(13)}
{_convolution("one", "%a", 13, 11, "6x5", SCALED)}
{_convolution("cross", "%a", 13, 11, "6x5", SCALED)}
{_turned("first", "%one", 11, 6, 5)}
{_convolution("two", "%first", 11, 13, "5x6", SCALED)}
{_turned("second", "%two", 13, 5, 6)}
{_convolution("three", "%second", 13, 11, "6x5", ADDED)}
  %y = nvdla.download %three -> {cube(11)}
  %z = nvdla.download %two -> {cube(13, 5, 6)}
  func.return %y, %z
}}"""
"""A residual (cross) crosses both islands; what the second one reads is an output, too."""

EDGES = f"""
func.func @main(%x: {cube(16, 5, 6)}) -> {cube(16, 5, 6)} {{
  %before = nn.transpose %x permutation=[0, 1, 3, 2] layers=["before"] -> {cube(16)}
  %a = nvdla.upload %before -> {cube(16)}
{_convolution("one", "%a", 16, 16, "6x5", SCALED)}
  %y = nvdla.download %one -> {cube(16)}
  %after = nn.transpose %y permutation=[0, 1, 3, 2] layers=["after"] -> {cube(16, 5, 6)}
  func.return %after
}}"""
"""The host works first and last."""

USED_TWICE = f"""
func.func @main(%x: {cube(32)}) -> ({cube(64, 5, 6)}, {cube(32, 5, 6)}, {cube(32, 5, 6)}) {{
  %a = nvdla.upload %x -> {cube(32)}
{_convolution("one", "%a", 32, 32, "6x5", SCALED)}
{_turned("island", "%one", 32, 6, 5)}
  %unread = nvdla.slice %island begin=0 size=8 -> {cube(8, 5, 6)}
  %pool = nvdla.pdp max %island kernel=[3, 3] pads=[1, 1, 1, 1] layers=["pool"] -> {cube(32, 5, 6)}
  %copy = nvdla.sdp %island layers=["copy"] -> {cube(32, 5, 6)}
  %wide = nvdla.concat %pool, %copy layers=["wide"] -> {cube(64, 5, 6)}
{_convolution("two", "%wide", 64, 32, "5x6", SCALED)}
  %w = nvdla.download %wide -> {cube(64, 5, 6)}
  %t = nvdla.download %two -> {cube(32, 5, 6)}
  func.return %w, %t, %island_turn
}}"""
"""What an island makes is read twice on the device, and is an output."""

CONCATENATED = f"""
func.func @main(%x: {cube(32)}) -> {cube(64)} {{
  %a = nvdla.upload %x -> {cube(32)}
  %early = nvdla.sdp %a bs=#nvdla.x_stage<alu = "sum", alu_value = 9, relu> layers=["early"]
    -> {cube(32)}
{_turned("there", "%a", 32, 6, 5)}
  %pool = nvdla.pdp max %there kernel=[2, 2] pads=[1, 1, 0, 0] layers=["pool"] -> {cube(32, 5, 6)}
{_turned("back", "%pool", 32, 5, 6)}
  %late = nvdla.sdp %back bs=#nvdla.x_stage<alu = "sum", alu_value = -9> layers=["late"]
    -> {cube(32)}
  %both = nvdla.concat %early, %late layers=["both"] -> {cube(64)}
  %top = nvdla.slice %both axis=2 begin=1 size=5 -> {cube(64, 5)}
  %s = nvdla.sdp %top cvt_scale=5 cvt_shift=3 layers=["s"] -> {cube(64, 5)}
  %t = nvdla.sdp %both layers=["t"] -> {cube(64)}
  %y = nvdla.download %t -> {cube(64)}
  func.return %y
}}"""
"""The parts of a concatenation are written in place by different programs."""

BY_TURNS = f"""
func.func @main(%x: {cube(16)}) -> {cube(16, 6, 10)} {{
  %a = nvdla.upload %x -> {cube(16)}
  %early = nvdla.sdp %a bs=#nvdla.x_stage<alu = "sum", alu_value = 9, relu> layers=["early"]
    -> {cube(16)}
{_turned("there", "%a", 16, 6, 5)}
  %pool = nvdla.pdp max %there kernel=[2, 2] pads=[1, 1, 0, 0] layers=["pool"] -> {cube(16, 5, 6)}
{_turned("back", "%pool", 16, 5, 6)}
  %late = nvdla.sdp %back bs=#nvdla.x_stage<alu = "sum", alu_value = -9> layers=["late"]
    -> {cube(16)}
  %both = nvdla.interleave %early, %late axis=3 layers=["both"] -> {cube(16, 6, 10)}
  %t = nvdla.sdp %both layers=["t"] -> {cube(16, 6, 10)}
  %y = nvdla.download %t -> {cube(16, 6, 10)}
  func.return %y
}}"""
"""Columns by turns, written in place by different programs."""

NETWORKS = {
    "two islands, a residual that crosses both": TWO_ISLANDS,
    "the host first and last": EDGES,
    "what an island makes is used twice": USED_TWICE,
    "a concatenation across programs": CONCATENATED,
}


def network(text: str, target: str, seed: int = 0) -> tuple[ModuleOp, FuncOp, Session]:
    """The network with random weights over the full range."""
    module = module_of(f'module attributes {{nvdla.target = "{target}"}} {{\n{text}\n}}')
    session = new_session()
    rng = np.random.default_rng(seed)
    for op in module.walk():
        if isinstance(op, ConstantOp) and isinstance(op.value, DenseResourceAttr):
            shape = op.value.type.static_shape
            session.resources.add(op.value.key, rng.integers(-128, 128, shape, np.int8))
    return module, entry_functions(module)[0], session


def inputs_of(func: FuncOp, seed: int = 0) -> list[dict[str, Array]]:
    """Random numbers, those at the ends of the range, and of one sign."""
    rng = np.random.default_rng(seed + 1)
    (argument,) = func.body.arguments
    assert isinstance(argument.type, TensorType)
    shape = argument.type.static_shape
    name = func.argument_name(argument)
    return [
        {name: rng.integers(-128, 128, shape, np.int8)},
        {name: rng.choice(np.array([-128, 127], np.int8), shape)},
        {name: np.full(shape, -128, np.int8)},
    ]


def outputs_of(func: FuncOp, session: Session, inputs: dict[str, Array]) -> dict[str, Array]:
    return Machine(session.resources, Mode.INTEGER).run(func, inputs)
