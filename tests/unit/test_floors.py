"""The architecture as rules on the sources: who may import whom, and how large a file may be.

An import goes down, or sideways inside one package, never up. The rules read the sources, so lazy
imports inside functions count as well, and so do modules that are named in strings
(``"nvdla_ir.passes.x:Class"``). Imports for type checkers alone do not count, except that ``ir``
and ``text`` may not even name a dialect there.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]

FLOORS: dict[str, float] = {
    # A single constant: everyone may use it.
    "version": -1,
    # Signals, of no kind of data: everyone may use it.
    "interruption": -1,
    # Processes, for whatever work.
    "workers": -1,
    "arith": 0,
    "hw": 0,
    "ir": 1,
    # Files and their failures as diagnostics: everyone above ir may use them.
    "files": 1.5,
    "source_lines": 1.5,
    # Arrays in files, for data sets and tools.
    "arrays": 2,
    "text": 2,
    # Tensors in files, for dialects and those above.
    "resources": 2.5,
    "dialects": 3,
    "hardware": 4,
    "interp": 4,
    "passes": 5,
    "calibration": 5,
    "evaluation": 5,
    "frontends": 5,
    "formats": 5,
    "testing": 6,
    "tools": 7,
}
"""The floor of each package, and of each module directly in ``nvdla_ir``."""

NEIGHBOURS = {
    # The pass import-calibration reads tables.
    ("passes", "calibration"),
    # Networks are quantized to be evaluated.
    ("evaluation", "passes"),
    ("evaluation", "calibration"),
    # Loadables are written of hardware layers, whose settings and places the passes know.
    ("formats", "passes"),
}
"""Packages on the same floor of which the first may import the second."""

NAMES = {
    # Golden tests run the tools, found by name when a test calls them.
    ("testing", "tools"),
    # The text forms of the dialects are the grammar's fragments.
    ("text", "grammar"),
}
"""Packages of which the first may name the second in a string, though it may not import it."""

LIBRARIES = {
    "attrs": set(FLOORS) - {"version", "interruption", "workers"},
    "numpy": set(FLOORS)
    - {"version", "interruption", "workers", "ir", "files", "source_lines", "text", "testing"},
    "lark": {"text"},
    "safetensors": {"resources", "calibration", "frontends", "tools"},
    "rich": {"tools"},
    "filecheck": {"testing"},
    "pytest": {"testing"},
    "tomli": {"hw"},
    "flatbuffers": {"frontends", "formats"},
    "onnx": {"frontends"},
    "google": {"frontends"},
    "dask": {"calibration"},
    "distributed": {"calibration"},
    "PIL": {"calibration"},
    "matplotlib": {"tools"},
    "numba": {"arith"},
}
"""Where each library that is not Python's own may be imported."""

MAX_LINES = 520


@frozen
class Import:
    """A module that a file names.

    file, line: where
    unit:       the package the file is in, or the module directly in ``nvdla_ir``
    module:     the full name of what is imported
    typing:     it is for type checkers alone
    string:     it is named in a string and imported by that name
    """

    file: str
    line: int
    unit: str
    module: str
    typing: bool = False
    string: bool = False

    @property
    def target(self) -> str | None:
        """The unit that is imported; None if that is a library."""
        parts = self.module.split(".")
        return parts[1] if parts[0] == "nvdla_ir" and len(parts) > 1 else None

    def __str__(self) -> str:
        how = "names" if self.string else "imports"
        return f"{self.file}:{self.line}: {self.unit} {how} {self.module}"


def sources() -> list[Path]:
    return sorted([*ROOT.glob("nvdla_ir/**/*.py"), *ROOT.glob("tools/**/*.py")])


def module_of(file: Path) -> list[str]:
    """The parts of the name of the package, or of the module, that ``file`` is."""
    parts = list(file.relative_to(ROOT).with_suffix("").parts)
    return ["nvdla_ir", *parts] if parts[0] == "tools" else parts


def imports_of(text: str, file: str, module: list[str]) -> Iterator[Import]:
    """What the source ``text`` of ``module`` imports or names, ``__init__`` last in a package."""
    tree = ast.parse(text)
    unit = module[1]
    typing_lines = {
        statement.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
    }
    for node in ast.walk(tree):
        names: list[str] = []
        string = False
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module[: -node.level] if node.level else []
            base = [*base, *(node.module or "").split(".")] if node.module else base
            names = [".".join(base)]
            if base in ([], ["nvdla_ir"]):
                names = [".".join([*base, alias.name]) for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = re.fullmatch(r"(nvdla_ir\.(\w+)[\w.]*)(:\w+)?", node.value)
            string = True
            names = [name[1]] if name and name[2] in {*FLOORS, "grammar"} else []
        for name in names:
            typing = getattr(node, "lineno", 0) in typing_lines
            yield Import(file, getattr(node, "lineno", 0), unit, name.rstrip("."), typing, string)


def all_imports() -> list[Import]:
    found: list[Import] = []
    for file in sources():
        module = module_of(file)
        if module == ["nvdla_ir", "__init__"]:
            continue
        text = file.read_text(encoding="utf-8")
        found += imports_of(text, file.relative_to(ROOT).as_posix(), module)
    return found


def may_import(unit: str, target: str) -> bool:
    return unit == target or FLOORS[target] < FLOORS[unit] or (unit, target) in NEIGHBOURS


def breaks_floors(imported: Import) -> bool:
    target = imported.target
    if target is None:
        return False
    if imported.string and (imported.unit, target) in NAMES:
        return False
    if imported.typing:
        return imported.unit in ("ir", "text") and target == "dialects"
    if imported.unit in ("arith", "hw") and target not in (imported.unit, "version"):
        # Neither knows the other.
        return True
    return target not in FLOORS or not may_import(imported.unit, target)


def breaks_libraries(imported: Import) -> bool:
    library = imported.module.split(".")[0]
    if imported.typing or library == "nvdla_ir" or library in sys.stdlib_module_names:
        return False
    return imported.unit not in LIBRARIES.get(library, ())


# -------------------------------------------------------------- the rules hold


def test_every_package_has_a_floor() -> None:
    units = {module_of(file)[1].removesuffix("__init__") for file in sources()}
    assert units - {""} <= set(FLOORS)


def test_imports_go_down() -> None:
    assert [str(imported) for imported in all_imports() if breaks_floors(imported)] == []


def test_no_imports_go_in_circles() -> None:
    """Between modules, what is imported in functions or for type checkers alone included."""
    modules = {".".join(module_of(file)).removesuffix(".__init__") for file in sources()}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for file in sources():
        module = module_of(file)
        name = ".".join(module).removesuffix(".__init__")
        targets = modules_imported(file.read_text(encoding="utf-8"), module, modules)
        graph[name] |= (targets & modules) - {name}
    done: set[str] = set()
    while leaves := {name for name, targets in graph.items() if targets <= done} - done:
        done |= leaves
    assert sorted(modules - done) == []


def modules_imported(text: str, module: list[str], modules: set[str]) -> set[str]:
    """The modules that ``text`` imports; of a package, those in it that are named."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module[: -node.level] if node.level else []
            package = ".".join([*base, *filter(None, [node.module])])
            inner = {f"{package}.{alias.name}" for alias in node.names}
            found |= inner if inner <= modules else {package}
    return found


def test_libraries_are_imported_where_they_belong() -> None:
    assert [str(imported) for imported in all_imports() if breaks_libraries(imported)] == []


def test_nothing_runs_when_the_package_is_imported() -> None:
    tree = ast.parse((ROOT / "nvdla_ir" / "__init__.py").read_text(encoding="utf-8"))
    assert [ast.unparse(node) for node in tree.body[1:]] == []


def test_files_are_of_a_size_to_be_read() -> None:
    sizes = {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8").count("\n")
        for file in sources()
    }
    assert {file: lines for file, lines in sizes.items() if lines > MAX_LINES} == {}


FOREIGN = re.compile(
    r"\bpypi\.|pythonhosted|conda\.anaconda|registry\.npmjs|index-url"
    r"|(?<![\w.<$}])/(?:home|root|Users|work|tmp|opt|mnt|workspace)/"
)
"""Hosts of package registries, and absolute paths of a machine."""


def project_files() -> list[Path]:
    folders = ["nvdla_ir", "tools", "grammar", "tests", "examples", "benchmarks", "docs"]
    suffixes = {".py", ".lark", ".toml", ".md", ".ir", ".json", ".cfg", ".txt"}
    found = [file for name in folders for file in (ROOT / name).rglob("*")]
    found += [ROOT / "pyproject.toml", ROOT / "Makefile", *ROOT.glob("*.md")]
    return [
        file
        for file in found
        if (file.suffix in suffixes or file.name == "Makefile")
        and file.is_file()
        and file != Path(__file__).resolve()
        and "results" not in file.relative_to(ROOT).parts
    ]


def test_no_file_knows_a_machine_or_a_package_registry() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in project_files()
        for match in FOREIGN.finditer(file.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


# -------------------------------------------------------------- the rules find what breaks them


@pytest.mark.parametrize(
    ("module", "text", "broken"),
    [
        ("nvdla_ir.ir.a", "from nvdla_ir.text.printer import Printer", True),
        ("nvdla_ir.ir.a", "def f():\n    from nvdla_ir.text import printer", True),
        ("nvdla_ir.ir.a", "from ..text import printer", True),
        ("nvdla_ir.ir.a", "from nvdla_ir import files", True),
        ("nvdla_ir.ir.a", "from nvdla_ir import version", False),
        ("nvdla_ir.ir.a", "from . import b", False),
        ("nvdla_ir.ir.__init__", "from .b import c", False),
        ("nvdla_ir.hw.formats.a", "from ..registers import b", False),
        ("nvdla_ir.hw.formats.a", "from ...ir import b", True),
        ("nvdla_ir.hw.a", "import nvdla_ir.arith", True),
        ("nvdla_ir.arith.a", "import nvdla_ir.files", True),
        ("nvdla_ir.files", "from nvdla_ir.ir.location import UNKNOWN", False),
        ("nvdla_ir.files", "from nvdla_ir.text import grammar", True),
        ("nvdla_ir.text.a", "import nvdla_ir.dialects.nn", True),
        ("nvdla_ir.text.a", "if TYPE_CHECKING:\n    import nvdla_ir.dialects.nn", True),
        ("nvdla_ir.text.a", "NN = 'nvdla_ir.dialects.nn:NN'", True),
        ("nvdla_ir.text.a", "NAME = 'nvdla_ir.weights'", False),
        ("nvdla_ir.dialects.a", "from nvdla_ir.passes.base import Pass", True),
        ("nvdla_ir.dialects.a", "if TYPE_CHECKING:\n    from nvdla_ir.passes import a", False),
        ("nvdla_ir.passes.a", "import nvdla_ir.calibration.table", False),
        ("nvdla_ir.calibration.a", "import nvdla_ir.passes.base", True),
        ("nvdla_ir.passes.a", "import nvdla_ir.tools.nvdla_opt", True),
        ("nvdla_ir.testing.a", "import nvdla_ir.tools.nvdla_opt", True),
        ("nvdla_ir.testing.a", "f'nvdla_ir.tools.{name}'", False),
        ("nvdla_ir.tools.a", "from nvdla_ir.unheard_of import b", True),
    ],
)
def test_the_rule_on_floors(module: str, text: str, broken: bool) -> None:
    found = [breaks_floors(imported) for imported in imports_of(text, "a.py", module.split("."))]
    assert any(found) is broken


@pytest.mark.parametrize(
    ("module", "text", "broken"),
    [
        ("nvdla_ir.ir.a", "import numpy as np", True),
        ("nvdla_ir.ir.a", "def f():\n    import lark", True),
        ("nvdla_ir.ir.a", "from attrs import frozen", False),
        ("nvdla_ir.text.a", "from lark.exceptions import LarkError", False),
        ("nvdla_ir.resources", "if TYPE_CHECKING:\n    import torch", False),
        ("nvdla_ir.passes.a", "import pytest", True),
        ("nvdla_ir.tools.a", "import filecheck", True),
        ("nvdla_ir.tools.a", "import json, torch", True),
    ],
)
def test_the_rule_on_libraries(module: str, text: str, broken: bool) -> None:
    found = [breaks_libraries(imported) for imported in imports_of(text, "a.py", module.split("."))]
    assert any(found) is broken


def test_the_rule_on_foreign_names() -> None:
    assert FOREIGN.search("file = '/home/someone/file'")
    assert FOREIGN.search("pip install --index-url=x")
    assert not FOREIGN.search("see docs/home/page and %t/tmp/x")


# -------------------------------------------------------------- start-up


def modules_after(code: str) -> set[str]:
    """The modules that are loaded after ``code`` ran in a Python of its own."""
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('\\n', *sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(result.stdout.splitlines()[-1].split())


def test_version_loads_nothing_that_takes_time() -> None:
    loaded = modules_after("from nvdla_ir.tools.nvdla_opt import main; main(['--version'])")
    assert "nvdla_ir.tools.nvdla_opt" in loaded
    assert loaded.isdisjoint({"argparse", "attr", "lark", "numpy", "rich", "nvdla_ir.ir"})


def test_a_file_without_tensors_is_read_without_numpy_and_rich(tmp_path: Path) -> None:
    file = tmp_path / "module.ir"
    file.write_text("module {\n  func.func @main() {\n    func.return\n  }\n}\n")
    loaded = modules_after(f"from nvdla_ir.tools.nvdla_opt import main; main([{str(file)!r}])")
    assert "lark" in loaded
    assert loaded.isdisjoint({"numpy", "rich"})
