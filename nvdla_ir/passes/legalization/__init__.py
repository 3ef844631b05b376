"""How ``legalize-to-nvdla`` finds hardware layers in steps of the 32-bit pipeline."""
