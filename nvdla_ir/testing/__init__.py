"""Golden tests: files of IR with ``// RUN:`` lines, as LLVM's lit knows them, run in the process.

``plugin`` brings them to pytest, ``runner`` runs them, ``script`` and ``shell`` read what they say.
The same files run under lit itself, with a process for every command.
"""
