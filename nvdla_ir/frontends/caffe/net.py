"""The text of a network: its inputs and the layers that are there in inference, in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from nvdla_ir.files import read_text
from nvdla_ir.frontends.caffe.outline import Outline, UnknownField, outline_of
from nvdla_ir.frontends.caffe.schema import (
    HARMLESS,
    V1_TYPES,
    message_class,
    parameter_type,
    protobuf,
)
from nvdla_ir.ir.diagnostics import DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.location import FileLineCol

_TYPE_OF_NUMBER = dict(V1_TYPES.values())
_TEST = 1


@frozen(eq=False)
class Layer:
    """One layer as the text has it. ``message`` holds its parameters; ``is_input`` says that it
    stands for an ``input`` field of the network."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    location: FileLineCol
    message: Any

    def parameters(self, name: str) -> Any:
        """The message of the field ``name``, as ``convolution_param``; with all defaults where
        the layer does not have it."""
        try:
            return getattr(self.message, name)
        except AttributeError:
            return message_class(parameter_type(name))()

    def has(self, name: str) -> bool:
        """Whether the layer has the parameters ``name``."""
        return name in self.message.DESCRIPTOR.fields_by_name and self.message.HasField(name)


@frozen(eq=False)
class Net:
    """``layers`` has one of type ``Input`` for each input that the network's head lists."""

    name: str
    layers: tuple[Layer, ...]
    location: FileLineCol


def read_net(path: Path, diagnostics: DiagnosticCollector) -> Net:
    """The network in the text file ``path``; layers of the training phase are left out.

    Fields that are not known and may matter are told in a remark.

    Raises: DiagnosticError for a file that cannot be read and at the line and column where the text
    cannot be. What is wrong with single layers goes to ``diagnostics``.
    """
    file = str(path)
    text = read_text(path)
    message = _parse(text, file)
    outline = outline_of(text, file, message.DESCRIPTOR)
    _tell_unknown_fields(outline.unknown, diagnostics)
    start = FileLineCol(file, 1, 1)
    layers = [*_inputs(message, outline, start, diagnostics)]
    if message.layer and message.layers:
        diagnostics.error(
            outline.old_layers[0], "has both new 'layer' and old 'layers' messages: upgrade it"
        )
    places = [*zip(message.layer, outline.layers, strict=False)]
    places += zip(message.layers, outline.old_layers, strict=False)
    for each, location in places:
        layer = _layer(each, location, diagnostics)
        if layer is not None and _is_included(each, message.state, layer, diagnostics):
            layers.append(layer)
    if not places:
        raise DiagnosticError.at(start, "is no Caffe network: it has no layers")
    return Net(message.name, tuple(layers), start)


def _parse(text: str, file: str) -> Any:
    text_format = protobuf("text_format")
    message = message_class("NetParameter")()
    try:
        text_format.Parse(text, message, allow_unknown_field=True)
    except text_format.ParseError as error:
        line, column = error.GetLine() or 1, error.GetColumn() or 1
        said = str(error).removeprefix(f"{line}:{column} : ")
        raise DiagnosticError.at(
            FileLineCol(file, line, column), f"is no text of a Caffe network: {said}"
        ) from None
    except (ValueError, RecursionError, UnicodeError) as error:
        raise DiagnosticError.at(
            FileLineCol(file, 1, 1), f"is no text of a Caffe network: {error}"
        ) from None
    return message


def _tell_unknown_fields(unknown: Sequence[UnknownField], diagnostics: DiagnosticCollector) -> None:
    told = {(field.name, field.message) for field in unknown if field.name in HARMLESS}
    for field in unknown:
        key = (field.name, field.message)
        if key not in told:
            told.add(key)
            diagnostics.remark(
                field.location,
                f"'{field.name}' in '{field.message}' is not known here and is passed over",
            )


def _inputs(
    message: Any, outline: Outline, start: FileLineCol, diagnostics: DiagnosticCollector
) -> Iterable[Layer]:
    """An Input layer for each ``input`` field, with its shape of ``input_shape`` or
    ``input_dim``."""
    names: list[str] = list(message.input)
    dims: list[int] = list(message.input_dim)
    shapes: list[Any] = list(message.input_shape)
    places = outline.inputs if len(outline.inputs) == len(names) else [start] * len(names)
    if dims and len(dims) != 4 * len(names):
        diagnostics.error(
            places[0] if places else start,
            f"has {len(dims)} numbers 'input_dim', but {len(names)} inputs take four each",
        )
        dims = []
    if shapes and len(shapes) != len(names):
        diagnostics.error(
            places[0] if places else start,
            f"has {len(shapes)} times 'input_shape', but {len(names)} inputs",
        )
        shapes = []
    for index, name in enumerate(names):
        layer = message_class("LayerParameter")(name=name, type="Input", top=[name])
        if shapes:
            layer.input_param.shape.add().CopyFrom(shapes[index])
        elif dims:
            layer.input_param.shape.add(dim=dims[4 * index : 4 * index + 4])
        yield Layer(name, "Input", (), (name,), places[index], layer)


def _layer(message: Any, location: FileLineCol, diagnostics: DiagnosticCollector) -> Layer | None:
    fields = message.DESCRIPTOR.fields_by_name
    if "layer" in fields and message.HasField("layer"):
        diagnostics.error(
            location,
            f"layer '{message.layer.name}' is of Caffe's oldest form; rewrite the network with "
            "Caffe's upgrade_net_proto_text",
        )
        return None
    is_old = "layer" in fields
    type: str = _TYPE_OF_NUMBER[message.type] if is_old else message.type
    name: str = message.name or (message.top[0] if message.top else "")
    if not name:
        diagnostics.error(location, "a layer has neither a name nor a top")
        return None
    if not (type and message.HasField("type")):
        diagnostics.error(location, f"layer '{name}' has no type")
        return None
    return Layer(name, type, tuple(message.bottom), tuple(message.top), location, message)


def _is_included(message: Any, state: Any, layer: Layer, diagnostics: DiagnosticCollector) -> bool:
    """Whether a layer is there in the test phase, at the network's own level and stages."""
    if message.include and message.exclude:
        diagnostics.error(
            layer.location, f"layer '{layer.name}' has both 'include' and 'exclude' rules"
        )
    if message.include:
        return any(_meets(rule, state) for rule in message.include)
    return not any(_meets(rule, state) for rule in message.exclude)


def _meets(rule: Any, state: Any) -> bool:
    stages = set(state.stage)
    return (
        not (rule.HasField("phase") and rule.phase != _TEST)
        and not (rule.HasField("min_level") and state.level < rule.min_level)
        and not (rule.HasField("max_level") and state.level > rule.max_level)
        and stages.issuperset(rule.stage)
        and stages.isdisjoint(rule.not_stage)
    )
