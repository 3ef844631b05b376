"""Register traces: ``.cfg`` files with their ``.dat`` files, and ``.txn`` files of nv_full."""

from nvdla_ir.formats.trace.exporter import export_trace
from nvdla_ir.formats.trace.importer import import_trace

__all__ = ["export_trace", "import_trace"]
