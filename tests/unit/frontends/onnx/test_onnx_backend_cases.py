"""ONNX's own test cases of the operators that the importer lists.

Each case is imported three times: with all its inputs computed by others, with all but the first
known, and with all of them known, so that it is computed on import. It must give ONNX's result, or
be refused with what is not supported.
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

LEAST_PASSED = {"none": 134, "all but the first": 213, "all": 653}
"""By what is known, how many cases gave ONNX's result when this was written: more may."""

OPERATORS = {op_type for domain, op_type in HANDLERS if not domain} | FOLDED.keys()


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    """The cases whose nodes are all of the listed operators."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    return [
        case
        for case in found
        if all(node.op_type in OPERATORS and not node.domain for node in case.model.graph.node)
    ]


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


@pytest.mark.parametrize("known", LEAST_PASSED)
def test_every_case_is_right_or_refused(
    known: str, cases: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process for each model that is refused would take too long.
    monkeypatch.setattr(importer, "inferred_types", lambda proto, extents: {})
    passed: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    wrong: list[str] = []
    for case in cases:
        for inputs, wanted in arrays(case):
            names = list(inputs)
            fixed = {"none": [], "all but the first": names[1:], "all": names}[known]
            proto = with_known(case.model, {name: inputs[name] for name in fixed})
            try:
                imported = Imported(proto, tmp_path)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = imported.run({n: a for n, a in inputs.items() if n not in fixed})
            except DiagnosticError as error:
                refused[case.name] += 1
                for diagnostic in error.diagnostics:
                    if not NAMES_WHAT.match(diagnostic.message):
                        wrong.append(f"{case.name} says: {diagnostic.message}")
                continue
            except Exception as error:  # tracebacks of any kind are what this looks for
                wrong.append(f"{case.name} raises {type(error).__name__}: {error}")
                continue
            message = fault(case, found, reals(wanted, imported))
            if message is None:
                passed[case.name] += 1
            else:
                wrong.append(f"{case.name}: {message}")
    print(f"passed {passed.total()}, refused {refused.total()}, wrong {len(wrong)}")
    assert not wrong, "\n".join(wrong)
    assert passed.total() >= LEAST_PASSED[known]
