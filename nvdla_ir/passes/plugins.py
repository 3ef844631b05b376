"""Plug-ins: single Python files that bring passes, dialects, kernels and rules.

Every ``Pass`` class with a name that is defined in the file is a pass of the plug-in, every
``Dialect`` in its global names a dialect. Kernels and rules register themselves.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import attrs
from attrs import frozen

from nvdla_ir.files import StrPath, read_bytes
from nvdla_ir.ir.class_registry import ClassRegistry
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticError
from nvdla_ir.ir.dialect import Dialect
from nvdla_ir.ir.location import FileLineCol, Location
from nvdla_ir.passes.base import Pass
from nvdla_ir.passes.options import options_of

_MODULE_PREFIX = "nvdla_ir_plugin_"


@frozen
class Plugin:
    """What a plug-in file defines."""

    file: str
    passes: tuple[type[Pass], ...]
    dialects: tuple[Dialect, ...]


def load_plugin(path: StrPath) -> Plugin:
    """Run the plug-in file ``path`` and gather what it defines.

    Raises: DiagnosticError where it cannot be read, fails (at the line that does), has a pass
    that is declared wrongly, or defines nothing.
    """
    file = Path(path)
    read_bytes(file)  # tells of a missing file in the usual words
    module = _execute(file)
    start = FileLineCol(str(file), 1, 1)
    passes = tuple(
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Pass)
        and value.__module__ == module.__name__
        and _is_pass(value, start)
    )
    dialects = tuple(value for value in vars(module).values() if isinstance(value, Dialect))
    if not passes and not dialects and not _registers(module.__name__):
        message = "the plug-in defines no pass, no dialect, no rule and no kernel"
        raise DiagnosticError.at(start, message)
    return Plugin(str(file), passes, dialects)


def _registers(module: str) -> bool:
    """Whether rules or kernels come from the module of this name."""
    return any(registry.has_entries_of(module) for registry in _registries())


def forget_plugins() -> None:
    """Take out the rules and kernels of all plug-ins, which hold for one command only."""
    for name in [name for name in sys.modules if name.startswith(_MODULE_PREFIX)]:
        del sys.modules[name]
        for registry in _registries():
            registry.forget(name)


def _registries() -> list[ClassRegistry[Any]]:
    from nvdla_ir.interp.registry import KERNELS
    from nvdla_ir.passes.conversion import converts
    from nvdla_ir.passes.decomposition.rules import decomposes
    from nvdla_ir.passes.legalization import legalizes

    return [decomposes.registry, converts.registry, legalizes.registry, *KERNELS.values()]


def _execute(file: Path) -> ModuleType:
    name = f"{_MODULE_PREFIX}{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise DiagnosticError.at(
            FileLineCol(str(file), 1, 1), "a plug-in is a Python file: its name must end in '.py'"
        )
    module = importlib.util.module_from_spec(spec)
    # attrs looks classes' modules up here.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        forget_plugins()
        raise DiagnosticError(_failure(file, error)) from error
    return module


def _failure(file: Path, error: BaseException) -> Diagnostic:
    """What to tell of an exception: the line of the plug-in, and the innermost line elsewhere."""
    detail = error.msg if isinstance(error, SyntaxError) else str(error)
    what = f"the plug-in cannot be loaded: {type(error).__name__}: {detail}"
    # Python knows the file by its absolute name.
    absolute = str(file.absolute())
    if isinstance(error, SyntaxError) and error.filename == absolute:
        place = FileLineCol(str(file), error.lineno or 1, max(error.offset or 1, 1))
        return Diagnostic.error(place, what)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno or 1 for frame in frames if frame.filename == absolute]
    notes: list[Diagnostic] = []
    if frames[-1].filename != absolute and not isinstance(error, ImportError):
        innermost = FileLineCol(frames[-1].filename, frames[-1].lineno or 1, 1)
        notes.append(Diagnostic.note(innermost, "raised here"))
    return Diagnostic.error(FileLineCol(str(file), own[-1] if own else 1, 1), what, notes)


def _is_pass(pass_class: type[Pass], start: Location) -> bool:
    """Whether the class is a pass and not a base of others.

    Raises: DiagnosticError where it is declared wrongly.
    """
    if not hasattr(pass_class, "name"):
        return False
    label = f"pass '{pass_class.name}' (class '{pass_class.__name__}')"
    undecorated = cast("type[object]", type(attrs.field()))
    if any(isinstance(value, undecorated) for value in vars(pass_class).values()):
        raise DiagnosticError.at(start, f"{label} has options, so it needs '@frozen' above it")
    try:
        options_of(pass_class)
    except TypeError as error:
        raise DiagnosticError.at(start, f"{label} is declared wrongly: {error}") from None
    return True
