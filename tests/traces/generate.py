"""Makes the register traces of this folder, with checksums from the reference arithmetic.

``python tests/traces/generate.py`` writes them; with ``--check`` it compares instead, and says
which files differ. The result depends on nothing but the sources: each case has a seed of its own.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import trace_cases_large  # noqa: F401  (its cases join the others)
from trace_cases import cases_of
from trace_writer import Trace

from nvdla_ir.hw.configuration import names

FOLDER = Path(__file__).parent


def traces(target: str | None = None) -> Iterator[Trace]:
    """Every case of every configuration, or of one."""
    for name in names() if target is None else (target,):
        for case in cases_of(name):
            trace = Trace(name, case.name)
            case.build(trace)
            yield trace


def files() -> dict[str, str]:
    """All files by their path in the folder."""
    return {
        f"{trace.target}/{trace.name}/{name}": text
        for trace in traces()
        for name, text in trace.files().items()
    }


def differences() -> list[str]:
    """What is missing, different or too much in the folder."""
    made = files()
    present = {
        str(path.relative_to(FOLDER).as_posix())
        for name in names()
        for path in (FOLDER / name).rglob("*.*")
    }
    found = [f"{path}: is not made any more" for path in sorted(present - set(made))]
    for path, text in made.items():
        file = FOLDER / path
        if not file.is_file():
            found.append(f"{path}: is missing")
        elif file.read_text(encoding="utf-8") != text:
            found.append(f"{path}: differs")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the files there are")
    if parser.parse_args().check:
        found = differences()
        print("\n".join(found) or "all files are as they are made")
        return int(bool(found))
    for name in names():
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    made = files()
    for path, text in made.items():
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / path).write_text(text, encoding="utf-8")
    print(f"{len(made)} files, {sum(map(len, made.values()))} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
