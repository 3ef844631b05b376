"""nvdla-translate: from other formats to IR, and from IR to other formats."""

from __future__ import annotations

import sys

from nvdla_ir.version import __version__

TYPE_CHECKING = False  # of typing, whose import would cost as much as the rest of --version
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


def main(
    argv: Sequence[str] | None = None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Run the tool with the arguments ``argv`` (without the program's name) on these streams;
    those of the process where they are not given.

    Returns: 0 on success, 1 if an input is at fault (diagnostics on ``stderr``), 2 for wrong
    usage.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments == ["--version"]:
        print(f"nvdla-translate {__version__}", file=stdout or sys.stdout)
        return 0
    # Imported here, so that --version answers at once.
    from .translate_command import run

    return run(arguments, stdin or sys.stdin, stdout or sys.stdout, stderr or sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
