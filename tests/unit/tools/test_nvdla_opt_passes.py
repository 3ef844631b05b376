"""nvdla-opt: passes as flags and pipelines, plug-ins, and what is shown while they run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from opt_tool import DIGITS, RELU, opt, opt_text

from nvdla_ir.passes.registry import PASSES

MERGED = 'nn.relu %x layers=["a", "b"]'

PLUGIN = '''
from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects.nn import ReluOp
from nvdla_ir.ir.attributes import StringAttr
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.base import Pass, option


class Helper(Pass):
    """Has no name: the base of others."""


@frozen
class Mark(Helper):
    """Mark all rectifications.

    More words."""

    name = "mark"
    text: str = option("marked", help="what to write")
    only_first: bool = option(False, help="mark no more than one")

    def run(self, module, session):
        for op in module.walk():
            if isinstance(op, ReluOp):
                op.attributes["my.mark"] = StringAttr(self.text)
                session.count(self.name, "marks")
                session.diagnostics.remark(op.location, "marked")
                if self.only_first:
                    return


@frozen
class Raise(Pass):
    """Fail with an exception."""

    name = "raise"

    def run(self, module, session):
        for op in module.walk():
            if isinstance(op, ReluOp):
                self.visit(op)

    def visit(self, op):
        [][len(op.operands)]


@frozen
class Break(Pass):
    """Leave what is not valid."""

    name = "break"

    def run(self, module, session):
        for op in module.walk():
            if isinstance(op, ReluOp):
                op.set_operands([])


@frozen
class Bypass(Pass):
    """Compute something else: leave out rectifications."""

    name = "bypass"

    def run(self, module, session):
        for op in module.walk():
            if isinstance(op, ReluOp):
                for user in op.output.users:
                    user.set_operands([op.input])


@frozen
class Refuse(Pass):
    """Tell an error and go on."""

    name = "refuse"

    def run(self, module, session):
        session.diagnostics.error(module.location, "not this one")
        raise DiagnosticError.at(module.location, "nor that one")
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "plugin.py"
    file.write_text(PLUGIN)
    return file


# -------------------------------------------------------------- flags and pipelines


def test_a_pass_is_a_flag() -> None:
    assert MERGED in opt_text(RELU, "--canonicalize").output


def test_flags_may_have_one_dash() -> None:
    assert MERGED in opt_text(RELU, "-canonicalize").output


def test_a_pipeline() -> None:
    assert MERGED in opt_text(RELU, "--pass-pipeline=fold-batch-norm,canonicalize").output


def test_passes_run_in_the_order_of_the_flags() -> None:
    result = opt_text(
        RELU,
        "--canonicalize",
        "--pass-pipeline=builtin.module(fold-batch-norm,canonicalize)",
        "--fold-batch-norm",
        "--dump-pass-pipeline",
    )
    assert result.errors.splitlines() == [
        "Pass Manager with 4 passes:",
        "builtin.module(canonicalize,fold-batch-norm,canonicalize,fold-batch-norm)",
    ]


def test_the_dumped_pipeline_reads_back(tmp_path: Path) -> None:
    table = tmp_path / 'with, comma and "quotes".json'
    table.write_bytes((DIGITS / "lenet.calib.json").read_bytes())
    flags = [f"--import-calib={table}", "--quantize=per-tensor", "--dump-pass-pipeline"]
    first = opt(DIGITS / "lenet.ir", *flags)
    dumped = first.errors.splitlines()[1]
    assert "quantize-weights{granularity=per-tensor scales=minmax}" in dumped
    second = opt(DIGITS / "lenet.ir", f"--pass-pipeline={dumped}", "--dump-pass-pipeline")
    assert first.status == second.status == 0
    assert second.errors == first.errors
    assert second.output == first.output


OTHERS = "transfers=shared second-base=1342177280 second-bytes=0"


@pytest.mark.parametrize(
    ("flags", "passes"),
    [
        (["--import-calib=x.json"], "import-calibration{file=x.json}"),
        (["--import-calib", "x.json"], "import-calibration{file=x.json}"),
        (
            ["--quantize"],
            "fold-batch-norm,canonicalize,decompose-layers,"
            "quantize-weights{granularity=per-channel scales=minmax},"
            "insert-converters{fallback=none}",
        ),
        (
            ["--quantize=per-tensor"],
            "fold-batch-norm,canonicalize,decompose-layers,"
            "quantize-weights{granularity=per-tensor scales=minmax},"
            "insert-converters{fallback=none}",
        ),
        (["--quantize-weights"], "quantize-weights{granularity=per-channel scales=minmax}"),
        (
            ["--quantize-weights=granularity=per-tensor"],
            "quantize-weights{granularity=per-tensor scales=minmax}",
        ),
        # The target comes before all else, wherever its flag stands.
        (
            ["--canonicalize", "--compile=nv_small"],
            "set-target{target=nv_small},canonicalize,legalize-to-nvdla,"
            "outline-device-programs,compress-weights,fit-convolution-buffer,stream-to-pooling,"
            "schedule-layers{overlap=on},"
            f"allocate-memory{{base=2147483648 {OTHERS}}},emit-registers",
        ),
        (
            ["--compile=nv_small,second-bytes=0x40"],
            "set-target{target=nv_small},legalize-to-nvdla,"
            "outline-device-programs,compress-weights,fit-convolution-buffer,stream-to-pooling,"
            "schedule-layers{overlap=on},"
            "allocate-memory{base=2147483648 transfers=shared second-base=1342177280 "
            "second-bytes=64},"
            "emit-registers",
        ),
        (
            ["--legalize-to-nvdla", "--target=nv_small"],
            "set-target{target=nv_small},legalize-to-nvdla",
        ),
        (["--allocate-memory=base=0x40"], f"allocate-memory{{base=64 {OTHERS}}}"),
        (["--allocate-memory={base=64}"], f"allocate-memory{{base=64 {OTHERS}}}"),
    ],
)
def test_flags_as_pipelines(flags: list[str], passes: str) -> None:
    result = opt_text("module {}", "--dump-pass-pipeline", *flags)
    assert result.errors.splitlines()[1] == f"builtin.module({passes})"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--canonicalise", "unknown flag '--canonicalise'; did you mean '--canonicalize'?"),
        ("--xyz", "unknown flag '--xyz'; '--help' lists them all"),
        ("--split-input-file=1", "'--split-input-file' takes no value"),
        ("--quantize=half", "'--quantize' takes 'per-channel' or 'per-tensor', not 'half'"),
        ("--verify-each=no", "'--verify-each' takes "),
        ("--mlir-elide-elementsattrs-if-larger=x", " takes a number from 0 on, not 'x'"),
        ("-o", "'-o' needs a value: -o FILE"),
        ("-o=", "'-o' needs a value: -o FILE"),
        ("--pass-pipeline=", "'--pass-pipeline' needs a value: --pass-pipeline=PIPELINE"),
        ("--load-pass-plugin=", "'--load-pass-plugin' needs a value: --load-pass-plugin=FILE.py"),
        ("--target=", "'--target' needs a value: --target=TARGET"),
    ],
)
def test_wrong_flags(flag: str, message: str) -> None:
    result = opt("x.ir", flag)
    assert (result.status, result.output) == (2, "")
    assert result.errors.startswith(("nvdla-opt: ", "<command line>:")) and message in result.errors


def test_one_input_only() -> None:
    result = opt("a.ir", "b.ir")
    assert result.status == 2
    assert result.errors == "nvdla-opt: error: there is one input at most, not 'a.ir', 'b.ir'\n"


def test_a_target_apart_from_its_flag() -> None:
    result = opt("--compile", "nv_small", "a.ir")
    assert result.status == 2
    assert result.errors.endswith(
        "not 'nv_small', 'a.ir'; a flag's value stands behind '=': --compile=nv_small\n"
    )


@pytest.mark.parametrize(
    ("flag", "column", "message"),
    [
        (
            "--pass-pipeline=canonicalize,canonicalyze",
            30,
            "unknown pass 'canonicalyze'; did you mean 'canonicalize'?",
        ),
        ("--pass-pipeline=canonicalize{x=1}", 30, "'canonicalize' has no option 'x'; it has none"),
        (
            "--pass-pipeline=quantize-weights{granularty=per-tensor}",
            34,
            "'quantize-weights' has no option 'granularty'; did you mean 'granularity'?",
        ),
        (
            "--quantize-weights=granularity=fine",
            20,
            "option 'granularity' of 'quantize-weights' is 'per-channel' or 'per-tensor', not "
            "'fine'",
        ),
        ("--allocate-memory=base=low", 19, "option 'base' of 'allocate-memory' is an integer, not"),
        ("--import-calibration", 1, "'import-calibration' needs the option 'file'"),
        ("--pass-pipeline=a,b{x=1", 24, "unexpected end of the text; expected '}'"),
        ("--pass-pipeline= ", 17, "the pipeline is empty"),
        (
            "--mlir-print-ir-after=canonicalize,fold-batchnorm",
            23,
            "unknown pass 'fold-batchnorm'; did you mean 'fold-batch-norm'?",
        ),
        ("--mlir-print-ir-before=nothing", 24, "unknown pass 'nothing'"),
    ],
)
def test_wrong_passes_and_options(flag: str, column: int, message: str) -> None:
    result = opt_text("module {}", flag)
    assert (result.status, result.output) == (2, "")
    lines = result.errors.splitlines()
    assert lines[0].startswith(f"<command line>:1:{column}: error: {message}")
    assert lines[1:] == [flag, " " * (column - 1) + "^"]


def test_all_wrong_options_are_told() -> None:
    result = opt_text("module {}", "--quantize-weights=a=1,granularity=b,c")
    assert len(result.messages) == 3


# -------------------------------------------------------------- information


def test_version() -> None:
    assert re.fullmatch(r"nvdla-opt \d+\.\d+\S*\n", opt("--version").output)
    assert opt("--version", "--canonicalize").output == opt("--version").output


def test_help_names_every_flag_and_pass() -> None:
    result = opt("--help")
    assert result.status == 0
    for name in (*PASSES, "import-calib", "quantize", "compile", "verify-diagnostics"):
        assert f"--{name}" in result.output
    assert max(map(len, result.output.splitlines())) <= 100


def test_list_passes() -> None:
    lines = opt("--list-passes").output.splitlines()
    assert [line.partition(":")[0] for line in lines if line[:1].islower()] == list(PASSES)
    assert "    granularity=per-channel|per-tensor: " in opt("--list-passes").output


def test_show_dialects() -> None:
    names = [line.partition(":")[0] for line in opt("--show-dialects").output.splitlines()]
    assert names == ["builtin", "csb", "fixed", "func", "nn", "nvdla", "quant"]


# -------------------------------------------------------------- plug-ins


def test_a_plugin_is_a_flag_with_options(plugin: Path) -> None:
    load = f"--load-pass-plugin={plugin}"
    result = opt_text(RELU, load, "--mark=text=one,only-first")
    assert result.status == 0
    assert result.output.count('my.mark = "one"') == 1
    # Before the flag that loads it, and in MLIR's way of writing options:
    result = opt_text(RELU, "--mark=text=two only-first=false", load)
    assert result.output.count('my.mark = "two"') == 2
    assert result.messages == ["<stdin>:2:8: remark: marked", "<stdin>:3:8: remark: marked"]


def test_a_plugin_shows_in_lists(plugin: Path) -> None:
    listed = opt(f"--load-pass-plugin={plugin}", "--list-passes").output
    assert "mark: Mark all rectifications\n" in listed
    assert "    only-first=bool: mark no more than one (default false)\n" in listed
    assert "Helper" not in listed


def test_a_plugin_with_a_dialect(tmp_path: Path) -> None:
    file = tmp_path / "dialect.py"
    file.write_text(
        "from nvdla_ir.ir.constraints import ANY_TENSOR\n"
        "from nvdla_ir.ir.definition import Op, result\n"
        "from nvdla_ir.ir.dialect import Dialect\n"
        "class Make(Op):\n    name = 'my.make'\n    made = result(ANY_TENSOR)\n"
        "MY = Dialect.of('my', 'mine', [Make])\n"
    )
    text = "module {\n  %0 = my.make -> tensor<4xf32>\n}\n"
    assert opt_text(text).status == 1
    assert opt_text(text, f"--load-pass-plugin={file}").output == text
    shown = opt(f"--load-pass-plugin={file}", "--show-dialects").output
    assert "my: mine (1 operation)\n" in shown


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("import nvdla_ir\nimport no_such_module\n", 2, "ModuleNotFoundError: No module named"),
        ("x = 1\n\n\ny = x / 0\n", 4, "ZeroDivisionError: division by zero"),
        ("def f(:\n", 1, "SyntaxError: "),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
        ("x = 1\n", 1, "the plug-in defines no pass, no dialect, no rule and no kernel"),
        (
            "from nvdla_ir.passes.base import Pass, option\n"
            "class P(Pass):\n    name = 'p'\n    a: int = option(1, help='')\n",
            1,
            "pass 'p' (class 'P') has options, so it needs '@frozen' above it",
        ),
        (
            "from attrs import frozen\nfrom nvdla_ir.passes.base import Pass, option\n"
            "@frozen\nclass P(Pass):\n    name = 'p'\n    a: list = option(1, help='')\n",
            1,
            "has the type 'list', but options are str, int, float, bool",
        ),
        (
            "from nvdla_ir.passes.base import Pass\nclass P(Pass):\n    name = 'canonicalize'\n",
            1,
            "there is a pass 'canonicalize' already",
        ),
    ],
)
def test_faulty_plugins(tmp_path: Path, text: str, line: int, message: str) -> None:
    file = tmp_path / "faulty.py"
    file.write_text(text)
    result = opt_text("module {}", f"--load-pass-plugin={file}")
    assert (result.status, result.output) == (1, "")
    assert result.errors.startswith(f"{file}:{line}:")
    assert message in result.messages[0]
    assert "Traceback" not in result.errors


def test_a_plugin_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("faulty.py").write_text("x = 1\nint('y')\n")
    result = opt_text("module {}", "--load-pass-plugin=faulty.py")
    assert result.messages[0].startswith("faulty.py:2:1: error: the plug-in cannot be loaded: Val")
    Path("syntax.py").write_text("x = 1\nx x\n")
    result = opt_text("module {}", "--load-pass-plugin=syntax.py")
    assert result.messages[0].startswith("syntax.py:2:")


def test_an_error_below_a_plugin_has_a_note(tmp_path: Path) -> None:
    file = tmp_path / "faulty.py"
    file.write_text("import json\njson.loads('x')\n")
    first, second = opt_text("module {}", f"--load-pass-plugin={file}").messages
    assert first.startswith(f"{file}:2:1: error: ")
    assert "decoder.py:" in second and second.endswith("note: raised here")


def test_a_missing_plugin(tmp_path: Path) -> None:
    result = opt_text("module {}", "--load-pass-plugin", tmp_path / "none.py")
    assert result.messages == [f"error: cannot read '{tmp_path}/none.py': there is no such file"]


# -------------------------------------------------------------- passes that fail


def test_a_pass_that_raises(plugin: Path) -> None:
    result = opt_text(RELU, f"--load-pass-plugin={plugin}", "--raise")
    assert (result.status, result.output) == (1, "")
    line = PLUGIN.splitlines().index("        [][len(op.operands)]") + 1
    assert result.messages == [
        "<stdin>:2:8: error: pass 'raise' failed on 'nn.relu': IndexError: list index out of range",
        f"{plugin}:{line}:9: note: raised here",
    ]
    assert "        [][len(op.operands)]" in result.errors
    assert "Traceback" not in result.errors


def test_a_pass_that_breaks_the_ir(plugin: Path) -> None:
    result = opt_text(RELU, f"--load-pass-plugin={plugin}", "--break")
    assert (result.status, result.output) == (1, "")
    assert result.messages == [
        f"<stdin>:{line}:8: error: pass 'break' left invalid IR: 'nn.relu' takes 1 operand "
        "(input), but has 0"
        for line in (2, 3)
    ]


def test_verification_can_be_turned_off(plugin: Path) -> None:
    result = opt_text(RELU, f"--load-pass-plugin={plugin}", "--break", "--verify-each=false")
    assert result.status == 0
    assert "%a = nn.relu layers" in result.output


def test_semantics_can_be_verified(plugin: Path) -> None:
    text = (
        "func.func @main(%x: tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32> {\n"
        '%a = nn.relu %x layers=["a"] -> tensor<1x2x4x4xf32>\n'
        '%b = nn.relu %a layers=["b"] -> tensor<1x2x4x4xf32>\nfunc.return %b\n}'
    )
    right = opt_text(text, "--canonicalize", "--verify-each=semantics")
    assert (right.status, right.errors) == (0, "")
    wrong = opt_text(text, f"--load-pass-plugin={plugin}", "--bypass", "--verify-each=semantics")
    assert wrong.status == 1
    assert "pass 'bypass' changed what '@main' computes of random inputs" in wrong.errors


def test_a_pass_that_tells_errors(plugin: Path) -> None:
    result = opt_text("module {}", f"--load-pass-plugin={plugin}", "--refuse", "--canonicalize")
    assert (result.status, result.output) == (1, "")
    assert result.messages == [
        "<stdin>:1:1: error: not this one",
        "<stdin>:1:1: error: nor that one",
    ]


def test_what_a_pass_requires() -> None:
    text = RELU.replace("nn.relu %x", "nn.relu %x")
    result = opt_text(text, "--insert-converters")
    assert result.status == 1
    assert result.messages[0].startswith("<stdin>:1:")
    assert "pass 'insert-converters' cannot run: " in result.messages[0]
    assert "run 'import-calibration' first" in result.messages[0]


def test_the_old_output_stays_when_a_pass_fails(tmp_path: Path, plugin: Path) -> None:
    output = tmp_path / "out.ir"
    output.write_text("old")
    assert opt_text(RELU, f"--load-pass-plugin={plugin}", "--raise", "-o", output).status == 1
    assert output.read_text() == "old"
    assert sorted(file.name for file in tmp_path.glob("*.*")) == ["out.ir", "plugin.py"]


# -------------------------------------------------------------- watching


def banners(errors: str) -> list[str]:
    return re.findall(r"// -----// IR Dump (.*) //----- //", errors)


@pytest.mark.parametrize(
    ("flag", "shown"),
    [
        ("--mlir-print-ir-before=canonicalize", ["Before canonicalize"]),
        ("--mlir-print-ir-after=canonicalize", ["After canonicalize"]),
        ("--mlir-print-ir-after=canonicalize,fold-batch-norm", None),
        ("--mlir-print-ir-after-all", None),
        ("--mlir-print-ir-before-all", ["Before fold-batch-norm", "Before canonicalize"]),
        ("--mlir-print-ir-after-change", ["After canonicalize"]),
        ("--mlir-print-ir-after-failure", []),
    ],
)
def test_the_ir_between_passes(flag: str, shown: list[str] | None) -> None:
    result = opt_text(RELU, "--fold-batch-norm", "--canonicalize", flag)
    expected = ["After fold-batch-norm", "After canonicalize"] if shown is None else shown
    assert banners(result.errors) == expected
    if expected and expected[-1] == "After canonicalize":
        assert result.errors.endswith(f"//----- //\n{result.output}\n")


def test_the_ir_after_a_failure(plugin: Path) -> None:
    result = opt_text(
        RELU, f"--load-pass-plugin={plugin}", "--break", "--mlir-print-ir-after-failure"
    )
    assert banners(result.errors) == ["After break Failed"]
    assert "nn.relu layers" in result.errors


def test_timing() -> None:
    result = opt_text(RELU, "--fold-batch-norm", "--canonicalize", "--mlir-timing")
    assert result.output.startswith("module {")
    rows = re.findall(r"│ (\S.*?) +│ +[\d.]+ ms │ +[\d.]+ % │", result.errors)
    assert rows == ["parse and verify", "fold-batch-norm", "canonicalize", "output", "total"]


def test_statistics(plugin: Path) -> None:
    result = opt_text(RELU, f"--load-pass-plugin={plugin}", "--mark", "--mlir-pass-statistics")
    assert re.search(r"│ mark +│ +2 │ marks +│", result.errors)


def test_a_reproducer(tmp_path: Path, plugin: Path) -> None:
    load = f"--load-pass-plugin={plugin}"
    file = tmp_path / "again.ir"
    first = opt_text(
        RELU, load, "--mark", "--raise", f"--mlir-pass-pipeline-crash-reproducer={file}"
    )
    assert first.messages[-1].endswith(
        f"remark: to run this again: nvdla-opt --run-reproducer {file}"
    )
    text = file.read_text()
    assert 'pipeline: "builtin.module(mark{text=marked only-first=false},raise)"' in text
    again = opt(file, load, "--run-reproducer")
    assert (again.status, again.output) == (1, "")
    assert [line for line in again.messages if "error" in line] == [
        line for line in first.messages if "error" in line
    ]


def test_no_reproducer_without_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "again.ir"
    flag = f"--mlir-pass-pipeline-crash-reproducer={file}"
    assert opt_text(RELU, "--canonicalize", flag).status == 0
    assert not file.exists()


def test_an_input_without_a_pipeline_cannot_be_reproduced() -> None:
    result = opt_text("module {}", "--run-reproducer")
    assert result.messages == [
        "<stdin>:1:1: error: the input states no pipeline to run ('mlir_reproducer')"
    ]
