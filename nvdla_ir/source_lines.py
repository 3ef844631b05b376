"""The lines that diagnostics show.

An IR's text can name any file in a location. So lines come only from what a command was given:
texts that it has read, and files and folders that its command line names.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

# Larger files are data, whose lines tell nobody anything.
_LARGEST = 1 << 26
_BETWEEN_WORDS = re.compile(r"[\s={},;\"']+")


class SourceLines:
    """Finds lines by the name of their file and their number, from 1.

    texts: what was read, by the name it has in locations
    """

    def __init__(self, given: Iterable[str] = ()) -> None:
        self.texts: dict[str, str] = {}
        self._given = tuple(given)
        self._rows: dict[str, Sequence[str] | None] = {}

    @staticmethod
    def of_command(arguments: Iterable[str]) -> SourceLines:
        """What a command with these arguments may show besides the texts that it adds."""
        return SourceLines(word for argument in arguments for word in _words(argument))

    def line(self, file: str, number: int) -> str | None:
        """The line, or None where there is none or it is not to be shown."""
        if file not in self._rows:
            # Read and split once, however many diagnostics there are.
            text = self.texts.get(file)
            if text is None:
                text = self._read(file)
            self._rows[file] = None if text is None else text.split("\n")
        rows = self._rows[file]
        return rows[number - 1] if rows is not None and 1 <= number <= len(rows) else None

    def _read(self, file: str) -> str | None:
        try:
            if not self._is_given(file):
                return None
            status = Path(file).stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
                return None
            return Path(file).read_text(encoding="utf-8", errors="replace")
        except (OSError, ValueError):
            return None

    def _is_given(self, file: str) -> bool:
        place = Path(file).resolve()
        return any(place.is_relative_to(Path(word).resolve()) for word in self._given)


def _words(argument: str) -> Iterator[str]:
    """What may be the name of a file in an argument: ``x``, ``--flag=x``, ``pass{option=x}``."""
    found = {argument, argument.partition("=")[2], *_BETWEEN_WORDS.split(argument)}
    return (word for word in sorted(found) if word and os.path.lexists(word))
