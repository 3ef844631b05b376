"""Parse a module, run a pass on it, read it back: what the tests of passes share."""

from __future__ import annotations

from pathlib import Path

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.ir.operation import Operation
from nvdla_ir.ir.verifier import verify
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse
from nvdla_ir.text.printer import print_operation

PROJECT = Path(__file__).parents[3]


def module_of(text: str, file: str = "test.ir", *, allow_unregistered: bool = False) -> ModuleOp:
    """The module of ``text``, or one of its top-level operations."""
    context = default_context(allow_unregistered=allow_unregistered)
    operations = parse(text, context, file).operations
    if len(operations) == 1 and isinstance(operations[0], ModuleOp):
        module = operations[0]
    else:
        module = ModuleOp.of(operations)
    verify(module)
    return module


def read_module(path: Path, session: Session) -> ModuleOp:
    """The module in the file ``path``, its weights attached to ``session``."""
    module = module_of(path.read_text(), str(path))
    if module.weights_file is not None:
        session.resources.attach(path.parent / module.weights_file)
    return module


def new_session() -> Session:
    return Session(ResourceStore())


def run(pass_: Pass, module: ModuleOp, session: Session | None = None) -> Session:
    """Run the pass and verify what it leaves, unless it reported errors."""
    session = session or new_session()
    pass_.run(module, session)
    if not session.diagnostics.errors:
        verify(module)
    return session


def named(module: ModuleOp, name: str) -> Operation:
    """The operation whose first result is called ``name``."""
    for op in module.walk():
        if op.results and op.results[0].name_hint == name:
            return op
    raise AssertionError(f"no %{name} in\n{print_operation(module)}")
