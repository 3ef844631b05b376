"""Pipelines from Python: order, failures, instrumentation, options, entry points."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable
from typing import ClassVar

import pytest
from attrs import field, frozen
from running import module_of, new_session

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.ir.attributes import IntegerAttr
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import Location
from nvdla_ir.passes.base import Condition, Pass, Session, option
from nvdla_ir.passes.canonicalize import Canonicalize
from nvdla_ir.passes.options import create_pass, specification_of
from nvdla_ir.passes.pipeline import Instrumentation, Pipeline
from nvdla_ir.passes.registry import PassRegistry
from nvdla_ir.text.pipeline_syntax import PassOption, PassSpecification


def _has_number(module: ModuleOp) -> Iterable[tuple[Location, str]]:
    if "test.number" not in module.attributes:
        yield module.location, "there is no number; run 'number' first"


HAS_NUMBER = Condition("has a number", _has_number)


@frozen
class Number(Pass):
    """Set the number."""

    name = "number"
    ensures = (HAS_NUMBER,)
    value: int = option(1, help="what to set")
    factor: float = option(1.0, help="multiplied by this")
    off: bool = option(False, help="do nothing")
    label: str | None = option(None, help="a word")

    def run(self, module: ModuleOp, session: Session) -> None:
        if not self.off:
            module.attributes["test.number"] = IntegerAttr(int(self.value * self.factor))


@frozen
class Double(Pass):
    """Double the number."""

    name = "double"
    requires = (HAS_NUMBER,)

    def run(self, module: ModuleOp, session: Session) -> None:
        number = module.attributes["test.number"]
        assert isinstance(number, IntegerAttr)
        module.attributes["test.number"] = IntegerAttr(number.value * 2)


@frozen
class Warn(Pass):
    """Give a warning, then an error, then go on."""

    name = "warn"

    def run(self, module: ModuleOp, session: Session) -> None:
        session.diagnostics.warning(module.location, "careful")
        session.diagnostics.error(module.location, "wrong")


@frozen
class Bounded(Pass):
    """An option with a validator of attrs."""

    name = "bounded"
    share: float = field(default=0.5, metadata={"help": "from 0 to 1"})

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}, but must be from 0 to 1")


class Log(Instrumentation):
    """Remembers what it is told."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name, self.calls = name, calls

    def before_pass(self, pass_: Pass, module: ModuleOp) -> None:
        self.calls.append(f"{self.name} before {pass_.name}")

    def after_pass(self, pass_: Pass, module: ModuleOp) -> None:
        self.calls.append(f"{self.name} after {pass_.name}")

    def after_failure(self, pass_: Pass, module: ModuleOp) -> None:
        self.calls.append(f"{self.name} failure {pass_.name}")


def messages(error: DiagnosticError) -> list[str]:
    return [diagnostic.message for diagnostic in error.diagnostics]


def test_passes_run_in_order() -> None:
    module = module_of("module {}")
    Pipeline([Number(3), Double(), Double()]).run(module, new_session())
    assert module.attributes["test.number"] == IntegerAttr(12)


def test_what_is_required_is_checked() -> None:
    with pytest.raises(DiagnosticError) as raised:
        Pipeline([Double()]).run(module_of("module {}"), new_session())
    assert messages(raised.value) == [
        "pass 'double' cannot run: there is no number; run 'number' first"
    ]


def test_what_is_promised_is_checked() -> None:
    with pytest.raises(DiagnosticError) as raised:
        Pipeline([Number(off=True)]).run(module_of("module {}"), new_session())
    assert messages(raised.value)[0].startswith("pass 'number' is at fault: there is no number")


def test_errors_end_the_pipeline_and_stay_in_the_session() -> None:
    module, session = module_of("module {}"), new_session()
    with pytest.raises(DiagnosticError) as raised:
        Pipeline([Warn(), Number()]).run(module, session)
    assert messages(raised.value) == ["wrong"]
    assert [d.message for d in session.diagnostics.diagnostics] == ["careful", "wrong"]
    assert "test.number" not in module.attributes


@frozen
class Misbehave(Pass):
    """Do something that no pass should."""

    name = "misbehave"
    how: str = option(help="what to do")

    def run(self, module: ModuleOp, session: Session) -> None:
        if self.how == "exit":
            sys.exit(0)
        if self.how == "say nothing":
            raise DiagnosticError
        if self.how == "recurse":
            self.run(module, session)
        for op in module.walk():
            if op.name == "func.return":
                op.operands.append(None)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("exit", "pass 'misbehave' failed: SystemExit: 0"),
        ("say nothing", "pass 'misbehave' failed: nvdla_ir.ir.diagnostics.DiagnosticError"),
        ("recurse", "pass 'misbehave' failed: RecursionError: maximum recursion depth exceeded"),
        (
            "break the verifier",
            "pass 'misbehave' left IR that cannot be verified: 'func.return': AttributeError: "
            "'NoneType' object has no attribute ",
        ),
    ],
)
def test_a_pass_that_misbehaves_is_told_as_an_error(how: str, message: str) -> None:
    module = module_of("module {\nfunc.func @f() {\nfunc.return\n}\n}\n")
    with pytest.raises(DiagnosticError) as raised:
        Pipeline([Misbehave(how)]).run(module, new_session())
    (diagnostic,) = raised.value.diagnostics
    assert diagnostic.message.startswith(message)
    line = 3 if how == "break the verifier" else 1
    place = diagnostic.location.file_position()
    assert place is not None and (place.file, place.line) == ("test.ir", line)


def test_instrumentation_is_nested() -> None:
    calls: list[str] = []
    with pytest.raises(DiagnosticError):
        Pipeline([Number(), Warn()]).run(
            module_of("module {}"), new_session(), [Log("a", calls), Log("b", calls)]
        )
    assert calls == [
        "a before number",
        "b before number",
        "b after number",
        "a after number",
        "a before warn",
        "b before warn",
        "b failure warn",
        "a failure warn",
    ]


def test_text_of_a_pipeline() -> None:
    text = Pipeline([Number(2), Canonicalize()]).text()
    assert text == "builtin.module(number{value=2 factor=1.0 off=false},canonicalize)"


# -------------------------------------------------------------- options


def created(pass_class: type[Pass], **options: str | None) -> Pass:
    given = tuple(PassOption(key, value) for key, value in options.items())
    return create_pass(pass_class, PassSpecification(pass_class.name, given))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Number()),
        ({"value": "-3"}, Number(-3)),
        ({"value": "0x10"}, Number(16)),
        ({"factor": "2"}, Number(factor=2.0)),
        ({"factor": "2.5e-1"}, Number(factor=0.25)),
        ({"off": None}, Number(off=True)),
        ({"off": "False"}, Number(off=False)),
        ({"label": "a b"}, Number(label="a b")),
    ],
)
def test_options_are_converted(options: dict[str, str | None], expected: Pass) -> None:
    assert created(Number, **options) == expected
    assert create_pass(Number, specification_of(expected)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": "1.5"}, "option 'value' of 'number' is an integer, not '1.5'"),
        ({"value": None}, "option 'value' of 'number' is an integer, and needs a value"),
        ({"factor": "x"}, "option 'factor' of 'number' is a number, not 'x'"),
        ({"off": "maybe"}, "option 'off' of 'number' is true or false, not 'maybe'"),
        ({"valu": "1"}, "'number' has no option 'valu'; did you mean 'value'?"),
        ({"z": "1"}, "'number' has no option 'z'; it has value, factor, off, label"),
    ],
)
def test_wrong_options(options: dict[str, str | None], message: str) -> None:
    with pytest.raises(DiagnosticError) as raised:
        created(Number, **options)
    assert messages(raised.value) == [message]


def test_a_pass_may_refuse_its_options() -> None:
    with pytest.raises(DiagnosticError) as raised:
        created(Bounded, share="2")
    assert messages(raised.value) == [
        "'bounded' cannot have these options: share is 2.0, but must be from 0 to 1"
    ]


# -------------------------------------------------------------- registry


class EntryPoint:
    """Stands for that of an installed package."""

    value = "package:Class"
    loaded: ClassVar[object] = Number

    def load(self) -> object:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


@pytest.mark.parametrize(
    ("loaded", "message"),
    [
        (Number, None),
        (ImportError("no"), "pass 'number' of the installed package cannot be loaded from"),
        (int, "entry point 'package:Class' of 'number' is not a pass"),
    ],
)
def test_passes_of_installed_packages(
    monkeypatch: pytest.MonkeyPatch, loaded: object, message: str | None
) -> None:
    def entry_points(group: str, name: str) -> list[EntryPoint]:
        assert group == "nvdla_ir.passes"
        return [EntryPoint()] if name == "number" else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    monkeypatch.setattr(EntryPoint, "loaded", loaded)
    registry = PassRegistry()
    assert registry.find("none") is None
    if message is None:
        assert registry.create(PassSpecification("number")) == Number()
        return
    with pytest.raises(DiagnosticError) as raised:
        registry.find("number")
    assert message in messages(raised.value)[0]


def test_every_pass_of_the_package_exists_and_has_its_name() -> None:
    registry = PassRegistry()
    for name in registry.names:
        found = registry.find(name)
        assert found is not None and found.name == name
