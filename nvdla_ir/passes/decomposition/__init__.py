"""Patterns of ``decompose-layers``."""
