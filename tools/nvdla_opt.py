"""nvdla-opt: IR in, passes in the order of the flags, IR out."""

from __future__ import annotations

import sys

from nvdla_ir.version import __version__

TYPE_CHECKING = False  # of typing, whose import would cost as much as the rest of --version
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


def main(
    argv: Sequence[str] | None = None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Run the tool with the arguments ``argv`` (without the program's name) on these streams;
    those of the process where they are not given.

    Returns: 0 on success, 1 if an input is at fault (diagnostics on ``stderr``), 2 for wrong
    usage.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments == ["--version"]:
        return _print_version(stdout or sys.stdout, stderr or sys.stderr)
    # Imported here, so that --version answers at once.
    import gc

    if argv is None:
        # A process of its own is over soon: collecting garbage would only take time.
        gc.set_threshold(100_000)
    from .opt_run import run

    try:
        return run(arguments, stdin or sys.stdin, stdout or sys.stdout, stderr or sys.stderr)
    finally:
        if argv is None:
            gc.freeze()


def _print_version(stdout: TextIO, stderr: TextIO) -> int:
    try:
        print(f"nvdla-opt {__version__}", file=stdout, flush=True)
    except OSError as error:
        from .command_line import discard_output

        discard_output(stdout)
        print(f"nvdla-opt: cannot write standard output: {error.strerror}", file=stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
