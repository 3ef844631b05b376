"""Traces in: a module with one function of register operations."""

from __future__ import annotations

from pathlib import Path

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp, ReturnOp
from nvdla_ir.dialects.nvdla import TARGET_ATTRIBUTE, target_attribute
from nvdla_ir.formats.trace.cfg import read_cfg
from nvdla_ir.formats.trace.decoding import Decoder
from nvdla_ir.formats.trace.files import trace_file
from nvdla_ir.formats.trace.schedule import schedule
from nvdla_ir.formats.trace.txn import read_txn
from nvdla_ir.hw.configuration import ConfigurationError, configuration_file, load_configuration
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN, FileLineCol
from nvdla_ir.ir.operation import Block, Region
from nvdla_ir.ir.types import FunctionType
from nvdla_ir.resources import ResourceStore


def import_trace(path: Path, target: str, resources: ResourceStore) -> ModuleOp:
    """The trace ``path`` as a register program for the hardware configuration ``target``.

    ``path`` is a ``.cfg`` file, a ``.txn`` file, or a directory with exactly one of them. The
    bytes of its data files are added to ``resources``. The module has one function ``@main``
    without inputs or outputs, whose operations can be executed in order; each has the location of
    its first line in the trace. What the trace checks becomes ``csb.check_crc``,
    ``csb.check_bytes`` and ``csb.expect``.

    Raises: DiagnosticError with all faults of the trace and its data files, at their lines.
    """
    description = configuration_file(target)
    if description is not None:
        resources.add_source(description)
    try:
        configuration = load_configuration(target)
    except ConfigurationError as error:
        raise DiagnosticError.at(UNKNOWN, str(error)) from error
    file = trace_file(path)
    resources.add_source(file)
    if file.suffix == ".cfg":
        steps = schedule(read_cfg(file, configuration, resources.add_source), configuration)
    else:
        steps = read_txn(file, configuration, resources.add_source)
    body = Block()
    builder = Builder(InsertionPoint.at_end(body), FileLineCol(str(file), 1, 1))
    decoder = Decoder(builder, resources)
    for step in steps:
        decoder.add(step)
    decoder.flush()
    builder.create(ReturnOp, values=[])
    function = FuncOp.create(
        sym_name="main",
        function_type=FunctionType((), ()),
        regions=[Region([body])],
        location=builder.location,
    )
    module = ModuleOp.of([function])
    module.attributes[TARGET_ATTRIBUTE] = target_attribute(configuration)
    return module
