"""What one hardware layer is told: a setting for each unit, with its limits and its registers.

Passes make settings of operations, the loadable reader of descriptors; both get registers here.
"""
