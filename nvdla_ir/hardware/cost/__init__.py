"""What hardware layers cost: cycles, what they wait for, and bytes of memory traffic.

Measured on the RTL of nv_small at two memory settings (cycles.md); other configurations follow the
same structure with their own sizes and widths.
"""
