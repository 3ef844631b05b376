"""Loadables: networks as the vendor's compiler hands them to its runtime (loadable.md)."""

from nvdla_ir.formats.loadable.exporter import CURRENT_FIRMWARE, FIRMWARE_VERSIONS, export_loadable
from nvdla_ir.formats.loadable.importer import import_loadable

__all__ = ["CURRENT_FIRMWARE", "FIRMWARE_VERSIONS", "export_loadable", "import_loadable"]
