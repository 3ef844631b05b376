"""Clips as what the hardware has: a ReLU, and saturation at the codes' end."""

from __future__ import annotations

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nvdla import is_on_host
from nvdla_ir.dialects.quant import UniformType
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.passes.conversion.grids import calibration_of

_LARGEST_CODE = 127


def clips_become_relus(func: FuncOp) -> None:
    """Replace each clip from 0 on whose upper limit is beyond what the largest code of its result
    stands for, or less than half a step below: the code is then the same. The result becomes
    fake-quantized, so that the saturation stays where the clip is."""
    for op in list(func.body.operations):
        grid = calibration_of(op.results[0]) if isinstance(op, nn.ClipOp) else None
        if not isinstance(op, nn.ClipOp) or grid is None or op.minimum != 0 or is_on_host(op):
            continue
        codes = grid.quantized()
        if op.maximum is not None and op.maximum < _largest(codes) - codes.scale / 2:
            continue
        element = nn.FakeQuantizedType.of(codes)
        relu = Builder(InsertionPoint.before(op), op.location).create(
            nn.ReluOp,
            input=op.input,
            layers=op.layers,
            result_types=[nn.tensor_type(op.output).with_element(element)],
            discardable=dict(op.discardable_attributes()),
        )
        relu.output.name_hint = op.output.name_hint
        op.output.replace_all_uses_with(relu.output)
        op.erase()


def _largest(codes: UniformType) -> float:
    return codes.scale * (_LARGEST_CODE - codes.zero_point)
