"""nvdla-run: execute a program, on any level of the IR, a register trace or a loadable."""

import sys

from .entry import EntryPoint

main = EntryPoint("nvdla-run", "run_command")

if __name__ == "__main__":
    sys.exit(main())
