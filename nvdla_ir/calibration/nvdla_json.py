"""NVDLA's JSON calibration tables: an object of entries by layer name (quantization.md section 1).

The two levels that a table has are walked here, so that each key and value has a place and each
fault is reported, not the first alone; single values are left to the json module.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import cast

from attrs import frozen

from nvdla_ir.arith.float32 import float32
from nvdla_ir.calibration.entry import (
    INT8_MAXIMUM,
    INT8_MINIMUM,
    CalibrationEntry,
    codes_cover_range,
    offset_of_range,
    range_of_scale,
    scale_of_range,
    scales_disagree,
)
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import FileLineCol

_KEYS = ("scale", "min", "max", "offset")
_SPACE = re.compile(r"[ \t\n\r]*")
_WORD = re.compile(r"[\w.+-]+|.", re.DOTALL)
# Whole numbers are read as floats too: they may have any number of digits.
_DECODER = json.JSONDecoder(parse_int=float)


def read_entries(text: str, file: str, diagnostics: DiagnosticCollector) -> list[CalibrationEntry]:
    """The entries of the JSON table ``text`` in file order; ``file`` is its name in messages.

    Faults go to ``diagnostics``, and an entry at fault is left out.

    Raises: DiagnosticError with everything found so far where the text is not JSON.
    """
    return _Reader(text, file, diagnostics).read_table()


def write_entries(entries: Iterable[CalibrationEntry]) -> str:
    """The entries as JSON text in the vendor's layout.

    An entry is written by its scale alone (min and max 0) where that says everything, else by min
    and max alone (scale 0); by all three only if it was read so and they differ by rounding.
    """
    table = {entry.name: _members_of(entry) for entry in entries}
    # The spaces before the line ends are the vendor's.
    return json.dumps(table, indent=4, separators=(", ", ": ")) + "\n"


def line_of(entry: CalibrationEntry) -> str:
    """The member of a table's object that is this entry, on one line."""
    name = json.dumps(entry.name, ensure_ascii=False)
    return f"{name}: {json.dumps(_members_of(entry))}"


def _members_of(entry: CalibrationEntry) -> dict[str, float]:
    scale, minimum, maximum = entry.scale, entry.minimum, entry.maximum
    if (minimum, maximum) == range_of_scale(scale, entry.offset):
        minimum, maximum = 0, 0
    elif scale_of_range(minimum, maximum, entry.offset) == scale:
        scale = 0
    return {"scale": scale, "min": minimum, "max": maximum, "offset": entry.offset}


@frozen
class _Member:
    """A value with its place in the text."""

    value: object
    start: int
    literal: str


class _Reader:
    def __init__(self, text: str, file: str, diagnostics: DiagnosticCollector) -> None:
        self._text = text
        self._file = file
        self._diagnostics = diagnostics
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def read_table(self) -> list[CalibrationEntry]:
        entries: list[CalibrationEntry] = []
        begins: dict[str, int] = {}

        def entry(name: str, key: int, start: int) -> int:
            if name in begins:
                self._duplicate(f"a second entry for '{name}'", key, begins[name])
            if self._text[start : start + 1] != "{":
                member, end = self._value(start)
                self._error(
                    start,
                    f"the entry of '{name}' must be an object such as "
                    f'{{"scale": 0.05}}, it is {_kind(member.value)}',
                )
                begins.setdefault(name, key)
                return end
            members, end = self._entry_members(name, start)
            made = None if members is None else self._make_entry(name, key, members)
            if made is not None and name not in begins:
                entries.append(made)
            begins.setdefault(name, key)
            return end

        start = self._skip_space(0)
        if self._text[start : start + 1] != "{":
            member, _ = self._value(start)
            message = "a calibration table is an object with an entry for each layer, this is "
            self._error(start, message + _kind(member.value))
            return []
        end = self._skip_space(self._object(start, entry))
        if end < len(self._text):
            raise self._syntax_error(end, f"{self._found(end)} after the end of the table")
        if not begins:
            self._error(start, "the table has no entries")
        return entries

    # The two levels of a table.

    def _entry_members(self, name: str, start: int) -> tuple[dict[str, _Member] | None, int]:
        """The members of the entry at ``start`` by key, or None if it is no entry; and its end."""
        members: dict[str, _Member] = {}
        keys: dict[str, int] = {}
        nested: list[tuple[str, int]] = []
        unknown: list[tuple[str, int]] = []

        def member(key: str, key_start: int, value_start: int) -> int:
            value, end = self._value(value_start)
            if key in keys:
                self._duplicate(f"a second '{key}' in the entry of '{name}'", key_start, keys[key])
                return end
            keys[key] = key_start
            if key in _KEYS:
                members[key] = value
            elif isinstance(value.value, dict):
                nested.append((key, key_start))
            else:
                unknown.append((key, key_start))
            return end

        end = self._object(start, member)
        if nested:
            key, key_start = nested[0]
            self._error(
                key_start,
                f"the entry of '{name}' contains the object '{key}': entries must stand at the top "
                "level of the table, not inside another object",
            )
            return None, end
        for key, key_start in unknown:
            self._error(key_start, f"unknown key '{key}' in the entry of '{name}'{_hint(key)}")
        return members, end

    def _object(self, start: int, member: Callable[[str, int, int], int]) -> int:
        """Walk the object at ``start`` and return its end.

        ``member`` is called with each key, the place of the key and of the value, and returns the
        end of the value.
        """
        index = self._skip_space(start + 1)
        if self._text[index : index + 1] == "}":
            return index + 1
        while True:
            if self._text[index : index + 1] != '"':
                what = f"expected a name in double quotes, found {self._found(index)}"
                raise self._syntax_error(index, what, start)
            key, end = self._decode(index)
            colon = self._skip_space(end)
            if self._text[colon : colon + 1] != ":":
                what = f"expected ':' after the name '{key}', found {self._found(colon)}"
                raise self._syntax_error(colon, what, start)
            value = self._skip_space(colon + 1)
            if value == len(self._text):
                raise self._syntax_error(value, "", start)
            separator = self._skip_space(member(str(key), index, value))
            found = self._text[separator : separator + 1]
            if found == "}":
                return separator + 1
            if found != ",":
                what = f"expected ',' or '}}', found {self._found(separator)}"
                raise self._syntax_error(separator, what, start)
            index = self._skip_space(separator + 1)
            if self._text[index : index + 1] == "}":
                raise self._syntax_error(separator, "a comma before '}': remove it", start)

    def _value(self, start: int) -> tuple[_Member, int]:
        value, end = self._decode(start)
        return _Member(value, start, self._text[start:end]), end

    def _decode(self, start: int) -> tuple[object, int]:
        """Any JSON value at ``start``, and its end."""
        try:
            return cast("tuple[object, int]", _DECODER.raw_decode(self._text, start))
        except json.JSONDecodeError as error:
            if error.pos == start and error.msg == "Expecting value":
                what = f"expected a value, found {self._found(start)}"
            else:
                what = f"not JSON: {error.msg[0].lower()}{error.msg[1:].removesuffix(' at')}"
            raise self._syntax_error(error.pos, what) from error
        except RecursionError as error:
            raise self._syntax_error(start, "nested too deep for a calibration table") from error

    # What an entry means.

    def _make_entry(
        self, name: str, key: int, members: dict[str, _Member]
    ) -> CalibrationEntry | None:
        """The entry, or None where it is at fault."""
        before = len(self._diagnostics.errors)
        scale, minimum, maximum = (self._number(name, k, members) for k in _KEYS[:3])
        offset = self._offset(name, members)
        if len(self._diagnostics.errors) > before:
            return None
        if scale is not None and scale < 0:
            self._error(members["scale"].start, f"the scale of '{name}' is negative: {scale!r}")
            return None
        # The vendor writes 0 for what is not given.
        if (minimum is None) != (maximum is None) and (minimum or maximum or not scale):
            given, absent = ("max", "min") if minimum is None else ("min", "max")
            self._error(
                members[given].start, f"the entry of '{name}' gives '{given}' without '{absent}'"
            )
            return None
        minimum, maximum = minimum or 0.0, maximum or 0.0
        location = self._at(key)
        if minimum == 0 and maximum == 0:
            if not scale:
                self._error(*self._no_range(name, key, members))
                return None
            if float32(scale * INT8_MAXIMUM) == math.inf:
                self._error(
                    members["scale"].start,
                    f"the scale of '{name}' is too large: its range ±127·{scale!r} exceeds float32",
                )
                return None
            return CalibrationEntry.from_scale(name, scale, offset, location)
        if minimum > maximum:
            self._error(
                members["min"].start,
                f"the 'min' of '{name}' is above its 'max': {minimum!r} > {maximum!r}",
            )
            return None
        used = scale or scale_of_range(minimum, maximum, offset)
        if used == 0 or used == math.inf:
            size = "small" if used == 0 else "large"
            self._error(
                members["max"].start,
                f"the range of '{name}' is too {size} for a float32 scale: "
                f"{minimum!r} to {maximum!r}",
            )
            return None
        if offset == 0:
            agrees = not scale or self._scale_agrees(name, members, scale, minimum, maximum)
        else:
            agrees = self._codes_agree(name, members, used, offset, minimum, maximum)
        if not agrees:
            return None
        return CalibrationEntry(name, minimum, maximum, used, offset, location)

    def _number(self, name: str, key: str, members: dict[str, _Member]) -> float | None:
        """The float32 value of ``key``; None if absent or, reported, not a number."""
        if key not in members:
            return None
        member = members[key]
        if not isinstance(member.value, float):
            self._wrong_type(name, key, member, "a number")
            return None
        value = float32(member.value)
        if math.isnan(value) or math.isinf(member.value):
            self._error(member.start, f"'{key}' of '{name}' is not finite: {member.literal}")
            return None
        if math.isinf(value):
            self._error(member.start, f"'{key}' of '{name}' exceeds float32: {member.literal}")
            return None
        if value == 0.0 and member.value != 0.0 and key == "scale":
            message = f"the scale of '{name}' is zero in float32: {member.literal}"
            self._error(member.start, message)
            return None
        return value

    def _offset(self, name: str, members: dict[str, _Member]) -> int:
        """The zero point; 0 if absent or, reported, at fault."""
        member = members.get("offset")
        if member is None:
            return 0
        if not isinstance(member.value, float):
            self._wrong_type(name, "offset", member, "a whole number")
        elif not member.value.is_integer():
            self._error(
                member.start, f"the offset of '{name}' must be a whole number: {member.literal}"
            )
        elif not INT8_MINIMUM <= member.value <= INT8_MAXIMUM:
            self._error(
                member.start,
                f"the offset of '{name}' must be int8, "
                f"{INT8_MINIMUM} to {INT8_MAXIMUM}: {member.literal}",
            )
        else:
            return int(member.value)
        return 0

    def _no_range(self, name: str, key: int, members: dict[str, _Member]) -> tuple[int, str]:
        """Place and message for an entry whose scale and range are all 0 or absent."""
        if "scale" in members:
            message = f"the scale of '{name}' is zero and it has no range: give a positive scale, "
            return members["scale"].start, message + "or 'min' and 'max'"
        if "max" in members:
            message = f"the range of '{name}' is empty: 'min' and 'max' are both zero"
            return members["max"].start, message
        return key, f"the entry of '{name}' has neither 'scale' nor 'min' and 'max'"

    def _scale_agrees(
        self, name: str, members: dict[str, _Member], scale: float, minimum: float, maximum: float
    ) -> bool:
        disagreement = scales_disagree(scale, minimum, maximum)
        if disagreement is None:
            return True
        start = members["scale"].start
        derived = scale_of_range(minimum, maximum)
        message = (
            f"'scale' and 'min', 'max' of '{name}' {{}}: the scale is {scale!r}, "
            f"max(|min|, |max|)/127 is {derived!r}"
        )
        if disagreement == "rounding":
            message = message.format("differ slightly") + "; the scale is used"
            self._diagnostics.warning(self._at(start), message)
            return True
        self._error(start, message.format("contradict each other") + "; keep one of the two")
        return False

    def _codes_agree(
        self,
        name: str,
        members: dict[str, _Member],
        scale: float,
        offset: int,
        minimum: float,
        maximum: float,
    ) -> bool:
        if codes_cover_range(scale, offset, minimum, maximum):
            return True
        low, high = range_of_scale(scale, offset)
        self._error(
            members["offset"].start,
            f"the offset of '{name}' contradicts its range: scale {scale!r} with offset {offset} "
            f"is the range {low!r} to {high!r}, 'min' and 'max' say {minimum!r} to {maximum!r}, "
            f"whose zero point is {offset_of_range(minimum, maximum)}",
        )
        return False

    # Places and messages.

    def _at(self, index: int) -> FileLineCol:
        line = bisect_right(self._line_starts, index)
        return FileLineCol(self._file, line, index - self._line_starts[line - 1] + 1)

    def _skip_space(self, index: int) -> int:
        match = _SPACE.match(self._text, index)
        return index if match is None else match.end()

    def _found(self, index: int) -> str:
        match = _WORD.match(self._text, index)
        return "the end of the text" if match is None else f"'{match.group()}'"

    def _error(self, index: int, message: str) -> None:
        self._diagnostics.error(self._at(index), message)

    def _duplicate(self, what: str, index: int, first: int) -> None:
        note = Diagnostic.note(self._at(first), "the first one is here")
        self._diagnostics.error(self._at(index), what, [note])

    def _wrong_type(self, name: str, key: str, member: _Member, wanted: str) -> None:
        message = f"'{key}' of '{name}' must be {wanted}, it is {_kind(member.value)}"
        self._error(member.start, message)

    def _syntax_error(self, index: int, message: str, opened: int | None = None) -> DiagnosticError:
        """The error to raise at ``index``; ``opened`` is where the object around it begins."""
        notes: list[Diagnostic] = []
        if index >= len(self._text) and opened is not None:
            message = "the text ends inside an object: '}' is missing"
            notes.append(Diagnostic.note(self._at(opened), "the object begins here"))
        self._diagnostics.error(self._at(index), message, notes)
        return DiagnosticError(*self._diagnostics.errors)


def _kind(value: object) -> str:
    if isinstance(value, str):
        return f"a string: {json.dumps(value, ensure_ascii=False)}"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, list):
        return "an array"
    return "null" if value is None else "an object"


def _hint(key: str) -> str:
    for known in _KEYS:
        if key.strip().lower() in (known, f"{known}imum"):
            return f"; did you mean '{known}'?"
    return "; the keys are " + ", ".join(f"'{known}'" for known in _KEYS)
