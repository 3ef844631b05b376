"""What quantization costs: two programs compared layer by layer, and a network evaluated."""
