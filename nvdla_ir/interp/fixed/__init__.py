"""Kernels of the fixed dialect."""

from nvdla_ir.interp.fixed import integers, reals

__all__ = ["integers", "reals"]
