"""Kernels of the nn dialect."""

from nvdla_ir.interp.nn import layers, weighted

__all__ = ["layers", "weighted"]
