"""Writers of other formats: each makes files of a module of operations."""
