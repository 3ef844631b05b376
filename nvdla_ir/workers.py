"""Worker processes that end when nobody wants their work any more, however that came about."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any


@contextmanager
def worker_pool(
    jobs: int, start: Callable[..., None] | None = None, *arguments: Any
) -> Generator[ProcessPoolExecutor, None, None]:
    """A pool of up to ``jobs`` processes, each of which first calls ``start`` with ``arguments``.

    They ignore Ctrl-C, which is for this process to handle. An exception in the block ends them at
    once, whatever they are at, and so does the end of this process, even by SIGKILL.
    """
    # Spawned processes load numpy themselves, and with it one BLAS thread as the environment says.
    context = get_context("spawn")
    # Only this process has the writing end: the other one ends when that does.
    watched, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, context, _start, (watched, start, arguments))
    try:
        yield pool
    except BaseException:
        held.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        held.close()
        watched.close()


def _start(watched: Any, start: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(watched,), daemon=True).start()
    if start is not None:
        start(*arguments)


def _end_with(watched: Any) -> None:
    try:
        watched.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
