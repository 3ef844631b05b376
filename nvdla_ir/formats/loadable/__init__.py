"""Loadables: networks as the vendor's compiler hands them to its runtime (loadable.md)."""

from nvdla_ir.formats.loadable.importer import import_loadable

__all__ = ["import_loadable"]
