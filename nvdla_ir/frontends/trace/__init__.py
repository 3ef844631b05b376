"""Register traces: ``.cfg`` files with their ``.dat`` files, and ``.txn`` files of nv_full."""

from nvdla_ir.frontends.trace.importer import import_trace

__all__ = ["import_trace"]
