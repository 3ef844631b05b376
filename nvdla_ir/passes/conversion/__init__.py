"""How ``insert-converters`` turns one chain of layers into steps of the 32-bit pipeline."""
