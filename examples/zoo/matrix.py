"""Which networks compile for which hardware, and what they cost there.

python examples/zoo/matrix.py                                # all, images and channels reduced
python examples/zoo/matrix.py resnet50 --target nv_small     # some
python examples/zoo/matrix.py resnet50 --full                # as published
python examples/zoo/matrix.py --run                          # and compare the levels' bytes
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from attrs import frozen
from batch_norms import photos, with_statistics
from network import Network
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from zoo import TOPOLOGIES, write

from nvdla_ir.calibration.calibrate import table_of, thresholds_of
from nvdla_ir.calibration.measurement import Group, Meter
from nvdla_ir.calibration.methods import MinMax
from nvdla_ir.calibration.table import write_json
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.evaluation.estimate import estimate
from nvdla_ir.frontends.onnx import import_onnx
from nvdla_ir.hardware.cost.base import MemoryTiming
from nvdla_ir.hw.configuration import names as configuration_names
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import ALIASES, LAYERS_TO_REGISTERS, PassRegistry
from nvdla_ir.resources import ResourceStore

WIDTH = 0.125
SIZES = {"alexnet": 99, "inception_v3": 107, "lenet5": 32, "espcn": 24, "unet": 64}
SMALL = 96
"""Rows and columns of reduced images, where ``SIZES`` has no others."""

CALIBRATION_IMAGES = 4
FREQUENCY = 1e9

Images = NDArray[np.float32]
_NAME = re.compile(r"layer '([^']*)'")
_DETAIL = re.compile(r"'[^']*'|-?\d[\d.e+-]*")
_MEBIBYTE = 1 << 20


@frozen
class Cell:
    """What became of one network on one configuration.

    pieces:   hardware layers
    bytes:    of memory, constants and activations
    seconds:  that compiling took, import and calibration excepted
    frames:   a second, by the estimate
    equal:    whether registers compute the bytes of the int8 IR; None where that was not asked
    refusals: why there is no program
    """

    pieces: int = 0
    bytes: int = 0
    seconds: float = 0.0
    frames: float = 0.0
    equal: bool | None = None
    refusals: tuple[str, ...] = ()

    def text(self) -> str:
        if self.refusals:
            return f"[red]refused: {len(self.refusals)}[/red]"
        parts = [
            f"{self.pieces} layers",
            f"{self.bytes / _MEBIBYTE:.2f} MiB",
            f"{self.seconds:.1f} s",
            f"{self.frames:.0f}/s",
        ]
        if self.equal is not None:
            parts.append("[green]equal[/green]" if self.equal else "[red]DIFFERENT[/red]")
        return "\n".join(parts)


@frozen(eq=False)
class Subject:
    """A network in a file, with its calibration table, images to try it on, and the layers'
    kinds by their names."""

    model: Path
    table: Path
    images: Images
    kinds: Mapping[str, str]

    @staticmethod
    def of(network: Network, folder: Path) -> Subject:
        images = photos(network, CALIBRATION_IMAGES)
        kinds = {layer.name: layer.kind for layer in network.layers}
        subject = Subject(folder / "network.onnx", folder / "calib.json", images[:2], kinds)
        write(with_statistics(network, images), subject.model)
        module, session = subject.module()
        meter = Meter(_main(module), session.resources)
        (name,) = meter.inputs
        groups = [
            Group(number, (f"photo {number}",), {name: image[None]})
            for number, image in enumerate(images)
        ]
        thresholds = thresholds_of(meter.measure(groups), MinMax())
        subject.table.write_text(write_json(table_of(thresholds, session.diagnostics)))
        return subject

    def told(self, message: str) -> str:
        """``message`` with the kinds of the layers that it names."""

        def kind(match: re.Match[str]) -> str:
            name = match[1].rpartition("+")[2]
            found = self.kinds.get(name) or self.kinds.get(name.rpartition(".")[0])
            return f"{found} {match[0]}" if found else match[0]

        return _NAME.sub(kind, message)

    def module(self) -> tuple[ModuleOp, Session]:
        session = Session(ResourceStore())
        module = import_onnx(
            self.model, session.resources, shapes={}, diagnostics=session.diagnostics
        )
        return module, session


def compiled(subject: Subject, target: str, memory: MemoryTiming, *, run: bool) -> Cell:
    module, session = subject.module()
    start = time.perf_counter()
    try:
        _run(module, session, [("target", target), ("import-calib", str(subject.table))])
        _run(module, session, [("quantize", "per-channel")])
        expected = _outputs(module, session, subject) if run else []
        registry = PassRegistry()
        steps = [
            registry.create(step)
            for step in ALIASES["compile"].specifications("", UNKNOWN)
            if step.name != LAYERS_TO_REGISTERS[-1]
        ]
        Pipeline(steps).run(module, session)
        found = estimate(module, memory)
        _run_pass(module, session, LAYERS_TO_REGISTERS[-1])
        seconds = time.perf_counter() - start
    except DiagnosticError as error:
        return Cell(refusals=tuple(subject.told(one.message) for one in error.diagnostics))
    counts = session.statistics["allocate-memory"]
    taken = counts["bytes of constants"] + counts["bytes of activations"]
    equal = None
    if run:
        results = _outputs(module, session, subject)
        equal = all(map(np.array_equal, expected, results))
    return Cell(found.pieces, taken, seconds, FREQUENCY / found.cycles, equal)


def _run(module: ModuleOp, session: Session, flags: Sequence[tuple[str, str]]) -> None:
    """The passes that flags of nvdla-opt stand for."""
    registry = PassRegistry()
    for name, value in flags:
        alias = ALIASES[name]
        steps = [
            *alias.specifications_ahead(value, UNKNOWN),
            *alias.specifications(value, UNKNOWN),
        ]
        Pipeline([registry.create(step) for step in steps]).run(module, session)


def _run_pass(module: ModuleOp, session: Session, name: str) -> None:
    pass_class = PassRegistry().find(name)
    assert pass_class is not None
    Pipeline([pass_class()]).run(module, session)


def _outputs(module: ModuleOp, session: Session, subject: Subject) -> list[Images]:
    machine = Machine(session.resources, Mode.INTEGER)
    function = _main(module)
    name = function.argument_name(function.body.arguments[0])
    return [
        output
        for image in subject.images
        for output in machine.run(function, {name: image[None]}).values()
    ]


def _main(module: ModuleOp) -> FuncOp:
    function = module.body.first_op
    assert isinstance(function, FuncOp)
    return function


def reasons(cells: Mapping[tuple[str, str], Cell]) -> dict[str, dict[str, set[str]]]:
    """By kind of refusal, an example of it in place of its layers and numbers, the networks and
    their configurations."""
    kinds: dict[str, tuple[str, dict[str, set[str]]]] = {}
    for (network, target), cell in cells.items():
        for message in cell.refusals:
            _, found = kinds.setdefault(_DETAIL.sub("…", message), (message, {}))
            found.setdefault(network, set()).add(target)
    return dict(kinds.values())


def show(
    cells: Mapping[tuple[str, str], Cell],
    networks: Sequence[str],
    targets: Sequence[str],
    console: Console,
) -> None:
    table = Table(show_lines=True)
    for column in ("", *targets):
        table.add_column(column, justify="right")
    for network in networks:
        table.add_row(network, *(cells[network, target].text() for target in targets))
    console.print(table)
    done = sum(not cell.refusals for cell in cells.values())
    console.print(f"{done} of {len(cells)} compile.")
    for example, found in sorted(reasons(cells).items(), key=lambda item: -len(item[1])):
        console.print(f"\n[bold]{example}[/bold]", highlight=False)
        for network, its in found.items():
            everywhere = its == set(targets)
            console.print(f"  {network}: {'all' if everywhere else ', '.join(sorted(its))}")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("network", nargs="*", help="all by default")
    parser.add_argument("--target", action="append", help="all shipped ones by default")
    parser.add_argument("--full", action="store_true", help="images and channels as published")
    parser.add_argument("--run", action="store_true", help="compare registers with the int8 IR")
    parser.add_argument("--bandwidth", type=float, default=8.0, help="bytes a cycle")
    arguments = parser.parse_args(argv)
    networks: list[str] = arguments.network or list(TOPOLOGIES)
    targets: list[str] = arguments.target or list(configuration_names())
    unknown = [name for name in networks if name not in TOPOLOGIES]
    if unknown:
        parser.error(f"there is no network '{unknown[0]}'; there are {', '.join(TOPOLOGIES)}")
    memory = MemoryTiming(bytes_per_cycle=arguments.bandwidth)
    cells: dict[tuple[str, str], Cell] = {}
    for name in networks:
        make = TOPOLOGIES[name]
        network = make() if arguments.full else make(width=WIDTH, size=SIZES.get(name, SMALL))
        with tempfile.TemporaryDirectory() as folder:
            subject = Subject.of(network, Path(folder))
            for target in targets:
                cells[name, target] = compiled(subject, target, memory, run=arguments.run)
        print(f"{name}: {len(network.layers)} layers", file=sys.stderr)
    sizes = "as published" if arguments.full else f"width {WIDTH}, images of {SMALL}x{SMALL} mostly"
    print(
        f"Networks {sizes}; time to compile; frames a second at {FREQUENCY / 1e9:g} GHz and "
        f"{arguments.bandwidth:g} bytes a cycle, by the estimate."
    )
    show(cells, networks, targets, Console(width=None if sys.stdout.isatty() else 160))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
