"""Where the layers of a network's text stand, and which of its fields the schema does not have.

The protobuf package reads the text; what it does not tell is the place of a message, and what it
passed over.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import define, field, frozen

from nvdla_ir.ir.location import FileLineCol

_TOKEN = re.compile(
    r"""
      (?P<skip>\s+|\#[^\n]*|[,;:])
    | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    | (?P<open>[{<])
    | (?P<close>[}>])
    | (?P<bracket>[\[\]])
    | (?P<word>[A-Za-z_]\w*)
    | (?P<other>[^\s\#,;:"'{}<>\[\]]+|.)
    """,
    re.VERBOSE | re.DOTALL,
)


@frozen
class UnknownField:
    """A field that the schema does not have; ``message`` is the field that it stands in."""

    name: str
    message: str
    location: FileLineCol


@define
class Outline:
    """``layers`` are the places of the ``layer`` messages in order, ``old_layers`` those of the
    ``layers`` messages, ``inputs`` of the ``input`` fields."""

    layers: list[FileLineCol] = field(factory=list[FileLineCol])
    old_layers: list[FileLineCol] = field(factory=list[FileLineCol])
    inputs: list[FileLineCol] = field(factory=list[FileLineCol])
    unknown: list[UnknownField] = field(factory=list[UnknownField])


def outline_of(text: str, file: str, descriptor: Any) -> Outline:
    """The outline of ``text``, whose message has the protobuf ``descriptor``. The text has been
    read without error."""
    outline = Outline()
    lists = {"layer": outline.layers, "layers": outline.old_layers, "input": outline.inputs}
    # The open messages: the descriptor, or None inside an unknown field, and what it is called.
    stack: list[tuple[Any, str]] = [(descriptor, "the network")]
    entered: tuple[Any, str] = stack[0]
    line, line_start = 1, 0
    # Words that are values stand behind a colon or in a list.
    after_colon = in_list = False
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup, match.group()
        if kind == "open":
            stack.append(entered)
            after_colon = False
        elif kind == "close":
            if len(stack) > 1:
                stack.pop()
            after_colon = False
        elif kind == "bracket":
            in_list, after_colon = token == "[", False
        elif kind == "word" and not (after_colon or in_list):
            place = FileLineCol(file, line, match.start() - line_start + 1)
            message, inside = stack[-1]
            known = None if message is None else message.fields_by_name.get(token)
            if message is not None and known is None:
                outline.unknown.append(UnknownField(token, inside, place))
            if len(stack) == 1 and token in lists:
                lists[token].append(place)
            entered = (None if known is None else known.message_type, token)
        elif kind == "skip" and token == ":":
            after_colon = True
        elif kind != "skip":
            after_colon = False
        breaks = token.count("\n")
        if breaks:
            line += breaks
            line_start = match.start() + token.rfind("\n") + 1
    return outline
