"""Options of passes: attrs fields from and to text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs
from attrs import frozen

from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.dialect import did_you_mean
from nvdla_ir.passes.base import Pass
from nvdla_ir.text.pipeline_syntax import PassOption, PassSpecification

OptionValue: TypeAlias = "str | int | float | bool | None"

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_KINDS = {
    "str": "a text",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
}


@frozen(eq=False)
class OptionDescription:
    """One option of a pass class.

    name:    as written, with dashes
    field:   the attrs field
    kind:    str, int, float or bool
    default: None where the option must be given, or where nothing is the default
    """

    name: str
    field: str
    kind: str
    required: bool
    default: OptionValue
    choices: tuple[str, ...]
    help: str

    @property
    def allowed(self) -> str:
        """What may be written, as part of a sentence."""
        return " or ".join(f"'{choice}'" for choice in self.choices) or _KINDS[self.kind]

    def parse(self, text: str | None) -> OptionValue:
        """The value that ``text`` stands for. Raises: ValueError"""
        if text is None:
            text = "true" if self.kind == "bool" else ""
        if self.choices:
            if text not in self.choices:
                raise ValueError(text)
            return text
        if self.kind == "bool":
            value = _BOOLEANS.get(text.lower())
            if value is None:
                raise ValueError(text)
            return value
        if self.kind == "int":
            return int(text, 0)
        if self.kind == "float":
            return float(text)
        if not text:
            raise ValueError(text)
        return text


def options_of(pass_class: type[Pass]) -> list[OptionDescription]:
    """The options of ``pass_class``, in order of declaration.

    Raises: TypeError where a field has a type that options cannot have.
    """
    fields: Sequence[attrs.Attribute[Any]] = attrs.fields(pass_class)
    return [_description(pass_class, field) for field in fields]


def _description(pass_class: type[Pass], field: attrs.Attribute[Any]) -> OptionDescription:
    annotation = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
    kind = annotation.replace(" ", "").removesuffix("|None")
    if kind not in _KINDS:
        raise TypeError(
            f"option '{field.name}' of '{pass_class.__name__}' has the type '{annotation}', but "
            f"options are {', '.join(_KINDS)}"
        )
    required = field.default is attrs.NOTHING
    return OptionDescription(
        field.name.replace("_", "-"),
        field.name,
        kind,
        required,
        None if required else field.default,
        tuple(field.metadata.get("choices", ())),
        str(field.metadata.get("help", "")),
    )


def create_pass(pass_class: type[Pass], specification: PassSpecification) -> Pass:
    """The pass that ``specification`` describes.

    Raises: DiagnosticError with every unknown, missing or wrong option.
    """
    name = specification.name
    known = {option.name: option for option in options_of(pass_class)}
    values: dict[str, OptionValue] = {}
    faults = DiagnosticCollector()
    for given in specification.options:
        option = known.get(given.key.replace("_", "-"))
        if option is None:
            hint = did_you_mean(given.key, known)
            listed = f"; it has {', '.join(known)}" if known else "; it has none"
            faults.error(given.location, f"'{name}' has no option '{given.key}'{hint or listed}")
            continue
        try:
            values[option.field] = option.parse(given.value)
        except ValueError:
            shown = f"not '{given.value}'" if given.value is not None else "and needs a value"
            faults.error(
                given.location, f"option '{given.key}' of '{name}' is {option.allowed}, {shown}"
            )
            values[option.field] = None
    for option in known.values():
        if option.required and option.field not in values:
            faults.error(
                specification.location,
                f"'{name}' needs the option '{option.name}'"
                + (f": {option.help}" if option.help else ""),
            )
    faults.raise_if_errors()
    try:
        return pass_class(**values)
    except ValueError as error:
        faults.error(specification.location, f"'{name}' cannot have these options: {error}")
        faults.raise_if_errors()
        raise


def specification_of(pass_: Pass) -> PassSpecification:
    """The text of ``pass_``, with all its options; ``create_pass`` makes an equal one of it."""
    options: list[PassOption] = []
    for option in options_of(type(pass_)):
        value: OptionValue = getattr(pass_, option.field)
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            options.append(PassOption(option.name, text))
    return PassSpecification(pass_.name, tuple(options))
