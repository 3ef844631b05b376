"""Bit-exact integer arithmetic of the NVDLA units: numpy in, numpy out.

`reference` is the definition, in obvious int64 code; `fast` has the same functions with the same
signatures and results, quick. `parameters` holds the frozen values that both take. Arrays are
logical ([..., channel, row, column]); memory layouts, registers and the IR are unknown here.
"""
