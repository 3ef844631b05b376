"""Reading text and writing outputs, with every failure told as a diagnostic.

Outputs are written whole or not at all: a reader never sees half a file, and a failed write leaves
the old one as it was.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN, FileLineCol

StrPath = str | os.PathLike[str]

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_UTF8_MARK = "\ufeff"


def read_text(path: StrPath) -> str:
    """The text of the UTF-8 file ``path``: line ends as they are, a byte order mark dropped.

    Raises: DiagnosticError for a file that is missing, a directory, not readable or not UTF-8.
    """
    return decode_utf8(read_bytes(path), os.fspath(path))


def read_bytes(path: StrPath) -> bytes:
    """The bytes of the file ``path``.

    Raises: DiagnosticError for a file that is missing, a directory or not readable.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise _cannot("read", path, _reason(error)) from error


def decode_utf8(data: bytes, file: str) -> str:
    """``data`` as text, a byte order mark dropped; ``file`` is its name in messages.

    Raises: DiagnosticError at the line and column (in characters, from 1) of the first byte that
    is not UTF-8.
    """
    try:
        return data.decode("utf-8").removeprefix(_UTF8_MARK)
    except UnicodeDecodeError as error:
        offset = error.start
    before = data[:offset].decode("utf-8").removeprefix(_UTF8_MARK)
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    message = f"the byte 0x{data[offset]:02x} at offset {offset} is not UTF-8"
    if data.startswith(_UTF16_MARKS):
        message += "; the file looks like UTF-16, save it as UTF-8"
    raise DiagnosticError.at(FileLineCol(file, line, column), message)


def write_atomically(path: StrPath, data: bytes | str) -> None:
    """Write ``data`` (text as UTF-8) to ``path`` so that it is there whole or not at all.

    A regular file is replaced by a temporary file from the same directory, and keeps its
    permissions; a symbolic link stays a link and its target is replaced. What is not a regular
    file (a terminal, a pipe, ``/dev/stdout`` however redirected) is written to directly.

    Raises: DiagnosticError if ``path`` is a directory or cannot be written; an old file is then
    unchanged.
    """
    write_together({path: data})


def write_together(contents: Mapping[StrPath, bytes | str]) -> None:
    """``write_atomically`` for several files that belong together: all new contents are on the
    disk before the first old file is replaced, in the order given.

    Raises: DiagnosticError if one of them cannot be written; the old files are then unchanged.
    """
    staged: list[_Staged] = []
    try:
        for path, data in contents.items():
            try:
                content = data.encode("utf-8") if isinstance(data, str) else data
                staged.append(_stage(path, content))
            except (OSError, ValueError) as error:
                raise _cannot("write", path, _reason(error)) from error
        for file in staged:
            try:
                file.commit()
            except OSError as error:
                raise _cannot("write", file.path, _reason(error)) from error
    finally:
        for file in staged:
            file.discard()


@frozen(eq=False)
class _Staged:
    """Content for ``path``: in ``temporary``, to be renamed to ``target``, or, for a stream that
    has no ``temporary``, still to be written."""

    path: StrPath
    target: Path
    content: bytes
    temporary: Path | None

    def commit(self) -> None:
        if self.temporary is not None:
            self.temporary.replace(self.target)
            return
        # Appending leaves alone what was written to the stream before.
        with self.target.open("ab") as stream:
            stream.write(self.content)

    def discard(self) -> None:
        if self.temporary is not None:
            self.temporary.unlink(missing_ok=True)


def _stage(path: StrPath, content: bytes) -> _Staged:
    mode = _mode_of(Path(path))
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError
    if _is_stream(path, mode):
        return _Staged(path, Path(path), content, None)
    target = Path(path).resolve()
    if mode is not None and not os.access(target, os.W_OK):
        raise ValueError("the file is read-only for this user")
    if not target.parent.is_dir():
        raise ValueError(f"there is no directory '{target.parent}'")
    return _Staged(path, target, content, _temporary_copy(target, content, mode))


def _mode_of(path: Path) -> int | None:
    """The mode of what ``path`` leads to, None if nothing is there."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _is_stream(path: StrPath, mode: int | None) -> bool:
    if mode is None:
        return False
    # /dev/stdout may lead to a regular file that the shell holds open: replacing it would take
    # the file away from under the shell.
    return not stat.S_ISREG(mode) or str(Path(path).absolute()).startswith(("/dev/", "/proc/"))


def _temporary_copy(target: Path, content: bytes, mode: int | None) -> Path:
    """A file beside ``target`` with the new content and the old permissions."""
    temporary = target.with_name(f".nvdla-{os.urandom(8).hex()}.tmp")
    # Created without mkstemp so that a new file gets the permissions that the umask says.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if mode is not None:
            temporary.chmod(stat.S_IMODE(mode))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _cannot(action: str, path: StrPath, reason: str) -> DiagnosticError:
    return DiagnosticError.at(UNKNOWN, f"cannot {action} '{os.fspath(path)}': {reason}")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "it is a directory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
