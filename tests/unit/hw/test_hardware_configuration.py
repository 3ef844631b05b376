"""Hardware configurations: the shipped ones, users' files, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nvdla_ir.hw.configuration import ConfigurationError, load_configuration, names
from nvdla_ir.hw.pixels import PIXEL_FORMATS, PIXEL_FORMATS_BY_CODE
from nvdla_ir.hw.registers import register_map

PROJECT = Path(__file__).resolve().parents[3]
SPEC = PROJECT.parent / "shared" / "spec" / "configs.json"


@pytest.mark.parametrize("name", names())
def test_shipped_configurations_load_and_are_complete(name: str) -> None:
    hw = load_configuration(name)
    assert hw.name == name
    assert hw.atoms_per_entry in (1, 2, 4)
    assert hw.cbuf.total_bytes == hw.cbuf.banks * hw.cbuf.entries_per_bank * hw.cbuf.entry_bytes
    # a bank count must fit its register field, which holds the count less one
    bank = register_map(hw.register_map)["CDMA"].field("DATA_BANK")
    assert hw.cbuf.banks - 1 <= bank.maximum


def test_every_data_file_is_found_smallest_first() -> None:
    folder = PROJECT / "nvdla_ir" / "hw" / "configurations"
    assert sorted(path.stem for path in folder.glob("*.toml")) == sorted(names())
    macs = [load_configuration(name).macs for name in names()]
    assert macs == sorted(macs)
    assert (names()[0], names()[-1]) == ("nv_small", "nv_full")


def test_a_new_file_among_the_shipped_ones_is_found(tmp_path: Path) -> None:
    """Nothing but the file: no list, no code."""
    folder = tmp_path / "nvdla_ir" / "hw"
    shutil.copytree(PROJECT / "nvdla_ir" / "hw", folder)
    (folder.parent / "__init__.py").touch()
    small = (folder / "configurations" / "nv_small.toml").read_text()
    (folder / "configurations" / "tiny.toml").write_text(small.replace("banks = 32", "banks = 16"))
    code = (
        "from nvdla_ir.hw.configuration import load_configuration, names; "
        "print(names()[0], load_configuration('tiny').cbuf.banks)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert result.stdout.split() == ["tiny", "16"]


@pytest.mark.skipif(not SPEC.exists(), reason="needs the hardware specification beside the project")
def test_values_agree_with_the_specification() -> None:
    specified: dict[str, Any] = json.loads(SPEC.read_text())
    for name, expected in specified.items():
        hw = load_configuration(name)
        cbuf, sdp, memory = expected["cbuf"], expected["sdp"], expected["memif"]
        assert hw.register_map == expected["register_map"]
        assert list(hw.precisions) == expected["precisions"]
        assert (hw.atomic_c, hw.memory_atom) == (
            expected["atomic_c"],
            expected["memory_atom_bytes"],
        )
        assert hw.atomic_k == expected["kernels_per_group"]["int8"]
        assert hw.cbuf.bank_bytes == cbuf["bank_bytes"]
        assert hw.cbuf.total_bytes == cbuf["total_bytes"]
        assert hw.atoms_per_entry == cbuf["atoms_per_entry_int8"]
        assert (hw.sdp.has_bs, hw.sdp.has_bn, hw.sdp.has_ew, hw.sdp.has_lut) == (
            sdp["bs"],
            sdp["bn"],
            sdp["ew"],
            sdp["lut"],
        )
        assert hw.has_batch == expected["batch"]
        assert (hw.has_winograd, hw.has_weight_compression) == (
            expected["winograd"],
            expected["weight_compression"],
        )
        assert (hw.has_rubik, hw.has_bdma) == (expected["rubik"], expected["bdma"])
        assert (hw.has_secondary_memory, hw.address_bits) == (
            memory["secondary"],
            memory["address_bits"],
        )
        assert [PIXEL_FORMATS[f].code for f in hw.pixel_formats] == expected["image_pixel_formats"]
        assert hw.accumulator_bits == expected["accumulator_bits_int8"]
        assert hw.weight_alignment == expected["weight_surface_align_bytes"]


def test_nv_large_b_is_nv_large_with_more_units() -> None:
    large, large_b = load_configuration("nv_large"), load_configuration("nv_large_b")
    assert (large_b.cbuf, large_b.atomic_c, large_b.atomic_k) == (
        large.cbuf,
        large.atomic_c,
        large.atomic_k,
    )
    for feature in ("has_winograd", "has_weight_compression", "has_rubik", "has_bdma"):
        assert getattr(large_b, feature) and not getattr(large, feature)
    assert large_b.usable_banks(compressed=True) == 15
    assert large_b.usable_banks() == 16


def test_pixel_formats_match_the_register_enumeration() -> None:
    enum = register_map("master")["CDMA"].field("PIXEL_FORMAT").enum
    assert {f.name: code for code, f in PIXEL_FORMATS_BY_CODE.items()} == dict(enum)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_configuration("nv_smal")
    message = str(caught.value)
    assert "unknown hardware configuration 'nv_smal'" in message
    assert "did you mean 'nv_small'?" in message
    assert all(name in message for name in names())


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_user_file_overrides_a_base(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'base = "nv_small"\natomic_c = 16\n[cbuf]\nentry_bytes = 16\n[sdp]\nhas_ew = true\n',
    )
    hw, base = load_configuration(path), load_configuration("nv_small")
    assert (hw.name, hw.atomic_c, hw.atoms_per_entry) == ("mine", 16, 2)
    assert hw.cbuf.banks == base.cbuf.banks
    assert hw.sdp.has_ew and not hw.sdp.has_lut
    assert not base.sdp.has_ew
    assert load_configuration(str(path)) == hw


def test_user_file_from_scratch(tmp_path: Path) -> None:
    shipped = PROJECT / "nvdla_ir" / "hw" / "configurations" / "nv_large.toml"
    hw = load_configuration(write(tmp_path, 'name = "twin"\n' + shipped.read_text()))
    large = load_configuration("nv_large")
    assert hw.name == "twin"
    assert (hw.cbuf, hw.sdp, hw.pixel_formats) == (large.cbuf, large.sdp, large.pixel_formats)


def test_all_faults_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'base = "nv_small"\nname = 3\nregister_map = "v2"\nmemory_atom = "8"\nhas_rubik = 1\n'
        'max_batch = 33\natomic_k = true\npixel_formats = ["T_R8", "T_R9"]\nprecisions = []\n'
        "has_rubick = true\n[cbuf]\nbanks = 1\nentry_bites = 8\n[sdp]\nhas_lut = 'yes'\n",
    )
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    for fault in (
        "name = 3: must be a string",
        "register_map = 'v2': must be one of 'master', 'v1'",
        "memory_atom = '8': must be one of 8, 16, 32, 64",
        "has_rubik = 1: must be true or false",
        "max_batch = 33: must be an integer from 1 to 32",
        "atomic_k = True: must be one of",
        "pixel_formats = ['T_R8', 'T_R9']: must be a list of pixel format names",
        "precisions = []: must be a list of some of 'int8', 'int16', 'fp16'",
        "has_rubick: unknown key; did you mean 'has_rubik'?",
        "cbuf.banks = 1: must be an integer from 2 to 32",
        "cbuf.entry_bites: unknown key; did you mean 'entry_bytes'? (allowed: banks, entry_bytes",
        "sdp.has_lut = 'yes': must be true or false",
    ):
        assert fault in message


def test_what_does_not_fit_together_is_told_beside_the_rest(tmp_path: Path) -> None:
    """As far as the keys that it is about are sound."""
    path = write(
        tmp_path,
        'base = "nv_small"\nmax_batch = 0\natomic_c = 64\natomic_k = 8\nmemory_atom = 32\n'
        'register_map = "v1"\nprecisions = ["int8"]\npixel_formats = ["T_R16"]\n'
        "[cbuf]\nbanks = 33\n[sdp]\nhas_lut = true\nhas_ew = 1\n",
    )
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(path)
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [
        "cbuf.banks = 33: must be an integer from 2 to 32",
        "sdp.has_ew = 1: must be true or false",
        "max_batch = 0: must be an integer from 1 to 32",
        "cbuf.entry_bytes = 8: must be 1, 2 or 4 times memory_atom = 32",
        "atomic_k = 8: must be a multiple of memory_atom = 32",
        "atomic_c = 64: must not exceed cbuf.entry_bytes = 8",
        "cbuf.entry_bytes = 8: must be 128 with register_map = 'v1', whose WEIGHT_BYTES counts "
        "such entries",
        "pixel_formats: T_R16 need precisions beyond 'int8'",
    ]


def test_missing_keys_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(write(tmp_path, ""))
    message = str(caught.value)
    for key in ("atomic_c", "cbuf.banks", "sdp.has_bs", "pixel_formats", "register_map"):
        assert f"  {key}: missing, must be " in message


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('base = "nv_small"\n[cbuf]\nentry_bytes = 64\n', "cbuf.entry_bytes = 64: must be 1, 2"),
        ('base = "nv_large"\natomic_k = 16\n', "atomic_k = 16: must be a multiple"),
        ('base = "nv_small"\natomic_c = 16\n', "atomic_c = 16: must not exceed"),
        ('base = "nv_small"\nregister_map = "v1"\n', "cbuf.banks = 32: must be at most 16"),
        ('base = "nv_full"\n[cbuf]\nentry_bytes = 64\n', "entry_bytes = 64: must be 128 with"),
        ('base = "nv_small"\n[sdp]\nhas_lut = true\n', "sdp.has_lut = true: needs sdp.has_ew"),
        ('base = "nv_full"\nprecisions = ["int16"]\n', "precisions = ['int16']: must contain"),
        ('base = "nv_full"\nprecisions = ["int8"]\n', "T_R10, T_R12"),
        ('base = "nv_small"\ncbuf = 3\n', "cbuf = 3: must be a table, [cbuf]"),
        ('base = "nv_smol"\n', "base = 'nv_smol': must be one of nv_small"),
        ("base = 7\n", "base = 7: must be one of nv_small"),
        ("base =\n", "not valid TOML"),
    ],
)
def test_inconsistent_files_are_refused(tmp_path: Path, text: str, fault: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(path)
    assert fault in str(caught.value)
    assert str(path) in str(caught.value)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read .*absent\.toml: No such file"):
        load_configuration(tmp_path / "absent.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigurationError, match=r"cannot read .*folder\.toml"):
        load_configuration(tmp_path / "folder.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"\n')
    with pytest.raises(ConfigurationError, match=r"latin\.toml: not UTF-8"):
        load_configuration(tmp_path / "latin.toml")


def test_start_up_does_not_need_numpy() -> None:
    code = (
        "import sys; from nvdla_ir.hw.configuration import load_configuration; "
        "from nvdla_ir.hw.registers import register_map; load_configuration('nv_full'); "
        "register_map('v1')['SDP']; print('numpy' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert result.stdout.strip() == "False"
