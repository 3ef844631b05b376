"""What a hardware layer may be: limits of the registers, and units that a configuration lacks.

Sources: convolution.md sections 0 and 6.4, sdp.md section 12, pdp.md sections 3 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nvdla_ir.dialects.layer import LayerOp, describe
from nvdla_ir.dialects.nn.shapes import shape_of
from nvdla_ir.dialects.nvdla import ConvOp, PdpOp, SdpOp, cube_shape
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.pooling import (
    LARGEST_POOLING_KERNEL,
    max_output_width,
    split_width,
)
from nvdla_ir.hw.formats.sizes import LayoutError
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError

LARGEST_EXTENT = 8192
LARGEST_KERNEL = 32
LARGEST_STRIDE = 8
LARGEST_DILATION = 32
LARGEST_PADS = (31, 31, 63, 63)
"""Top, left, bottom, right."""
LARGEST_KERNEL_BYTES = 1 << 18
LARGEST_PLANE = 1 << 21
"""Elements of one channel of a convolution's output."""
LARGEST_POOL_STRIDE = 16
LARGEST_RECIPROCAL = (1 << 17) - 1

_SMALLER_TENSOR = "cut the tensor into smaller ones"
_SMALLER_WINDOW = "compute it by several layers with smaller windows"


def check_convolution(op: ConvOp) -> None:
    """Raises: DiagnosticError with every limit that ``op`` exceeds."""
    _raise(op, _convolution_faults(op))


def check_processor(op: SdpOp) -> None:
    """Raises: DiagnosticError with every limit that ``op`` exceeds."""
    _raise(op, _extent_faults(cube_shape(op.output.type), "output"))


def check_pooling(op: PdpOp, hw: HardwareConfiguration) -> None:
    """Raises: DiagnosticError with every limit that ``op`` exceeds."""
    _raise(op, _pooling_faults(op, hw))


def _raise(op: LayerOp, faults: Iterable[str]) -> None:
    found = [Diagnostic.error(op.location, f"{describe(op)} has {fault}") for fault in faults]
    if found:
        raise DiagnosticError(*found)


def _above(what: str, value: int, limit: int, advice: str) -> Iterator[str]:
    if value > limit:
        yield f"{what} of {value}; the hardware takes up to {limit}: {advice}"


def _extent_faults(shape: tuple[int, ...], what: str) -> Iterator[str]:
    for name, extent in zip(("depth", "height", "width"), shape[1:], strict=True):
        yield from _above(f"an {what} {name}", extent, LARGEST_EXTENT, _SMALLER_TENSOR)


def _convolution_faults(op: ConvOp) -> Iterator[str]:
    _, channels, rows, columns = shape_of(op.weight)
    output = cube_shape(op.output.type)
    yield from _extent_faults(shape_of(op.input), "input")
    yield from _extent_faults(output, "output")
    yield from _above("an output plane", output[2] * output[3], LARGEST_PLANE, _SMALLER_TENSOR)
    yield from _above(
        "kernels of a size in bytes",
        channels * rows * columns,
        LARGEST_KERNEL_BYTES,
        _SMALLER_WINDOW,
    )
    sides = ("top", "left", "bottom", "right")
    for axis, (name, taps) in enumerate((("height", rows), ("width", columns))):
        stride, dilation = op.strides[axis], op.dilations[axis]
        yield from _above(f"a kernel {name}", taps, LARGEST_KERNEL, _SMALLER_WINDOW)
        yield from _above(
            f"a stride along its {name}", stride, LARGEST_STRIDE, "use several layers"
        )
        yield from _above(
            f"a dilation along its {name}", dilation, LARGEST_DILATION, "use a smaller one"
        )
        extent = (taps - 1) * dilation + 1
        for side in (axis, axis + 2):
            pad = op.pads[side]
            if pad >= extent:
                yield (
                    f"padding of {pad} at the {sides[side]}, but its kernel's {name} spans "
                    f"{extent}: every window must meet the input, so pad by less"
                )
            yield from _above(
                f"padding at the {sides[side]}", pad, LARGEST_PADS[side], "pad by less"
            )


def _pooling_faults(op: PdpOp, hw: HardwareConfiguration) -> Iterator[str]:
    if not hw.has_pdp:
        advice = (
            "choose another target"
            if op.method != "average"
            else "run 'set-target' before 'insert-converters', which then does without"
        )
        yield f"windows to pool, but {hw.name} has no pooling unit: {advice}"
        return
    yield from _extent_faults(cube_shape(op.input.type), "input")
    kernel, strides = op.kernel, op.strides
    if max(kernel) > LARGEST_POOLING_KERNEL:
        yield (
            f"a window of {kernel[0]}x{kernel[1]}; the pooling unit takes up to "
            f"{LARGEST_POOLING_KERNEL}x{LARGEST_POOLING_KERNEL}. Split it into several"
        )
        return
    yield from _above("a stride", max(strides), LARGEST_POOL_STRIDE, "use several layers")
    for reciprocal in op.reciprocals or ():
        if not 0 <= reciprocal <= LARGEST_RECIPROCAL:
            yield f"a reciprocal of {reciprocal}, but it must be from 0 to {LARGEST_RECIPROCAL}"
    width = cube_shape(op.input.type)[3]
    outputs = shape_of(op.output)[3]
    after = (outputs - 1) * strides[1] + kernel[1] - op.pads[1] - width
    try:
        split_width(
            output_width=outputs,
            kernel_width=kernel[1],
            stride_width=strides[1],
            pad_left=op.pads[1],
            pad_right=max(after, 0),
            limit=max_output_width(kernel[0], strides[0]),
        )
    except LayoutError as error:
        yield f"no place in the line buffer of {hw.name}: {error}"
