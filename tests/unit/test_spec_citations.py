"""The specifications in docs/spec: what cites them, and what they repeat of data.

A citation is ``name.md`` with sections behind it, as comments and docstrings have it: "sdp.md
section 4", "convolution.md sections 3.4 and 3.5", "quantization.md section 3, item 2", "sdp.md
appendix A", "section 6.1 of convolution.md". A section without a name is one of a page that the
module's docstring names; on a page of docs/spec, one of that page.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
from attrs import frozen

from nvdla_ir.hw.configuration import load_configuration, names
from nvdla_ir.hw.registers import Block, Field, register_map

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "docs" / "spec"

_NUMBER = r"\d+(?:\.\d+)*"
_LIST = rf"{_NUMBER}(?:(?:,| and| to| or) {_NUMBER})*"
_ITEM = r"(?:, (?:item|rule|step) (\d+))?"
_NAME = r"(?<![\w.-])([A-Za-z][\w-]*\.md)\b"
_CITATION = re.compile(
    rf"[Ss]ections? ({_LIST}) of {_NAME}"
    rf"|{_NAME}(?:,? (?:[Ss]ections? )?({_LIST}){_ITEM}| [Aa]ppendix ([A-Z]))?"
    rf"|\b[Ss]ections? ({_LIST}){_ITEM}"
)
_HINT = re.compile(r"\.md\b|\b[Ss]ections?\s+(?:[#/]+\s*)?\d")
_HEADING = re.compile(rf"#{{2,}} (?:({_NUMBER})\.?|Appendix ([A-Z])\.) \S")
_OWN_SECTION = re.compile(r"\((\d\.\d)\)")
_PATH = re.compile(r"`((?:nvdla_ir|tools|grammar|tests|docs)/[\w/.*-]*)")


@frozen
class Citation:
    """Sections of a page; ``page`` is None where the citation names none."""

    page: str | None
    sections: tuple[str, ...] = ()
    item: str | None = None


@cache
def pages() -> Mapping[str, Mapping[str, str]]:
    """The text of each section, with its subsections, by page and number (or appendix)."""
    return {file.name: sections(file.read_text(encoding="utf-8")) for file in SPEC.glob("*.md")}


def sections(text: str) -> dict[str, str]:
    """The sections of a page: number or letter, and text."""
    found: dict[str, str] = {}
    open_sections: list[str] = []
    for line in text.split("\n"):
        match = _HEADING.match(line)
        if match:
            number = match[1] or match[2]
            assert number not in found, f"section {number} twice"
            open_sections = [name for name in open_sections if number.startswith(f"{name}.")]
            open_sections.append(number)
            found[number] = ""
        for name in open_sections:
            found[name] += f"{line}\n"
    return found


def citations(text: str) -> Iterator[Citation]:
    """All citations in comments, strings or prose. They may go on in the next line."""
    if not _HINT.search(text):
        return
    running = re.sub(r"\n[ \t]*(?:#+|//)?[ \t]*", " ", text)
    for match in _CITATION.finditer(running):
        listed, of, name, behind, item, letter, bare, bare_item = match.groups()
        page = of or name
        numbers = re.findall(_NUMBER, listed or behind or bare or "")
        yield Citation(
            page.lower() if page and page.lower() in pages() else page,
            tuple([letter] if letter else numbers),
            item or bare_item,
        )


def faults_of(citation: Citation, default: tuple[str, ...], may_be_other: bool) -> Iterator[str]:
    """What is wrong with a citation. ``default`` are the pages that sections without a name may
    mean; ``may_be_other`` whether a name alone may be that of any file."""
    if citation.page is not None and citation.page not in pages():
        known = any((folder / citation.page).is_file() for folder in (ROOT, ROOT / "docs"))
        if citation.sections:
            yield f"{citation.page} is no page of docs/spec"
        elif not known and not may_be_other:
            yield f"there is no {citation.page}"
        return
    named = default if citation.page is None else (citation.page,)
    if citation.page is None and not named:
        yield f"section {', '.join(citation.sections)}: of which page?"
        return
    for number in citation.sections:
        texts = [pages()[name][number] for name in named if number in pages()[name]]
        if not texts:
            yield f"there is no section {number} in {' or '.join(named)}"
        elif citation.item and not any(
            re.search(rf"^{citation.item}\. ", text, re.MULTILINE) for text in texts
        ):
            yield f"there is no item {citation.item} in section {number} of {' or '.join(named)}"


def docstring_pages(text: str) -> tuple[str, ...]:
    """The pages that the docstring of a module names."""
    docstring = ast.get_docstring(ast.parse(text)) or ""
    found = {citation.page for citation in citations(docstring) if citation.page}
    return tuple(sorted(found & set(pages())))


def faults_in(text: str, suffix: str, *, page: str | None = None, test: bool = False) -> list[str]:
    """What is wrong with the citations of a file; ``page`` is its name if it is one of them."""
    cited = list(citations(text))
    default = (page,) if page else docstring_pages(text) if cited and suffix == ".py" else ()
    found = [fault for citation in cited for fault in faults_of(citation, default, test)]
    if page:
        own = pages()[page]
        found += [f"({n}): no such section" for n in _OWN_SECTION.findall(text) if n not in own]
    return found


def cited_files() -> Iterator[Path]:
    for folder in ("nvdla_ir", "grammar", "tools", "docs", "tests"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in {".py", ".lark", ".md"} and file != Path(__file__).resolve():
                yield file


def test_citations_name_sections_that_exist() -> None:
    faults = {
        f"{file.relative_to(ROOT)}: {fault}"
        for file in cited_files()
        for fault in faults_in(
            file.read_text(encoding="utf-8"),
            file.suffix,
            page=file.name if file.parent == SPEC else None,
            test="tests" in file.relative_to(ROOT).parts,
        )
    }
    assert sorted(faults) == []


def test_citations_are_found() -> None:
    """The code cites every page but those of what is not built yet."""
    cited = {
        citation.page
        for file in cited_files()
        if file.suffix == ".py"
        for citation in citations(file.read_text(encoding="utf-8"))
    }
    assert set(pages()) - cited <= {"README.md", "cycles.md"}


def test_pages_name_files_that_exist() -> None:
    missing = {
        f"{file.name}: {path}"
        for file in SPEC.glob("*.md")
        for path in _PATH.findall(file.read_text(encoding="utf-8"))
        if not any(ROOT.glob(path.rstrip("/")))
    }
    assert sorted(missing) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('"""Source: sdp.md sections 4 to 7."""', ""),
        ('"""Source: sdp.md section 99."""', "there is no section 99 in sdp.md"),
        ('"""Source: sdp.md sections 4\nand 99."""', "there is no section 99 in sdp.md"),
        ('"""Source: sdp.md section 4,\ncdp.md section 4.9."""', "no section 4.9 in cdp.md"),
        ("# (sdp.md 4.9)", "there is no section 4.9 in sdp.md"),
        ("# as sdp.md\n# section 4.9 has it", "there is no section 4.9 in sdp.md"),
        ("# section 4.9 of sdp.md", "there is no section 4.9 in sdp.md"),
        ("# sdp.md appendix A", ""),
        ("# sdp.md appendix Z", "there is no section Z in sdp.md"),
        ("# Convolution.md section 8.4", ""),
        ("# quantization.md section 3, item 8", ""),
        ("# quantization.md section 3,\n# item 80", "no item 80 in section 3"),
        ("# sdb.md section 4", "sdb.md is no page"),
        ("# as sdb.md has it", "there is no sdb.md"),
        ("# docs/device.md, README.md", ""),
        ("# section 4", "section 4: of which page?"),
        ('"""Source: sdp.md."""\n# section 6.4', ""),
        ('"""Source: sdp.md, pdp.md."""\n# Section 5.2', ""),
        ('"""Source: pdp.md."""\n# section 6.4', "there is no section 6.4 in pdp.md"),
    ],
)
def test_the_rule_on_citations(text: str, fault: str) -> None:
    found = faults_in(text, ".py")
    assert len(found) == bool(fault)
    assert fault in "".join(found)


# -------------------------------------------------------------- registers

# Interfaces and descriptions that no program touches.
_UNDESCRIBED = {"CFGROM", "GEC", "MCIF", "CVIF"}
# Its registers are those of CMAC_A.
_TWINS = {"CMAC_B"}


def field_text(field: Field) -> str:
    bits = str(field.msb) if field.msb == field.lsb else f"{field.msb}:{field.lsb}"
    access = "" if field.access == "rw" else f" {field.access}"
    reset = f"{field.reset:#x}" if field.reset > 9 else str(field.reset)
    return f"{field.name}[{bits}]{access}" + (f" reset {reset}" if field.reset else "")


def rows_of(block: Block) -> list[tuple[str, str, str]]:
    return [
        (f"{r.offset:02x}", r.name, ", ".join(map(field_text, r.fields.values())))
        for r in block.registers.values()
    ]


def described_registers() -> dict[str, list[tuple[str, str, str]]]:
    """Rows of the tables of registers, by the block that the heading above names."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for file in sorted(SPEC.glob("*.md")):
        block, in_table = "", False
        for line in file.read_text(encoding="utf-8").split("\n"):
            heading = re.match(rf"#+ (?:{_NUMBER}\.? )?(\w+)", line)
            if heading:
                block = heading[1]
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if cells[:2] == ["offset", "register"]:
                in_table = True
            elif not line.startswith("|"):
                in_table = False
            elif in_table and not line.startswith("|---"):
                found.setdefault(block, []).append((cells[0], cells[1], cells[2]))
    return found


def test_tables_of_registers_agree_with_the_register_map() -> None:
    blocks = register_map("master")
    expected = {name: rows_of(blocks[name]) for name in blocks if name not in _UNDESCRIBED}
    for twin in _TWINS:
        assert expected.pop(twin) == expected["CMAC_A"]
    described = described_registers()
    assert set(described) == set(expected)
    for name, rows in expected.items():
        assert described[name] == rows


# -------------------------------------------------------------- hardware parameters


def rows_in(page: str, section: str) -> dict[str, list[str]]:
    """The cells behind the first one, by that, of the tables in a section."""
    lines = [line for line in pages()[page][section].split("\n") if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].split()[0]: row[1:] for row in cells}


def test_table_of_configurations_agrees_with_the_data() -> None:
    table = rows_in("convolution.md", "0")
    for name in names():
        hw = load_configuration(name)
        if name == "nv_large_b":  # described in words
            continue
        atomic_c, atomic_k, atom, buffer, kib, secondary, _ = table[name]
        assert (int(atomic_c), int(atomic_k.split()[0]), int(atom)) == (
            hw.atomic_c,
            hw.atomic_k,
            hw.memory_atom,
        )
        geometry = (hw.cbuf.banks, hw.cbuf.entries_per_bank, hw.cbuf.entry_bytes)
        assert buffer == " \N{MULTIPLICATION SIGN} ".join(map(str, geometry))
        assert int(kib) * 1024 == hw.cbuf.total_bytes
        assert secondary == ("yes" if hw.has_secondary_memory else "no")


def test_table_of_addresses_agrees_with_the_register_maps() -> None:
    table = rows_in("convolution.md", "7")
    first, master = register_map("v1"), register_map("master")
    assert {*first, *master} <= set(table)
    for name, block in master.items():
        v1 = f"0x{first[name].base:04X}" if name in first else "\N{EN DASH}"
        assert table[name] == [v1, f"0x{block.base:04X}"]
