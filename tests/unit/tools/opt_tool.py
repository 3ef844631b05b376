"""Calls nvdla-opt in the process: what its tests share."""

from __future__ import annotations

import io
from pathlib import Path

from attrs import frozen

from nvdla_ir.tools.nvdla_opt import main

PROJECT = Path(__file__).resolve().parents[3]
DIGITS = PROJECT / "examples" / "digits"

RELU = """\
func.func @main(%x: tensor<1x8x4x4xf32>) -> tensor<1x8x4x4xf32> {
  %a = nn.relu %x layers=["a"] -> tensor<1x8x4x4xf32>
  %b = nn.relu %a layers=["b"] -> tensor<1x8x4x4xf32>
  func.return %b
}
"""


@frozen
class Result:
    """How a call ended, and what it wrote."""

    status: int
    output: str
    errors: str

    @property
    def messages(self) -> list[str]:
        """The lines of standard error that are diagnostics, without source lines and carets."""
        kinds = (": error: ", ": warning: ", ": remark: ", ": note: ")
        return [
            line
            for line in self.errors.splitlines()
            if any(kind in line for kind in kinds) or line.startswith(("error: ", "remark: "))
        ]


class Stream(io.TextIOWrapper):
    """A text stream over bytes in memory, as the standard streams are over files."""

    def __init__(self, content: bytes = b"", encoding: str = "utf-8", tty: bool = False) -> None:
        super().__init__(io.BytesIO(content), encoding, write_through=True)
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty

    def text(self) -> str:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode("utf-8")


def opt(
    *argv: str | Path, stdin: str | bytes = b"", terminal: bool = False, encoding: str = "utf-8"
) -> Result:
    """Run ``nvdla-opt argv…``; ``terminal`` says what the output streams claim to be."""
    content = stdin.encode() if isinstance(stdin, str) else stdin
    output, errors = Stream(encoding=encoding, tty=terminal), Stream(tty=terminal)
    status = main(list(map(str, argv)), Stream(content), output, errors)
    return Result(status, output.text(), errors.text())


def opt_text(text: str, *flags: str | Path) -> Result:
    """Run ``nvdla-opt flags… -`` on ``text``."""
    return opt(*flags, "-", stdin=text)
