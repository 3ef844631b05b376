"""Rules of users' that raise, return what they may not, or leave what is illegal: told with the
rule, the operation and the stage, and never with a traceback that nobody asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from opt_tool import Result, opt

HEAD = """\
from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.ir.conversion import Replacement
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.conversion import converts, output_type
from nvdla_ir.passes.legalization import legalizes

def int8_twin(op, conversion):
    stored, _ = conversion.stored(op.input, op)
    type = nn.tensor_type(op.output).with_element(output_type(op))
    return conversion.builder_at(op).create(
        nn.TanhOp, input=stored, layers=op.layers, result_types=[type]
    ).output

@converts(nn.TanhOp)
def good(op, conversion):
    return int8_twin(op, conversion)

"""

MODEL = """\
!c = !quant.calibrated<f32<-1.0:1.0>>
func.func @main(%x: tensor<1x2x2x2x!c>) -> tensor<1x2x2x2x!c> {
  %s = nn.tanh %x layers=["s"] -> tensor<1x2x2x2x!c>
  %r = nn.relu %s layers=["r"] -> tensor<1x2x2x2x!c>
  %t = nn.tanh %r layers=["t"] -> tensor<1x2x2x2x!c>
  func.return %t
}
"""


def compiled(tmp_path: Path, rule: str, *flags: str) -> Result:
    (tmp_path / "rule.py").write_text(HEAD + rule)
    model = tmp_path / "m.ir"
    model.write_text(MODEL)
    load = f"--load-pass-plugin={tmp_path}/rule.py"
    output = tmp_path / "out.ir"
    result = opt(load, "--quantize", "--compile=nv_small", model, *flags, "-o", output)
    assert "Traceback" not in result.errors
    if result.status:
        assert not output.exists()
    return result


FAULTS = {
    "raises in conversion": (
        "@converts(nn.TanhOp)\ndef mine(op, conversion):\n    return 1 / 0\n",
        "rule 'mine' of 'insert-converters' failed on 'nn.tanh': ZeroDivisionError: division by "
        "zero",
    ),
    "raises in legalization": (
        "@legalizes(nn.TanhOp)\ndef mine(op, conversion):\n    return op.no_such\n",
        "rule 'mine' of 'legalize-to-nvdla' failed on 'nn.tanh': AttributeError: 'TanhOp' object "
        "has no attribute 'no_such'",
    ),
    "an error without a text": (
        "@converts(nn.TanhOp)\ndef mine(op, conversion):\n    raise DiagnosticError()\n",
        "rule 'mine' of 'insert-converters' failed on 'nn.tanh': nvdla_ir.ir.diagnostics."
        "DiagnosticError",
    ),
    "ends the process": (
        "@converts(nn.TanhOp)\ndef mine(op, conversion):\n    raise SystemExit(3)\n",
        "rule 'mine' of 'insert-converters' failed on 'nn.tanh': SystemExit: 3",
    ),
    "says what is wrong": (
        "@converts(nn.TanhOp)\ndef mine(op, conversion):\n"
        "    raise DiagnosticError.at(op.location, 'not this one')\n",
        "not this one",
    ),
    "returns the operation": (
        "@converts(nn.TanhOp)\ndef mine(op, conversion):\n    return op\n",
        "rule 'mine' of 'insert-converters' returned a 'TanhOp' for 'nn.tanh', where it takes a "
        "value, a Replacement, or None for what stays",
    ),
    "returns nothing": (
        "@converts(nn.TanhOp)\ndef mine(op, conversion):\n    int8_twin(op, conversion)\n",
        "rule 'mine' of 'insert-converters' returned nothing for 'nn.tanh', which may not stay "
        "behind this stage",
    ),
    "returns floats": (
        "@converts(nn.TanhOp)\ndef mine(op, conversion):\n    return op.output\n",
        "rule 'mine' of 'insert-converters' returned 'tensor<1x2x2x2x!quant.calibrated<"
        "f32<-1.0:1.0>>>' for 'nn.tanh', which is not 'tensor<1x2x2x2x!quant.uniform<i8:f32, 1.0>>'"
        " of some scale",
    ),
    "replaces nothing": (
        "@converts(nn.TanhOp)\ndef mine(op, conversion):\n"
        "    return Replacement(int8_twin(op, conversion), ())\n",
        "rule 'mine' of 'insert-converters' returned a Replacement for 'nn.tanh' of operations "
        "that this is none of, or that do not end with one result",
    ),
    "returns what the host has": (
        "@legalizes(nn.TanhOp)\ndef mine(op, conversion):\n    return op.operands[0].owner\n",
        None,
    ),
    "leaves it in the pipeline": (
        "@legalizes(nn.TanhOp)\ndef mine(op, conversion):\n    return None\n",
        "rule 'mine' of 'legalize-to-nvdla' returned nothing for 'nn.tanh', which may not stay "
        "behind this stage",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_rule_is_told_at_each_layer(name: str, tmp_path: Path) -> None:
    """Both layers: the fault of the first hides none of the second."""
    rule, message = FAULTS[name]
    result = compiled(tmp_path, rule)
    assert result.status == 1
    if message is None:
        assert all("rule 'mine' of 'legalize-to-nvdla' returned" in m for m in result.messages)
        return
    errors = [line for line in result.messages if ": error: " in line]
    expected = [f"{tmp_path}/m.ir:{line}:8: error: {message}" for line in (3, 5)]
    assert errors == expected
    notes = [line for line in result.messages if "note: raised here" in line]
    assert len(notes) == (2 if " failed on " in message else 0)
    assert all(line.startswith(f"{tmp_path}/rule.py:") for line in notes)


def test_what_a_rule_makes_must_be_legal(tmp_path: Path) -> None:
    """A rule of legalization that makes another int8 layer, which nothing converts any more."""
    rule = (
        "@legalizes(nn.TanhOp)\ndef mine(op, conversion):\n"
        "    builder = conversion.builder_at(op)\n"
        "    cube = conversion.cube_of(op.input, op, builder)\n"
        "    return builder.create(nn.ReluOp, input=cube, result_types=[op.output.type]).output\n"
    )
    result = compiled(tmp_path, rule)
    assert result.messages == [
        f"{tmp_path}/m.ir:{line}:8: error: rule 'mine' of 'legalize-to-nvdla' made 'nn.relu', "
        "which may not stay behind this stage"
        for line in (3, 5)
    ]


def test_no_rule_for_the_hardware(tmp_path: Path) -> None:
    rule = (
        "@converts(nn.TanhOp)\ndef mine(op, conversion):\n"
        "    twin = int8_twin(op, conversion)\n"
        "    return conversion.builder_at(op).create(\n"
        "        nn.LrnOp, input=twin, size=3, layers=op.layers, result_types=[twin.type]\n"
        "    ).output\n"
    )
    result = compiled(tmp_path, rule)
    assert result.status == 1
    assert result.messages == [
        f"{tmp_path}/m.ir:{line}:8: error: layer '{layer}' has no rule in 'legalize-to-nvdla' that "
        "makes hardware layers of 'nn.lrn'"
        for line, layer in ((3, "s"), (5, "t"))
    ]


def test_every_call_is_shown_on_request(tmp_path: Path) -> None:
    rule = (
        "def inner():\n    raise ValueError('deep')\n\n"
        "@converts(nn.TanhOp)\ndef mine(op, conversion):\n    return inner()\n"
    )
    few = compiled(tmp_path, rule)
    all_ = compiled(tmp_path, rule, "--mlir-print-stacktrace-on-diagnostic")
    assert sum(": note: " in line for line in few.messages) == 2
    notes = [line for line in all_.messages if ": note: " in line]
    assert [line.rpartition("note: ")[2] for line in notes[1:3]] == ["in 'mine'", "in 'inner'"]
    assert notes[0].endswith("in '_apply'")
