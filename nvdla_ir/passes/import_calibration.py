"""Give every float tensor of a network the range that a calibration table states for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

from nvdla_ir.calibration.table import CalibrationTable, read_table
from nvdla_ir.calibration.tensorrt_names import rename_entries
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.calibrated import float_element, takes_calibrated_result
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import LayerOp, tensor_names
from nvdla_ir.dialects.nn import RearrangementOp, is_fake_quantized, tensor_type
from nvdla_ir.dialects.quant import CalibratedType
from nvdla_ir.ir.diagnostics import Diagnostic
from nvdla_ir.ir.location import Location
from nvdla_ir.ir.operation import Value
from nvdla_ir.passes.base import Pass, Session, option
from nvdla_ir.passes.conditions import calibrated

_LISTED = 10


@frozen
class ImportCalibration(Pass):
    """Attach the ranges of a calibration table to the tensors they belong to.

    Before::

        func.func @main(%data: tensor<1x1x8x8xf32>) -> tensor<1x1x8x8xf32> {
          %relu1 = nn.relu %data layers=["relu1"] -> tensor<1x1x8x8xf32>

    After, with ``{"data": {"scale": 0.1, …}, "relu1": {"scale": 0.05, …}}``::

        func.func @main(%data: tensor<1x1x8x8x!quant.calibrated<f32<-12.7:12.7>>>) -> …
          %relu1 = nn.relu %data layers=["relu1"]
              -> tensor<1x1x8x8x!quant.calibrated<f32<-6.35:6.35>>>

    The entry of an operation is that of the last of its layers, the entry of an argument that of
    its name. What only moves elements (views, transposes) has, without an entry,
    the range of its operand. What the host computes in
    floats (softmax) needs no entry.

    The type's range is that of the int8 codes, so that its ``scale`` and ``zero_point`` are the
    entry's to the bit: ±127·scale where the offset is 0 (also where the table states an uneven
    ``min`` and ``max``: its scale then covers the larger of the two), else the reals of the codes
    -128 to 127. (quantization.md section 1; ``nvdla_ir/calibration/entry.py``)

    A cache of TensorRT, and the JSON made of one, has the names that tensors have in the network
    that was imported, and others for tensors without; they are mapped to the layers, which must
    therefore still be those of the import (quantization.md section 1). How is told in a remark.

    Importing again replaces the ranges. Tensors that the network itself quantizes keep their codes,
    which is a warning where the table has entries for them.
    """

    name = "import-calibration"
    ensures = (calibrated(),)

    file: str = option(
        help="the calibration table: NVDLA JSON or a TensorRT cache; relative to where you are"
    )

    def run(self, module: ModuleOp, session: Session) -> None:
        """Raises: DiagnosticError where the table cannot be read or is at fault."""
        table = read_table(self.file)
        session.resources.add_source(Path(self.file))
        for warning in table.warnings:
            session.diagnostics.emit(warning)
        table, _ = rename_entries(table, module, session.diagnostics)
        importer = _Import(table, self.file)
        for function in module.body.operations:
            if isinstance(function, FuncOp) and not function.is_declaration:
                importer.function(function)
        if importer.missing:
            session.diagnostics.emit(importer.missing_diagnostic())
        elif importer.unknown_names():
            session.diagnostics.emit(importer.unknown_diagnostic())
        if importer.quantized:
            session.diagnostics.emit(importer.quantized_diagnostic())
        session.count(self.name, "calibrated tensors", importer.count)


class _Import:
    """Attaches ranges, and remembers what the table lacks, which of its names are known, and for
    which it has no say."""

    def __init__(self, table: CalibrationTable, file: str) -> None:
        self._table = table
        self._file = file
        self._known: set[str] = set()
        self.missing: dict[str, Location] = {}
        self._nameless: set[str] = set()
        self.quantized: dict[str, Location] = {}
        self.count = 0
        self._names_tensors = False

    def function(self, function: FuncOp) -> None:
        for argument in function.body.arguments:
            if float_element(argument) is not None:
                self._calibrate(argument, function.argument_name(argument), argument.location)
        layers = [op for op in function.walk() if isinstance(op, LayerOp)]
        self._names_tensors = any(tensor_names(op) for op in layers)
        for op in layers:
            self._operation(op)
        function.update_function_type()

    def _operation(self, op: LayerOp) -> None:
        layers = op.layers or ()
        self._known.update(layers)
        if not takes_calibrated_result(op):
            return
        value = op.results[0]
        if (
            isinstance(op, RearrangementOp)
            and not is_fake_quantized(value.type)
            and not (layers and layers[-1] in self._table)
        ):
            value.type = tensor_type(value).with_element(tensor_type(op.input).element)
            return
        name = layers[-1] if layers else (value.name_hint or op.name)
        if self._names_tensors and tensor_names(op) is None:
            self._nameless.add(name)
        self._calibrate(value, name, op.location)

    def _calibrate(self, value: Value, name: str, location: Location) -> None:
        self._known.add(name)
        entry = self._table.get(name)
        if is_fake_quantized(value.type):
            if entry is not None:
                self.quantized.setdefault(name, location)
            return
        if entry is None:
            self.missing.setdefault(name, location)
            return
        expressed = float_element(value)
        assert expressed is not None
        value.type = tensor_type(value).with_element(
            CalibratedType.of_scale(entry.scale, entry.offset, expressed)
        )
        self.count += 1

    def missing_diagnostic(self) -> Diagnostic:
        """One error for all missing entries, with a note for each."""
        names = list(self.missing)
        what = f"'{names[0]}'" if len(names) == 1 else f"{len(names)} layers: {_listed(names)}"
        return Diagnostic.error(
            self.missing[names[0]],
            f"the calibration table '{self._file}' has no entry for {what}",
            list(self._missing_notes()),
        )

    def _missing_notes(self) -> Iterator[Diagnostic]:
        for name, location in list(self.missing.items())[:_LISTED]:
            nearest = self._table.nearest(name)
            hint = "nothing in the table looks like it"
            if nearest is not None:
                hint = f"the table's nearest name is '{nearest}'"
            if name in self._nameless:
                hint = (
                    "it is a step inside a node, for which other tools have no tensor: "
                    "'nvdla-calibrate' measures it"
                )
            yield Diagnostic.note(location, f"'{name}' is computed here; {hint}")

    def quantized_diagnostic(self) -> Diagnostic:
        names = list(self.quantized)
        return Diagnostic.warning(
            self.quantized[names[0]],
            f"the network itself quantizes {_listed(names)}: the entries that the calibration "
            f"table '{self._file}' has for them are not used",
        )

    def unknown_names(self) -> list[str]:
        """The names of the table that are neither layers nor arguments."""
        return [name for name in self._table if name not in self._known]

    def unknown_diagnostic(self) -> Diagnostic:
        names = self.unknown_names()
        count = "1 entry" if len(names) == 1 else f"{len(names)} entries"
        return Diagnostic.warning(
            self._table[names[0]].location,
            f"the calibration table '{self._file}' has {count} for layers that are not in the "
            f"network: {_listed(names)}",
        )


def _listed(names: Iterable[str]) -> str:
    given = list(names)
    shown = ", ".join(f"'{name}'" for name in given[:_LISTED])
    return f"{shown} and {len(given) - _LISTED} more" if len(given) > _LISTED else shown
