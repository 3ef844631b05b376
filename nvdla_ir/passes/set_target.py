"""State the hardware that a module is for."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.nvdla import TARGET_ATTRIBUTE, target_attribute, target_of
from nvdla_ir.hw.configuration import (
    ConfigurationError,
    HardwareConfiguration,
    configuration_file,
    keys_of,
    load_configuration,
)
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN
from nvdla_ir.passes.base import Pass, Session, option


@frozen
class SetTarget(Pass):
    """State the hardware that a module is for, as its attribute ``nvdla.target``. All passes that
    choose by hardware ask it, so it comes first.

    Before::

        module { … }

    After, with a file ``mine.toml`` of the same keys::

        module attributes {nvdla.target = {name = "mine", base = "nv_small", atomic_c = 16}} { … }

    A file is read here and nowhere else: the attribute says all of it. A shipped configuration is
    stated by its name alone. What a module is for already cannot be changed.
    """

    name = "set-target"

    target: str = option(help="the hardware: a configuration's name, or a TOML file")

    def run(self, module: ModuleOp, session: Session) -> None:
        file = configuration_file(self.target)
        if file is not None:
            session.resources.add_source(file)
        try:
            hw = load_configuration(self.target)
        except ConfigurationError as error:
            raise DiagnosticError.at(UNKNOWN, str(error)) from None
        known = target_of(module)
        if known is None:
            module.attributes[TARGET_ATTRIBUTE] = target_attribute(hw)
        elif known != hw:
            raise DiagnosticError.at(module.location, _contradiction(known, hw, self.target))


def _contradiction(known: HardwareConfiguration, hw: HardwareConfiguration, given: str) -> str:
    source = f"'{hw.name}'" if given == hw.name else f"'{hw.name}' of '{given}'"
    if known.name == hw.name:
        source += f" with other keys ({_differences(known, hw)})"
    return (
        f"the module is for '{known.name}' ('{TARGET_ATTRIBUTE}'), but the target asked for is "
        f"{source}; leave the target away, or start from the module before it had one"
    )


def _differences(known: HardwareConfiguration, hw: HardwareConfiguration) -> str:
    """The keys of two configurations that differ, with both values."""
    others = keys_of(hw)
    return ", ".join(
        f"{key} = {value} instead of {others[key]}"
        for key, value in keys_of(known).items()
        if value != others[key]
    )
