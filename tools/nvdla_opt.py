"""nvdla-opt: IR in, passes in the order of the flags, IR out."""

import sys

from .entry import EntryPoint

main = EntryPoint("nvdla-opt", "opt_run", short_lived=True)

if __name__ == "__main__":
    sys.exit(main())
