"""A diagnostic shows lines of what the command was given, and of nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from opt_tool import opt, opt_text

from nvdla_ir.source_lines import SourceLines

HEAD = "func.func @f(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x4x5xf32> {"
SECRET = "secret of another file"


def faulty(location: str) -> str:
    return (
        f"{HEAD}\n  %y = nn.relu %x -> tensor<1x2x4x5xf32> loc({location})\n  func.return %y\n}}\n"
    )


@pytest.mark.parametrize("wrapped", ['"{}":1:1', 'fused["{}":1:1]', '"n"("{}":1:1)'])
def test_a_file_that_a_location_names_is_not_shown(tmp_path: Path, wrapped: str) -> None:
    other = tmp_path / "other.txt"
    other.write_text(SECRET, encoding="utf-8")
    file = tmp_path / "a.ir"
    file.write_text(faulty(wrapped.format(other)), encoding="utf-8")
    result = opt(file)
    assert result.status == 1
    assert f"{other}:1:1: error: " in result.errors
    assert SECRET not in result.errors


def test_pipes_and_devices_that_a_location_names_are_not_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for name in (str(pipe), "/dev/zero"):
        result = opt_text(faulty(f'"{name}":1:1'))
        assert f"{name}:1:1: error: " in result.errors
    # Nor those that the command line names: lines of the input are those that were read.
    assert SourceLines.of_command([str(pipe), "/dev/zero"]).line(str(pipe), 1) is None


def test_the_input_is_shown_as_it_was_read(tmp_path: Path) -> None:
    file = tmp_path / "a.ir"
    file.write_text(faulty(f'"{file}":1:3'), encoding="utf-8")
    assert opt(file).errors.splitlines()[1:3] == [HEAD, "  ^"]


def test_files_that_the_command_line_names_are_shown(tmp_path: Path) -> None:
    inside = tmp_path / "trace"
    inside.mkdir()
    for file in (tmp_path / "a b.json", inside / "t.cfg", tmp_path / "other"):
        file.write_text(f"line of {file.name}\n", encoding="utf-8")
    sources = SourceLines.of_command(
        [f"--import-calib={tmp_path}/a b.json", f"--pass-pipeline=a{{file={inside}}}", "x.ir"]
    )
    assert sources.line(f"{tmp_path}/a b.json", 1) == "line of a b.json"
    assert sources.line(f"{inside}/t.cfg", 1) == "line of t.cfg"
    assert sources.line(f"{inside}/t.cfg", 9) is None
    assert sources.line(f"{inside}/../other", 1) is None
    assert sources.line(f"{tmp_path}/other", 1) is None


def test_a_text_is_split_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Text(str):
        splits = 0

        def split(self, *arguments: object) -> list[str]:  # type: ignore[override]
            Text.splits += 1
            return str(self).split(*arguments)  # type: ignore[arg-type]

    sources = SourceLines()
    sources.texts["f"] = Text("a\nb")
    assert [sources.line("f", number) for number in (1, 2, 3, 0)] == ["a", "b", None, None]
    assert Text.splits == 1


def test_no_more_than_a_hundred_errors_are_shown() -> None:
    result = opt_text('%x = "a.b"() : () -> i32\n' * 1000, "--allow-unregistered-dialect")
    assert result.status == 1
    assert result.errors.count("error: redefinition of value") == 100
    assert result.errors.splitlines()[-1] == "error: 899 more messages are not shown"
