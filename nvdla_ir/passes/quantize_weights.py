"""Turn the weights of convolutions and fully connected layers into int8."""

# numpy's stubs leave parts of many overloads unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn import (
    BatchNormOp,
    ConstantOp,
    ConvOp,
    FullyConnectedOp,
    tensor_type,
)
from nvdla_ir.dialects.quant import QuantizedType, UniformPerAxisType, UniformType, uniform_i8
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.types import F32, I8
from nvdla_ir.passes.base import Pass, Session, option
from nvdla_ir.passes.conditions import no_operation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST_WEIGHT = 127

# The least scale of a channel relative to the largest. All channels share the shift of their
# output converter, so a smaller one would leave its multiplier with few bits and its bias with
# none; and since all share the output's scale too, the coarser step is lost in that of the others.
SMALLEST_RELATIVE_SCALE = 2.0**-7

# Shares of the largest magnitude that are tried as the range of the least squared error. With 8
# bits, saturating more than this does not pay.
_CLIPPED_RANGES = tuple(1.0 - step / 64 for step in range(20))


@frozen
class QuantizeWeights(Pass):
    """Quantize weights symmetrically, the whole tensor or each output channel, rounded to nearest:
    with ``scale = max|w| / 127``, or with ``scales=mse`` the smaller one, if any, at which rounding
    and saturation together leave the least squared error.

    Before::

        %w = nn.constant value=dense_resource<conv1.weight> : tensor<16x3x3x3xf32>

    After::

        %w = nn.constant value=dense_resource<conv1.weight.int8> : tensor<16x3x3x3xi8>
            -> tensor<16x3x3x3x!quant.uniform<i8:f32:0, {0.01, 0.02, …}>>
    """

    name = "quantize-weights"
    requires = (no_operation(BatchNormOp, hint="run 'fold-batch-norm' first"),)

    granularity: str = option(
        "per-channel",
        choices=("per-channel", "per-tensor"),
        help="one scale for each output channel, or one for the whole tensor",
    )

    scales: str = option(
        "minmax",
        choices=("minmax", "mse"),
        help="cover the largest weight, or saturate where that makes the squared error less",
    )

    def run(self, module: ModuleOp, session: Session) -> None:
        quantized: dict[ConstantOp, ConstantOp] = {}
        for op in module.walk():
            if isinstance(op, ConvOp | FullyConnectedOp):
                self._quantize(op, quantized, session)
        for constant in quantized:
            if not constant.output.is_used:
                constant.erase()

    def _quantize(
        self,
        op: ConvOp | FullyConnectedOp,
        quantized: dict[ConstantOp, ConstantOp],
        session: Session,
    ) -> None:
        if isinstance(tensor_type(op.weight).element, QuantizedType):
            return
        constant = op.weight.defining_operation
        if not isinstance(constant, ConstantOp):
            session.diagnostics.error(
                op.location, f"the weights of {describe(op)} are not constant"
            )
            return
        if constant not in quantized:
            try:
                quantized[constant] = self._constant(op, constant, session)
            except DiagnosticError as error:
                session.diagnostics.diagnostics.extend(error.diagnostics)
                return
        op.weight = quantized[constant].output

    def _constant(
        self, op: ConvOp | FullyConnectedOp, constant: ConstantOp, session: Session
    ) -> ConstantOp:
        import numpy as np

        weights = session.resources.array(constant.value, constant.location)
        if not np.isfinite(weights).all():
            raise DiagnosticError.at(
                constant.location,
                f"the weights of {describe(op)} contain NaN or infinite numbers",
            )
        stored, element = quantize(
            weights, self.granularity == "per-channel", least_squares=self.scales == "mse"
        )
        session.count(self.name, "weights", weights.size)
        value = constant.value
        key = f"{getattr(value, 'key', constant.output.name_hint or 'weight')}.int8"
        new = Builder(InsertionPoint.before(constant), constant.location).create(
            ConstantOp,
            value=session.resources.attribute_for(key, stored, I8),
            result_types=[constant.value.type.with_element(element)],
        )
        new.output.name_hint = constant.output.name_hint
        return new


def quantize(
    weights: NDArray[np.floating], per_channel: bool, *, least_squares: bool = False
) -> tuple[NDArray[np.int8], UniformType | UniformPerAxisType]:
    """Stored integers (-127 to 127) and their type, for weights of shape (K, …).

    A channel of zeros, or of very small weights, gets a scale in proportion to the others (see
    ``SMALLEST_RELATIVE_SCALE``), so that its bias survives.
    """
    import numpy as np

    rows = weights.astype(np.float64).reshape(len(weights) if per_channel else 1, -1)
    scales = np.abs(rows).max(axis=1, initial=0.0) / LARGEST_WEIGHT
    if least_squares:
        scales = _least_squares(rows, scales)
    if per_channel:
        largest = float(scales.max(initial=0.0)) or 1.0
        scales = np.maximum(scales, largest * SMALLEST_RELATIVE_SCALE)
    else:
        scales[scales == 0] = 1.0
    stored = _round(rows / scales[:, None]).reshape(weights.shape)
    if not per_channel:
        return stored, uniform_i8(float(scales[0]))
    return stored, UniformPerAxisType(uniform_i8(1.0).storage, F32, 0, tuple(scales.tolist()))


def _least_squares(rows: NDArray[np.float64], scales: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each of ``rows`` the share of its scale that leaves the least squared error."""
    import numpy as np

    # Rows of zeros have no scale, and no error with any.
    steps = np.where(scales > 0, scales, 1.0)[:, None]
    best, least = scales, np.full(len(rows), np.inf)
    # In units of the covering scale, in float32: this only compares.
    reals = (rows / steps).astype(np.float32)
    codes = np.empty_like(reals)
    for share in _CLIPPED_RANGES:
        np.divide(reals, share, out=codes)
        np.rint(codes, out=codes)
        np.clip(codes, -LARGEST_WEIGHT, LARGEST_WEIGHT, out=codes)
        np.multiply(codes, share, out=codes)
        np.subtract(codes, reals, out=codes)
        errors = np.einsum("ij,ij->i", codes, codes)
        # The first of equals, which is the largest, stays.
        best = np.where(errors < least, scales * share, best)
        least = np.minimum(errors, least)
    return best


def _round(values: NDArray[np.float64]) -> NDArray[np.int8]:
    import numpy as np

    magnitudes = np.floor(np.abs(values) + 0.5)
    rounded = np.copysign(np.minimum(magnitudes, LARGEST_WEIGHT), values)
    return rounded.astype(np.int8)
