"""The pass stream-to-pooling."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects import nvdla
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.nn.shapes import tensor_type
from nvdla_ir.dialects.nvdla import configuration_of
from nvdla_ir.hardware.pdp import fits_line_buffer
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.conditions import has_hardware_layers
from nvdla_ir.passes.settings.layers import device_functions
from nvdla_ir.passes.settings.pdp import pdp_setting


@frozen
class StreamToPooling(Pass):
    """Lets the SDP hand to the PDP what only that reads, without memory between.

    Before::

        %y = nvdla.sdp %c -> tensor<1x16x32x32xi8>
        %p = nvdla.pdp max %y kernel=[2, 2] strides=[2, 2] -> tensor<1x16x16x16xi8>

    After::

        %y = nvdla.sdp %c -> !nvdla.stream<1x16x32x32xi8>
        %p = nvdla.pdp max %y kernel=[2, 2] strides=[2, 2] -> tensor<1x16x16x16xi8>

    The PDP takes a row of the output at once; what is wider than its line buffer it must read from
    memory. It costs no cycle more, and saves writing and reading the cube (cycles.md).
    """

    name = "stream-to-pooling"
    subject = has_hardware_layers()

    def run(self, module: ModuleOp, session: Session) -> None:
        hw = configuration_of(module)
        for function in device_functions(module):
            for operation in function.body.operations:
                if isinstance(operation, nvdla.PdpOp) and _can_stream(operation, hw):
                    type = tensor_type(operation.input)
                    operation.input.type = nvdla.StreamType(type.static_shape, type.element)
                    session.count(self.name, "streams")


def _can_stream(pdp: nvdla.PdpOp, hw: HardwareConfiguration) -> bool:
    source = pdp.input.defining_operation
    return (
        isinstance(source, nvdla.SdpOp)
        and not source.each_surface
        and not isinstance(pdp.input.type, nvdla.StreamType)
        and pdp.input.has_one_use
        and fits_line_buffer(pdp_setting(pdp))
    )
