"""Writes the tables of the grammar into the package. To be run after each change of
``grammar/*.lark``, or of what ``nvdla_ir.text.grammar`` puts in:

python -m nvdla_ir.tools.update_grammar_tables
"""

from __future__ import annotations

from nvdla_ir.dialects import default_context
from nvdla_ir.files import write_atomically
from nvdla_ir.text import grammar, tables


def current_tables() -> str:
    """The text that the file with the tables should have."""
    text = grammar.compose(grammar.fragments(default_context()))
    return tables.tables_of(grammar.build_anew(text, None), text)


def main() -> int:
    """Write the file."""
    write_atomically(tables.FILE, current_tables())
    return 0


if __name__ == "__main__":
    main()
