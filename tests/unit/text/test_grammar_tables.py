"""The grammar's tables are data of the package: nothing else is read, and nothing is written."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from nvdla_ir.dialects import default_context
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.text import grammar, tables
from nvdla_ir.text.parser import parse
from nvdla_ir.tools.update_grammar_tables import current_tables


def test_the_tables_are_those_of_the_grammar() -> None:
    text = grammar.compose(grammar.fragments(default_context()))
    assert tables.load(text, None) is not None, "python -m nvdla_ir.tools.update_grammar_tables"
    # Whatever Python and Lark number states by, the file comes out the same.
    assert tables.FILE.read_text(encoding="utf-8") == current_tables()


def test_tables_of_another_grammar_are_not_used() -> None:
    text = grammar.compose(grammar.fragments(default_context()))
    assert tables.load(f"{text}// changed", None) is None


# Runs nvdla-opt, and tells of each file that is opened, and of each pickle.
AUDITED = """
import os, sys
from nvdla_ir.tools.nvdla_opt import main
opened = []
def audit(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        opened.append(os.path.abspath(arguments[0]))
    elif event == "pickle.find_class":
        opened.append("a pickle: " + ".".join(arguments[-2:]))
sys.addaudithook(audit)
status = main(sys.argv[1:])
print(*opened, sep="\\n", file=sys.stderr)
sys.exit(status)
"""


class _Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.write_text, (self.file, "code was executed")


@pytest.mark.parametrize("root", ["absolute", "relative"])
def test_a_planted_cache_is_harmless(tmp_path: Path, root: str) -> None:
    cache = tmp_path / "cache" / "nvdla-ir"
    cache.mkdir(parents=True)
    proof = tmp_path / "proof"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    names = [f"grammar-{version}-1.3.1-6b8c6bba4a9c75ea.pickle", "tables.json", "grammar.pickle"]
    for name in names:
        (cache / name).write_bytes(b"anything\n" + pickle.dumps(_Planted(proof)))
    (tmp_path / "a.ir").write_text("module {\n}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, "a.ir"],
        env={**os.environ, "XDG_CACHE_HOME": "cache" if root == "relative" else str(cache.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "module {\n}\n"
    assert not proof.exists()
    assert sorted(path.name for path in cache.iterdir()) == sorted(names)
    opened = done.stderr.splitlines()
    assert str(tables.FILE.resolve()) in opened
    assert [name for name in opened if name.startswith(str(tmp_path))] == [str(tmp_path / "a.ir")]
    assert not [name for name in opened if name.startswith("a pickle")]


# -------------------------------------------------------------- regular expressions

LONG = 400_000


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('"a.b"() {x = [' + " " * LONG + "z} : () -> ()", id="blanks in a list"),
        pytest.param('"a.b"(' + " " * LONG + "z) : () -> ()", id="blanks in operands"),
        pytest.param('"a.b"() {x = [' + "1, " * (LONG // 20) + "z]} : () -> ()", id="a list"),
        pytest.param('"a.b"() {x = !a.b<' + '"", ' * LONG + "} : () -> ()", id="strings"),
        pytest.param('"a.b"() {x = !a.b<' + "<>" * LONG + "} : () -> ()", id="brackets"),
        pytest.param('"a.b"() {x = !a.b<' + "->" * LONG + "} : () -> ()", id="arrows"),
        pytest.param('"a.b"() {x = (' + "()" * LONG + "} : () -> ()", id="parentheses"),
        pytest.param('"a.b"() : () -> () loc(' + "(" * LONG, id="locations"),
        pytest.param('"a.b"() {x = "' + "\\\\" * LONG + "\n} : () -> ()", id="escapes"),
    ],
)
def test_long_faulty_texts_take_linear_time(text: str) -> None:
    with pytest.raises(DiagnosticError):
        parse(text, default_context(allow_unregistered=True), "f.ir")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('"a.b"() {x = "' + "a" * LONG + '"} : () -> ()', id="a string"),
        pytest.param('"a.b"() {x = @"' + "a" * LONG + '"} : () -> ()', id="a symbol"),
        pytest.param('"a.b"() : () -> () loc("' + "a" * LONG + '")', id="a location"),
        pytest.param('"a.b"() {x = #a.b<"' + "a" * LONG + '">} : () -> ()', id="an attribute"),
        pytest.param(
            '"a.b"() : () -> ()\n{-# dialect_resources: {builtin: {k: "0x04000000'
            + "0000803F" * (LONG // 8)
            + '"}} #-}',
            id="a resource",
        ),
    ],
)
def test_long_strings_take_a_few_times_their_size(text: str) -> None:
    context = default_context(allow_unregistered=True)
    parse("module {}", context)  # makes the parser
    tracemalloc.start()
    try:
        parse(text, context, "f.ir")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * LONG
