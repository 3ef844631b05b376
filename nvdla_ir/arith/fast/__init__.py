"""The functions of `reference`, with the same signatures and results, but quick.

What the reference does quickly enough is the reference's own.
"""

from nvdla_ir.arith.fast.convolution import convert_input, convolve
from nvdla_ir.arith.fast.look_up import look_up
from nvdla_ir.arith.fast.normalization import local_response_normalization
from nvdla_ir.arith.fast.pooling import pool_average, pool_maximum, pool_minimum
from nvdla_ir.arith.fast.rounding import (
    count_accumulator_saturation,
    round_shift,
    truncate_accumulator,
)
from nvdla_ir.arith.fast.sdp import convert_output, sdp_layer, sdp_x, sdp_y
from nvdla_ir.arith.fast.winograd import winograd_convolve
from nvdla_ir.arith.reference import (
    convert_operand,
    count_output_saturation,
    saturate,
    shift_left_saturate,
    wrap,
)

__all__ = [
    "convert_input",
    "convert_operand",
    "convert_output",
    "convolve",
    "count_accumulator_saturation",
    "count_output_saturation",
    "local_response_normalization",
    "look_up",
    "pool_average",
    "pool_maximum",
    "pool_minimum",
    "round_shift",
    "saturate",
    "sdp_layer",
    "sdp_x",
    "sdp_y",
    "shift_left_saturate",
    "truncate_accumulator",
    "winograd_convolve",
    "wrap",
]
