"""nvdla-calibrate: a calibration table from a network and images."""

from __future__ import annotations

import sys

from .entry import start

TYPE_CHECKING = False  # see entry.py
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


def main(
    argv: Sequence[str] | None = None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Returns: 0 on success, 1 if an input is at fault (diagnostics on ``stderr``), 2 for wrong
    usage."""
    return start("nvdla-calibrate", "calibrate_command", argv, stdin, stdout, stderr)


if __name__ == "__main__":
    sys.exit(main())
