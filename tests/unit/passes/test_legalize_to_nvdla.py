"""Layers of int8 integers give the same bytes before and after ``legalize-to-nvdla``, and as
registers, for integers over the whole range, at its ends, and of one sign."""

# IR does not break well.
# ruff: noqa: E501

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import module_of, new_session

from nvdla_ir.dialects import nvdla
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.legalize_to_nvdla import LegalizeToNvdla
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.set_target import SetTarget

TARGETS = ("nv_small", "nv_large", "nv_full", "custom")
CUSTOM = """
base = "nv_small"
name = "custom"
memory_atom = 16
atomic_k = 16
atomic_c = 16
[cbuf]
entry_bytes = 32
"""


def q(scale: float, zero_point: int = 0) -> str:
    return f"!quant.uniform<i8:f32, {scale}{f':{zero_point}' if zero_point else ''}>"


def acc(zero_point: int = 0) -> str:
    return f"!quant.uniform<i32:f32, 0.25{f':{zero_point}' if zero_point else ''}>"


A, B, C = q(0.5), q(0.25), q(0.5, 7)
P = acc()

NETWORKS = {
    "convolution with odd channels, strides, pads and dilation": f"""
      func.func @main(%x: tensor<1x5x9x11x{A}>) -> tensor<1x11x4x6x{C}> {{
        %w = nn.constant value=dense_resource<w> : tensor<11x5x3x2xi8> -> tensor<11x5x3x2x{B}>
        %0 = nn.conv %x, %w strides=[2, 2] pads=[1, 2, 0, 1] dilations=[1, 2] layers=["a"] -> tensor<1x11x4x6x{P}>
        %y = fixed.output_converter %0 offset=-77 scale=-1234 shift=21 layers=["a"] -> tensor<1x11x4x6x{C}>
        func.return %y
      }}""",
    "windows that leave the last rows and columns unread": f"""
      func.func @main(%x: tensor<1x9x10x11x{A}>) -> tensor<1x8x3x4x{A}> {{
        %w = nn.constant value=dense_resource<w> : tensor<8x9x2x2xi8> -> tensor<8x9x2x2x{B}>
        %0 = nn.conv %x, %w strides=[4, 3] layers=["a"] -> tensor<1x8x3x4x{P}>
        %y = fixed.output_converter %0 scale=77 shift=18 layers=["a"] -> tensor<1x8x3x4x{A}>
        func.return %y
      }}""",
    "rows that kernels step over": f"""
      func.func @main(%x: tensor<1x9x8x11x{C}>) -> (tensor<1x8x3x5x{A}>, tensor<1x9x4x11x{A}>) {{
        %w = nn.constant value=dense_resource<w> : tensor<8x9x1x2xi8> -> tensor<8x9x1x2x{B}>
        %v = nn.constant value=dense_resource<v> : tensor<9x1x1x1xi8> -> tensor<9x1x1x1x{B}>
        %0 = nn.conv %x, %w strides=[3, 3] pads=[0, 1, 0, 2] layers=["a"] -> tensor<1x8x3x5x{P}>
        %y = fixed.output_converter %0 scale=77 shift=18 layers=["a"] -> tensor<1x8x3x5x{A}>
        %1 = nn.conv %x, %v strides=[2, 1] groups=9 layers=["b"] -> tensor<1x9x4x11x{P}>
        %z = fixed.output_converter %1 scale=77 shift=12 layers=["b"] -> tensor<1x9x4x11x{A}>
        func.return %y, %z
      }}""",
    "integers as images, for two convolutions and for one": f"""
      func.func @main(%x: tensor<1x3x9x11x{C}>, %z: tensor<1x1x8x9x{A}>) -> (tensor<1x8x5x6x{A}>, tensor<1x9x9x9x{A}>, tensor<1x8x6x6x{A}>) {{
        %w = nn.constant value=dense_resource<w> : tensor<8x3x7x7xi8> -> tensor<8x3x7x7x{B}>
        %v = nn.constant value=dense_resource<v> : tensor<9x3x1x3xi8> -> tensor<9x3x1x3x{B}>
        %u = nn.constant value=dense_resource<u> : tensor<8x1x3x4xi8> -> tensor<8x1x3x4x{B}>
        %0 = nn.conv %x, %w strides=[2, 2] pads=[3, 3, 3, 3] layers=["a"] -> tensor<1x8x5x6x{P}>
        %a = fixed.output_converter %0 scale=77 shift=20 layers=["a"] -> tensor<1x8x5x6x{A}>
        %1 = nn.conv %x, %v layers=["b"] -> tensor<1x9x9x9x{P}>
        %b = fixed.output_converter %1 scale=77 shift=15 layers=["b"] -> tensor<1x9x9x9x{A}>
        %2 = nn.conv %z, %u layers=["c"] -> tensor<1x8x6x6x{P}>
        %c = fixed.output_converter %2 scale=77 shift=15 layers=["c"] -> tensor<1x8x6x6x{A}>
        func.return %a, %b, %c
      }}""",
    "integers that are no images, dilated, of groups, pooled, too": f"""
      func.func @main(%x: tensor<1x3x9x9x{A}>, %y: tensor<1x4x9x9x{A}>, %z: tensor<1x1x9x9x{A}>) -> (tensor<1x8x5x5x{A}>, tensor<1x4x7x7x{A}>, tensor<1x8x7x7x{A}>, tensor<1x1x3x3x{A}>) {{
        %w = nn.constant value=dense_resource<w> : tensor<8x3x3x3xi8> -> tensor<8x3x3x3x{B}>
        %v = nn.constant value=dense_resource<v> : tensor<4x2x3x3xi8> -> tensor<4x2x3x3x{B}>
        %u = nn.constant value=dense_resource<u> : tensor<8x1x3x3xi8> -> tensor<8x1x3x3x{B}>
        %0 = nn.conv %x, %w dilations=[2, 2] layers=["a"] -> tensor<1x8x5x5x{P}>
        %a = fixed.output_converter %0 scale=77 shift=17 layers=["a"] -> tensor<1x8x5x5x{A}>
        %1 = nn.conv %y, %v groups=2 layers=["b"] -> tensor<1x4x7x7x{P}>
        %b = fixed.output_converter %1 scale=77 shift=16 layers=["b"] -> tensor<1x4x7x7x{A}>
        %2 = nn.conv %z, %u layers=["c"] -> tensor<1x8x7x7x{P}>
        %c = fixed.output_converter %2 scale=77 shift=15 layers=["c"] -> tensor<1x8x7x7x{A}>
        %d = nn.max_pool %z kernel=[3, 3] strides=[3, 3] layers=["d"] -> tensor<1x1x3x3x{A}>
        func.return %a, %b, %c, %d
      }}""",
    "sums alike for all channels, in pieces on nv_small": f"""
      func.func @main(%x: tensor<1x768x8x24x{C}>) -> tensor<1x768x1x8x{A}> {{
        %w = nn.constant value=dense_resource<alike> : tensor<768x1x8x3xi8> -> tensor<768x1x8x3x{B}>
        %0 = nn.conv %x, %w strides=[5, 3] groups=768 layers=["a"] -> tensor<1x768x1x8x{P}>
        %y = fixed.output_converter %0 offset=3 scale=-999 shift=15 layers=["a"] -> tensor<1x768x1x8x{A}>
        func.return %y
      }}""",
    "sums alike for all channels, of rows of another and of what is joined": f"""
      func.func @main(%x: tensor<1x64x5x4x{A}>) -> (tensor<1x64x1x1x{A}>, tensor<1x64x1x1x{A}>, tensor<1x64x10x4x{A}>) {{
        %w = nn.constant value=dense_resource<alike> : tensor<64x1x4x4xi8> -> tensor<64x1x4x4x{B}>
        %r = nn.relu %x layers=["r"] -> tensor<1x64x5x4x{A}>
        %s = nn.slice %r axis=2 start=1 size=4 layers=["s"] -> tensor<1x64x4x4x{A}>
        %0 = nn.conv %s, %w groups=64 layers=["a"] -> tensor<1x64x1x1x{P}>
        %y = fixed.output_converter %0 scale=999 shift=14 layers=["a"] -> tensor<1x64x1x1x{A}>
        %v = nn.constant value=dense_resource<alike_too> : tensor<64x1x5x4xi8> -> tensor<64x1x5x4x{B}>
        %1 = nn.conv %r, %v groups=64 layers=["b"] -> tensor<1x64x1x1x{P}>
        %z = fixed.output_converter %1 scale=999 shift=14 layers=["b"] -> tensor<1x64x1x1x{A}>
        %j = nn.concat %r, %x axis=2 layers=["j"] -> tensor<1x64x10x4x{A}>
        func.return %y, %z, %j
      }}""",
    "padding that is a zero point": f"""
      func.func @main(%x: tensor<1x4x5x5x{C}>) -> tensor<1x9x5x5x{A}> {{
        %w = nn.constant value=dense_resource<w> : tensor<9x4x3x3xi8> -> tensor<9x4x3x3x{B}>
        %0 = nn.conv %x, %w pads=[1, 1, 1, 1] layers=["a"] -> tensor<1x9x5x5x{P}>
        %y = fixed.output_converter %0 scale=77 shift=18 layers=["a"] -> tensor<1x9x5x5x{A}>
        func.return %y
      }}""",
    "bias and multiplier a channel, residual, each with its ReLU": f"""
      func.func @main(%x: tensor<1x8x5x6x{A}>, %r: tensor<1x19x5x6x{B}>) -> tensor<1x19x5x6x{A}> {{
        %w = nn.constant value=dense_resource<w> : tensor<19x8x3x3xi8> -> tensor<19x8x3x3x{B}>
        %b = nn.constant value=dense_resource<b> : tensor<19xi16> -> tensor<19x!quant.uniform<i16:f32, 0.125>>
        %m = nn.constant value=dense_resource<m> : tensor<19xi16>
        %0 = nn.conv %x, %w pads=[1, 1, 1, 1] layers=["a"] -> tensor<1x19x5x6x{P}>
        %1 = fixed.shift_add %0, %b shift=3 layers=["a"] -> tensor<1x19x5x6x{P}>
        %2 = fixed.rescale %1, %m shift=19 layers=["a"] -> tensor<1x19x5x6x{P}>
        %3 = nn.relu %2 layers=["relu_a"] -> tensor<1x19x5x6x{P}>
        %4 = fixed.shift_add %3, %r shift=7 layers=["sum"] -> tensor<1x19x5x6x{P}>
        %5 = nn.relu %4 layers=["relu_sum"] -> tensor<1x19x5x6x{P}>
        %y = fixed.output_converter %5 offset=5000 scale=500 shift=16 layers=["relu_sum"] -> tensor<1x19x5x6x{A}>
        func.return %y
      }}""",
    "rescale behind the first unit's ReLU": f"""
      func.func @main(%x: tensor<1x8x5x5x{A}>) -> tensor<1x8x5x5x{A}> {{
        %w = nn.constant value=dense_resource<w> : tensor<8x8x1x1xi8> -> tensor<8x8x1x1x{B}>
        %b = nn.constant value=dense_resource<b> : tensor<8xi8> -> tensor<8x!quant.uniform<i8:f32, 0.125>>
        %m = nn.constant value=dense_resource<m> : tensor<8xi16>
        %0 = nn.conv %x, %w layers=["a"] -> tensor<1x8x5x5x{P}>
        %1 = fixed.shift_add %0, %b shift=6 layers=["a"] -> tensor<1x8x5x5x{P}>
        %2 = nn.relu %1 layers=["r"] -> tensor<1x8x5x5x{P}>
        %3 = fixed.rescale %2, %m shift=16 layers=["s"] -> tensor<1x8x5x5x{P}>
        %y = fixed.output_converter %3 scale=3 shift=6 layers=["s"] -> tensor<1x8x5x5x{A}>
        func.return %y
      }}""",
    "sums of 33 bits, saturated between units": f"""
      func.func @main(%x: tensor<1x8x5x5x{A}>) -> (tensor<1x8x5x5x{A}>, tensor<1x8x5x5x{A}>) {{
        %w = nn.constant value=dense_resource<w> : tensor<8x8x1x1xi8> -> tensor<8x8x1x1x{B}>
        %0 = nn.conv %x, %w layers=["a"] -> tensor<1x8x5x5x{P}>
        %1 = fixed.shift_add %0 value=32767 shift=40 layers=["a"] -> tensor<1x8x5x5x{P}>
        %2 = fixed.rescale %1 value=16384 shift=14 layers=["a"] -> tensor<1x8x5x5x{P}>
        %3 = fixed.shift_add %2 value=-32768 shift=16 layers=["a"] -> tensor<1x8x5x5x{P}>
        %y = fixed.output_converter %3 scale=3 shift=11 layers=["a"] -> tensor<1x8x5x5x{A}>
        %4 = nn.conv %x, %w layers=["b"] -> tensor<1x8x5x5x{P}>
        %5 = fixed.shift_add %4 value=-32768 shift=16 layers=["b"] -> tensor<1x8x5x5x{P}>
        %6 = fixed.shift_add %5 value=32767 shift=16 layers=["b"] -> tensor<1x8x5x5x{P}>
        %z = fixed.output_converter %6 offset=-40000 scale=7 shift=11 layers=["b"] -> tensor<1x8x5x5x{A}>
        func.return %y, %z
      }}""",
    "ReLU at zero points": f"""
      func.func @main(%x: tensor<1x9x4x4x{C}>) -> (tensor<1x9x4x4x{C}>, tensor<1x9x4x4x{A}>) {{
        %r = nn.relu %x layers=["r"] -> tensor<1x9x4x4x{C}>
        %w = nn.constant value=dense_resource<w> : tensor<9x9x1x1xi8> -> tensor<9x9x1x1x{B}>
        %0 = nn.conv %x, %w layers=["a"] -> tensor<1x9x4x4x{acc(-9000)}>
        %1 = nn.relu %0 layers=["s"] -> tensor<1x9x4x4x{acc(-9000)}>
        %2 = fixed.rescale %1 value=30000 shift=10 layers=["s"] -> tensor<1x9x4x4x{acc(-65536)}>
        %3 = nn.relu %2 layers=["t"] -> tensor<1x9x4x4x{acc(-65536)}>
        %y = fixed.output_converter %3 scale=100 shift=16 layers=["t"] -> tensor<1x9x4x4x{A}>
        func.return %r, %y
      }}""",
    "steps on int8 in memory": f"""
      func.func @main(%x: tensor<1x9x4x4x{A}>, %z: tensor<1x9x4x4x{A}>) -> (tensor<1x9x4x4x{A}>, tensor<1x9x4x4x{A}>, tensor<1x9x4x4x{A}>) {{
        %e = nn.constant value=dense_resource<e> : tensor<1x9x4x4xi16> -> tensor<1x9x4x4x!quant.uniform<i16:f32, 0.125>>
        %f = nn.constant value=dense_resource<f> : tensor<1x9x4x4xi8> -> tensor<1x9x4x4x!quant.uniform<i8:f32, 0.125>>
        %0 = fixed.shift_add %x, %e shift=0 layers=["a"] -> tensor<1x9x4x4x{P}>
        %1 = fixed.shift_add %0, %f shift=8 layers=["a"] -> tensor<1x9x4x4x{P}>
        %a = fixed.output_converter %1 scale=40 shift=13 layers=["a"] -> tensor<1x9x4x4x{A}>
        %2 = fixed.rescale %x value=-21000 shift=15 layers=["b"] -> tensor<1x9x4x4x{P}>
        %3 = fixed.shift_add %2, %z shift=1 layers=["b"] -> tensor<1x9x4x4x{P}>
        %b = fixed.output_converter %3 scale=5 shift=3 layers=["b"] -> tensor<1x9x4x4x{A}>
        %c = fixed.output_converter %b offset=3 scale=-5 shift=2 layers=["c"] -> tensor<1x9x4x4x{A}>
        func.return %a, %b, %c
      }}""",
    "a chain of one tensor with itself": f"""
      func.func @main(%x: tensor<1x9x4x4x{A}>) -> tensor<1x9x4x4x{A}> {{
        %0 = fixed.rescale %x value=200 shift=7 layers=["b"] -> tensor<1x9x4x4x{P}>
        %1 = nn.relu %0 layers=["b"] -> tensor<1x9x4x4x{P}>
        %2 = fixed.shift_add %1, %x layers=["b"] -> tensor<1x9x4x4x{P}>
        %y = fixed.output_converter %2 scale=5 shift=3 layers=["b"] -> tensor<1x9x4x4x{A}>
        func.return %y
      }}""",
    "pools of what flies, of memory, and of what is read twice": f"""
      func.func @main(%x: tensor<1x9x9x20x{C}>) -> (tensor<1x9x4x10x{C}>, tensor<1x9x9x20x{C}>, tensor<1x9x5x10x{C}>, tensor<1x9x3x20x{A}>) {{
        %w = nn.constant value=dense_resource<w> : tensor<9x9x1x1xi8> -> tensor<9x9x1x1x{B}>
        %0 = nn.conv %x, %w layers=["a"] -> tensor<1x9x9x20x{P}>
        %1 = fixed.output_converter %0 scale=100 shift=16 layers=["a"] -> tensor<1x9x9x20x{C}>
        %p = nn.max_pool %1 kernel=[3, 2] strides=[2, 2] layers=["p"] -> tensor<1x9x4x10x{C}>
        %2 = nn.conv %x, %w layers=["b"] -> tensor<1x9x9x20x{P}>
        %r = fixed.output_converter %2 scale=60 shift=16 layers=["b"] -> tensor<1x9x9x20x{C}>
        %s = fixed.average_pool %r kernel=[3, 3] strides=[2, 2] pads=[1, 1, 1, 1] reciprocals=[21845, 20000] layers=["s"] -> tensor<1x9x5x10x{C}>
        %3 = nn.conv %x, %w layers=["c"] -> tensor<1x9x9x20x{P}>
        %4 = fixed.output_converter %3 scale=100 shift=16 layers=["c"] -> tensor<1x9x9x20x{A}>
        %t = nn.max_pool %4 kernel=[7, 3] pads=[0, 1, 0, 1] layers=["t"] -> tensor<1x9x3x20x{A}>
        func.return %p, %r, %s, %t
      }}""",
    "views between pool and what is pooled": f"""
      func.func @main(%x: tensor<1x9x1x1x{A}>) -> (tensor<1x9x1x1x{A}>, tensor<1x9x{A}>) {{
        %w = nn.constant value=dense_resource<w> : tensor<9x9xi8> -> tensor<9x9x{B}>
        %0 = nn.fully_connected %x, %w layers=["a"] -> tensor<1x9x{P}>
        %1 = fixed.output_converter %0 scale=100 shift=16 layers=["a"] -> tensor<1x9x{A}>
        %2 = nn.reshape %1 layers=["v"] -> tensor<1x9x1x1x{A}>
        %p = nn.max_pool %2 kernel=[1, 1] layers=["p"] -> tensor<1x9x1x1x{A}>
        func.return %p, %1
      }}""",
    "depthwise, the last slice short": f"""
      func.func @main(%x: tensor<1x21x5x5x{C}>) -> tensor<1x21x5x5x{A}> {{
        %w = nn.constant value=dense_resource<w> : tensor<21x1x3x3xi8> -> tensor<21x1x3x3x{B}>
        %b = nn.constant value=dense_resource<b> : tensor<21xi16> -> tensor<21x!quant.uniform<i16:f32, 0.125>>
        %m = nn.constant value=dense_resource<m> : tensor<21xi16>
        %0 = nn.conv %x, %w groups=21 pads=[1, 1, 1, 1] layers=["a"] -> tensor<1x21x5x5x{P}>
        %1 = fixed.shift_add %0, %b shift=1 layers=["a"] -> tensor<1x21x5x5x{P}>
        %2 = fixed.rescale %1, %m shift=17 layers=["a"] -> tensor<1x21x5x5x{P}>
        %y = fixed.output_converter %2 scale=100 shift=13 layers=["a"] -> tensor<1x21x5x5x{A}>
        func.return %y
      }}""",
    "groups with residuals of channels and elements": f"""
      func.func @main(%x: tensor<1x32x4x4x{A}>, %r: tensor<1x64x4x4x{B}>) -> tensor<1x64x4x4x{A}> {{
        %w = nn.constant value=dense_resource<w> : tensor<64x8x1x1xi8> -> tensor<64x8x1x1x{B}>
        %e = nn.constant value=dense_resource<e> : tensor<1x64x4x4xi16> -> tensor<1x64x4x4x!quant.uniform<i16:f32, 0.125>>
        %0 = nn.conv %x, %w groups=4 layers=["a"] -> tensor<1x64x4x4x{P}>
        %1 = fixed.shift_add %0, %e layers=["a"] -> tensor<1x64x4x4x{P}>
        %2 = fixed.shift_add %1, %r shift=8 layers=["s"] -> tensor<1x64x4x4x{P}>
        %y = fixed.output_converter %2 scale=100 shift=17 layers=["s"] -> tensor<1x64x4x4x{A}>
        func.return %y
      }}""",
    "groups whose outputs are less than an atom": f"""
      func.func @main(%x: tensor<1x32x4x4x{A}>) -> tensor<1x16x4x4x{A}> {{
        %w = nn.constant value=dense_resource<w> : tensor<16x8x1x1xi8> -> tensor<16x8x1x1x{B}>
        %0 = nn.conv %x, %w groups=4 layers=["a"] -> tensor<1x16x4x4x{P}>
        %y = fixed.output_converter %0 scale=100 shift=16 layers=["a"] -> tensor<1x16x4x4x{A}>
        func.return %y
      }}""",
    "what the host reads before the pool": f"""
      func.func @main(%x: tensor<1x9x4x4x{A}>) -> (tensor<1x9x2x2x{A}>, tensor<1x9x4x4xf32>) {{
        %r = nn.relu %x layers=["r"] -> tensor<1x9x4x4x{A}>
        %f = quant.dcast %r -> tensor<1x9x4x4xf32>
        %p = nn.max_pool %r kernel=[2, 2] strides=[2, 2] layers=["p"] -> tensor<1x9x2x2x{A}>
        func.return %p, %f
      }}""",
    "groups that no slice aligns": f"""
      func.func @main(%x: tensor<1x10x4x4x{A}>) -> tensor<1x6x4x4x{A}> {{
        %w = nn.constant value=dense_resource<w> : tensor<6x5x1x1xi8> -> tensor<6x5x1x1x{B}>
        %0 = nn.conv %x, %w groups=2 layers=["a"] -> tensor<1x6x4x4x{P}>
        %y = fixed.output_converter %0 scale=100 shift=16 layers=["s"] -> tensor<1x6x4x4x{A}>
        func.return %y
      }}""",
    "joins of joins, of inputs, and of one tensor twice": f"""
      func.func @main(%x: tensor<1x32x4x4x{A}>) -> (tensor<1x160x4x4x{A}>, tensor<1x32x4x4x{A}>) {{
        %r = nn.relu %x layers=["r"] -> tensor<1x32x4x4x{A}>
        %p = nn.max_pool %x kernel=[3, 3] pads=[1, 1, 1, 1] layers=["p"] -> tensor<1x32x4x4x{A}>
        %j = nn.concat %r, %p layers=["j"] -> tensor<1x64x4x4x{A}>
        %y = nn.concat %j, %x, %r, %r layers=["k"] -> tensor<1x160x4x4x{A}>
        func.return %y, %r
      }}""",
    "joins inside atoms": f"""
      func.func @main(%x: tensor<1x3x4x4x{C}>, %z: tensor<1x6x4x4x{C}>) -> tensor<1x12x4x4x{C}> {{
        %y = nn.concat %x, %z, %x layers=["k"] -> tensor<1x12x4x4x{C}>
        func.return %y
      }}""",
    "joins of what is flattened": f"""
      func.func @main(%x: tensor<1x32x2x3x{A}>, %z: tensor<1x5x2x3x{A}>) -> (tensor<1x222x{A}>, tensor<1x7x{A}>) {{
        %r = nn.relu %x layers=["r"] -> tensor<1x32x2x3x{A}>
        %s = nn.relu %z layers=["s"] -> tensor<1x5x2x3x{A}>
        %f = nn.flatten %r layers=["f"] -> tensor<1x192x{A}>
        %g = nn.flatten %s layers=["g"] -> tensor<1x30x{A}>
        %y = nn.concat %f, %g layers=["k"] -> tensor<1x222x{A}>
        %w = nn.constant value=dense_resource<w> : tensor<7x222xi8> -> tensor<7x222x{B}>
        %0 = nn.fully_connected %y, %w layers=["fc"] -> tensor<1x7x{P}>
        %c = fixed.output_converter %0 scale=30 shift=16 layers=["fc"] -> tensor<1x7x{A}>
        func.return %y, %c
      }}""",
    "fully connected layers on cubes, flattened and not": f"""
      func.func @main(%x: tensor<1x9x3x4x{C}>, %z: tensor<1x5x{B}>) -> (tensor<1x5x{A}>, tensor<1x5x{A}>) {{
        %w = nn.constant value=dense_resource<w> : tensor<5x108xi8> -> tensor<5x108x{B}>
        %b = nn.constant value=dense_resource<b> : tensor<5xi16> -> tensor<5x!quant.uniform<i16:f32, 0.125>>
        %f = nn.flatten %x layers=["f"] -> tensor<1x108x{C}>
        %0 = nn.fully_connected %f, %w layers=["fc1"] -> tensor<1x5x{P}>
        %1 = fixed.shift_add %0, %b shift=1 layers=["fc1"] -> tensor<1x5x{P}>
        %2 = nn.relu %1 layers=["r"] -> tensor<1x5x{P}>
        %y = fixed.output_converter %2 scale=30 shift=16 layers=["fc1"] -> tensor<1x5x{A}>
        %r = nn.relu %x layers=["rx"] -> tensor<1x9x3x4x{C}>
        %3 = nn.fully_connected %r, %w layers=["fc2"] -> tensor<1x5x{P}>
        %4 = fixed.shift_add %3, %z shift=8 layers=["fc2"] -> tensor<1x5x{P}>
        %v = fixed.output_converter %4 scale=30 shift=16 layers=["fc2"] -> tensor<1x5x{A}>
        func.return %y, %v
      }}""",
    "steps on a flattened cube": f"""
      func.func @main(%x: tensor<1x9x3x4x{C}>) -> (tensor<1x108x{C}>, tensor<1x108x{A}>) {{
        %p = nn.max_pool %x kernel=[3, 3] pads=[1, 1, 1, 1] layers=["p"] -> tensor<1x9x3x4x{C}>
        %f = nn.flatten %p layers=["f"] -> tensor<1x108x{C}>
        %r = nn.relu %f layers=["r"] -> tensor<1x108x{C}>
        %b = nn.constant value=dense_resource<b> : tensor<108xi16> -> tensor<108x!quant.uniform<i16:f32, 0.125>>
        %m = nn.constant value=dense_resource<m> : tensor<1x108xi8>
        %0 = fixed.shift_add %f, %b layers=["a"] -> tensor<1x108x{P}>
        %1 = fixed.rescale %0 value=300 shift=8 layers=["a"] -> tensor<1x108x{P}>
        %2 = fixed.rescale %1, %m shift=8 layers=["a"] -> tensor<1x108x{P}>
        %y = fixed.output_converter %2 scale=30 shift=9 layers=["a"] -> tensor<1x108x{A}>
        func.return %r, %y
      }}""",
    "a reshape that the host does": f"""
      func.func @main(%x: tensor<1x8x4x6x{A}>) -> tensor<1x4x8x6x{A}> {{
        %r = nn.relu %x layers=["r"] -> tensor<1x8x4x6x{A}>
        %v = nn.reshape %r layers=["v"] -> tensor<1x4x8x6x{A}>
        %y = nn.max_pool %v kernel=[3, 3] pads=[1, 1, 1, 1] layers=["p"] -> tensor<1x4x8x6x{A}>
        func.return %y
      }}""",
    "an image of one channel, read twice": f"""
      func.func @main(%x: tensor<1x1x9x10xui8>) -> (tensor<1x6x9x10x{A}>, tensor<1x9x5x5x{A}>) {{
        %n = fixed.input_converter %x means=[78] scale=23512 truncate=15 layers=["data"] -> tensor<1x1x9x10x{C}>
        %w = nn.constant value=dense_resource<w> : tensor<6x1x3x3xi8> -> tensor<6x1x3x3x{B}>
        %v = nn.constant value=dense_resource<v> : tensor<9x1x3x4xi8> -> tensor<9x1x3x4x{B}>
        %0 = nn.conv %n, %w pads=[1, 1, 1, 1] layers=["a"] -> tensor<1x6x9x10x{P}>
        %y = fixed.output_converter %0 scale=100 shift=15 layers=["a"] -> tensor<1x6x9x10x{A}>
        %1 = nn.conv %n, %v strides=[2, 2] pads=[1, 1, 1, 1] layers=["b"] -> tensor<1x9x5x5x{P}>
        %z = fixed.output_converter %1 scale=100 shift=15 layers=["b"] -> tensor<1x9x5x5x{A}>
        func.return %y, %z
      }}""",
    "an image of three channels, with a mean each": f"""
      func.func @main(%x: tensor<1x3x9x10xui8>) -> tensor<1x6x9x10x{A}> {{
        %n = fixed.input_converter %x means=[78, -20, 300] scale=15 truncate=4 layers=["data"] -> tensor<1x3x9x10x{C}>
        %w = nn.constant value=dense_resource<w> : tensor<6x3x3x3xi8> -> tensor<6x3x3x3x{B}>
        %0 = nn.conv %n, %w pads=[1, 1, 1, 1] layers=["a"] -> tensor<1x6x9x10x{P}>
        %y = fixed.output_converter %0 scale=50 shift=16 layers=["a"] -> tensor<1x6x9x10x{A}>
        func.return %y
      }}""",
    "an image of four signed channels": f"""
      func.func @main(%x: tensor<1x4x9x10xi8>) -> tensor<1x6x4x4x{A}> {{
        %n = fixed.input_converter %x means=[3] scale=-15 truncate=4 layers=["data"] -> tensor<1x4x9x10x{C}>
        %w = nn.constant value=dense_resource<w> : tensor<6x4x3x3xi8> -> tensor<6x4x3x3x{B}>
        %0 = nn.conv %n, %w strides=[2, 3] pads=[0, 2, 0, 0] layers=["a"] -> tensor<1x6x4x4x{P}>
        %y = fixed.output_converter %0 scale=50 shift=16 layers=["a"] -> tensor<1x6x4x4x{A}>
        func.return %y
      }}""",
}


def target_path(target: str, folder: Path) -> str:
    if target != "custom":
        return target
    path = folder / "custom.toml"
    path.write_text(CUSTOM)
    return str(path)


def integers(rng: np.random.Generator, kind: str, dtype: Any, shape: tuple[int, ...]) -> Any:
    """Integers over the whole range, all the least, all the largest, or both ends mixed."""
    limits = np.iinfo(dtype)
    if kind == "random":
        return rng.integers(limits.min, limits.max + 1, shape).astype(dtype)
    if kind == "ends":
        return rng.choice(np.array([limits.min, limits.max], dtype), shape)
    return np.full(shape, limits.min if kind == "least" else limits.max, dtype)


KINDS = ("random", "least", "largest", "ends")
RESOURCE = re.compile(r"dense_resource<(\w+)> : tensor<((?:\d+x)+)(i8|i16)>")


def loaded(text: str, kind: str, rng: np.random.Generator) -> tuple[ModuleOp, FuncOp, Session]:
    """The module, its function, and a session with weights and tables of one kind; all kernels of
    ``alike`` are the same."""
    session = new_session()
    module = module_of(text)
    for key, extents, element in RESOURCE.findall(text):
        shape = tuple(map(int, extents[:-1].split("x")))
        dtype = np.int8 if element == "i8" else np.int16
        if key.startswith("alike"):
            kernel = integers(rng, kind, dtype, (1, *shape[1:]))
            session.resources.add(key, np.repeat(kernel, shape[0], axis=0))
            continue
        session.resources.add(key, integers(rng, kind, dtype, shape))
    func = next(op for op in module.walk() if isinstance(op, FuncOp))
    return module, func, session


def inputs_of(func: FuncOp, rng: np.random.Generator) -> list[dict[str, Any]]:
    """One image of each kind."""

    def image(argument: Any, kind: str) -> Any:
        dtype = np.uint8 if str(argument.type.element) == "ui8" else np.int8
        return integers(rng, kind, dtype, argument.type.static_shape)

    return [
        {func.argument_name(argument): image(argument, kind) for argument in func.body.arguments}
        for kind in KINDS
    ]


def runs(func: FuncOp, session: Session, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    machine = Machine(session.resources, Mode.INTEGER)
    return [machine.run(func, image) for image in inputs]


def assert_equal(actual: list[dict[str, Any]], wanted: list[dict[str, Any]], what: str) -> None:
    for run, expected in zip(actual, wanted, strict=True):
        for (name, array), other in zip(expected.items(), run.values(), strict=True):
            np.testing.assert_array_equal(other, array, f"{what}, {name}")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_level_gives_the_same_bytes(name: str, target: str, tmp_path: Path) -> None:
    for kind in ("random", "least", "ends"):
        rng = np.random.default_rng(5)
        module, func, session = loaded(NETWORKS[name], kind, rng)
        inputs = inputs_of(func, rng)
        expected = runs(func, session, inputs)
        if kind == "random":
            for output in expected[0]:
                assert len(np.unique([run[output] for run in expected])) > 4, output
        Pipeline([SetTarget(target_path(target, tmp_path)), LegalizeToNvdla()]).run(module, session)
        assert_equal(runs(func, session, inputs), expected, f"hardware layers, {kind}")
        Pipeline(layers_to_registers()).run(module, session)
        assert_equal(runs(func, session, inputs), expected, f"registers, {kind}")


def legalized(name: str, target: str) -> tuple[FuncOp, Session]:
    module, func, session = loaded(NETWORKS[name], "random", np.random.default_rng(5))
    Pipeline([SetTarget(target), LegalizeToNvdla()]).run(module, session)
    return func, session


def test_rows_that_kernels_step_over_are_not_fetched() -> None:
    func, _ = legalized("rows that kernels step over", "nv_small")
    convolutions = [op for op in func.walk() if isinstance(op, nvdla.ConvOp)]
    assert [op.strides for op in convolutions] == [(1, 3), (1, 1), (1, 1)]
    rows = [
        op.step for op in func.walk() if isinstance(op, nvdla.SliceOp) and op.axis == nvdla.ROWS
    ]
    assert rows == [3, 2, 2]


def test_integers_of_few_channels_are_images_where_only_convolutions_read_them() -> None:
    found: list[list[str]] = []
    for name in (
        "integers as images, for two convolutions and for one",
        "integers that are no images, dilated, of groups, pooled, too",
    ):
        func, _ = legalized(name, "nv_small")
        found.append([op.format for op in func.walk() if isinstance(op, nvdla.UploadOp)])
    assert found == [["T_Y8___V8U8_N444", "T_R8"], ["feature"] * 3]


def test_what_is_alike_for_all_channels_is_one_layer() -> None:
    """Where the surfaces follow each other."""
    func, _ = legalized("sums alike for all channels, in pieces on nv_small", "nv_large")
    (convolution,) = [op for op in func.walk() if isinstance(op, nvdla.ConvOp)]
    assert convolution.each_surface
    name = "sums alike for all channels, of rows of another and of what is joined"
    func, _ = legalized(name, "nv_small")
    convolutions = [op for op in func.walk() if isinstance(op, nvdla.ConvOp)]
    assert [op.each_surface for op in convolutions] == [False] * 8 + [True]


def test_the_host_keeps_what_it_has() -> None:
    """Only the result is downloaded, once, not what the host gave."""
    text = f"""
      func.func @main(%x: tensor<1x8x4x4x{A}>) -> (tensor<1x8x4x4x{A}>, tensor<1x8x4x4x{A}>, tensor<1x8x4x4xf32>) {{
        %y = nn.relu %x layers=["r"] -> tensor<1x8x4x4x{A}>
        %f = quant.dcast %y -> tensor<1x8x4x4xf32>
        func.return %x, %y, %f
      }}"""
    module, func, session = loaded(text, "random", np.random.default_rng(5))
    Pipeline([SetTarget("nv_small"), LegalizeToNvdla()]).run(module, session)
    assert func.return_op.operands[0] is func.body.arguments[0]
    assert [op.name for op in func.walk()].count("nvdla.download") == 1


def test_equal_constants_are_kept_once() -> None:
    func, _ = legalized("pools of what flies, of memory, and of what is read twice", "nv_small")
    shapes = [
        op.output.type.static_shape  # pyright: ignore[reportAttributeAccessIssue]
        for op in func.walk()
        if isinstance(op, nvdla.ConstantOp)
    ]
    assert shapes == [(9, 9, 1, 1)]


def test_nothing_of_the_network_is_left_but_views_of_the_host() -> None:
    for name in NETWORKS:
        func, _ = legalized(name, "nv_small")
        names = {op.name for op in func.walk() if op.name.startswith("nn.")}
        assert names <= {"nn.reshape", "nn.flatten"}, name


def test_remarks_name_what_costs_extra() -> None:
    remarks = {
        "groups that no slice aligns": "2 groups of 5 to 3 channels do not align",
        "joins inside atoms": "joins 3, 6, 3 channels inside memory atoms of 8; 3 convolutions",
        "a reshape that the host does": "changes the shape from 1x8x4x6 to 1x4x8x6",
    }
    for name, message in remarks.items():
        _, session = legalized(name, "nv_small")
        found = [diagnostic.message for diagnostic in session.diagnostics.diagnostics]
        assert any(message in text for text in found), found


def test_a_fault_hides_none_of_later_layers() -> None:
    """Layers of all kinds read what faulty ones should have made."""
    text = f"""
      func.func @main(%x: tensor<1x8x4x4x{A}>, %z: tensor<1x8x{A}>) -> (tensor<1x8x1x1x{A}>, tensor<1x5x{A}>, tensor<1x8x4x4x{A}>) {{
        %a = nn.add %x, %x layers=["first"] -> tensor<1x8x4x4x{A}>
        %b = nn.add %z, %z layers=["second"] -> tensor<1x8x{A}>
        %c = nn.concat %a, %x layers=["join"] -> tensor<1x16x4x4x{A}>
        %p = nn.max_pool %a kernel=[4, 4] layers=["pool"] -> tensor<1x8x1x1x{A}>
        %f = nn.flatten %c layers=["flat"] -> tensor<1x256x{A}>
        %w = nn.constant value=dense_resource<w> : tensor<5x256xi8> -> tensor<5x256x{B}>
        %v = nn.constant value=dense_resource<v> : tensor<5x8xi8> -> tensor<5x8x{B}>
        %0 = nn.fully_connected %f, %w layers=["fc1"] -> tensor<1x5x{P}>
        %1 = fixed.output_converter %0 layers=["fc1"] -> tensor<1x5x{A}>
        %2 = nn.fully_connected %b, %v layers=["fc2"] -> tensor<1x5x{P}>
        %3 = fixed.shift_add %2, %1 layers=["sum"] -> tensor<1x5x{P}>
        %y = fixed.output_converter %3 layers=["fc2"] -> tensor<1x5x{A}>
        %r = nn.relu %a layers=["relu"] -> tensor<1x8x4x4x{A}>
        %4 = fixed.shift_add %r value=1 layers=["last"] -> tensor<1x8x4x4x{P}>
        %5 = fixed.shift_add %4 value=1 layers=["last"] -> tensor<1x8x4x4x{P}>
        %6 = fixed.shift_add %5 value=1 layers=["last"] -> tensor<1x8x4x4x{P}>
        %s = fixed.output_converter %6 layers=["last"] -> tensor<1x8x4x4x{A}>
        func.return %p, %y, %s
      }}"""
    module, _, session = loaded(text, "random", np.random.default_rng(5))
    SetTarget("nv_small").run(module, session)
    LegalizeToNvdla().run(module, session)
    named = [diagnostic.message.split("'")[1] for diagnostic in session.diagnostics.errors]
    assert named == ["first", "second", "last"]


def test_units_that_a_target_lacks_are_not_used(tmp_path: Path) -> None:
    """Joins add, and ReLU rectifies, in the unit that is there."""
    path = tmp_path / "lean.toml"
    path.write_text('base = "nv_small"\n[sdp]\nhas_bs = false\n')
    for name in ("ReLU at zero points", "joins inside atoms"):
        rng = np.random.default_rng(5)
        text = NETWORKS[name]
        if name.startswith("ReLU"):  # its second chain takes two units
            text = text[: text.index("%w")] + "func.return %r, %x }"
            text = text.replace(f"tensor<1x9x4x4x{A}>)", f"tensor<1x9x4x4x{C}>)")
        module, func, session = loaded(text, "random", rng)
        inputs = inputs_of(func, rng)
        expected = runs(func, session, inputs)
        Pipeline([SetTarget(str(path)), LegalizeToNvdla()]).run(module, session)
        processors = [op for op in func.walk() if isinstance(op, nvdla.SdpOp)]
        assert all(op.bs.is_bypassed for op in processors)
        assert not all(op.bn.is_bypassed for op in processors)
        assert_equal(runs(func, session, inputs), expected, name)
