"""The functions of `reference`, with the same signatures and results, but quick.

What the reference does quickly enough is the reference's own.
"""

from nvdla_ir.arith.fast.convolution import convolve
from nvdla_ir.arith.reference import (
    convert_input,
    convert_operand,
    convert_output,
    count_accumulator_saturation,
    count_output_saturation,
    look_up,
    pool_average,
    pool_maximum,
    pool_minimum,
    round_shift,
    saturate,
    sdp_x,
    sdp_y,
    shift_left_saturate,
    truncate_accumulator,
    wrap,
)

__all__ = [
    "convert_input",
    "convert_operand",
    "convert_output",
    "convolve",
    "count_accumulator_saturation",
    "count_output_saturation",
    "look_up",
    "pool_average",
    "pool_maximum",
    "pool_minimum",
    "round_shift",
    "saturate",
    "sdp_x",
    "sdp_y",
    "shift_left_saturate",
    "truncate_accumulator",
    "wrap",
]
