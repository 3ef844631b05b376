"""Hardware as data: configurations, register maps and memory formats. Knows nothing of the IR."""
