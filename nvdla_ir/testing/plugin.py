"""The pytest plug-in that collects files of IR with RUN lines and runs them in the process.

A file ``*.ir`` with a ``// RUN:`` line is one test; its lines run one after the other until one
fails. Files are looked for in the folders of the ini option ``nvdla_lit_paths`` (``tests/lit``),
but not in folders named ``Inputs`` or ``Output`` there; a file named on pytest's command line is
a test wherever it is. The hooks in ``hookspecs`` add commands and features.
"""

from __future__ import annotations

# pytest's constructors of nodes have untyped keywords.
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .commands import Command
    from .script import Script

# What runs the tests is imported when the first one is found: pytest loads this module in every
# project of the environment.

_NO_TESTS_IN = frozenset({"Inputs", "Output"})
_PATHS_OPTION = "nvdla_lit_paths"
_PATHS = pytest.StashKey[tuple[Path, ...]]()
_SETUP = pytest.StashKey["tuple[dict[str, Command], frozenset[str], Path]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        _PATHS_OPTION,
        "folders with lit-style tests (*.ir with RUN lines), relative to the root directory",
        type="args",
        default=["tests/lit"],
    )


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from . import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_PATHS] = tuple(config.rootpath / path for path in config.getini(_PATHS_OPTION))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> LitFile | None:
    if file_path.suffix != ".ir":
        return None
    if parent.session.isinitpath(file_path) or _is_in_paths(file_path, parent.config.stash[_PATHS]):
        return LitFile.from_parent(parent, path=file_path)
    return None


def _is_in_paths(file: Path, folders: tuple[Path, ...]) -> bool:
    for folder in folders:
        if file.is_relative_to(folder):
            return _NO_TESTS_IN.isdisjoint(file.relative_to(folder).parts[:-1])
    return False


class LitFile(pytest.File):
    """A file that may be a test."""

    def collect(self) -> Iterable[LitItem]:
        from nvdla_ir.ir.diagnostics import DiagnosticError

        from .script import parse_script

        # A test may be about bytes that are not UTF-8.
        text = self.path.read_text(encoding="utf-8", errors="surrogateescape")
        try:
            script = parse_script(text, _shown(self.path, self.config))
        except DiagnosticError as error:
            raise self.CollectError(_rendered(error, self.path)) from None
        if script.run_lines:
            yield LitItem.from_parent(self, name="RUN", script=script)


class LitItem(pytest.Item):
    """The test in a file: all its RUN lines."""

    def __init__(self, *, script: Script, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.script = script
        _, features, _ = _setup(self.config)
        if reason := script.skip_reason(features):
            self.add_marker(pytest.mark.skip(reason=reason))
        if reason := script.xfail_reason(features):
            self.add_marker(pytest.mark.xfail(reason=reason, strict=True))

    def runtest(self) -> None:
        from .runner import Runner

        commands, _, base = _setup(self.config)
        runner = Runner(
            self.path,
            _shown(self.path, self.config),
            _temporary(base, self.path, self.config.rootpath),
            commands,
        )
        for run_line in self.script.run_lines:
            runner.run(run_line)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from nvdla_ir.ir.diagnostics import DiagnosticError

        from .runner import RunLineError

        if isinstance(excinfo.value, RunLineError):
            return str(excinfo.value)
        if isinstance(excinfo.value, DiagnosticError):
            return _rendered(excinfo.value, self.path)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.script.run_lines[0].line - 1, _shown(self.path, self.config)


def _setup(config: pytest.Config) -> tuple[dict[str, Command], frozenset[str], Path]:
    """Commands, features and the folder for temporary files of this session."""
    if _SETUP in config.stash:
        return config.stash[_SETUP]
    from .commands import COMMANDS

    commands = dict(COMMANDS)
    for more in config.hook.pytest_nvdla_lit_commands(config=config):
        commands.update(more)
    features = frozenset[str]().union(*config.hook.pytest_nvdla_lit_features(config=config))
    # pytest gives this factory to fixtures only, and tests that are not functions have none.
    factory: pytest.TempPathFactory | None = getattr(config, "_tmp_path_factory", None)
    base = factory.mktemp("lit") if factory else Path(tempfile.mkdtemp(prefix="nvdla-lit-"))
    config.stash[_SETUP] = commands, features, base
    return config.stash[_SETUP]


def _temporary(base: Path, file: Path, root: Path) -> Path:
    """The path of ``%t``: a name, and a folder of its own, for each test file."""
    inside = file.relative_to(root) if file.is_relative_to(root) else file.relative_to(file.anchor)
    return base / inside / f"{file.name}.tmp"


def _shown(file: Path, config: pytest.Config) -> str:
    folder = config.invocation_params.dir
    return os.path.relpath(file, folder) if file.anchor == folder.anchor else str(file)


def _rendered(error: Any, file: Path) -> str:
    from nvdla_ir.ir.diagnostics import render
    from nvdla_ir.source_lines import SourceLines

    sources = SourceLines([str(file)])
    return "\n".join(render(diagnostic, sources.line) for diagnostic in error.diagnostics)
