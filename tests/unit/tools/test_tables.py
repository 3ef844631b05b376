"""Tables on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from nvdla_ir.tools.figures import align, shade
from nvdla_ir.tools.tables import format_table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("sqnr", "colour"), [(12.5, "31"), (25.0, "33"), (40.0, None)])
def test_colours_are_no_text(
    sqnr: float, colour: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    rows = align([["[a]", shade(str(sqnr), sqnr, True)], ["b", "exact"]], start=1)
    table = format_table(("layer", "SQNR"), rows, Terminal())
    assert "[a]" in table and "[/" not in table and "[red]" not in table
    assert (f"\x1b[{colour}m" in table) == (colour is not None)
    assert str(sqnr) in table


def test_elsewhere_there_are_no_colours() -> None:
    rows = align([["a", shade("12.5", 12.5, False)], ["b", "exact"]], start=1)
    assert format_table(("layer", "SQNR"), rows, io.StringIO()) == (
        "layer  SQNR\na       12.5\nb      exact\n"
    )


def test_a_long_name_is_folded_and_numbers_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    name = "features/block_1/" * 6 + "conv_3"
    table = format_table(("layer", "SQNR"), [(name, "123456789.5")], Terminal())
    assert "…" not in table
    assert name in "".join(line.strip().split("  ")[0] for line in table.splitlines())
    assert "123456789.5" in table
