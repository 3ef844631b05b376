"""The hardware that a module is for, as an attribute of the module: ``nvdla.target = "nv_small"``,
or, where that is no shipped configuration, the keys that say all of it::

    nvdla.target = {name = "mine", base = "nv_small", atomic_c = 16, cbuf.entry_bytes = 16}

It is a value and refers to no file, so that a module means the same wherever it is.
"""

from __future__ import annotations

from functools import cache

from nvdla_ir.hw.configuration import (
    ConfigurationError,
    HardwareConfiguration,
    KeyValue,
    configuration_from,
    shipped_configuration,
    written,
)
from nvdla_ir.ir.attributes import (
    ArrayAttr,
    Attribute,
    BoolAttr,
    DictAttr,
    IntegerAttr,
    StringAttr,
)
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Operation

TARGET_ATTRIBUTE = "nvdla.target"


def target_attribute(hw: HardwareConfiguration) -> Attribute:
    """``hw`` as the value of ``nvdla.target``."""
    keys = written(hw)
    if keys == {"name": hw.base, "base": hw.base}:
        return StringAttr(hw.name)
    return DictAttr(tuple((key, _attribute(value)) for key, value in keys.items()))


def target_of(operation: Operation) -> HardwareConfiguration | None:
    """The configuration that the module around ``operation`` is for; None where it names none.

    Raises: DiagnosticError at the module where what it names is no configuration.
    """
    ancestor: Operation | None = operation
    while ancestor is not None:
        attribute = ancestor.attributes.get(TARGET_ATTRIBUTE)
        if attribute is not None:
            try:
                return _configuration(attribute)
            except ConfigurationError as error:
                raise DiagnosticError.at(
                    ancestor.location, f"'{TARGET_ATTRIBUTE}': {error}"
                ) from error
        ancestor = ancestor.parent_op
    return None


def configuration_of(operation: Operation) -> HardwareConfiguration:
    """The configuration that the module around ``operation`` is for.

    Raises: DiagnosticError where the module names none, or what it names is none.
    """
    hw = target_of(operation)
    if hw is None:
        raise DiagnosticError.at(
            operation.location,
            f"the module has no '{TARGET_ATTRIBUTE}': run 'set-target{{target=…}}' first "
            "(--target=…)",
        )
    return hw


@cache
def _configuration(attribute: Attribute) -> HardwareConfiguration:
    if isinstance(attribute, StringAttr):
        return shipped_configuration(attribute.value)
    if isinstance(attribute, DictAttr):
        return configuration_from({key: _value(found) for key, found in attribute.entries})
    raise ConfigurationError(
        f"'{attribute}' is no target, which is a configuration's name or "
        '{name = "…", base = "…", …} with the keys that differ'
    )


def _attribute(value: KeyValue) -> Attribute:
    if isinstance(value, bool):
        return BoolAttr(value)
    if isinstance(value, int):
        return IntegerAttr(value)
    if isinstance(value, str):
        return StringAttr(value)
    return ArrayAttr(tuple(map(StringAttr, value)))


def _value(attribute: Attribute) -> object:
    """What a TOML file would say; where it cannot say that, the text, which is then refused."""
    if isinstance(attribute, IntegerAttr | BoolAttr | StringAttr):
        return attribute.value
    if isinstance(attribute, ArrayAttr):
        return [_value(element) for element in attribute.elements]
    return str(attribute)
