"""Readers of networks of other tools: each makes a module of operations."""
