"""Places in a source text, for tokens and inside them."""

from __future__ import annotations

import lark

from nvdla_ir.ir.location import FileLineCol


def token_location(token: lark.Token, file: str, offset: int = 0) -> FileLineCol:
    """The place of the character ``offset`` characters into ``token``."""
    before = token[:offset]
    newlines = before.count("\n")
    line = token.line or 1
    if newlines:
        return FileLineCol(file, line + newlines, offset - before.rfind("\n"))
    return FileLineCol(file, line, (token.column or 1) + offset)
