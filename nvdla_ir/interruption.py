"""Signals that end a command: as exceptions, so that what is half done is put in order first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

_TERMINATING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Terminated(BaseException):
    """Another process, or the system, has asked this one to end.

    Like KeyboardInterrupt no ``Exception``: nobody but the command itself catches it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """As ``SIGTERM``."""
        return signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """What shells say of a process that such a signal has ended."""
        return 128 + self.number


@contextmanager
def termination_raises() -> Generator[list[int], None, None]:
    """SIGTERM and SIGHUP raise ``Terminated`` in the main thread, once: they are not heard any
    more while what is half done is put in order.

    A signal that is ignored (as by ``nohup``) or handled already stays so. Elsewhere than in the
    main thread this does nothing: signals belong to that.

    Yields: the signals that raise because of this.
    """
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    taken = [number for number in _TERMINATING if signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        for other in taken:
            signal.signal(other, signal.SIG_IGN)
        raise Terminated(number)

    for number in taken:
        signal.signal(number, end)
    try:
        yield taken
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def termination_after_cleanup() -> Generator[None, None, None]:
    """SIGTERM and SIGHUP raise ``Terminated`` inside, and outside have the effect they have
    otherwise: to end the process, or to raise what a command wants to be raised."""
    stop: Terminated | None = None
    with termination_raises() as taken:
        try:
            yield
        except Terminated as error:
            if error.number not in taken:
                raise
            stop = error
    if stop is not None:
        signal.raise_signal(stop.number)


@contextmanager
def signals_held() -> Generator[None, None, None]:
    """Ctrl-C, SIGTERM and SIGHUP that arrive meanwhile take effect at the end: for short steps
    that must be done as a whole. Elsewhere than in the main thread this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        arrived.append(number)

    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, *_TERMINATING)
        if callable(signal.getsignal(number))
    }
    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in arrived[:1]:
        signal.raise_signal(number)
