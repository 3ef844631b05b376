"""Which networks compile for which hardware, and what they cost there.

python examples/zoo/matrix.py                                # all, images and channels reduced
python examples/zoo/matrix.py resnet50 --target nv_small     # some
python examples/zoo/matrix.py resnet50 --full                # as published
python examples/zoo/matrix.py --run                          # and compare the levels' bytes
python examples/zoo/matrix.py --run --results zoo.jsonl      # what the file has is not done again

A line for each network and configuration as soon as it is known, then all as a table.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from attrs import asdict, field, frozen
from batch_norms import photos, with_statistics
from network import Network
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
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
SIZES = {"alexnet": 99, "inception_v3": 107, "inception_resnet_v2": 107, "lenet5": 32, "espcn": 24}
SIZES |= {"unet": 64, "fsrcnn": 24, "autoencoder": 32, "ds_cnn": 49, "wave": 256, "mlp": 28}
SMALL = 96
"""Rows and columns of reduced images, where ``SIZES`` has no others."""

CALIBRATION_IMAGES = 4
FREQUENCY = 1e9

Images = NDArray[np.float32]
_NAME = re.compile(r"layer '([^']*)'")
_DETAIL = re.compile(r"'[^']*'|-?\d[\d.e+-]*")
_MEBIBYTE = 1 << 20


LEVELS = ("hardware layers", "registers")
"""Whose bytes must be those of the int8 IR."""


def _strings(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(values)


@frozen
class Cell:
    """What became of one network on one configuration.

    layers:      hardware layers
    constants:   bytes of memory
    activations: bytes of memory
    bound:       bytes of activations that are needed at once, whatever their places
    seconds:     that compiling took, import and calibration excepted
    frames:      a second, by the estimate
    images:      that levels were compared on
    different:   levels that do not compute the bytes of the int8 IR
    refusals:    why there is no program
    """

    layers: int = 0
    constants: int = 0
    activations: int = 0
    bound: int = 0
    seconds: float = 0.0
    frames: float = 0.0
    images: int = 0
    different: tuple[str, ...] = field(default=(), converter=_strings)
    refusals: tuple[str, ...] = field(default=(), converter=_strings)

    @property
    def compiles(self) -> bool:
        return not self.refusals

    @property
    def comparison(self) -> str:
        if self.different:
            return f"[red]DIFFERENT: {' and '.join(self.different)}[/red]"
        return "[green]equal[/green]" if self.images else ""

    def line(self) -> str:
        if self.refusals:
            more = f" (and {len(self.refusals) - 1} more)" if len(self.refusals) > 1 else ""
            return f"[red]refused:[/red] {self.refusals[0]}{more}"
        return (
            f"{self.layers:5} layers, {_size(self.constants):>9} + {_size(self.activations):>9} "
            f"(at least {_size(self.bound):>9}), "
            f"{self.seconds:5.1f} s, {self.frames:8.1f} frames/s  {self.comparison}"
            + (f" on {self.images} images" if self.images and not self.different else "")
        )

    def text(self) -> str:
        if self.refusals:
            return f"[red]refused: {len(self.refusals)}[/red]"
        parts = [
            f"{self.layers} layers",
            _size(self.constants),
            f"+ {_size(self.activations)}",
            f"{self.seconds:.1f} s",
            f"{self.frames:.1f}/s",
        ]
        return "\n".join(parts + [self.comparison] * bool(self.comparison))


def _size(count: int) -> str:
    return f"{count / _MEBIBYTE:.2f} MiB" if count >= _MEBIBYTE else f"{count / 1024:.1f} KiB"


@frozen(eq=False)
class Results:
    """Cells that are known already, in a file with a line of JSON each, if there is one."""

    file: Path | None
    cells: dict[str, Cell]

    @staticmethod
    def of(file: Path | None) -> Results:
        lines = file.read_text().splitlines() if file is not None and file.exists() else []
        records = map(json.loads, lines)
        return Results(file, {record["of"]: Cell(**record["cell"]) for record in records})

    def add(self, key: str, cell: Cell) -> None:
        self.cells[key] = cell
        if self.file is not None:
            with self.file.open("a") as stream:
                stream.write(json.dumps({"of": key, "cell": asdict(cell)}) + "\n")


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
        aside = time.perf_counter()
        expected = _outputs(module, session, subject) if run else []
        start += time.perf_counter() - aside
        registry = PassRegistry()
        steps = [
            registry.create(step)
            for step in ALIASES["compile"].specifications("", UNKNOWN)
            if step.name != LAYERS_TO_REGISTERS[-1]
        ]
        Pipeline(steps).run(module, session)
        aside = time.perf_counter()
        found = estimate(module, memory)
        results = [_outputs(module, session, subject)] if run else []
        start += time.perf_counter() - aside
        _run_pass(module, session, LAYERS_TO_REGISTERS[-1])
        seconds = time.perf_counter() - start
    except DiagnosticError as error:
        return Cell(refusals=tuple(subject.told(one.message) for one in error.diagnostics))
    if run:
        results.append(_outputs(module, session, subject))
    counts = session.statistics["allocate-memory"]
    return Cell(
        found.pieces,
        counts["bytes of constants"],
        counts["bytes of activations"],
        counts["bytes of activations needed at once"],
        seconds,
        FREQUENCY / found.cycles,
        len(subject.images) if run else 0,
        tuple(
            level
            for level, outputs in zip(LEVELS, results, strict=False)
            if not all(map(np.array_equal, expected, outputs))
        ),
    )


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
    table.add_column("", justify="right", no_wrap=True)
    for target in targets:
        table.add_column(target, justify="right")
    for network in networks:
        table.add_row(network, *(cells[network, target].text() for target in targets))
    console.print(table)
    done = [cell for cell in cells.values() if cell.compiles]
    console.print(f"{len(done)} of {len(cells)} compile.")
    compared = [cell for cell in done if cell.images]
    if compared:
        equal = sum(not cell.different for cell in compared)
        levels = " and ".join(LEVELS)
        console.print(f"{equal} of {len(compared)} compute the int8 IR's bytes as {levels}.")
    for example, found in sorted(reasons(cells).items(), key=lambda item: -len(item[1])):
        console.print(f"\n[bold]{example}[/bold]", highlight=False)
        for network, its in found.items():
            everywhere = its == set(targets)
            console.print(f"  {network}: {'all' if everywhere else ', '.join(sorted(its))}")


def fill(
    networks: Sequence[str],
    targets: Sequence[str],
    options: argparse.Namespace,
    console: Console,
) -> dict[tuple[str, str], Cell]:
    """All cells, each printed when it is there."""
    memory = MemoryTiming(bytes_per_cycle=options.bandwidth)
    results = Results.of(options.results)
    cells: dict[tuple[str, str], Cell] = {}
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task("", total=len(networks) * len(targets))
        for name in networks:
            keys = {
                target: f"{name} {target} full={options.full} run={options.run} "
                f"bandwidth={options.bandwidth:g}"
                for target in targets
            }
            with tempfile.TemporaryDirectory() as folder:
                subject: Subject | None = None
                for target, key in keys.items():
                    progress.update(task, description=f"{name}, {target}")
                    if key not in results.cells:
                        subject = subject or Subject.of(_network(name, options), Path(folder))
                        cell = compiled(subject, target, memory, run=options.run)
                        results.add(key, cell)
                    cell = cells[name, target] = results.cells[key]
                    console.print(
                        f"{name:18} {target:20} {cell.line()}", highlight=False, soft_wrap=True
                    )
                    progress.advance(task)
    return cells


def _network(name: str, options: argparse.Namespace) -> Network:
    make = TOPOLOGIES[name]
    return make() if options.full else make(width=WIDTH, size=SIZES.get(name, SMALL))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("network", nargs="*", help="all by default")
    parser.add_argument("--target", action="append", help="all shipped ones by default")
    parser.add_argument("--full", action="store_true", help="images and channels as published")
    parser.add_argument("--run", action="store_true", help="compare the levels with the int8 IR")
    parser.add_argument("--bandwidth", type=float, default=8.0, help="bytes a cycle")
    parser.add_argument("--results", type=Path, help="a file to keep cells in, and to go on from")
    arguments = parser.parse_args(argv)
    networks: list[str] = arguments.network or list(TOPOLOGIES)
    targets: list[str] = arguments.target or list(configuration_names())
    for kind, asked, known in (
        ("network", networks, list(TOPOLOGIES)),
        ("configuration", targets, list(configuration_names())),
    ):
        unknown = [name for name in asked if name not in known]
        if unknown:
            parser.error(f"there is no {kind} '{unknown[0]}'; there are {', '.join(known)}")
    console = Console(width=None if sys.stdout.isatty() else 160)
    sizes = "as published" if arguments.full else f"width {WIDTH}, images of {SMALL}x{SMALL} mostly"
    console.print(
        f"Networks {sizes}. Memory is constants + activations; time is to compile; frames a second "
        f"at {FREQUENCY / 1e9:g} GHz and {arguments.bandwidth:g} bytes a cycle, by the estimate.",
        soft_wrap=True,
    )
    cells = fill(networks, targets, arguments, console)
    show(cells, networks, targets, console)
    return int(any(cell.different for cell in cells.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
