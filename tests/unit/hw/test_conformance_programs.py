"""Register data and buffer formulas against the register programs of the conformance suite."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nvdla_ir.hw.configuration import load_configuration, names
from nvdla_ir.hw.formats.buffer import (
    entries_per_slice,
    image_entries_per_slice,
    winograd_entries_per_slice,
)
from nvdla_ir.hw.registers import register_map

SUITE = Path(__file__).resolve().parents[3].parent / "shared" / "conformance"
WRITE = re.compile(r"reg_write\(NVDLA_(\w+)\.(\w+)_0, *(\w+)\)")

pytestmark = pytest.mark.skipif(
    not SUITE.exists(), reason="needs the conformance suite beside the project"
)


def programs(name: str) -> Iterator[list[tuple[str, str, int]]]:
    """The register writes of each program of one configuration."""
    with tarfile.open(SUITE / f"{name}.tar.xz") as archive:
        for member in archive:
            if member.name.endswith(".cfg"):
                content = archive.extractfile(member)
                assert content is not None
                text = content.read().decode()
                yield [(b, r, int(value, 0)) for b, r, value in WRITE.findall(text)]


@pytest.mark.parametrize("name", names())
def test_every_written_word_survives_decoding_and_encoding(name: str) -> None:
    registers = register_map(load_configuration(name).register_map)
    count = 0
    for program in programs(name):
        for block, register_name, word in program:
            register = registers.find(f"{block}.{register_name}")[1]
            values = register.decode(word)
            bits = sum(register.fields[field].encode(value) for field, value in values.items())
            known = sum(field.mask for field in register.fields.values())
            assert bits == word & known, f"{block}.{register_name} = {word:#x}"
            count += 1
    assert count > 9000


@pytest.mark.parametrize("name", names())
def test_entries_per_slice_and_banks_of_every_convolution(name: str) -> None:
    hw = load_configuration(name)
    registers = register_map(hw.register_map)
    count = 0
    for program in programs(name):
        fields: dict[str, int] = {}
        for block, register_name, word in program:
            values = registers.find(f"{block}.{register_name}")[1].decode(word)
            fields.update({f"{block}.{field}": value for field, value in values.items()})
            if (block, register_name) != ("CDMA", "D_OP_ENABLE"):
                continue
            count += 1
            width = fields["CDMA.DATAIN_WIDTH"] + 1
            channels = fields["CDMA.DATAIN_CHANNEL"] + 1
            if fields["CDMA.CONV_MODE"]:
                entries = winograd_entries_per_slice(
                    hw,
                    fields["CSC.DATAIN_WIDTH_EXT"] + 1,
                    fields["CSC.DATAIN_CHANNEL_EXT"] + 1,
                )
            elif fields["CDMA.DATAIN_FORMAT"]:
                entries = image_entries_per_slice(
                    hw, width, channels, fields["CDMA.PAD_LEFT"], fields["CDMA.PAD_RIGHT"]
                )
            else:
                entries = entries_per_slice(hw, width, channels)
            assert entries == fields["CDMA.ENTRIES"] + 1
            lines = (fields["CSC.DATAIN_HEIGHT_EXT"] + 1) * (fields["CDMA.BATCHES"] + 1)
            room = (fields["CDMA.DATA_BANK"] + 1) * hw.cbuf.entries_per_bank
            assert entries * lines <= room
    assert count > 35
