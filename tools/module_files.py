"""Modules with their weights: from text, to files, to standard output.

The module attribute ``nvdla_ir.weights`` names a safetensors file relative to the text's
directory; for text that comes from standard input, or goes to standard output, relative to the
current one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import frozen

from nvdla_ir.dialects.builtin import WEIGHTS_ATTRIBUTE, ModuleOp
from nvdla_ir.files import (
    StrPath,
    check_outputs,
    is_directory,
    is_regular_file,
    is_stream,
    same_file,
    write_together,
)
from nvdla_ir.ir.attributes import DenseResourceAttr, StringAttr
from nvdla_ir.ir.diagnostics import Diagnostic, DiagnosticCollector, DiagnosticError
from nvdla_ir.ir.dialect import Context
from nvdla_ir.ir.location import UNKNOWN, FileLineCol
from nvdla_ir.ir.operation import Operation
from nvdla_ir.ir.verifier import verify
from nvdla_ir.resources import ResourceStore, file_parts, resources_of
from nvdla_ir.text.parser import parse
from nvdla_ir.text.printer import PrintOptions, print_operation
from nvdla_ir.text.resource_section import resource_section

WEIGHTS_SUFFIX = ".safetensors"
TEXT_SUFFIX = ".ir"


@frozen(eq=False)
class LoadedModule:
    """A module, the resources it refers to, and the pass pipeline that stood in its text."""

    module: ModuleOp
    resources: ResourceStore
    reproducer: str | None = None


def load_module(
    text: str,
    file: str,
    directory: Path,
    context: Context,
    diagnostics: DiagnosticCollector | None = None,
) -> LoadedModule:
    """Parse and verify ``text``, which ``file`` names in messages. Operations at top level that
    are not one module get one around them. The weights file is opened when it is needed.

    Raises: DiagnosticError with every fault found.
    """
    collector = DiagnosticCollector() if diagnostics is None else diagnostics
    parsed = parse(text, context, file, collector)
    module = _single_module(parsed.operations, FileLineCol(file, 1, 1))
    verify(module, collector)
    collector.raise_if_errors()
    resources = ResourceStore()
    resources.add_blobs(parsed.resources)
    if module.weights_file is not None:
        resources.attach_lazily(directory / module.weights_file, module)
    return LoadedModule(module, resources, parsed.reproducer)


def _single_module(operations: Sequence[Operation], start: FileLineCol) -> ModuleOp:
    if len(operations) == 1 and isinstance(operations[0], ModuleOp):
        return operations[0]
    module = ModuleOp.of(operations)
    module.location = start
    return module


# -------------------------------------------------------------- weights of an output


def all_resources(module: ModuleOp) -> dict[str, DenseResourceAttr]:
    """The resources that the module refers to, by key."""
    return {
        attribute.key: attribute
        for operation in module.walk()
        for attribute in resources_of(operation)
    }


def point_to_weights(module: ModuleOp, resources: ResourceStore, directory: Path) -> None:
    """Name the weights file as seen from ``directory``, where the module's text will be: by the
    relative path, or the absolute one if that is shorter. A file that is not there keeps its
    name."""
    file = resources.file
    if file is None or not is_regular_file(file) or Path(module.weights_file or "").is_absolute():
        return
    relative = Path(os.path.relpath(file, directory)).as_posix()
    absolute = file.resolve().as_posix()
    name = min(relative, absolute, key=len)
    module.attributes[WEIGHTS_ATTRIBUTE] = StringAttr(name)


def text_with_resources(
    module: ModuleOp,
    resources: ResourceStore,
    options: PrintOptions,
    pipeline: str | None = None,
    *,
    elide_larger_than: int | None = None,
) -> str:
    """The module's text, with all that is not in its weights file behind it, and a ``pipeline``
    that ``nvdla-opt --run-reproducer`` is to run; resources of more than ``elide_larger_than``
    characters are left out."""
    text = print_operation(module, options)
    strings = {
        key: resources.blob_text(attribute)
        for key, attribute in all_resources(module).items()
        if resources.is_in_memory(key)
    }
    if elide_larger_than is not None:
        strings = {key: s for key, s in strings.items() if len(s) <= elide_larger_than}
    return text + resource_section(strings, pipeline)


def write_module(
    path: str,
    module: ModuleOp,
    resources: ResourceStore,
    options: PrintOptions,
    source: str | None = None,
    also_read: Iterable[StrPath] = (),
) -> list[Diagnostic]:
    """Write the module to ``path``, and what it refers to beside it, see ``weights_beside``; if it
    only refers to tensors of the weights file it came with, it goes on referring to that. Both
    files are written whole or not at all. The module's attribute ``nvdla_ir.weights`` is changed
    accordingly.

    source:    the file with the text that the module came from, which may be ``path``
    also_read: files besides ``resources.sources`` that must not be replaced

    Returns: remarks on where the weights went.

    Raises: DiagnosticError where a resource is missing or a file cannot be written.
    """
    kept = [*resources.sources, *also_read]
    check_outputs([path], kept)
    if is_stream(path):
        point_to_weights(module, resources, Path())
        write_together({path: text_with_resources(module, resources, options)}, kept)
        return []
    output = Path(path)
    referred = all_resources(module)
    if not referred:
        module.attributes.pop(WEIGHTS_ATTRIBUTE, None)
        write_together({path: print_operation(module, options)}, kept)
        return []
    tensors = resources.tensors(module)
    if all(map(resources.is_in_file, referred)):
        point_to_weights(module, resources, output.parent)
        write_together({path: print_operation(module, options)}, kept)
        return []
    in_place = source is not None and same_file(source, path)
    weights, remarks = weights_beside(output, [] if in_place else kept)
    # A text that is a link elsewhere is read from there, too.
    linked = Path(path).resolve().parent != output.parent.resolve()
    name = weights.absolute().as_posix() if linked else weights.name
    module.attributes[WEIGHTS_ATTRIBUTE] = StringAttr(name)
    others = [file for file in kept if not same_file(file, weights)]
    write_together(
        {str(weights): file_parts(tensors), path: print_operation(module, options)}, others
    )
    return remarks


_NAMED_WEIGHTS = re.compile(rb"\b" + re.escape(WEIGHTS_ATTRIBUTE).encode() + rb'\s*=\s*"([^"\\]*)"')


def weights_beside(output: Path, kept: Iterable[StrPath]) -> tuple[Path, list[Diagnostic]]:
    """The file for the weights of the text ``output``, and a remark if that is not its usual one.

    ``x.ir`` has ``x.safetensors``, any other name the whole of it before ``.safetensors``. A file
    that is there is replaced only if the text that ``output`` now holds names it as its weights and
    it is none of ``kept``; else ``x.ir.safetensors`` and ``x.ir.weights.safetensors`` are next.

    Raises: DiagnosticError where no name is free.
    """
    kept = list(kept)
    whole = output.with_name(output.name + WEIGHTS_SUFFIX)
    usual = output.with_suffix(WEIGHTS_SUFFIX) if output.suffix == TEXT_SUFFIX else whole
    last = output.with_name(f"{output.name}.weights{WEIGHTS_SUFFIX}")
    candidates = dict.fromkeys((usual, whole, last))
    weights = next((file for file in candidates if _is_free(file, output, kept)), None)
    if weights is None:
        raise DiagnosticError.at(
            UNKNOWN,
            f"cannot write the weights of '{output}': '{last}' is there already and belongs to "
            "something else; give the output another name",
        )
    if weights == usual:
        return usual, []
    message = (
        f"the weights of '{output}' are in '{weights}': '{usual}' is there already and belongs "
        "to something else"
    )
    return weights, [Diagnostic.remark(UNKNOWN, message)]


def _is_free(weights: Path, output: Path, kept: Sequence[StrPath]) -> bool:
    if not os.path.lexists(weights) or is_directory(weights):  # which is told when it is written
        return True
    return (
        not weights.is_symlink()
        and _names_as_weights(output, weights)
        and not any(same_file(weights, other) for other in kept)
    )


def _names_as_weights(text: Path, weights: Path) -> bool:
    """Whether the file ``text``, if it is there, states that its weights are in ``weights``."""
    try:
        stated = _NAMED_WEIGHTS.search(text.read_bytes())
        return stated is not None and same_file(text.parent / stated[1].decode(), weights)
    except (OSError, ValueError):
        return False
