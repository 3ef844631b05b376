"""ONNX's own test cases of the operators that the importer lists.

Each case is imported three times: with all its inputs computed by others, with all but the first
known, and with all of them known, so that it is computed on import. It must give ONNX's result, or
be refused with what is not supported. ``backend_cases.txt`` has how many of an operator's cases
gave the result when this was written.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import Imported, onnx

from nvdla_ir.frontends.onnx import importer
from nvdla_ir.frontends.onnx.folding import FOLDED
from nvdla_ir.frontends.onnx.layer import HANDLERS
from nvdla_ir.ir.diagnostics import DiagnosticError

OPERATORS = {op_type for domain, op_type in HANDLERS if not domain} | FOLDED.keys()
WAYS = ("none known", "all but the first known", "all known")
COUNTS = Path(__file__).with_name("backend_cases.txt")
IMAGE_RANK = 4


def collected() -> list[Any]:
    """All of ONNX's cases, without what would take most of the time to make: snippets for its
    documentation, and what is expected of pools of volumes. That is NaN, which fails every case
    that is not refused."""
    from onnx.backend.test.case import base
    from onnx.backend.test.case.node import collect_testcases
    from onnx.reference.ops import op_pool_common

    of_reference = op_pool_common.pool

    def pool(
        padded: Any, shape: Any, kernel: Any, strides: Any, out: Any, *more: Any, **a: Any
    ) -> Any:
        if len(shape) <= IMAGE_RANK:
            return of_reference(padded, shape, kernel, strides, out, *more, **a)
        return np.full([*shape[:2], *out], np.nan, padded.dtype)

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(op_pool_common, "pool", pool)
        patch.setattr(base, "process_snippet", lambda *_: ("", ""))
        return collect_testcases(None)


def by_operator() -> Iterator[tuple[str, Any]]:
    """The cases whose nodes are all of the listed operators. A case of the body of a function
    belongs to the function."""
    found = collected()
    operators = {case.name: case.model.graph.node[0].op_type for case in found}
    for case in found:
        if all(node.op_type in OPERATORS and not node.domain for node in case.model.graph.node):
            whole = case.name.partition("_expanded")[0]
            yield operators.get(whole, operators[case.name]), case


def arrays(case: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Inputs and outputs by name, of sets that hold nothing but arrays."""
    graph = case.model.graph
    for inputs, outputs in case.data_sets:
        feeds = dict(zip([value.name for value in graph.input], inputs, strict=True))
        wanted = dict(zip([value.name for value in graph.output], outputs, strict=True))
        if all(isinstance(array, np.ndarray | np.generic) for array in (*inputs, *outputs)):
            yield (
                {name: np.asarray(array) for name, array in feeds.items()},
                {name: np.asarray(array) for name, array in wanted.items()},
            )


def with_known(model: Any, known: Mapping[str, Any]) -> Any:
    """``model`` with the inputs ``known`` as initializers, others of the stated shapes."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    ports = [value for value in changed.graph.input if value.name not in known]
    del changed.graph.input[:]
    changed.graph.input.extend(ports)
    for name, array in known.items():
        changed.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return changed


def fault(case: Any, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    for name, expected in wanted.items():
        result = found[name]
        if result.shape != expected.shape:
            return f"{name} has shape {result.shape}, not {expected.shape}"
        # Floats of 16 bits are computed, and left, with 32.
        narrow = expected.dtype.kind not in "biu" and expected.dtype.itemsize < 4
        rtol = 1e-2 if narrow else case.rtol
        if not np.allclose(result, expected.astype(np.float64), rtol, 1e-5, equal_nan=True):
            return f"{name} is {result.reshape(-1)[:4]}, not {expected.reshape(-1)[:4]}"
    return None


NAMES_WHAT = re.compile(r"[\w.]+: .{10,}; found at |input '|output '|uses operator set")
"""The operator and its fault, or the input, output or operator set."""

INTEGERS = re.compile(r"output '(.*)' is the reals that .*\(scale (.*), zero point (.*)\)")


def reals(wanted: Mapping[str, Any], imported: Imported) -> dict[str, Any]:
    """What integers stand for, where the import said that its outputs are that."""
    found = dict(wanted)
    for diagnostic in imported.diagnostics.diagnostics:
        match = INTEGERS.match(diagnostic.message)
        if match is not None:
            name, scale, zero_point = match.groups()
            integers = wanted[name].astype(np.float64) - int(zero_point)
            found[name] = np.asarray(integers * float(scale), np.float32)
    return found


def ways(names: list[str]) -> dict[str, list[str]]:
    """By each of the ways that differ, which inputs are known."""
    found = dict(zip(WAYS, ([], names[1:], names), strict=True))
    return {way: known for way, known in found.items() if known or way == WAYS[0]}


def outcome(
    case: Any, known: list[str], inputs: Any, wanted: Any, folder: Path
) -> list[str] | None:
    """What is wrong; None where the case is refused, as it may be."""
    proto = with_known(case.model, {name: inputs[name] for name in known})
    try:
        imported = Imported(proto, folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = imported.run({name: inputs[name] for name in inputs if name not in known})
    except DiagnosticError as error:
        said = [diagnostic.message for diagnostic in error.diagnostics]
        return [f"says: {message}" for message in said if not NAMES_WHAT.match(message)] or None
    except Exception as error:  # tracebacks of any kind are what this looks for
        return [f"raises {type(error).__name__}: {error}"]
    message = fault(case, found, reals(wanted, imported))
    return [] if message is None else [message]


def test_every_case_is_right_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A process for each model that is refused would take too long.
    monkeypatch.setattr(importer, "inferred_types", lambda proto, extents: {})
    passed: dict[str, Counter[str]] = {}
    refused: Counter[str] = Counter()
    wrong: list[str] = []
    for operator, case in by_operator():
        counts = passed.setdefault(operator, Counter())
        for inputs, wanted in arrays(case):
            for way, known in ways(list(inputs)).items():
                faults = outcome(case, known, inputs, wanted, tmp_path)
                wrong += [f"{case.name}, {way}: {fault}" for fault in faults or ()]
                counts[way] += faults == []
                refused[way] += faults is None
    lines = [
        f"{name} " + " ".join(str(counts[way]) for way in WAYS)
        for name, counts in sorted(passed.items())
    ]
    print(*lines, f"refused: {dict(refused)}", sep="\n")
    assert not wrong, "\n".join(wrong)
    for line in COUNTS.read_text().splitlines():
        name, *least = line.split()
        found = [passed.get(name, Counter())[way] for way in WAYS]
        assert all(f >= int(n) for f, n in zip(found, least, strict=True)), (
            f"of the cases of {name} passed {found}, before {least} ({', '.join(WAYS)})"
        )
