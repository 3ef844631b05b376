"""What can be watched while a pipeline runs: the IR between passes, and the time they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Generator
from contextlib import contextmanager

from attrs import define, field

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.passes.base import Pass
from nvdla_ir.passes.pipeline import Instrumentation
from nvdla_ir.text.printer import PrintOptions, print_operation


@define(eq=False)
class IRPrinting(Instrumentation):
    """Prints the module before and after passes.

    before, after: the names of the passes around which to print
    after_change:  print after a pass only if it has changed something
    after_failed:  print what a pass that fails has left
    """

    write: Callable[[str], object]
    options: PrintOptions
    before: Container[str] = ()
    after: Container[str] = ()
    after_change: bool = False
    after_failed: bool = False
    _previous: str = ""

    def before_pass(self, pass_: Pass, module: ModuleOp) -> None:
        if pass_.name in self.before:
            self._dump(f"Before {pass_.name}", print_operation(module, self.options))
        if self.after_change:
            self._previous = print_operation(module, self.options)

    def after_pass(self, pass_: Pass, module: ModuleOp) -> None:
        wanted = pass_.name in self.after
        if not wanted and not self.after_change:
            return
        text = print_operation(module, self.options)
        if not self.after_change or text != self._previous:
            self._dump(f"After {pass_.name}", text)

    def after_failure(self, pass_: Pass, module: ModuleOp) -> None:
        if self.after_failed or self.after_change or pass_.name in self.after:
            self._dump(f"After {pass_.name} Failed", print_operation(module, self.options))

    def _dump(self, what: str, text: str) -> None:
        self.write(f"// -----// IR Dump {what} //----- //\n{text}\n")


class Everything(Container[str]):
    """Holds all names."""

    def __contains__(self, name: object) -> bool:
        return True


@define(eq=False)
class Timing(Instrumentation):
    """Measures how long each pass takes, in the order in which they ran.

    seconds: name and wall-clock time of each, other phases of a run among them
    """

    seconds: list[tuple[str, float]] = field(factory=list[tuple[str, float]])
    _start: float = 0.0

    def before_pass(self, pass_: Pass, module: ModuleOp) -> None:
        self._start = time.perf_counter()

    def after_pass(self, pass_: Pass, module: ModuleOp) -> None:
        self._end(pass_.name)

    def after_failure(self, pass_: Pass, module: ModuleOp) -> None:
        self._end(pass_.name)

    @contextmanager
    def phase(self, name: str) -> Generator[None, None, None]:
        """Measures something that is not a pass."""
        self._start = time.perf_counter()
        try:
            yield
        finally:
            self._end(name)

    def _end(self, name: str) -> None:
        self.seconds.append((name, time.perf_counter() - self._start))
