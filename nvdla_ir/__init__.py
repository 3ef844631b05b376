"""A pass-based INT8 compiler and bit-exact interpreter for NVDLA."""
