"""Rules of users' that raise, return what they may not, or leave what is illegal: told with the
rule, the operation and the stage, and never with a traceback that nobody asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from opt_tool import Result, opt

HEAD = """\
from nvdla_ir.dialects import nn, nvdla
from nvdla_ir.dialects.nn.base import SameShapeOp
from nvdla_ir.dialects.nn.shapes import ACTIVATION
from nvdla_ir.ir.conversion import Replacement
from nvdla_ir.ir.definition import operand, result
from nvdla_ir.ir.dialect import Dialect
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.conversion import converts, output_type
from nvdla_ir.passes.legalization import legalizes

class TwistOp(SameShapeOp):
    name = "my.twist"
    input = operand(ACTIVATION)
    output = result(ACTIVATION)

MY = Dialect.of("my", "mine", [TwistOp])

def int8_twin(op, conversion):
    stored, _ = conversion.stored(op.input, op)
    type = nn.tensor_type(op.output).with_element(output_type(op))
    return conversion.builder_at(op).create(
        TwistOp, input=stored, layers=op.layers, result_types=[type]
    ).output

@converts(TwistOp)
def good(op, conversion):
    return int8_twin(op, conversion)

"""

MODEL = """\
!c = !quant.calibrated<f32<-1.0:1.0>>
func.func @main(%x: tensor<1x2x2x2x!c>) -> tensor<1x2x2x2x!c> {
  %s = my.twist %x layers=["s"] -> tensor<1x2x2x2x!c>
  %r = nn.relu %s layers=["r"] -> tensor<1x2x2x2x!c>
  %t = my.twist %r layers=["t"] -> tensor<1x2x2x2x!c>
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


CONVERSION = "rule 'mine' of 'insert-converters' "
LEGALIZATION = "rule 'mine' of 'legalize-to-nvdla' "
FAULTS = {
    "raises in conversion": (
        "@converts(TwistOp)\ndef mine(op, conversion):\n    return 1 / 0\n",
        CONVERSION + "failed on 'my.twist': ZeroDivisionError: division by zero",
    ),
    "raises in legalization": (
        "@legalizes(TwistOp)\ndef mine(op, conversion):\n    return op.no_such\n",
        LEGALIZATION + "failed on 'my.twist': AttributeError: "
        "'TwistOp' object has no attribute 'no_such'",
    ),
    "an error without a text": (
        "@converts(TwistOp)\ndef mine(op, conversion):\n    raise DiagnosticError()\n",
        CONVERSION + "failed on 'my.twist': nvdla_ir.ir.diagnostics.DiagnosticError",
    ),
    "ends the process": (
        "@converts(TwistOp)\ndef mine(op, conversion):\n    raise SystemExit(3)\n",
        CONVERSION + "failed on 'my.twist': SystemExit: 3",
    ),
    "says what is wrong": (
        "@converts(TwistOp)\ndef mine(op, conversion):\n"
        "    raise DiagnosticError.at(op.location, 'not this one')\n",
        "not this one",
    ),
    "returns the operation": (
        "@converts(TwistOp)\ndef mine(op, conversion):\n    return op\n",
        CONVERSION + "returned a 'TwistOp' for 'my.twist', where it takes "
        "a value, a Replacement, or None for what stays",
    ),
    "returns nothing": (
        "@converts(TwistOp)\ndef mine(op, conversion):\n    int8_twin(op, conversion)\n",
        CONVERSION + "returned nothing for 'my.twist', which may not stay behind this stage",
    ),
    "returns floats": (
        "@converts(TwistOp)\ndef mine(op, conversion):\n    return op.output\n",
        CONVERSION + "returned 'tensor<1x2x2x2x!quant.calibrated<f32<-1.0:1.0>>>' for "
        "'my.twist', which is not 'tensor<1x2x2x2x!quant.uniform<i8:f32, 1.0>>' of some scale",
    ),
    "replaces nothing": (
        "@converts(TwistOp)\ndef mine(op, conversion):\n"
        "    return Replacement(int8_twin(op, conversion), ())\n",
        CONVERSION + "returned a Replacement for 'my.twist' of operations "
        "that this is none of, or that do not end with one result",
    ),
    "returns what the host has": (
        "@legalizes(TwistOp)\ndef mine(op, conversion):\n    return op.operands[0].owner\n",
        None,
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
        "@legalizes(TwistOp)\ndef mine(op, conversion):\n"
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


def test_every_call_is_shown_on_request(tmp_path: Path) -> None:
    rule = (
        "def inner():\n    raise ValueError('deep')\n\n"
        "@converts(TwistOp)\ndef mine(op, conversion):\n    return inner()\n"
    )
    few = compiled(tmp_path, rule)
    all_ = compiled(tmp_path, rule, "--mlir-print-stacktrace-on-diagnostic")
    assert sum(": note: " in line for line in few.messages) == 2
    notes = [line for line in all_.messages if ": note: " in line]
    assert [line.rpartition("note: ")[2] for line in notes[1:3]] == ["in 'mine'", "in 'inner'"]
    assert notes[0].endswith("in 'apply'")
