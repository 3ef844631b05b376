"""nvdla-translate: from other formats to IR, and from IR to other formats."""

import sys

from .entry import EntryPoint

main = EntryPoint("nvdla-translate", "translate_command")

if __name__ == "__main__":
    sys.exit(main())
