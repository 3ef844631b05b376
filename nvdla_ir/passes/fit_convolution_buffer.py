"""The pass fit-convolution-buffer."""

from __future__ import annotations

from attrs import define, field, frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nvdla import configuration_of
from nvdla_ir.hardware.convolution_geometry import ConvolutionGeometry
from nvdla_ir.hardware.cost.model import CostModel
from nvdla_ir.hardware.fitting import Division, Shortage, divide, undivided
from nvdla_ir.hardware.layer import Layer
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.conditions import has_hardware_layers
from nvdla_ir.passes.fitting.pieces import Pieces
from nvdla_ir.passes.refusals import refused
from nvdla_ir.passes.settings.layers import HardwareLayer, device_functions, hardware_layers
from nvdla_ir.passes.settings.programs import layer_setting


@frozen
class FitConvolutionBuffer(Pass):
    """Shares out the convolution buffer, and divides convolutions that do not fit it.

    Before::

        %c = nvdla.conv %x, %w pads=[1, 1, 1, 1] -> !nvdla.stream<1x16x112x112xi32>
        %y = nvdla.sdp %c -> tensor<1x16x112x112xi8>

    After, in pieces of rows whose inputs overlap::

        %0 = nvdla.slice %x axis=2 begin=0 size=60 -> …
        %c0 = nvdla.conv %0, %w pads=[1, 1, 0, 1] data_banks=30 weight_banks=2 keep_weights=true
        %y0 = nvdla.sdp %c0 -> tensor<1x16x59x112xi8>
        %1 = nvdla.slice %x axis=2 begin=58 size=54 -> …
        %c1 = nvdla.conv %1, %w pads=[0, 1, 1, 1] data_banks=30 weight_banks=2 reuse_weights=true
        %y1 = nvdla.sdp %c1 -> tensor<1x16x53x112xi8>
        %y = nvdla.concat %y0, %y1 axis=2 -> tensor<1x16x112x112xi8>

    Pieces are of rows, of columns where one row is too much, and of kernels. Of all ways the
    cheapest by estimate is taken, with some time for the software between pieces. What has its
    banks already stays as it is.
    """

    name = "fit-convolution-buffer"
    subject = has_hardware_layers()

    def run(self, module: ModuleOp, session: Session) -> None:
        fitter = _Fitter(CostModel(configuration_of(module)), session, self.name)
        for function in device_functions(module):
            pending = _convolutions(function)
            while pending:
                for layer in pending:
                    fitter.fit(layer)
                # what puts pieces together must be fitted, too
                pending = [layer for layer in _convolutions(function) if not _is_fitted(layer)]
                if session.diagnostics.errors:
                    break


@define(eq=False)
class _Fitter:
    """Fits layers into the buffer; equal ones alike."""

    model: CostModel
    session: Session
    pass_name: str
    _divisions: dict[tuple[Layer, bool], Division | Shortage] = field(
        factory=dict["tuple[Layer, bool]", "Division | Shortage"], init=False
    )

    def fit(self, layer: HardwareLayer) -> None:
        """Give the layer its share, or put its pieces in its place; faults are told."""
        try:
            self._fit(layer)
        except DiagnosticError as error:
            for diagnostic in error.diagnostics:
                self.session.diagnostics.emit(diagnostic)

    def _fit(self, layer: HardwareLayer) -> None:
        op, hw = layer.convolution, self.model.hw
        setting = layer_setting(layer, hw)
        assert op is not None and setting.convolution is not None
        if setting.convolution.banks is not None:
            return
        if setting.convolution.compressed is not None and not undivided(setting.convolution, hw):
            raise DiagnosticError.at(
                layer.location,
                f"{layer.describe()} does not fit the convolution buffer of {hw.name} at once, "
                "and pieces read no compressed weights: leave out 'compressed_weights'",
            )
        division = self._division(setting, whole_kernels=op.each_surface)
        if isinstance(division, Shortage):
            raise _does_not_fit(layer, setting.convolution, division, hw)
        self.session.count(self.pass_name, "pieces", len(division.pieces))
        if len(division.pieces) == 1:
            banks = division.pieces[0].setting.banks
            assert banks is not None
            op.data_banks, op.weight_banks = banks.data, banks.weights
            return
        if layer.pooling is not None:
            raise DiagnosticError.at(
                layer.location,
                f"{layer.describe()} takes {_count(division)} to fit the "
                f"convolution buffer of {hw.name}, so that the PDP cannot pool them on the fly",
            )
        self.session.diagnostics.remark(
            layer.location,
            f"{layer.describe()} runs in {_count(division)}: it does not fit the convolution "
            f"buffer of {hw.name} at once",
        )
        Pieces(layer, division, hw, self.session.resources).write()

    def _division(self, setting: Layer, *, whole_kernels: bool) -> Division | Shortage:
        assert setting.processor is not None, "the SDP takes what a convolution makes"
        layer = Layer(setting.convolution, setting.processor.shape(), None)
        key = layer, whole_kernels
        division = self._divisions.get(key)
        if division is None:
            division = divide(layer, self.model, whole_kernels=whole_kernels)
            self._divisions[key] = division
        return division


def _convolutions(function: FuncOp) -> list[HardwareLayer]:
    layers = hardware_layers(function.body)
    return [layer for layer in layers if layer.convolution is not None]


def _is_fitted(layer: HardwareLayer) -> bool:
    assert layer.convolution is not None
    return layer.convolution.data_banks is not None


def _count(division: Division) -> str:
    """How many pieces along which axes."""
    pieces = division.pieces
    axes = (
        (len({piece.rows.outputs.begin for piece in pieces}), "rows"),
        (len({piece.columns.outputs.begin for piece in pieces}), "columns"),
        (len({piece.kernels.begin for piece in pieces}), "kernels"),
    )
    cut = [(number, name) for number, name in axes if number > 1]
    if len(cut) == 1:
        return f"{cut[0][0]} pieces of {cut[0][1]}"
    return f"{len(pieces)} pieces ({' times '.join(f'{number} of {name}' for number, name in cut)})"


def _does_not_fit(
    layer: HardwareLayer,
    setting: ConvolutionGeometry,
    shortage: Shortage,
    hw: HardwareConfiguration,
) -> DiagnosticError:
    reason = (
        f"does not fit the convolution buffer of {hw.name} in any way: its smallest piece takes "
        f"{shortage.data_bytes} bytes of input and {shortage.weight_bytes} of weights, but the "
        f"buffer has {shortage.buffer_bytes}, in {hw.cbuf.banks} banks. Choose a target with a "
        "larger buffer, or a layer with fewer input channels or a smaller kernel"
    )
    for window in (setting.rows, setting.columns):
        padding = max(window.before, window.after)
        if padding >= window.extent and shortage.fits:
            reason = (
                f"does not fit the convolution buffer of {hw.name} at once, and pads {padding} "
                f"for a kernel that spans {window.extent}, so that a piece would see only "
                "padding: pad by less"
            )
    assert layer.convolution is not None
    return refused(layer.convolution.location, f"{layer.describe()} {reason}")
