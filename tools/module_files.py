"""Modules with their weights: from text, to files, to standard output.

The module attribute ``nvdla_ir.weights`` names a safetensors file relative to the text's
directory; for text that comes from standard input, or goes to standard output, relative to the
current one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from nvdla_ir.dialects.builtin import WEIGHTS_ATTRIBUTE, ModuleOp
from nvdla_ir.files import write_together
from nvdla_ir.ir.attributes import DenseResourceAttr, StringAttr
from nvdla_ir.ir.diagnostics import DiagnosticCollector
from nvdla_ir.ir.dialect import Context
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.ir.operation import Operation
from nvdla_ir.ir.verifier import verify
from nvdla_ir.resources import ResourceStore, resources_of, serialize
from nvdla_ir.text.parser import parse
from nvdla_ir.text.printer import PrintOptions, print_operation
from nvdla_ir.text.resource_section import resource_section

WEIGHTS_SUFFIX = ".safetensors"


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
    if file is None or not file.exists() or Path(module.weights_file or "").is_absolute():
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
    path: str, module: ModuleOp, resources: ResourceStore, options: PrintOptions
) -> None:
    """Write the module to ``path``, and what it refers to beside it, under the same name with
    ``.safetensors``; if it only refers to tensors of the weights file it came with, it goes on
    referring to that. Both files are written whole or not at all. The module's attribute
    ``nvdla_ir.weights`` is changed accordingly.

    Raises: DiagnosticError where a resource is missing or a file cannot be written.
    """
    output = Path(path)
    if is_stream(path):
        point_to_weights(module, resources, Path())
        write_together({path: text_with_resources(module, resources, options)})
        return
    referred = all_resources(module)
    if not referred:
        module.attributes.pop(WEIGHTS_ATTRIBUTE, None)
        write_together({path: print_operation(module, options)})
        return
    arrays = resources.collect(module)
    if all(map(resources.is_in_file, referred)):
        point_to_weights(module, resources, output.parent)
        write_together({path: print_operation(module, options)})
        return
    weights = output.with_suffix(WEIGHTS_SUFFIX)
    module.attributes[WEIGHTS_ATTRIBUTE] = StringAttr(weights.name)
    write_together({str(weights): serialize(arrays), path: print_operation(module, options)})


def is_stream(path: str) -> bool:
    """Whether ``path`` is a terminal, a pipe or the like, beside which no file can be."""
    try:
        return not stat.S_ISREG(Path(path).stat().st_mode) and not Path(path).is_dir()
    except OSError:
        return False
