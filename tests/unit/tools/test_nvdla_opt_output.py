"""nvdla-opt: how IR is printed, and what becomes of weights and files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from opt_tool import DIGITS, RELU, opt, opt_text
from safetensors.numpy import load_file, save_file

ALLOW = "--allow-unregistered-dialect"
WEIGHTS = {"w": np.arange(8, dtype=np.float32).reshape(2, 4), "v": np.ones(3, np.float16)}
IN_FILE = """\
module attributes {nvdla_ir.weights = "w.safetensors"} {
  "t.a"() {x = dense_resource<w> : tensor<2x4xf32>} : () -> ()
  "t.b"() {x = [{y = dense_resource<v> : tensor<3xf16>}]} : () -> ()
}
"""
IN_TEXT = """\
module {
  "t.a"() {x = dense_resource<k> : tensor<2xi16>} : () -> ()
}

{-#
  dialect_resources: {
    builtin: {
      k: "0x020000000100FFFF"
    }
  }
#-}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with an input and its weights."""
    monkeypatch.chdir(tmp_path)
    save_file(WEIGHTS, "w.safetensors")
    Path("in.ir").write_text(IN_FILE)
    return tmp_path


# -------------------------------------------------------------- forms


def test_the_generic_form_reads_back() -> None:
    generic = opt_text(RELU, "--mlir-print-op-generic").output
    assert generic.startswith('"builtin.module"() ({')
    assert '"nn.relu"(%x) <{layers = ["a"]}> : (tensor<1x8x4x4xf32>)' in generic
    assert opt_text(generic).output == opt_text(RELU).output
    assert opt_text(generic, "--mlir-print-op-generic").output == generic


def test_locations() -> None:
    shown = opt_text(RELU, "--mlir-print-debuginfo").output
    assert '-> tensor<1x8x4x4xf32> loc("<stdin>":2:8)' in shown
    assert opt_text(shown, "--mlir-print-debuginfo").output == shown


def test_elements_are_left_out() -> None:
    text = (
        '"t.a"() {x = dense<[1, 2, 3]> : tensor<3xi8>, y = dense<[1, 2]> : tensor<2xi8>} : () -> ()'
    )
    result = opt_text(text, ALLOW, "--mlir-elide-elementsattrs-if-larger=2")
    assert "x = dense_resource<__elided__> : tensor<3xi8>, y = dense<[1, 2]>" in result.output


def test_utf_8_on_a_stream_of_another_encoding() -> None:
    text = '"t.a"() {x = "Größe ≤ 1"} : () -> ()\n'
    assert '"Größe ≤ 1"' in opt("-", ALLOW, stdin=text, encoding="ascii").output


# -------------------------------------------------------------- resources on standard output


def test_resources_in_text_come_out_as_text() -> None:
    assert opt_text(IN_TEXT, ALLOW).output == IN_TEXT


def test_resources_nobody_refers_to_are_dropped() -> None:
    result = opt_text(IN_TEXT.replace("dense_resource<k> : tensor<2xi16>", "1"), ALLOW)
    assert "k:" not in result.output and result.status == 0


def test_long_resources_are_left_out() -> None:
    flag = "--mlir-elide-resource-strings-if-larger"
    assert "dialect_resources" not in opt_text(IN_TEXT, ALLOW, f"{flag}=17").output
    assert opt_text(IN_TEXT, ALLOW, f"{flag}=18").output == IN_TEXT


def test_diagnostics_are_coloured_on_a_terminal_only() -> None:
    shown = opt("-", stdin="module {", terminal=True).errors
    plain = opt("-", stdin="module {").errors
    assert "\x1b[1;31m" in shown and "\x1b" not in plain


def test_resources_are_not_shown_on_a_terminal() -> None:
    result = opt("-", ALLOW, stdin=IN_TEXT, terminal=True)
    assert "dialect_resources" not in result.output
    assert "1 resource (0 KiB) not shown on a terminal; use -o FILE.ir" in result.errors


def test_weights_stay_in_their_file(folder: Path) -> None:
    assert opt("in.ir", ALLOW).output == IN_FILE


def test_weights_are_named_as_seen_from_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder / "sub")
    printed = opt("../in.ir", ALLOW).output
    assert '"../w.safetensors"' in printed
    # So that piping on works:
    assert opt("-", ALLOW, "-o", "out.ir", stdin=printed).status == 0
    monkeypatch.chdir(folder)
    assert Path("sub/out.ir").read_text() == printed
    assert '"sub/../w' not in opt("sub/out.ir", ALLOW).output


def test_weights_of_an_absolute_name_keep_it(folder: Path) -> None:
    text = IN_FILE.replace("w.safetensors", f"{folder}/w.safetensors")
    assert opt_text(text, ALLOW).output == text


def test_new_weights_come_out_as_text_that_means_the_same(tmp_path: Path) -> None:
    flags = (DIGITS / "lenet.ir", f"--import-calib={DIGITS / 'lenet.calib.json'}", "--quantize")
    piped = tmp_path / "piped.ir"
    written = tmp_path / "written.ir"
    text = opt(*flags).output
    assert "conv1.weight.int8: " in text
    assert opt("-", "-o", piped, stdin=text).status == 0
    assert opt(*flags, "-o", written).status == 0
    first, second = (load_file(file.with_suffix(".safetensors")) for file in (piped, written))
    assert first.keys() == second.keys()
    for key, array in first.items():
        assert array.dtype == second[key].dtype
        np.testing.assert_array_equal(array, second[key])
    assert piped.read_text() == written.read_text().replace("written.", "piped.")


# -------------------------------------------------------------- files


def test_an_output_goes_on_using_the_same_weights(folder: Path) -> None:
    (folder / "sub").mkdir()
    assert opt("in.ir", ALLOW, "-o", "sub/out.ir").status == 0
    assert Path("sub/out.ir").read_text() == IN_FILE.replace("w.safe", "../w.safe")
    assert [file.name for file in Path("sub").iterdir()] == ["out.ir"]


def test_what_came_as_text_is_written_to_a_weights_file(folder: Path) -> None:
    assert opt("-", ALLOW, "-o", "out.ir", stdin=IN_TEXT).status == 0
    assert (
        Path("out.ir")
        .read_text()
        .startswith('module attributes {nvdla_ir.weights = "out.safetensors"} {')
    )
    np.testing.assert_array_equal(load_file("out.safetensors")["k"], np.array([1, -1], np.int16))


def test_all_that_is_referred_to_is_written_and_nothing_else(folder: Path) -> None:
    text = IN_FILE.replace(
        '  "t.b"() {x = [{y = dense_resource<v> : tensor<3xf16>}]}',
        IN_TEXT.splitlines()[1].split(" : ()")[0],
    )
    section = IN_TEXT[IN_TEXT.index("\n{-#") :]
    assert opt("-", ALLOW, "-o", "out.ir", stdin=text + section).status == 0
    found = load_file("out.safetensors")
    assert sorted(found) == ["k", "w"]
    np.testing.assert_array_equal(found["w"], WEIGHTS["w"])


# A text that needs 'v' of its weights file and 'k' of the text itself.
MIXED = IN_FILE.replace("t.a", "t.c").replace("<w> : tensor<2x4xf32>", "<k> : tensor<2xi16>")
MIXED += IN_TEXT[IN_TEXT.index("\n{-#") :]


def weights_named_in(text: str | Path) -> str:
    return Path(text).read_text().partition('nvdla_ir.weights = "')[2].partition('"')[0]


def is_whole(text: str | Path) -> bool:
    """Whether all that a text refers to is in its weights file."""
    return opt(text, ALLOW, "-o", Path(text).with_name("whole.ir")).status == 0


@pytest.mark.parametrize("output", ["w.ir", "w", "w.mlir", "w.int8", "./sub/../w.ir", "linked.ir"])
def test_an_output_leaves_alone_the_weights_that_were_read(folder: Path, output: str) -> None:
    (folder / "sub").mkdir()
    Path("linked.ir").symlink_to("w.ir")
    before = Path("w.safetensors").read_bytes()
    Path("in.ir").write_text(MIXED)
    assert opt("in.ir", ALLOW, "-o", output).status == 0
    assert Path("w.safetensors").read_bytes() == before
    assert is_whole("in.ir") and is_whole(output)
    assert sorted(load_file(Path(output).with_name(weights_named_in(output)))) == ["k", "v"]


def test_quantizing_leaves_alone_the_floats(folder: Path) -> None:
    for file in ("lenet.ir", "lenet.safetensors"):
        Path(file).write_bytes((DIGITS / file).read_bytes())
    quantize = (f"--import-calib={DIGITS / 'lenet.calib.json'}", "--quantize", "lenet.ir")
    result = opt(*quantize, "-o", "lenet.int8")
    assert (result.status, result.errors) == (0, "")
    assert weights_named_in("lenet.int8") == "lenet.int8.safetensors"
    assert Path("lenet.safetensors").read_bytes() == (DIGITS / "lenet.safetensors").read_bytes()
    # The same once more: its own weights are in no way.
    assert opt(*quantize, "-o", "lenet.int8").errors == ""
    assert weights_named_in("lenet.int8") == "lenet.int8.safetensors"


@pytest.mark.parametrize("output", ["w.ir", "./w.ir", "linked.ir"])
def test_a_text_is_replaced_in_place_with_its_weights(folder: Path, output: str) -> None:
    Path("w.ir").write_text(MIXED)
    Path("linked.ir").symlink_to("w.ir")
    result = opt("w.ir", ALLOW, "-o", output)
    assert (result.status, result.errors) == (0, "")
    assert "dialect_resources" not in Path("w.ir").read_text()
    assert is_whole("w.ir") and is_whole("linked.ir")
    if output != "linked.ir":
        assert sorted(load_file("w.safetensors")) == ["k", "v"]


def test_weights_of_another_text_with_the_name_are_not_replaced(folder: Path) -> None:
    Path("w.ir").write_text(IN_FILE)  # refers to the weights that in.ir needs, too
    Path("in.ir").write_text(MIXED)
    before = Path("w.safetensors").read_bytes()
    result = opt("in.ir", ALLOW, "-o", "w.ir")
    assert result.status == 0
    assert result.messages == [
        "remark: the weights of 'w.ir' are in 'w.ir.safetensors': 'w.safetensors' is there already "
        "and belongs to something else"
    ]
    assert Path("w.safetensors").read_bytes() == before
    assert is_whole("in.ir") and is_whole("w.ir")


def test_a_weights_file_of_unknown_origin_is_not_replaced(folder: Path) -> None:
    Path("out.safetensors").write_bytes(b"mine")
    assert opt("-", ALLOW, "-o", "out.ir", stdin=IN_TEXT).status == 0
    assert weights_named_in("out.ir") == "out.ir.safetensors"
    assert Path("out.safetensors").read_bytes() == b"mine"
    Path("out.ir").unlink()
    assert opt("-", ALLOW, "-o", "out.ir", stdin=IN_TEXT).status == 0
    Path("out.ir").unlink()
    result = opt("-", ALLOW, "-o", "out.ir", stdin=IN_TEXT)
    assert result.status == 1
    assert result.messages == [
        "error: cannot write the weights of 'out.ir': 'out.ir.weights.safetensors' is there "
        "already and belongs to something else; give the output another name"
    ]


def test_linked_weights_stay_what_they_are(folder: Path) -> None:
    Path("store").write_bytes(Path("w.safetensors").read_bytes())
    before = Path("store").read_bytes()
    Path("w.safetensors").unlink()
    Path("w.safetensors").symlink_to("store")
    Path("w.ir").write_text(MIXED)
    assert opt("w.ir", ALLOW, "-o", "w.ir").status == 0
    assert Path("store").read_bytes() == before
    assert weights_named_in("w.ir") == "w.ir.safetensors"


def test_a_text_is_not_written_over_its_weights(folder: Path) -> None:
    Path("out.ir").symlink_to("w.safetensors")
    Path("hard.ir").hardlink_to("w.safetensors")
    before = Path("w.safetensors").read_bytes()
    for output in ("out.ir", "hard.ir"):
        for text in (IN_FILE, MIXED):
            Path("in.ir").write_text(text)
            result = opt("in.ir", ALLOW, "-o", output)
            assert result.status == 1
            assert result.messages == [
                f"error: cannot write '{output}': its contents are read here; give the output "
                "another name"
            ]
    assert Path("w.safetensors").read_bytes() == before


def test_a_text_that_is_a_link_elsewhere_is_read_from_both_places(folder: Path) -> None:
    (folder / "there").mkdir()
    Path("link.ir").symlink_to("there/text.ir")
    assert opt("-", ALLOW, "-o", "link.ir", stdin=IN_TEXT).status == 0
    assert is_whole("link.ir") and is_whole("there/text.ir")


def test_an_output_without_resources_has_no_weights_file(folder: Path) -> None:
    text = 'module attributes {nvdla_ir.weights = "w.safetensors", u.x = 1} {\n}\n'
    assert opt("-", "-o", "out.ir", stdin=text).status == 0
    assert Path("out.ir").read_text() == "module attributes {u.x = 1} {\n}\n"
    assert not Path("out.safetensors").exists()


def test_a_stream_as_output_gets_everything_as_text(folder: Path) -> None:
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert opt("-", ALLOW, "-o", "pipe", stdin=IN_TEXT).status == 0
    assert os.read(reader, 10_000).decode() == IN_TEXT
    os.close(reader)


def test_the_name_of_a_weights_file_is_refused() -> None:
    result = opt_text("module {}", "-o", "x.safetensors")
    assert result.status == 2
    assert "is the name of a weights file" in result.errors


# -------------------------------------------------------------- outputs that cannot be written


def test_no_such_folder(folder: Path) -> None:
    result = opt("in.ir", ALLOW, "-o", "none/out.ir")
    assert result.status == 1
    assert result.messages == ["error: cannot write 'none/out.ir': there is no directory 'none'"]


def test_a_folder_as_output_leaves_old_weights_alone(folder: Path) -> None:
    Path("out.ir").mkdir()
    Path("out.safetensors").write_bytes(b"old")
    result = opt("-", ALLOW, "-o", "out.ir", stdin=IN_TEXT)
    assert result.messages == ["error: cannot write 'out.ir': it is a directory"]
    assert Path("out.safetensors").read_bytes() == b"old"
    names = sorted(file.name for file in folder.iterdir())
    assert names == ["in.ir", "out.ir", "out.safetensors", "w.safetensors"]


def test_weights_that_cannot_be_written_leave_the_old_text_alone(folder: Path) -> None:
    Path("out.ir").write_text("old")
    Path("out.safetensors").mkdir()
    result = opt("-", ALLOW, "-o", "out.ir", stdin=IN_TEXT)
    assert result.messages == ["error: cannot write 'out.safetensors': it is a directory"]
    assert Path("out.ir").read_text() == "old"


def process(*argv: str | Path, stdout: int) -> tuple[int, str]:
    """Exit code and standard error of a process of its own."""
    command = [sys.executable, "-m", "nvdla_ir.tools.nvdla_opt", *argv]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("argument", ["--help", "--version", DIGITS / "lenet.ir"])
def test_a_full_disk(argument: str | Path) -> None:
    with Path("/dev/full").open("wb") as full:
        status, errors = process(argument, stdout=full.fileno())
    assert status == 1
    assert errors.endswith("cannot write standard output: No space left on device\n")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("argument", ["--help", DIGITS / "lenet.ir"])
def test_nobody_reads_the_output(argument: str | Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert process(argument, stdout=writer) == (1, "")
    finally:
        os.close(writer)


# -------------------------------------------------------------- faulty weights


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "1:1: error: weights file 'w.safetensors' does not exist"),
        (b"", "1:1: error: weights file 'w.safetensors' is no valid safetensors file: "),
        (b"garbage" * 9, "1:1: error: weights file 'w.safetensors' is no valid safetensors file: "),
    ],
)
def test_weights_that_cannot_be_read(folder: Path, content: bytes | None, message: str) -> None:
    Path("w.safetensors").unlink()
    if content is not None:
        Path("w.safetensors").write_bytes(content)
    result = opt("in.ir", ALLOW, "-o", "out.ir")
    assert result.status == 1
    assert result.messages[0].startswith(f"in.ir:{message}")
    assert not Path("out.ir").exists()


@pytest.mark.parametrize("kept", [1, 8, 100, -1])
def test_truncated_weights(folder: Path, kept: int) -> None:
    content = Path("w.safetensors").read_bytes()
    Path("w.safetensors").write_bytes(content[:kept])
    result = opt("in.ir", ALLOW, "-o", "out.ir")
    assert result.status == 1
    assert "in.ir:1:1: error: weights file 'w.safetensors' is no valid" in result.messages[0]


def test_all_faulty_resources_are_told(folder: Path) -> None:
    text = IN_FILE.replace("2x4xf32", "2x5xf32").replace(
        "<v> : tensor<3xf16>", "<vv> : tensor<3xi8>"
    )
    text = text.replace("\n}", '\n  "t.c"() {x = dense_resource<v> : tensor<3xf32>} : () -> ()\n}')
    result = opt_text(text, ALLOW, "-o", "out.ir")
    assert result.status == 1
    assert result.messages == [
        "<stdin>:2:3: error: resource 'w' of 'w.safetensors' has shape 2x4, but the text says "
        "'tensor<2x5xf32>'",
        "<stdin>:3:3: error: weights file 'w.safetensors' has no tensor 'vv'; did you mean 'v'?",
        "<stdin>:4:3: error: resource 'v' of 'w.safetensors' holds float16, but the text says "
        "'tensor<3xf32>'",
    ]


def test_a_pass_that_needs_a_faulty_resource_tells_all(folder: Path) -> None:
    text = (DIGITS / "lenet.ir").read_text().replace("lenet.safetensors", "w.safetensors")
    flags = (f"--import-calib={DIGITS / 'lenet.calib.json'}", "--quantize")
    result = opt_text(text, *flags)
    assert result.status == 1
    assert len(result.messages) == text.count("dense_resource<")
    assert result.messages[0].endswith(
        "error: weights file 'w.safetensors' has no tensor 'conv1.weight'"
    )


def test_a_weights_file_that_many_need_is_told_once(folder: Path) -> None:
    text = (DIGITS / "lenet.ir").read_text().replace("lenet.safetensors", "none.safetensors")
    flags = (f"--import-calib={DIGITS / 'lenet.calib.json'}", "--quantize")
    assert opt_text(text, *flags).messages == [
        "<stdin>:1:1: error: weights file 'none.safetensors' does not exist"
    ]


def test_resources_that_are_nowhere(folder: Path) -> None:
    text = IN_TEXT[: IN_TEXT.index("\n{-#")]
    result = opt_text(text, ALLOW, "-o", "out.ir")
    assert result.messages == [
        "<stdin>:2:3: error: there is no resource 'k': the module names no weights file "
        "('nvdla_ir.weights')"
    ]


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        ("0x0200000001", "error: resource 'k' has 1 bytes, which do not fit 'tensor<2xi16>'"),
        (
            "0x02000000010z",
            "error: resource 'k': a string of bytes is two hexadecimal digits for each",
        ),
    ],
)
def test_faulty_resources_in_text(folder: Path, blob: str, message: str) -> None:
    text = IN_TEXT.replace("0x020000000100FFFF", blob)
    result = opt_text(text, ALLOW, "-o", "out.ir")
    assert result.status == 1
    assert message in result.messages[0]


def test_weights_are_not_opened_unless_needed(folder: Path) -> None:
    Path("w.safetensors").write_bytes(b"garbage")
    assert opt("in.ir", ALLOW, "--canonicalize").output == IN_FILE
