"""Kernels of the nn dialect."""

from nvdla_ir.interp.nn import converters, integers, layers, weighted

__all__ = ["converters", "integers", "layers", "weighted"]
