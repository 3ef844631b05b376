"""Playing traces in tests: front end, verifier, machine, checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp, entry_functions
from nvdla_ir.formats.trace import import_trace
from nvdla_ir.interp.csb.run import CheckResult, checks_of, device_of
from nvdla_ir.interp.device.device import Device
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.operation import Operation
from nvdla_ir.ir.verifier import verify
from nvdla_ir.resources import ResourceStore


@frozen(eq=False)
class Played:
    """A trace that was imported and run."""

    module: ModuleOp
    resources: ResourceStore
    machine: Machine

    @property
    def device(self) -> Device:
        device = device_of(self.machine)
        assert device is not None
        return device

    @property
    def checks(self) -> list[CheckResult]:
        return checks_of(self.machine)

    @property
    def failures(self) -> list[str]:
        return [
            f"{check.op.location}: expected {check.expected}, found {check.found}"
            for check in self.checks
            if not check.passed
        ]


def function_of(module: ModuleOp) -> FuncOp:
    (function,) = entry_functions(module)
    return function


def operations_of(module: ModuleOp) -> list[Operation]:
    """The operations of the program, without its end."""
    return list(function_of(module).body.operations)[:-1]


def run(module: ModuleOp, resources: ResourceStore, *, lenient: bool = False) -> Machine:
    """Verify a program without inputs and run it."""
    verify(module)
    machine = Machine(resources, Mode.INTEGER, lenient=lenient)
    machine.run(function_of(module), {})
    return machine


def play(path: Path, target: str, *, lenient: bool = False) -> Played:
    """Import a trace and run it."""
    resources = ResourceStore()
    module = import_trace(path, target, resources)
    return Played(module, resources, run(module, resources, lenient=lenient))


def write_files(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write the files of a trace; returns ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder
