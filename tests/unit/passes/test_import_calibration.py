"""Calibration tables become calibrated types, exactly."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import PROJECT, module_of, named, new_session, read_module, run

from nvdla_ir.calibration.entry import CalibrationEntry, range_of_scale
from nvdla_ir.calibration.table import read_table
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nn import SoftmaxOp
from nvdla_ir.dialects.quant import CalibratedType
from nvdla_ir.ir.diagnostics import DiagnosticError, Severity, render
from nvdla_ir.ir.operation import Value
from nvdla_ir.ir.types import F32, TensorType
from nvdla_ir.passes.fold_batch_norm import FoldBatchNorm
from nvdla_ir.passes.import_calibration import ImportCalibration
from nvdla_ir.text.printer import print_operation

CUBE = "tensor<1x2x4x4xf32>"
NETWORK = """
func.func @main(%data: tensor<1x2x4x4xf32> {nvdla_ir.name = "input"}) -> tensor<1x32xf32> {
  %w = nn.constant value=dense<0.5> : tensor<2x2x1x1xf32>
  %conv = nn.conv %data, %w layers=["conv"] -> tensor<1x2x4x4xf32>
  %relu = nn.relu %conv layers=["conv_fused", "relu"] -> tensor<1x2x4x4xf32>
  %flat = nn.flatten %relu layers=["flat"] -> tensor<1x32xf32>
  %prob = nn.softmax %flat layers=["prob"] -> tensor<1x32xf32>
  %view = nn.reshape %prob layers=["view"] -> tensor<1x32xf32>
  func.return %view
}
"""


def table_file(directory: Path, entries: dict[str, object]) -> str:
    path = directory / "calib.json"
    path.write_text(json.dumps(entries, indent=1))
    return str(path)


def scale(value: float) -> dict[str, object]:
    return {"scale": value, "min": 0, "max": 0, "offset": 0}


def calibrated(value: Value) -> CalibratedType:
    assert isinstance(value.type, TensorType) and isinstance(value.type.element, CalibratedType)
    return value.type.element


def import_table(module: ModuleOp, file: str) -> list[str]:
    """Run the pass; what it reported, rendered."""
    session = run(ImportCalibration(file), module)
    return [render(d) for d in session.diagnostics.diagnostics]


def test_ranges_come_to_operations_arguments_and_views(tmp_path: Path) -> None:
    module = module_of(NETWORK)
    file = table_file(tmp_path, {"input": scale(0.5), "conv": scale(0.25), "relu": scale(0.125)})
    assert import_table(module, file) == []
    function = next(op for op in module.walk() if isinstance(op, FuncOp))
    assert str(function.function_type) == (
        "(tensor<1x2x4x4x!quant.calibrated<f32<-63.5:63.5>>>) -> tensor<1x32xf32>"
    )
    assert calibrated(named(module, "conv").result) == CalibratedType(F32, -31.75, 31.75)
    # The entry is that of the last layer; a view without one has its operand's.
    assert calibrated(named(module, "relu").result) == CalibratedType(F32, -15.875, 15.875)
    assert calibrated(named(module, "flat").result) == CalibratedType(F32, -15.875, 15.875)
    # The constant and what the host computes stay floats.
    for name in ("w", "prob", "view"):
        assert str(named(module, name).result.type).endswith("xf32>")


def test_a_view_with_an_entry_has_its_own_range(tmp_path: Path) -> None:
    module = module_of(NETWORK)
    names = ("input", "conv", "relu", "flat")
    import_table(module, table_file(tmp_path, {n: scale(2.0**-i) for i, n in enumerate(names)}))
    assert calibrated(named(module, "flat").result).scale == 0.125


def test_importing_again_replaces_the_ranges(tmp_path: Path) -> None:
    module = module_of(NETWORK)
    names = ("input", "conv", "relu")
    first = table_file(tmp_path, {name: scale(0.5) for name in names})
    import_table(module, first)
    once = print_operation(module)
    import_table(module, first)
    assert print_operation(module) == once
    import_table(module, table_file(tmp_path, {name: scale(0.25) for name in names}))
    assert print_operation(module) == once.replace("63.5", "31.75")


def test_all_missing_layers_are_named_at_once(tmp_path: Path) -> None:
    module = module_of(NETWORK)
    (message,) = import_table(module, table_file(tmp_path, {"Relu": scale(1.0)}))
    file = str(tmp_path / "calib.json")
    assert message.splitlines() == [
        f"test.ir:2:17: error: the calibration table '{file}' has no entry for 3 layers: "
        "'input', 'conv', 'relu'",
        "test.ir:2:17: note: 'input' is computed here; nothing in the table looks like it",
        "test.ir:4:11: note: 'conv' is computed here; nothing in the table looks like it",
        "test.ir:5:11: note: 'relu' is computed here; the table's nearest name is 'Relu'",
    ]


def test_of_many_missing_layers_ten_are_named(tmp_path: Path) -> None:
    layers = "".join(
        f'  %v{i} = nn.relu %{"x" if i == 0 else f"v{i - 1}"} layers=["l{i}"] -> {CUBE}\n'
        for i in range(40)
    )
    text = f"func.func @main(%x: {CUBE}) -> {CUBE} {{\n{layers}  func.return %v39\n}}"
    (message,) = import_table(module_of(text), table_file(tmp_path, {"other": scale(1.0)}))
    first, *notes = message.splitlines()
    assert first.endswith("'l7', 'l8' and 31 more")
    assert len(notes) == 10


def test_one_warning_lists_the_names_that_are_no_layers(tmp_path: Path) -> None:
    names = ("bogus", "input", "conv", "conv_fused", "relu", "other")
    file = table_file(tmp_path, {name: scale(0.5) for name in names})
    (message,) = import_table(module_of(NETWORK), file)
    assert message.splitlines()[0] == (
        f"{file}:2:2: warning: the calibration table '{file}' has 2 entries for layers that are "
        "not in the network: 'bogus', 'other'"
    )


def test_the_tables_own_warnings_are_passed_on(tmp_path: Path) -> None:
    file = table_file(tmp_path, {name: scale(127.0) for name in ("input", "conv", "relu")})
    (message,) = import_table(module_of(NETWORK), file)
    assert "warning: the scales look inverted" in message


def test_a_tensorrt_cache_is_told_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "calib.json"
    path.write_text(
        "TRT-5101-EntropyCalibration2\ninput: 3f000000\nconv: 3e800000\nrelu: 3e000000\n"
    )
    module = module_of(NETWORK)
    (message,) = import_table(module, str(path))
    assert "remark: of 3 entries of the calibration table, 1 by tensor name, 2 by layer" in message
    assert calibrated(named(module, "relu").result).scale == 0.125


def test_a_relative_file_is_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table_file(tmp_path, {name: scale(0.5) for name in ("input", "conv", "relu")})
    monkeypatch.chdir(tmp_path)
    assert import_table(module_of(NETWORK), "calib.json") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read"),
        ("", "the calibration table is empty"),
        ("[]", "object"),
        ('{"conv": {"scale": 0}}', "scale"),
        ('{"conv": {"scale": -1.0, "offset": 0}}', "scale"),
        ('{"conv": {"scale": NaN}}', "NaN"),
        ('{"conv": {"min": 2.0, "max": 1.0}}', "min"),
        ('{"conv": {"scale": 1.0, "min": -1.0, "max": 1.0}}', "scale"),
        ('{"conv": {"scale": 1.0, "offset": 200}}', "offset"),
        ('{"conv": {"scale": 1.0}, "conv": {"scale": 2.0}}', "conv"),
    ],
)
def test_faulty_tables_are_located_errors(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "calib.json"
    if text is not None:
        path.write_text(text)
    module = module_of(NETWORK)
    before = print_operation(module)
    with pytest.raises(DiagnosticError) as caught:
        run(ImportCalibration(str(path)), module)
    rendered = "\n".join(render(d) for d in caught.value.diagnostics)
    assert "calib.json" in rendered and "error: " in rendered and message in rendered
    assert print_operation(module) == before


def test_an_operation_without_layers_is_named_by_its_value(tmp_path: Path) -> None:
    module = module_of(
        "func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {\n"
        "  %y = nn.relu %x -> tensor<4xf32>\n  func.return %y\n}"
    )
    assert import_table(module, table_file(tmp_path, {"x": scale(0.5), "y": scale(0.25)})) == []
    assert calibrated(named(module, "y").result).scale == 0.25


@pytest.mark.parametrize("network", ["lenet", "resnet"])
@pytest.mark.parametrize("fold_first", [False, True])
def test_the_digits_tables_come_through_exactly(network: str, fold_first: bool) -> None:
    session = new_session()
    module = read_module(PROJECT / "examples" / "digits" / f"{network}.ir", session)
    file = PROJECT / "examples" / "digits" / f"{network}.calib.json"
    if fold_first:
        run(FoldBatchNorm(), module, session)
    run(ImportCalibration(str(file)), module, session)
    assert session.diagnostics.diagnostics == []
    table = read_table(file)
    used: set[str] = set()
    for op in module.walk():
        layers = op.attributes.get("layers")
        if layers is None or isinstance(op, SoftmaxOp):
            continue
        name = op.layers[-1]  # type: ignore[attr-defined]
        if name in table:
            used.add(name)
            assert calibrated(op.result).scale == table[name].scale
            assert calibrated(op.result).zero_point == 0
    if not fold_first:
        assert used | {"data"} == set(table)


def test_all_scales_of_resnet50_come_through_exactly() -> None:
    path = PROJECT.parent / "shared" / "nvidia" / "resnet50.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    table = read_table(path)
    assert len(table) == 229
    for entry in table.values():
        element = CalibratedType.of_scale(entry.scale, entry.offset)
        assert (element.scale, element.zero_point) == (entry.scale, 0)
        assert element.quantized().scale == entry.scale


def float32_from_bits(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits))[0]


# Every positive finite float32, subnormal ones included.
float32_scales = st.integers(1, 0x7F7FFFFF).map(float32_from_bits)


@given(float32_scales, st.integers(-128, 127))
def test_every_scale_and_zero_point_has_a_type(value: float, zero_point: int) -> None:
    element = CalibratedType.of_scale(value, zero_point)
    assert (element.scale, element.zero_point) == (value, zero_point)


@given(st.floats(2.0**-100, 2.0**100, width=32), st.integers(-128, 127))
def test_the_range_is_that_of_the_table_entry(value: float, zero_point: int) -> None:
    """Up to the digits that do not matter, the range is what ``calibration.entry`` calls so."""
    element = CalibratedType.of_scale(value, zero_point)
    low, high = range_of_scale(value, zero_point)
    assert element.minimum == pytest.approx(low, rel=1e-5)
    assert element.maximum == pytest.approx(high, rel=1e-5)


@given(
    st.floats(-1e6, 0, width=32),
    st.floats(0, 1e6, width=32),
)
def test_uneven_ranges_keep_the_tables_scale(low: float, high: float) -> None:
    """A table's min and max with offset 0 stay symmetric, and the scale is the entry's."""
    if max(-low, high) < 1e-30:
        return
    entry = CalibrationEntry.from_range("layer", low, high)
    element = CalibratedType.of_scale(entry.scale, entry.offset)
    assert (element.scale, element.zero_point) == (entry.scale, 0)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (1.0, 1.0, "is empty"),
        (2.0, 1.0, "is empty"),
        (1.0, 2.0, "must contain zero"),
        (-2.0, -1.0, "must contain zero"),
        (-1e300, 1e300, "has no float32 scale"),
        (-1e-60, 1e-60, "has no float32 scale"),
        (float("-inf"), 1.0, "must be finite"),
    ],
)
def test_ranges_without_a_scale_are_refused(low: float, high: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CalibratedType(F32, low, high)


def test_asymmetric_ranges_use_all_codes() -> None:
    relu6 = CalibratedType(F32, 0.0, 6.0)
    assert relu6.zero_point == -128 and relu6.scale == pytest.approx(6 / 255, rel=1e-7)
    negative = CalibratedType(F32, -255.0, 0.0)
    assert (negative.scale, negative.zero_point) == (1.0, 127)
    full = CalibratedType(F32, -128.0, 127.0)
    assert (full.scale, full.zero_point) == (1.0, 0)


def test_warnings_are_not_errors(tmp_path: Path) -> None:
    file = table_file(tmp_path, {n: scale(0.5) for n in ("input", "conv", "relu", "more")})
    session = run(ImportCalibration(file), module_of(NETWORK))
    assert [d.severity for d in session.diagnostics.diagnostics] == [Severity.WARNING]
    assert session.statistics == {"import-calibration": {"calibrated tensors": 3}}
