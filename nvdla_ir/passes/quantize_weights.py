"""Turn the weights of convolutions and fully connected layers into int8."""

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
from nvdla_ir.dialects.quant import (
    QuantizedType,
    UniformPerAxisType,
    UniformType,
    scales_of,
    uniform_i8,
    zero_points_of,
)
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.types import F32, I8
from nvdla_ir.passes.base import Pass, Session, Tolerance, option
from nvdla_ir.passes.blocks import blocks, largest_magnitudes
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

# Of the quotient of two scales.
_ROUNDING_ERROR = 1e-9


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

    Weights that a model has quantized stay as they are, but for what the hardware lacks: zero
    points, and scales so far apart that channels would vanish.
    """

    name = "quantize-weights"
    # Steps of weights and of activations add up from layer to layer.
    tolerance = Tolerance(0.25, by_layer=True)
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
        element = tensor_type(op.weight).element
        if isinstance(element, QuantizedType) and not any(zero_points_of(element)):
            scales = scales_of(element)
            if min(scales) >= max(scales) * SMALLEST_RELATIVE_SCALE:
                return
        constant = op.weight.defining_operation
        if not isinstance(constant, ConstantOp):
            return  # no weights: the conversion to integers says so
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
        weights = session.resources.elements(constant.value, constant.location)
        element = tensor_type(constant.output).element
        if isinstance(element, QuantizedType):
            stored, symmetric = self._requantized(op, weights, element, session)
            return self._replaced(constant, stored, symmetric, session)
        try:
            stored, element = quantize(
                weights, self.granularity == "per-channel", least_squares=self.scales == "mse"
            )
        except ValueError as error:
            raise DiagnosticError.at(
                constant.location, f"the weights of {describe(op)} {error}"
            ) from error
        session.count(self.name, "weights", weights.size)
        return self._replaced(constant, stored, element, session)

    def _requantized(
        self,
        op: ConvOp | FullyConnectedOp,
        weights: NDArray[np.integer],
        element: QuantizedType,
        session: Session,
    ) -> tuple[NDArray[np.int8], UniformType | UniformPerAxisType]:
        """Integers of a model as the hardware takes them, which is told where they change."""
        stored, symmetric, changed = requantize(weights, element, self.granularity == "per-channel")
        if changed:
            reason = "have zero points"
            if not any(zero_points_of(element)):
                reason = "have scales of less than 1/128 of the largest"
            session.diagnostics.remark(
                op.location,
                f"{describe(op)}: weights that {reason} are quantized again, which changes "
                f"{changed} of {weights.size}",
            )
        return stored, symmetric

    def _replaced(
        self,
        constant: ConstantOp,
        stored: NDArray[np.int8],
        element: UniformType | UniformPerAxisType,
        session: Session,
    ) -> ConstantOp:
        """A constant of the same name with other integers."""
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

    Raises: ValueError where they are not finite.
    """
    import numpy as np

    rows = weights.reshape(len(weights) if per_channel else 1, -1)
    peaks = largest_magnitudes(rows)
    scales = peaks / LARGEST_WEIGHT
    if not np.isfinite(scales).all():
        raise ValueError("contain NaN or infinite numbers")
    if least_squares:
        scales = _least_squares(rows, scales)
    if per_channel:
        largest = float(scales.max(initial=0.0)) or 1.0
        scales = np.maximum(scales, largest * SMALLEST_RELATIVE_SCALE)
    else:
        scales[scales == 0] = 1.0
    saturates = (peaks > (LARGEST_WEIGHT + 0.25) * scales).any()
    stored = np.empty(rows.shape, np.int8)
    for block in blocks(*rows.shape):
        some = rows[block]
        codes: NDArray[np.float64] = np.divide(some, scales[block[0], None])
        # Casts to integers cut fractions off; of a tie this is the integer away from zero.
        codes += np.copysign(some.dtype.type(0.5), some)
        if saturates:
            np.clip(codes, -LARGEST_WEIGHT, LARGEST_WEIGHT, out=codes)
        stored[block] = codes
    stored = stored.reshape(weights.shape)
    if not per_channel:
        return stored, uniform_i8(float(scales[0]))
    return stored, UniformPerAxisType(uniform_i8(1.0).storage, F32, 0, tuple(scales.tolist()))


def requantize(
    weights: NDArray[np.integer], element: QuantizedType, per_channel: bool
) -> tuple[NDArray[np.int8], UniformType | UniformPerAxisType, int]:
    """Integers (-128 to 127) without zero points for those of ``element``, of shape (K, …), their
    type, and how many stand for another number than before.

    Channels whose distances from the zero point fit 8 bits keep their scale, and every number.
    Scales too small beside the others grow as in ``quantize``; channels of zeros get such a scale.
    """
    import numpy as np

    channels = len(weights)
    zero_points = np.broadcast_to(np.array(zero_points_of(element), np.int64), channels)
    steps = np.broadcast_to(np.array(scales_of(element), np.float64), channels)
    rows = weights.reshape(channels, -1)
    nearest = rows.min(axis=1).astype(np.int64) - zero_points
    farthest = rows.max(axis=1).astype(np.int64) - zero_points
    fits = (nearest >= -LARGEST_WEIGHT - 1) & (farthest <= LARGEST_WEIGHT)
    peaks = np.maximum(np.abs(nearest), np.abs(farthest))
    scales = np.where(fits, steps, steps * peaks / LARGEST_WEIGHT)
    scales = np.where(peaks == 0, 0.0, scales)
    largest = float(scales.max(initial=0.0)) or 1.0
    if not per_channel and len(set(scales[peaks > 0].tolist())) > 1:
        scales = np.full(channels, largest)
    scales = np.maximum(scales, largest * SMALLEST_RELATIVE_SCALE)
    exact, factors = scales == steps, steps / scales
    stored, changed = np.empty(rows.shape, np.int8), 0
    for block in blocks(*rows.shape):
        of_rows = block[0]
        distances = rows[block].astype(np.int64) - zero_points[of_rows, None]
        reals: NDArray[np.float64] = distances * factors[of_rows, None]
        stored[block] = np.where(exact[of_rows, None], distances, _round(1.0 * reals))
        changed += int(np.count_nonzero(np.abs(stored[block] - reals) > _ROUNDING_ERROR))
    integers = stored.reshape(weights.shape)
    if len(set(scales.tolist())) == 1:
        return integers, uniform_i8(float(scales[0])), changed
    return integers, UniformPerAxisType(I8, F32, 0, tuple(scales.tolist())), changed


def _least_squares(rows: NDArray[np.floating], scales: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each of ``rows`` the share of its scale that leaves the least squared error."""
    import numpy as np

    # Rows of zeros have no scale, and no error with any.
    steps = np.where(scales > 0, scales, 1.0)
    errors = np.zeros((len(_CLIPPED_RANGES), len(rows)))
    for block in blocks(*rows.shape):
        # In units of the covering scale, in float32: this only compares.
        reals = (rows[block] / steps[block[0], None]).astype(np.float32)
        codes = np.empty_like(reals)
        for share, found in zip(_CLIPPED_RANGES, errors, strict=True):
            np.divide(reals, share, out=codes)
            np.rint(codes, out=codes)
            np.clip(codes, -LARGEST_WEIGHT, LARGEST_WEIGHT, out=codes)
            np.multiply(codes, share, out=codes)
            np.subtract(codes, reals, out=codes)
            found[block[0]] += np.einsum("ij,ij->i", codes, codes)
    # Of equals the first, which is the largest.
    best = errors.argmin(axis=0)
    return scales * np.array(_CLIPPED_RANGES)[best]


def _round(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers, in place of ``values``, whose integer part is the nearest integer, of a tie that
    away from zero, saturated: casts to integers cut fractions off."""
    import numpy as np

    values += np.copysign(0.5, values)
    return np.clip(values, -LARGEST_WEIGHT, LARGEST_WEIGHT, out=values)
