"""The definition of the arithmetic, in obvious int64 code. `fast` has the same functions."""

from nvdla_ir.arith.reference.convolution import (
    convert_input,
    convolve,
    count_accumulator_saturation,
    truncate_accumulator,
)
from nvdla_ir.arith.reference.look_up import look_up
from nvdla_ir.arith.reference.normalization import local_response_normalization
from nvdla_ir.arith.reference.pooling import pool_average, pool_maximum, pool_minimum
from nvdla_ir.arith.reference.rounding import round_shift, saturate, shift_left_saturate, wrap
from nvdla_ir.arith.reference.sdp import (
    convert_operand,
    convert_output,
    count_output_saturation,
    sdp_layer,
    sdp_x,
    sdp_y,
)
from nvdla_ir.arith.reference.winograd import winograd_convolve

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
