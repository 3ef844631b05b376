"""Memory formats of NVDLA as index arithmetic: where each element of a tensor lies in memory.

``feature`` cubes, ``image`` planes, convolution ``weights`` (also ``compressed_weights``), SDP
``operands``; how the convolution buffer is filled and shared (``buffer``), and how pooling is cut
to its line buffer (``pooling``). Byte arrays are one-dimensional, offsets count from a surface's
base address.
"""
