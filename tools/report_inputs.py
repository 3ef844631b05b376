"""What saturates in a compiled module, of inputs in files."""

from __future__ import annotations

import io
from collections.abc import Mapping

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import entry_functions
from nvdla_ir.evaluation.saturation import Saturation, saturated_shares
from nvdla_ir.interp.boundary import Array, input_array
from nvdla_ir.interp.machine import Mode
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.resources import ResourceStore

from .array_files import read_array


def saturation_of(
    module: ModuleOp, resources: ResourceStore, files: Mapping[str, str]
) -> Saturation:
    """What saturates in the function that runs.

    Raises: DiagnosticError with all faults of the inputs, and where there are no registers.
    """
    func = entry_functions(module)[0]
    types = {func.argument_name(argument): argument.type for argument in func.body.arguments}
    faults = DiagnosticCollector()
    for name in files:
        if name not in types:
            known = ", ".join(f"'{one}'" for one in types)
            faults.error(
                func.location, f"there is no input '{name}' of '--report-input', but {known}"
            )
    for name, type in types.items():
        if name not in files:
            faults.error(
                func.location,
                f"input '{name}' is missing; it is '{type}': --report-input={name}=FILE",
            )
    faults.raise_if_errors()
    inputs: dict[str, Array] = {}
    for name, file in files.items():
        try:
            array = read_array(file, name, io.StringIO())
            inputs[name] = input_array(array, types[name], Mode.INTEGER)
        except ValueError as error:
            faults.error(func.location, f"the input '{name}' in '{file}' {error}")
    faults.raise_if_errors()
    return saturated_shares(func, resources, inputs)
