"""Reading text and writing outputs, with every failure told as a diagnostic.

Outputs are written whole or not at all: a reader never sees half a file, and a failed write leaves
the old one as it was.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import define

from nvdla_ir.interruption import signals_held, termination_after_cleanup
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import UNKNOWN, FileLineCol

StrPath = str | os.PathLike[str]

Content = bytes | str | Iterable[bytes | memoryview]
"""What goes into a file: text as UTF-8, bytes, or their parts, made one after the other."""

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


def write_atomically(path: StrPath, data: bytes | str, kept: Iterable[StrPath] = ()) -> None:
    """Write ``data`` (text as UTF-8) to ``path`` so that it is there whole or not at all.

    A regular file is replaced by a temporary file from the same directory, and keeps its
    permissions; a symbolic link stays a link and its target is replaced. What is not a regular
    file (a terminal, a pipe, ``/dev/stdout`` however redirected) is written to directly.

    kept: files that must not be replaced, see ``check_outputs``

    Raises: DiagnosticError if ``path`` is a directory, cannot be written or is one of ``kept``; an
    old file is then unchanged.
    """
    write_together({path: data}, kept)


def write_together(contents: Mapping[StrPath, Content], kept: Iterable[StrPath] = ()) -> None:
    """``write_atomically`` for several files that belong together: all new contents are on the
    disk before the first old file is replaced, in the order given.

    Raises: DiagnosticError if one of them cannot be written, or if two are the same file; the old
    files are then unchanged.
    """
    check_outputs(contents, kept)
    staged: list[_Staged] = []
    with termination_after_cleanup():
        try:
            for path, data in contents.items():
                file = _Staged(path)
                staged.append(file)
                try:
                    file.stage(_parts(data))
                except (OSError, ValueError) as error:
                    raise _cannot("write", path, _reason(error)) from error
            with signals_held():
                _commit(staged)
        finally:
            with signals_held():
                for file in staged:
                    file.discard()


def _commit(staged: Sequence[_Staged]) -> None:
    """Replace all old files, or none."""
    several = len(staged) > 1
    for number, file in enumerate(staged):
        try:
            file.commit(keep_old=several)
        except BaseException as error:
            for done in reversed(staged[:number]):
                done.undo()
            if not isinstance(error, OSError):
                raise
            raise _cannot("write", file.path, _reason(error)) from error


@define(eq=False)
class _Staged:
    """Content for ``path``: in ``temporary``, to be renamed to ``target``, or, for a stream,
    ``content`` that is still to be written."""

    path: StrPath
    target: Path | None = None
    content: bytes | None = None
    temporary: Path | None = None
    old: Path | None = None

    def stage(self, parts: Iterable[bytes | memoryview]) -> None:
        mode = _mode_of(Path(self.path))
        if _is_stream(self.path, mode):
            self.content = b"".join(parts)
            return
        self.target = Path(self.path).resolve()
        # Known before it is there: a signal may come at any time.
        self.temporary = _temporary_beside(self.target)
        # Created without mkstemp so that a new file gets the permissions that the umask says.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(self.temporary, flags, 0o666), "wb") as file:
            file.writelines(parts)
        if mode is not None:
            self.temporary.chmod(stat.S_IMODE(mode))

    def commit(self, keep_old: bool) -> None:
        if self.content is not None:
            # Appending leaves alone what was written to the stream before.
            with Path(self.path).open("ab") as stream:
                stream.write(self.content)
            return
        assert self.temporary is not None and self.target is not None
        if keep_old and self.target.exists():
            self.old = _temporary_beside(self.target)
            try:
                os.link(self.target, self.old)
            except OSError:  # a file system without hard links
                shutil.copy2(self.target, self.old)
        self.temporary.replace(self.target)

    def undo(self) -> None:
        """Have the old file, if there was one, where ``commit`` has put the new one."""
        if self.old is not None and self.target is not None:
            self.old.replace(self.target)
        elif self.target is not None:
            self.target.unlink(missing_ok=True)

    def discard(self) -> None:
        for file in (self.temporary, self.old):
            if file is not None:
                file.unlink(missing_ok=True)


def _parts(content: Content) -> Iterable[bytes | memoryview]:
    if isinstance(content, str):
        return [content.encode("utf-8")]
    return [content] if isinstance(content, bytes) else content


def _temporary_beside(target: Path) -> Path:
    return target.with_name(f".nvdla-{os.urandom(8).hex()}.tmp")


def check_outputs(paths: Iterable[StrPath], kept: Iterable[StrPath] = ()) -> None:
    """Find out, before the work, what would keep its results from being written.

    kept: files that the work reads: an output must not replace them. Not among them is an input of
          the outputs' own kind: who names it as output as well wants it replaced.

    Raises: DiagnosticError with all faults: a directory, a directory that is not there, no
    permission, two outputs that are one file, a file of ``kept``; links do not hide any.
    """
    faults = DiagnosticCollector()
    known: dict[str, StrPath] = {}
    kept = list(kept)
    for path in paths:
        reason = _obstacle(path)
        if reason is None and any(same_file(path, other) for other in kept):
            reason = "its contents are read here; give the output another name"
        place = place_of(path)
        if reason is None and place in known and not is_stream(path):
            other = os.fspath(known[place])
            reason = "it would be written twice"
            reason += f", also as '{other}'" if other != os.fspath(path) else ""
        known.setdefault(place, path)
        if reason is not None:
            faults.diagnostics += _cannot("write", path, reason).diagnostics
    faults.raise_if_errors()


def _obstacle(path: StrPath) -> str | None:
    """Why nothing can be written to ``path``."""
    try:
        mode = _mode_of(Path(path))
        if mode is not None and stat.S_ISDIR(mode):
            return "it is a directory"
        if _is_stream(path, mode):
            return None
        target = Path(path).resolve()
        if mode is not None and not os.access(target, os.W_OK):
            return "the file is read-only for this user"
        for parent in (Path(path).parent, target.parent):
            if not parent.is_dir():
                return f"there is no directory '{parent}'"
        if not os.access(target.parent, os.W_OK | os.X_OK):
            return os.strerror(errno.EACCES)
    except (OSError, RuntimeError, ValueError) as error:
        return _reason(error)
    return None


def place_of(path: StrPath) -> str:
    """The one name of what ``path`` leads to, through links and from here: two outputs with the
    same would be one file."""
    try:
        return os.path.normcase(os.path.realpath(path))
    except (OSError, ValueError):
        return os.fspath(path)


def same_file(one: StrPath, other: StrPath) -> bool:
    """Whether both lead to one file, whatever the links between."""
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return place_of(one) == place_of(other)


def is_directory(path: StrPath) -> bool:
    """Whether ``path`` leads to a directory; not where that cannot be found out: who then reads it
    as a file is told why."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def is_regular_file(path: StrPath) -> bool:
    """Whether ``path`` leads to a regular file; see ``is_directory``."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def is_stream(path: StrPath) -> bool:
    """Whether ``path`` is a terminal, a pipe or the like, beside which no file can be."""
    try:
        return _is_stream(path, _mode_of(Path(path))) and not Path(path).is_dir()
    except (OSError, ValueError):
        return False


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


def _cannot(action: str, path: StrPath, reason: str) -> DiagnosticError:
    return DiagnosticError.at(UNKNOWN, f"cannot {action} '{os.fspath(path)}': {reason}")


def _reason(error: OSError | RuntimeError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "it is a directory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
