"""How the pieces of a divided layer are written as operations."""
