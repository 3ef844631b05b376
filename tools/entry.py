"""How a command starts: ``--version`` answers at once, the rest is imported only then."""

from __future__ import annotations

import importlib
import sys

from nvdla_ir.version import __version__

TYPE_CHECKING = False  # of typing, whose import would cost as much as the rest of --version
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


def start(
    command: str,
    module: str,
    argv: Sequence[str] | None,
    stdin: TextIO | None,
    stdout: TextIO | None,
    stderr: TextIO | None,
) -> int:
    """Call ``run`` of the ``module`` beside this one with arguments (without the program's name)
    and streams; those of the process where they are not given. Returns: the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments == ["--version"]:
        print(f"{command} {__version__}", file=stdout or sys.stdout)
        return 0
    run = importlib.import_module(f".{module}", __package__).run
    return run(arguments, stdin or sys.stdin, stdout or sys.stdout, stderr or sys.stderr)
