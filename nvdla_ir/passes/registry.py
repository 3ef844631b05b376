"""Which passes there are. Each is imported when it is used.

Passes of others come from plug-in files (``plugins.py``) or from installed packages that have
the entry-point group ``nvdla_ir.passes``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import cast

from attrs import define, field, frozen

from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.ir.location import UNKNOWN, FileLineCol, Location
from nvdla_ir.passes.base import Pass
from nvdla_ir.passes.options import create_pass
from nvdla_ir.text.pipeline_syntax import PassOption, PassSpecification, parse_options

PASSES = {
    "set-target": "nvdla_ir.passes.set_target:SetTarget",
    "bind-memory": "nvdla_ir.passes.bind_memory:BindMemory",
    "import-calibration": "nvdla_ir.passes.import_calibration:ImportCalibration",
    "fold-batch-norm": "nvdla_ir.passes.fold_batch_norm:FoldBatchNorm",
    "canonicalize": "nvdla_ir.passes.canonicalize:Canonicalize",
    "decompose-layers": "nvdla_ir.passes.decompose_layers:DecomposeLayers",
    "quantize-weights": "nvdla_ir.passes.quantize_weights:QuantizeWeights",
    "insert-converters": "nvdla_ir.passes.insert_converters:InsertConverters",
    "legalize-to-nvdla": "nvdla_ir.passes.legalize_to_nvdla:LegalizeToNvdla",
    "outline-device-programs": "nvdla_ir.passes.outline_device_programs:OutlineDevicePrograms",
    "compress-weights": "nvdla_ir.passes.compress_weights:CompressWeights",
    "fit-convolution-buffer": "nvdla_ir.passes.fit_convolution_buffer:FitConvolutionBuffer",
    "stream-to-pooling": "nvdla_ir.passes.stream_to_pooling:StreamToPooling",
    "schedule-layers": "nvdla_ir.passes.schedule_layers:ScheduleLayers",
    "pair-operands": "nvdla_ir.passes.pair_operands:PairOperands",
    "allocate-memory": "nvdla_ir.passes.allocate_memory:AllocateMemory",
    "emit-registers": "nvdla_ir.passes.emit_registers:EmitRegisters",
}
"""Pass name → ``module:class``, in the order in which they usually run."""

ENTRY_POINT_GROUP = "nvdla_ir.passes"

_VALUE = "\0"
"""Stands in an alias for the value that the flag is given."""


@frozen(eq=False)
class Alias:
    """A flag that stands for several passes.

    value:   what the flag's value is called in help
    default: the value where none is given; None if one must be
    choices: the values there are, if only some are allowed
    steps:   passes; an option with the value ``_VALUE`` takes that of the flag
    ahead:   passes that run before those of all other flags, where the flag has a value
    options: those that may follow the value, ``VALUE,option=…``, each with the step that has it
    """

    name: str
    help: str
    steps: tuple[PassSpecification, ...]
    value: str
    default: str | None = None
    choices: tuple[str, ...] = ()
    ahead: tuple[PassSpecification, ...] = ()
    options: Mapping[str, str] = field(factory=dict[str, str])

    def specifications(self, value: str | None, location: Location) -> list[PassSpecification]:
        """The passes that the flag stands for, placed at ``location``.

        Raises: DiagnosticError where the value is missing or none of the choices, or has options
        that no step takes from it.
        """
        chosen, options = self._chosen(value, location)
        return [
            PassSpecification(
                step.name,
                (
                    *_placed(step.options, chosen, location),
                    *(option for option in options if self.options[option.key] == step.name),
                ),
                location,
            )
            for step in self.steps
        ]

    def specifications_ahead(
        self, value: str | None, location: Location
    ) -> list[PassSpecification]:
        """The passes that come before those of all other flags, placed at ``location``.

        Raises: DiagnosticError as ``specifications``.
        """
        chosen, _ = self._chosen(value, location)
        return [
            PassSpecification(step.name, _placed(step.options, chosen, location), location)
            for step in (self.ahead if chosen else ())
        ]

    def _chosen(self, value: str | None, location: Location) -> tuple[str, tuple[PassOption, ...]]:
        """The flag's value, and the options that follow it."""
        options: tuple[PassOption, ...] = ()
        if value and self.options:
            start = location.file_position() or FileLineCol(f"--{self.name}", 1, 1)
            head, comma, rest = value.partition(",")
            if "=" not in head:
                # it may be the name of a file, which is no option's
                place = FileLineCol(start.file, start.line, start.column + len(head + comma))
                value, options = head, parse_options(rest, place)
            else:
                first, *others = parse_options(value, start)
                value, options = (
                    (first.key, tuple(others)) if first.value is None else (None, (first, *others))
                )
        for option in options:
            if option.key not in self.options:
                hint = did_you_mean(option.key, self.options)
                known = ", ".join(self.options)
                raise DiagnosticError.at(
                    option.location,
                    f"'--{self.name}' has no option '{option.key}'{hint or f'; it has {known}'}",
                )
        chosen = value or self.default
        if chosen is None:
            raise DiagnosticError.at(location, f"'--{self.name}' needs a value: ={self.value}")
        if self.choices and chosen not in self.choices:
            allowed = " or ".join(f"'{choice}'" for choice in self.choices)
            raise DiagnosticError.at(location, f"'--{self.name}' takes {allowed}, not '{chosen}'")
        return chosen, options


def _placed(
    options: Sequence[PassOption], value: str, location: Location
) -> tuple[PassOption, ...]:
    """The options of a step, with the ``value`` of the flag."""
    return tuple(
        PassOption(o.key, value if o.value == _VALUE else o.value, location) for o in options
    )


def _step(name: str, option: str | None = None) -> PassSpecification:
    options = () if option is None else (PassOption(option, _VALUE),)
    return PassSpecification(name, options)


LAYERS_TO_REGISTERS = (
    "outline-device-programs",
    "compress-weights",
    "fit-convolution-buffer",
    "stream-to-pooling",
    "schedule-layers",
    "allocate-memory",
    "emit-registers",
)
"""The passes from hardware layers to the register program that runs them."""

ALIASES = {
    alias.name: alias
    for alias in (
        Alias(
            "target",
            "the hardware to compile for, a configuration's name or a TOML file; before all else",
            (),
            "TARGET",
            ahead=(_step("set-target", "target"),),
        ),
        Alias(
            "bind",
            "let inputs and outputs lie at given addresses: NAME:ADDRESS, as data:0x90000000",
            (_step("bind-memory", "places"),),
            "NAME:ADDRESS[,…]",
        ),
        Alias(
            "import-calib",
            "attach the ranges of a calibration table (NVDLA JSON or TensorRT cache)",
            (_step("import-calibration", "file"),),
            "FILE",
        ),
        Alias(
            "quantize",
            "turn a calibrated network into integers; with fallback=host, what the hardware does "
            "not do stays in floats on the host",
            # Folding first: the scales then belong to what is multiplied.
            (
                _step("fold-batch-norm"),
                _step("canonicalize"),
                _step("decompose-layers"),
                _step("quantize-weights", "granularity"),
                _step("insert-converters"),
            ),
            "per-channel|per-tensor[,fallback=host]",
            "per-channel",
            ("per-channel", "per-tensor"),
            options={"fallback": "insert-converters"},
        ),
        Alias(
            "compile",
            "turn a quantized network into a register program, for the target given here, by "
            "--target, or by the module",
            (
                _step("legalize-to-nvdla"),
                *(_step(name) for name in LAYERS_TO_REGISTERS),
            ),
            "TARGET[,base=…,second-bytes=…,second-base=…]",
            default="",
            ahead=(_step("set-target", "target"),),
            options=dict.fromkeys(("base", "second-bytes", "second-base"), "allocate-memory"),
        ),
        Alias(
            "export-loadable",
            "compile a quantized network as --compile does, but to FILE, a loadable for the "
            "vendor's runtime on Linux; IR is written to -o alone",
            (
                _step("legalize-to-nvdla"),
                *(_step(name) for name in LAYERS_TO_REGISTERS[:-2]),
                _step("pair-operands"),
                PassSpecification("allocate-memory", (PassOption("transfers", "apart"),)),
            ),
            "FILE",
        ),
    )
}


def layers_to_registers() -> list[Pass]:
    """The passes from hardware layers to the register program, with their default options."""
    registry = PassRegistry()
    return [registry.create(_step(name)) for name in LAYERS_TO_REGISTERS]


@define(eq=False)
class PassRegistry:
    """The passes of the package, and those that plug-ins add."""

    _added: dict[str, type[Pass]] = field(factory=dict[str, "type[Pass]"], init=False)

    @property
    def names(self) -> list[str]:
        """Those of installed packages are left out: to look for them takes long."""
        return [*PASSES, *self._added]

    def register(self, pass_class: type[Pass]) -> None:
        """Raises: ValueError if there is a pass or an alias of this name already."""
        if pass_class.name in self.names or pass_class.name in ALIASES:
            raise ValueError(f"there is a pass '{pass_class.name}' already")
        self._added[pass_class.name] = pass_class

    def find(self, name: str) -> type[Pass] | None:
        """The pass called ``name``, imported if need be, or None.

        Raises: DiagnosticError where an installed package has it but fails to import.
        """
        found = self._added.get(name)
        if found is not None:
            return found
        if name in PASSES:
            module, _, attribute = PASSES[name].partition(":")
            return cast("type[Pass]", getattr(importlib.import_module(module), attribute))
        return self._of_entry_point(name)

    def _of_entry_point(self, name: str) -> type[Pass] | None:
        # Slow to import, and needed for unknown names only.
        from importlib.metadata import entry_points

        for entry_point in entry_points(group=ENTRY_POINT_GROUP, name=name):
            try:
                loaded: object = entry_point.load()
            except Exception as error:
                raise DiagnosticError.at(
                    UNKNOWN,
                    f"pass '{name}' of the installed package cannot be loaded from "
                    f"'{entry_point.value}': {type(error).__name__}: {error}",
                ) from error
            if not (isinstance(loaded, type) and issubclass(loaded, Pass)):
                raise DiagnosticError.at(
                    UNKNOWN, f"entry point '{entry_point.value}' of '{name}' is not a pass"
                )
            self._added[name] = loaded
            return loaded
        return None

    def create(self, specification: PassSpecification) -> Pass:
        """Raises: DiagnosticError for an unknown pass, and for unknown or wrong options."""
        pass_class = self.find(specification.name)
        if pass_class is None:
            raise self._unknown(specification.name, specification.location)
        return create_pass(pass_class, specification)

    def check_name(self, name: str, location: Location) -> None:
        """Raises: DiagnosticError at ``location`` unless there is a pass called ``name``."""
        if name not in self.names and self.find(name) is None:
            raise self._unknown(name, location)

    def _unknown(self, name: str, location: Location) -> DiagnosticError:
        hint = did_you_mean(name, self.names)
        return DiagnosticError.at(location, f"unknown pass '{name}'{hint}")
