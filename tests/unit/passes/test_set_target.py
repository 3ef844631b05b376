"""The hardware that a module is for: a value, stated first, asked by all that choose by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import module_of, new_session, run

from nvdla_ir.dialects import fixed
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.nvdla import TARGET_ATTRIBUTE, configuration_of
from nvdla_ir.hw.configuration import load_configuration, names
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.legalize_to_nvdla import LegalizeToNvdla
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.passes.set_target import SetTarget
from nvdla_ir.text.printer import print_operation

PROJECT = Path(__file__).resolve().parents[3]
MINE = 'base = "nv_small"\natomic_c = 16\n[cbuf]\nentry_bytes = 16\n'
POOLED = """
func.func @main(%x: tensor<1x8x4x4x!quant.calibrated<f32<-1.0:1.0>>>) ->
    tensor<1x8x2x2x!quant.calibrated<f32<-1.0:1.0>>> {
  %y = nn.average_pool %x kernel=[2, 2] strides=[2, 2] layers=["pool"]
      -> tensor<1x8x2x2x!quant.calibrated<f32<-1.0:1.0>>>
  func.return %y
}
"""


def file_of(folder: Path, text: str = MINE, name: str = "mine.toml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def target_text(target: str) -> str:
    module = module_of("module {}")
    run(SetTarget(target), module)
    return str(module.attributes[TARGET_ATTRIBUTE])


@pytest.mark.parametrize("name", names())
def test_a_shipped_configuration_is_its_name(name: str) -> None:
    assert target_text(name) == f'"{name}"'


def test_a_file_becomes_the_keys_that_differ(tmp_path: Path) -> None:
    assert target_text(file_of(tmp_path)) == (
        '{name = "mine", base = "nv_small", atomic_c = 16, cbuf.entry_bytes = 16}'
    )
    lists = 'base = "nv_full"\nname = "it"\npixel_formats = ["T_R8"]\nhas_bdma = false\n'
    assert target_text(file_of(tmp_path, lists)) == (
        '{name = "it", base = "nv_full", has_bdma = false, pixel_formats = ["T_R8"]}'
    )
    # What a base says already is not said again.
    same = 'base = "nv_small"\natomic_c = 8\n'
    assert target_text(file_of(tmp_path, same)) == '{name = "mine", base = "nv_small"}'
    assert target_text(file_of(tmp_path, same, "nv_small.toml")) == '"nv_small"'


@pytest.mark.parametrize("name", names())
def test_a_file_from_scratch_is_all_its_keys(name: str, tmp_path: Path) -> None:
    source = PROJECT / "nvdla_ir" / "hw" / "configurations" / f"{name}.toml"
    file = file_of(tmp_path, source.read_text())
    module = module_of("module {}")
    run(SetTarget(file), module)
    again = module_of(print_operation(module))
    assert again.attributes == module.attributes
    assert "base" not in str(module.attributes[TARGET_ATTRIBUTE])
    assert configuration_of(again) == load_configuration(file)


def test_a_module_means_the_same_without_the_file(tmp_path: Path) -> None:
    file = file_of(tmp_path)
    module = module_of(POOLED)
    session = new_session()
    Pipeline([SetTarget(file), InsertConverters()]).run(module, session)
    text = print_operation(module)
    lowering = Pipeline([LegalizeToNvdla(), *layers_to_registers()])
    lowering.run(module, session)
    Path(file).unlink()
    elsewhere = module_of(text)
    lowering.run(elsewhere, session)
    assert print_operation(elsewhere) == print_operation(module)
    assert configuration_of(elsewhere).atomic_c == 16


def test_the_same_target_may_be_asked_for_again(tmp_path: Path) -> None:
    module = module_of("module {}")
    run(SetTarget(file_of(tmp_path)), module)
    run(SetTarget(file_of(tmp_path, MINE + "banks = 32\n")), module)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("nv_small", "nv_large", "is for 'nv_small' .*, but the target asked for is 'nv_large';"),
        ("nv_small", MINE, r"is for 'nv_small' .* is 'mine' of '.*mine\.toml';"),
        (
            MINE,
            MINE + "banks = 16\n",
            r"is 'mine' of '.*' with other keys \(cbuf\.banks = 32 instead of 16\); leave the "
            "target away, or start from the module before it had one",
        ),
    ],
)
def test_a_module_for_another_target_is_refused(
    first: str, second: str, message: str, tmp_path: Path
) -> None:
    def target(given: str) -> str:
        return given if given in names() else file_of(tmp_path, given)

    module = module_of("module {}")
    run(SetTarget(target(first)), module)
    with pytest.raises(DiagnosticError, match=message):
        run(SetTarget(target(second)), module)


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ('"nv_smal"', "unknown hardware configuration 'nv_smal'; did you mean 'nv_small'?"),
        ('"mine.toml"', "unknown hardware configuration 'mine.toml'"),
        ("3", """'3' is no target, which is a configuration's name or {name = "…","""),
        ('{base = "nv_small"}', "name = None: must be a string"),
        ('{name = "m", base = "nv_smol"}', "base = 'nv_smol': must be one of nv_small"),
        ('{name = "m", base = ["nv_small"]}', "base = ['nv_small']: must be one of nv_small"),
        ('{name = "m", base = "nv_small", atomic_c = 7}', "atomic_c = 7: must be one of 8, 16"),
        ('{name = "m", base = "nv_small", atomic_k = 8.0}', "atomic_k = '8.0': must be one of 8"),
        ('{name = "m", base = "nv_small", cbuf.bank = 7}', "cbuf.bank: unknown key; did you mean"),
        ('{name = "m", base = "nv_small", bcuf.banks = 7}', "bcuf: unknown key"),
        ('{name = "m", base = "nv_small", cbuf = 1, cbuf.banks = 7}', "cbuf = 1: must be a table"),
        ('{name = "m", atomic_c = 8}', "memory_atom: missing"),
    ],
)
def test_attributes_that_are_no_target(attribute: str, message: str) -> None:
    module = module_of(f"module attributes {{nvdla.target = {attribute}}} {{}}")
    with pytest.raises(DiagnosticError) as caught:
        run(LegalizeToNvdla(), module)
    assert "'nvdla.target': " in str(caught.value) and message in str(caught.value)


# -------------------------------------------------------------- who asks it


def outputs(module: Any, resources: Any, x: Any) -> Any:
    func = next(op for op in module.walk() if isinstance(op, FuncOp))
    (output,) = Machine(resources, Mode.INTEGER).run(func, {"x": x}).values()
    return output


@pytest.mark.parametrize("has_pdp", [True, False])
def test_an_average_pool_is_a_convolution_where_there_is_no_pooling_unit(
    has_pdp: bool, tmp_path: Path
) -> None:
    target = file_of(tmp_path, f'base = "nv_small"\nhas_pdp = {str(has_pdp).lower()}\n')
    module = module_of(POOLED)
    session = new_session()
    Pipeline([SetTarget(target), InsertConverters()]).run(module, session)
    pools = [op for op in module.walk() if isinstance(op, fixed.AveragePoolOp)]
    assert bool(pools) is has_pdp
    # All corners of the range, and ties of every kind.
    codes = np.random.default_rng(2).choice([-128, -127, -1, 0, 1, 2, 126, 127], (1, 8, 4, 4))
    x = (codes / np.float32(127)).astype(np.float32)
    expected = outputs(module, session.resources, x)
    means = codes.reshape(8, 2, 2, 2, 2).mean(axis=(2, 4)) / 127
    # The pooling unit rounds along each axis, the convolution once.
    assert abs(expected - means).max() < (0.77 if has_pdp else 0.51) / 127
    Pipeline([LegalizeToNvdla(), *layers_to_registers()]).run(module, session)
    np.testing.assert_array_equal(outputs(module, session.resources, x), expected)


def test_pooling_that_was_chosen_without_the_target_says_what_to_do(tmp_path: Path) -> None:
    module = module_of(POOLED)
    session = new_session()
    Pipeline([InsertConverters()]).run(module, session)
    target = file_of(tmp_path, 'base = "nv_small"\nhas_pdp = false\n')
    with pytest.raises(DiagnosticError, match="run 'set-target' before 'insert-converters'"):
        Pipeline([SetTarget(target), LegalizeToNvdla()]).run(module, session)


# -------------------------------------------------------------- files

COUNTED = """
import sys
opened = []
def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith((".toml", ".json")):
        opened.append(str(arguments[0]))
sys.addaudithook(hook)
from nvdla_ir.tools.nvdla_opt import main
status = main(sys.argv[1:])
print(status, *opened, sep="\\n")
"""


def test_a_compile_reads_each_file_once(tmp_path: Path) -> None:
    """The user's file, its base, the grammar's tables, the register map, the calibration table."""
    digits = PROJECT / "examples" / "digits"
    target = file_of(tmp_path)
    command = [
        f"--import-calib={digits / 'lenet.calib.json'}",
        "--quantize",
        "--compile",
        f"--target={target}",
        str(digits / "lenet.ir"),
        "-o",
        str(tmp_path / "out.ir"),
    ]
    result = subprocess.run(
        [sys.executable, "-c", COUNTED, *command], capture_output=True, text=True, cwd=PROJECT
    )
    status, *opened = result.stdout.splitlines()
    assert status == "0", result.stderr
    assert sorted(Path(file).name for file in opened) == [
        "lenet.calib.json",
        "master.json",
        "mine.toml",
        "nv_small.toml",
        "tables.json",
    ]
