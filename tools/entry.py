"""How a command starts: ``--version`` answers at once, the rest is imported only then."""

from __future__ import annotations

import importlib
import sys

from nvdla_ir.version import __version__

TYPE_CHECKING = False  # of typing, whose import would cost as much as the rest of --version
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


class EntryPoint:
    """A command: ``run`` of the ``module`` beside this one.

    short_lived: a process of its own is over soon and multiplies few matrices, so that collecting
                 garbage, and starting the threads of OpenBLAS, would only take time
    """

    def __init__(self, command: str, module: str, *, short_lived: bool = False) -> None:
        self._command = command
        self._module = module
        self._short_lived = short_lived

    def __call__(
        self,
        argv: Sequence[str] | None = None,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> int:
        """Run the command with the arguments ``argv`` (without the program's name) on these
        streams; those of the process where they are not given.

        Returns: 0 on success, 1 if an input is at fault (diagnostics on ``stderr``), 2 for wrong
        usage.
        """
        arguments = sys.argv[1:] if argv is None else list(argv)
        streams = stdin or sys.stdin, stdout or sys.stdout, stderr or sys.stderr
        if arguments == ["--version"]:
            return self._print_version(*streams[1:])
        if argv is not None or not self._short_lived:
            return self._run(arguments, *streams)
        import gc
        import os

        gc.set_threshold(500_000)
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        try:
            return self._run(arguments, *streams)
        finally:
            gc.freeze()

    def _run(self, arguments: list[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
        run = importlib.import_module(f".{self._module}", __package__).run
        return run(arguments, stdin, stdout, stderr)

    def _print_version(self, stdout: TextIO, stderr: TextIO) -> int:
        try:
            print(f"{self._command} {__version__}", file=stdout, flush=True)
        except OSError as error:
            from .command_line import discard_output

            discard_output(stdout)
            reason = f"cannot write standard output: {error.strerror}"
            print(f"{self._command}: {reason}", file=stderr)
            return 1
        return 0
