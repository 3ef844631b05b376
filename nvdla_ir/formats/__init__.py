"""Formats that we read and write: each a package with its words, its reader and its writer."""
