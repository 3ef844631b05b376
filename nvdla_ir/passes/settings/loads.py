"""What is in memory before a network runs: the bytes of its constants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nvdla import ConstantOp
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.formats.compressed_weights import compressed_sizes
from nvdla_ir.hw.formats.sizes import LayoutError
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.settings.constants import (
    CompressedLayout,
    ConstantLayout,
    TableLayout,
    constant_layout,
)
from nvdla_ir.passes.settings.memory import in_memory
from nvdla_ir.passes.settings.networks import Network
from nvdla_ir.resources import EqualTensors, ResourceStore, Tensor


@frozen(eq=False)
class Load:
    """The elements of ``constant``, in memory from ``address`` on."""

    constant: ConstantOp
    address: int
    layout: ConstantLayout
    tensor: Tensor

    def parts(self, hw: HardwareConfiguration) -> Iterable[NDArray[np.int8]]:
        """The bytes, in parts that follow one another. Raises: DiagnosticError for elements that
        do not fit the layout."""
        if not isinstance(self.layout, TableLayout):
            return self.layout.parts(self.tensor.array(), hw)
        try:
            return [self.layout.pack(self.tensor.array())]
        except LayoutError as error:
            raise DiagnosticError.at(
                self.constant.location, f"{describe(self.constant)}: {error}"
            ) from error


def loads(network: Network, hw: HardwareConfiguration, resources: ResourceStore) -> Iterator[Load]:
    """The constants of a network that are used, those at one address once.

    Raises: DiagnosticError for a constant that is read in several layouts, or has another's
    address, and for weights that take other sizes without their zeros than they are read with.
    """
    loaded: dict[int, ConstantOp] = {}
    known: EqualTensors[ConstantOp] = EqualTensors()
    for constant in network.operations():
        if not isinstance(constant, ConstantOp) or not constant.output.is_used:
            continue
        layout = _only_layout(constant, hw)
        address = in_memory(constant.output, constant).address
        tensor = resources.tensor(constant.value, constant.location)
        there = loaded.get(address)
        if there is not None:
            if there is not known.find(tensor, layout):
                raise DiagnosticError.at(
                    constant.location,
                    f"{describe(constant)} and {describe(there)} have one 'address', {address:#x}, "
                    "but different bytes: 'allocate-memory' sets it",
                )
            continue
        loaded[address] = constant
        known.add(tensor, constant, layout)
        if isinstance(layout, CompressedLayout):
            _check_compression(constant, layout, tensor.array(), hw)
        yield Load(constant, address, layout, tensor)


def _only_layout(constant: ConstantOp, hw: HardwareConfiguration) -> ConstantLayout:
    layouts = {constant_layout(use, hw) for use in constant.output.uses}
    if len(layouts) > 1:
        raise DiagnosticError.at(
            constant.location,
            f"{describe(constant)} is read in {len(layouts)} different layouts, but has one "
            "'address': 'allocate-memory' makes a copy for each",
        )
    (layout,) = layouts
    return layout


def _check_compression(
    constant: ConstantOp,
    layout: CompressedLayout,
    weights: NDArray[np.int8],
    hw: HardwareConfiguration,
) -> None:
    found = compressed_sizes(weights, hw.weight_alignment)
    stated = (layout.sizes.data_bytes, layout.sizes.mask_bytes)
    if found != stated:
        raise DiagnosticError.at(
            constant.location,
            f"{describe(constant)} is read with 'compressed_weights = {list(stated)}', but "
            f"takes {list(found)} bytes without its zeros",
        )
