"""nvdla-calibrate: a calibration table from a network and images, and what INT8 costs."""

import sys

from .entry import EntryPoint

main = EntryPoint("nvdla-calibrate", "calibrate_command")

if __name__ == "__main__":
    sys.exit(main())
