"""The dialects that come with the package, and those of other packages that are installed; each is
imported when a name of it is met."""

from __future__ import annotations

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.dialect import Context, Dialect
from nvdla_ir.ir.location import UNKNOWN

DIALECTS = {
    "builtin": "nvdla_ir.dialects.builtin:BUILTIN",
    "csb": "nvdla_ir.dialects.csb:CSB",
    "fixed": "nvdla_ir.dialects.fixed:FIXED",
    "func": "nvdla_ir.dialects.func:FUNC",
    "nn": "nvdla_ir.dialects.nn:NN",
    "nvdla": "nvdla_ir.dialects.nvdla:NVDLA",
    "quant": "nvdla_ir.dialects.quant:QUANT",
}

ENTRY_POINT_GROUP = "nvdla_ir.dialects"


def default_context(*, allow_unregistered: bool = False) -> Context:
    """A new context that knows the package's dialects, and finds those of installed packages."""
    return Context(dict(DIALECTS), allow_unregistered, installed_dialect)


def installed_dialect(name: str) -> Dialect | None:
    """The dialect that an installed package names in the entry-point group ``nvdla_ir.dialects``;
    its import registers its kernels and rules.

    Raises: DiagnosticError where it fails to import.
    """
    # Slow to import, and needed for unknown names only.
    from importlib.metadata import entry_points

    for entry_point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        try:
            loaded: object = entry_point.load()
        except Exception as error:
            raise DiagnosticError.at(
                UNKNOWN,
                f"dialect '{name}' of the installed package cannot be loaded from "
                f"'{entry_point.value}': {type(error).__name__}: {error}",
            ) from error
        if not isinstance(loaded, Dialect):
            raise DiagnosticError.at(
                UNKNOWN, f"entry point '{entry_point.value}' of '{name}' is not a dialect"
            )
        return loaded
    return None
