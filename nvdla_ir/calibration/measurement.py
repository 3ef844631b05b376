"""What a network's tensors hold, image by image: the float interpreter, watched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from nvdla_ir.calibration.histogram import Counts, Histogram, NonFiniteError, count
from nvdla_ir.dialects.calibrated import float_element, takes_calibrated_result
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import LayerOp, describe
from nvdla_ir.dialects.nn import (
    ConstantOp,
    NormalizeOp,
    RearrangementOp,
    ReluOp,
    is_fake_quantized,
)
from nvdla_ir.dialects.quant import QuantizeCastOp, QuantizedType
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.interp.quantization import element_of
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import Location
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.ir.types import TensorType
from nvdla_ir.resources import ResourceStore

Array = NDArray[Any]

LARGEST_GROUP = 8
"""How many images are computed at a time, at most."""
LARGEST_TENSOR = 1 << 20
"""About how many elements of one tensor are computed at a time: more leave the cache."""


class NetworkSource(Protocol):
    """Something a network can be opened from: here, in another process, on another machine."""

    def open(self) -> tuple[FuncOp, ResourceStore]:
        """Raises: DiagnosticError"""
        ...


@frozen(eq=False)
class Group:
    """Images that are computed together.

    number: of the group, from 0 on
    names:  what to call the images in messages
    inputs: by the function's names, images along the first axis
    """

    number: int
    names: tuple[str, ...]
    inputs: Mapping[str, Array]


@define(eq=False)
class Measurement:
    """The histograms of all calibrated tensors, by name, in the order of computation."""

    histograms: dict[str, Histogram] = field(factory=dict[str, Histogram])

    def copy(self) -> Measurement:
        return Measurement({name: h.copy() for name, h in self.histograms.items()})

    def merge(self, other: Measurement) -> None:
        """Add what ``other`` has measured. The result does not depend on the order of merging."""
        for name, histogram in other.histograms.items():
            self.histograms.setdefault(name, Histogram()).merge(histogram)


def calibrated_tensors(func: FuncOp) -> dict[Value, str]:
    """The names of the tensors of ``func`` that need a range: float inputs and layers' outputs.
    Views have the range of what they view; what the host computes needs none, and what the network
    quantizes itself has its own.

    Raises: DiagnosticError for layers without names (all of them), names that stand for two
    tensors, a function that computes on integers, or that has nothing to be calibrated.
    """
    diagnostics = DiagnosticCollector()
    names: dict[Value, str] = {}
    places: dict[str, Location] = {}

    def call(value: Value, name: str, location: Location) -> None:
        if name in places:
            diagnostics.error(location, f"two tensors are called '{name}': a table has one entry")
        places[name] = location
        names[value] = name

    for argument in func.body.arguments:
        if float_element(argument) is not None and not is_fake_quantized(argument.type):
            call(argument, func.argument_name(argument), argument.location)
    for op in func.body.operations:
        if _computes_codes(op):
            diagnostics.error(
                op.location,
                f"{describe(op)} is quantized already: calibrate the network in floats",
            )
            break
        if not takes_calibrated_result(op) or isinstance(op, RearrangementOp | ConstantOp):
            continue
        if is_fake_quantized(op.results[0].type):
            continue
        assert isinstance(op, LayerOp)
        if op.layers:
            call(op.results[0], op.layers[-1], op.location)
        else:
            diagnostics.error(
                op.location,
                f"'{op.name}' has no layer's name, by which a table could state its range: "
                'layers=["…"]',
            )
    if not names and not diagnostics.errors:
        diagnostics.error(
            func.location,
            f"'@{func.sym_name}' has no tensors that need a range: a network is calibrated before "
            "it is quantized or compiled, and this one has no float tensors, or quantizes all of "
            "them itself",
        )
    diagnostics.raise_if_errors()
    return names


def _computes_codes(op: Operation) -> bool:
    """Whether ``op`` is a layer on integers. Weights may be integers, and casts make some."""
    if isinstance(op, ConstantOp | QuantizeCastOp):
        return False
    return any(isinstance(element_of(result.type), QuantizedType) for result in op.results)


class Meter:
    """A network that can be measured.

    How many images are computed together depends on the network alone: sums of floats come out
    differently in other company, and the table must not.
    """

    def __init__(self, func: FuncOp, resources: ResourceStore) -> None:
        """Raises: DiagnosticError, see ``calibrated_tensors``, or for operations that cannot be
        computed."""
        self.func = func
        self.resources = resources
        self._names = calibrated_tensors(func)
        self._machine = Machine(resources, Mode.FLOAT, self._observe)
        self._group: Group | None = None
        self._measured = Measurement()
        # Of the inputs of ReLUs, by which these are counted, too.
        self._counts: dict[Value, Counts] = {}
        # Threads of one process share the network.
        self._lock = Lock()
        self.group_size = _group_size(func, self._machine.takes_any_batch(func))

    @staticmethod
    def open(source: NetworkSource) -> Meter:
        """Raises: DiagnosticError"""
        return Meter(*source.open())

    @property
    def fixed_batch(self) -> int | None:
        """How many images the function takes, where it takes no other number; else None."""
        return None if self._machine.takes_any_batch(self.func) else self.group_size

    @property
    def sources(self) -> list[Path]:
        """The files with the network's tensors."""
        return self._machine.resources.sources

    @property
    def names(self) -> list[str]:
        """Of the calibrated tensors."""
        return list(self._names.values())

    @property
    def image_elements(self) -> int:
        """About how many elements all tensors of one image have; at least 1."""
        total = sum(math.prod(shape) for shape in _computed_shapes(self.func))
        return max(1, total // (self.fixed_batch or 1))

    @property
    def inputs(self) -> frozenset[str]:
        """The names of the network's inputs in floats, normalized where the network does that."""
        return frozenset(
            name
            for value, name in self._names.items()
            if value.defining_operation is None or isinstance(value.defining_operation, NormalizeOp)
        )

    def measure(self, groups: Sequence[Group]) -> Measurement:
        """Compute ``groups`` and return what their tensors hold.

        Raises: DiagnosticError where a layer computes NaN or infinite numbers.
        """
        with self._lock:
            self._measured = Measurement()
            for group in groups:
                self._group = group
                self._counts.clear()
                for argument in self.func.body.arguments:
                    if argument in self._names:
                        self._add(argument, group.inputs[self.func.argument_name(argument)])
                self._machine.run(self.func, group.inputs)
            return self._measured

    def _observe(self, op: Operation, results: Sequence[Any]) -> None:
        for value, array in zip(op.results, results, strict=True):
            if value in self._names:
                self._add(value, array)

    def _add(self, value: Value, array: Array) -> None:
        name = self._names[value]
        op = value.defining_operation
        known = self._counts.get(op.input) if isinstance(op, ReluOp) else None
        counts = None if known is None else known.rectified()
        if counts is None:
            try:
                counts = count(array)
            except NonFiniteError:
                raise self._not_finite(name, value, array) from None
        if any(isinstance(user, ReluOp) for user in value.users):
            self._counts[value] = counts
        self._measured.histograms.setdefault(name, Histogram()).add_counts(counts)

    def _not_finite(self, name: str, value: Value, array: Array) -> DiagnosticError:
        group = self._group
        assert group is not None
        names = group.names
        if array.ndim and len(array) == len(names):
            rows: list[Array] = list(array)
            names = [
                name for name, row in zip(names, rows, strict=True) if not np.isfinite(row).all()
            ]
        op = value.defining_operation
        return DiagnosticError.at(
            self.func.location if op is None else op.location,
            f"'{name}' has NaN or infinite numbers for {', '.join(names)}",
        )


def _group_size(func: FuncOp, any_batch: bool) -> int:
    if any_batch:
        largest = max(map(math.prod, _computed_shapes(func)), default=1)
        return max(1, min(LARGEST_GROUP, LARGEST_TENSOR // max(largest, 1)))
    for argument in func.body.arguments:
        if isinstance(argument.type, TensorType) and len(argument.type.shape) > 1:
            return argument.type.shape[0] or 1
    return 1


def _computed_shapes(func: FuncOp) -> list[tuple[int, ...]]:
    return [
        value.type.static_shape
        for op in func.body.operations
        if op.operands
        for value in op.results
        if isinstance(value.type, TensorType) and value.type.has_static_shape
    ]
