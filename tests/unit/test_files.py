from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nvdla_ir.files import decode_utf8, read_bytes, read_text, write_atomically
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import FileLineCol

unprivileged = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read and write everything"
)


def message_of(error: pytest.ExceptionInfo[DiagnosticError]) -> str:
    (diagnostic,) = error.value.diagnostics
    return diagnostic.message


def position_of(error: pytest.ExceptionInfo[DiagnosticError]) -> tuple[str, int, int]:
    location = error.value.diagnostics[0].location
    assert isinstance(location, FileLineCol)
    return location.file, location.line, location.column


def names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


class TestReading:
    def test_text_is_kept_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_bytes("é\r\n\tx".encode())
        assert read_text(path) == "é\r\n\tx"
        assert read_text(str(path)) == "é\r\n\tx"
        assert read_bytes(path) == b"\xc3\xa9\r\n\tx"

    def test_byte_order_mark_is_dropped(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_bytes(b"\xef\xbb\xbf{}")
        assert read_text(path) == "{}"

    @pytest.mark.parametrize("reader", [read_text, read_bytes])
    def test_missing_file(self, tmp_path: Path, reader: object) -> None:
        assert callable(reader)
        path = tmp_path / "no.txt"
        with pytest.raises(DiagnosticError) as error:
            reader(path)
        assert message_of(error) == f"cannot read '{path}': there is no such file"

    def test_directory(self, tmp_path: Path) -> None:
        with pytest.raises(DiagnosticError) as error:
            read_text(tmp_path)
        assert message_of(error) == f"cannot read '{tmp_path}': it is a directory"

    def test_file_used_as_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("x")
        with pytest.raises(DiagnosticError) as error:
            read_text(tmp_path / "a" / "b")
        assert message_of(error) == f"cannot read '{tmp_path / 'a' / 'b'}': Not a directory"

    def test_null_character_in_the_name(self) -> None:
        with pytest.raises(DiagnosticError) as error:
            read_text("a\0b")
        assert "null" in message_of(error)

    @unprivileged
    def test_unreadable_file(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text("x")
        path.chmod(0)
        with pytest.raises(DiagnosticError) as error:
            read_text(path)
        assert message_of(error) == f"cannot read '{path}': Permission denied"

    @pytest.mark.parametrize(
        ("data", "line", "column", "said"),
        [
            (b"\xffab", 1, 1, "the byte 0xff at offset 0 is not UTF-8"),
            (b"ab\ncd\xc3", 2, 3, "the byte 0xc3 at offset 5 is not UTF-8"),
            ("é\né".encode() + b"\x80z", 2, 2, "the byte 0x80 at offset 5 is not UTF-8"),
            (b"\xef\xbb\xbfa\xfe", 1, 2, "the byte 0xfe at offset 4 is not UTF-8"),
            (
                "{}".encode("utf-16"),
                1,
                1,
                f"the byte 0x{'{}'.encode('utf-16')[0]:02x} at offset 0 is not UTF-8; "
                "the file looks like UTF-16, save it as UTF-8",
            ),
        ],
    )
    def test_bytes_that_are_not_utf8(
        self, tmp_path: Path, data: bytes, line: int, column: int, said: str
    ) -> None:
        path = tmp_path / "bad.txt"
        path.write_bytes(data)
        with pytest.raises(DiagnosticError) as error:
            read_text(path)
        assert position_of(error) == (str(path), line, column)
        assert message_of(error) == said
        with pytest.raises(DiagnosticError) as error:
            decode_utf8(data, "<stdin>")
        assert position_of(error) == ("<stdin>", line, column)


class TestWriting:
    def test_new_file_has_the_permissions_of_the_umask(self, tmp_path: Path) -> None:
        path = tmp_path / "out"
        old = os.umask(0o027)
        try:
            write_atomically(path, "é\n")
        finally:
            os.umask(old)
        assert path.read_bytes() == b"\xc3\xa9\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert names_in(tmp_path) == ["out"]

    def test_old_file_is_replaced_and_keeps_its_permissions(self, tmp_path: Path) -> None:
        path = tmp_path / "out"
        path.write_text("old and longer")
        path.chmod(0o751)
        write_atomically(str(path), b"\0new")
        assert path.read_bytes() == b"\0new"
        assert stat.S_IMODE(path.stat().st_mode) == 0o751

    def test_bare_name_goes_to_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        write_atomically("out", "x")
        assert (tmp_path / "out").read_text() == "x"

    def test_links_stay_links(self, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        target = tmp_path / "there" / "target"
        target.write_text("old")
        link = tmp_path / "link"
        link.symlink_to("there/target")
        write_atomically(link, "new")
        assert link.is_symlink()
        assert target.read_text() == "new"

        dangling = tmp_path / "dangling"
        dangling.symlink_to("there/later")
        write_atomically(dangling, "made")
        assert dangling.is_symlink()
        assert (tmp_path / "there" / "later").read_text() == "made"

    def test_link_that_leads_to_itself(self, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(link)
        with pytest.raises(DiagnosticError) as error:
            write_atomically(link, "x")
        assert message_of(error) == f"cannot write '{link}': {os.strerror(errno.ELOOP)}"

    def test_directory_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DiagnosticError) as error:
            write_atomically(tmp_path, "x")
        assert message_of(error) == f"cannot write '{tmp_path}': it is a directory"
        assert names_in(tmp_path) == []

    def test_missing_directory(self, tmp_path: Path) -> None:
        path = tmp_path / "no" / "out"
        with pytest.raises(DiagnosticError) as error:
            write_atomically(path, "x")
        assert message_of(error) == (
            f"cannot write '{path}': there is no directory '{tmp_path / 'no'}'"
        )

    @unprivileged
    def test_unwritable_directory_keeps_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "out"
        path.write_text("old")
        tmp_path.chmod(0o555)
        try:
            with pytest.raises(DiagnosticError) as error:
                write_atomically(path, "new")
        finally:
            tmp_path.chmod(0o755)
        assert message_of(error) == f"cannot write '{path}': Permission denied"
        assert path.read_text() == "old"

    def test_read_only_file_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "out"
        path.write_text("old")
        path.chmod(0o444)
        if os.access(path, os.W_OK):  # root is allowed everything: answer as for a user

            def no_access(*_: object) -> bool:
                return False

            monkeypatch.setattr(os, "access", no_access)
        with pytest.raises(DiagnosticError) as error:
            write_atomically(path, "new")
        assert message_of(error) == f"cannot write '{path}': the file is read-only for this user"
        assert path.read_text() == "old"

    @pytest.mark.parametrize("failing", ["write", "replace"])
    def test_failure_in_the_middle_leaves_nothing_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
    ) -> None:
        def full(*_: object) -> object:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        path = tmp_path / "out"
        path.write_text("old")
        if failing == "write":
            fdopen = os.fdopen

            def broken(descriptor: int, mode: str) -> object:
                fdopen(descriptor, mode).close()
                return full()

            monkeypatch.setattr(os, "fdopen", broken)
        else:
            monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(DiagnosticError) as error:
            write_atomically(path, "new")
        assert message_of(error) == f"cannot write '{path}': {os.strerror(errno.ENOSPC)}"
        assert path.read_text() == "old"
        assert names_in(tmp_path) == ["out"]

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
    def test_full_device(self) -> None:
        with pytest.raises(DiagnosticError) as error:
            write_atomically("/dev/full", "x")
        assert message_of(error) == f"cannot write '/dev/full': {os.strerror(errno.ENOSPC)}"

    @pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout here")
    def test_standard_output_is_written_to_and_not_replaced(self, tmp_path: Path) -> None:
        program = (
            "from nvdla_ir.files import write_atomically; write_atomically('/dev/stdout', 'x')"
        )
        command = [sys.executable, "-c", program]
        piped = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        assert piped.stdout == b"x"

        log = tmp_path / "log"
        log.write_text("before ")
        inode = log.stat().st_ino
        with log.open("ab") as stream:
            subprocess.run(command, stdout=stream, check=True)
            stream.write(b" after")
        assert log.read_text() == "before x after"
        assert log.stat().st_ino == inode
