"""Register traces: a ``.cfg`` file and its ``.dat`` files, for any player of the format."""

from nvdla_ir.backends.trace.exporter import export_trace

__all__ = ["export_trace"]
