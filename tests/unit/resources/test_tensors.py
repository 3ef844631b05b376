"""The kinds of tensors, and how they are kept, found, written and let go."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save, save_file

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import FileLineCol
from nvdla_ir.ir.types import F32, TensorType
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.resources import (
    ArrayTensor,
    DerivedTensor,
    EqualTensors,
    ResourceStore,
    file_parts,
)
from nvdla_ir.text.parser import parse

TYPE = TensorType((2, 3), F32)
ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


def module_of(*keys: str) -> ModuleOp:
    """A module with a constant of ``TYPE`` for each of ``keys``."""
    lines = [f"%{key} = nn.constant value=dense_resource<{key}> : {TYPE}" for key in keys]
    text = "\n".join(["func.func @main() {", *lines, "func.return", "}"])
    return ModuleOp.of(parse(text, default_context(), "t.ir").operations)


def attached(tmp_path: Path, arrays: dict[str, NDArray[Any]]) -> ResourceStore:
    file = tmp_path / "w.safetensors"
    save_file(arrays, file)
    store = ResourceStore()
    store.attach(file)
    return store


# -------------------------------------------------------------- mapped


def test_tensors_of_a_file_are_views_of_one_mapping(tmp_path: Path) -> None:
    store = attached(tmp_path, {"w": ARRAY, "v": ARRAY + 1})
    tensors = store.tensors(module_of("w", "v"))
    for key, expected in (("w", ARRAY), ("v", ARRAY + 1)):
        first, second = tensors[key].array(), tensors[key].array()
        assert np.array_equal(first, expected)
        assert first.ctypes.data == second.ctypes.data  # no copies
        assert not first.flags.writeable
    distance = tensors["v"].array().ctypes.data - tensors["w"].array().ctypes.data
    assert abs(distance) == ARRAY.nbytes


def test_a_replaced_file_leaves_what_is_mapped_alone(tmp_path: Path) -> None:
    store = attached(tmp_path, {"w": ARRAY})
    tensor = store.tensors(module_of("w"))["w"]
    other = tmp_path / "other.safetensors"
    save_file({"w": ARRAY * 0}, other)
    other.replace(tmp_path / "w.safetensors")
    assert np.array_equal(tensor.array(), ARRAY)


# -------------------------------------------------------------- derived


def test_a_recipe_runs_when_somebody_asks_and_nobody_holds_what_it_made() -> None:
    runs: list[int] = []

    def doubled(array: NDArray[Any]) -> NDArray[Any]:
        runs.append(1)
        return array * 2

    store = ResourceStore()
    attribute = store.derive("w", TYPE, doubled, [ArrayTensor(ARRAY)])
    assert not runs
    held = store.array(attribute)
    assert store.array(attribute) is held
    assert len(runs) == 1
    assert np.array_equal(held, ARRAY * 2)
    del held
    gc.collect()
    assert np.array_equal(store.array(attribute), ARRAY * 2)
    assert len(runs) == 2


def test_parts_are_made_one_by_one() -> None:
    alive: list[int] = []

    def rows(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
        for index, row in enumerate(array):
            alive.append(index)
            yield row + 1

    tensor = DerivedTensor("float32", (2, 3), rows, [ArrayTensor(ARRAY)])
    parts = tensor.parts()
    assert np.array_equal(next(parts), ARRAY[0] + 1)
    assert alive == [0]
    assert np.array_equal(tensor.array(), ARRAY + 1)
    assert tensor.digest == ArrayTensor(ARRAY + 1).digest


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (lambda: 1 // 0, "ZeroDivisionError: "),
        (lambda: ARRAY[:1], "its recipe does not make 6 elements of float32"),
        (lambda: [ARRAY, ARRAY[:1]], "its recipe does not make 6 elements of float32"),
        (lambda: ARRAY.astype(np.float64), "its recipe does not make 6 elements of float32"),
        (lambda: None, "TypeError: "),
    ],
)
def test_a_recipe_that_fails_is_told_with_its_place(recipe: Any, reason: str) -> None:
    store, place = ResourceStore(), FileLineCol("t.ir", 3, 1)
    attribute = store.derive("w", TYPE, recipe, location=place)
    for ask in (store.array, lambda a: list(file_parts({"w": store.tensor(a)}))):
        with pytest.raises(DiagnosticError) as raised:
            ask(attribute)
        (fault,) = raised.value.diagnostics
        assert fault.message.startswith(f"resource 'w' cannot be derived: {reason}")
        assert fault.location == place


# -------------------------------------------------------------- identity


def test_equal_tensors_are_found_by_type_shape_and_content() -> None:
    known: EqualTensors[str] = EqualTensors()
    first = ArrayTensor(ARRAY)
    assert known.find(first) is None
    known.add(first, "first")
    assert known.find(ArrayTensor(ARRAY.copy())) == "first"
    assert known.find(ArrayTensor(ARRAY.reshape(3, 2))) is None
    assert known.find(ArrayTensor(ARRAY.view(np.int32))) is None
    assert known.find(ArrayTensor(ARRAY + 1)) is None
    assert known.find(first, "of another kind") is None
    second = ArrayTensor(ARRAY + 1)
    known.add(second, "second")
    known.add(ArrayTensor(ARRAY + 1), "too late")
    assert [known.find(tensor) for tensor in (first, second)] == ["first", "second"]
    assert known.find(DerivedTensor("float32", (2, 3), lambda: [ARRAY[0] + 1, ARRAY[1] + 1]))


def test_contents_are_not_read_where_shapes_differ() -> None:
    def never() -> NDArray[Any]:
        raise AssertionError

    known: EqualTensors[int] = EqualTensors()
    for size in range(1, 4):
        tensor = DerivedTensor("float32", (size,), never)
        assert known.find(tensor) is None
        known.add(tensor, size)
        assert known.find(tensor) == size


def test_a_transposed_array_is_what_it_shows() -> None:
    assert ArrayTensor(ARRAY.T).digest == ArrayTensor(ARRAY.T.copy()).digest
    assert ArrayTensor(ARRAY.T).digest != ArrayTensor(ARRAY.reshape(3, 2)).digest


def test_equal_arrays_share_a_key_and_others_get_a_number() -> None:
    store = ResourceStore()
    keys = [store.add("w", ARRAY + number) for number in (0, 1, 0, 2, 1)]
    assert keys == ["w", "w.1", "w", "w.2", "w.1"]


# -------------------------------------------------------------- release


@pytest.mark.parametrize("owner", ["copy", "same"])
def test_what_the_module_does_not_refer_to_is_gone(owner: str) -> None:
    store = ResourceStore()
    for key in ("a", "b"):
        store.add(key, ARRAY)
    mine = store.copy() if owner == "copy" else store
    mine.release(module_of("b"))
    assert mine.keys == ["b"]
    assert store.keys == (["a", "b"] if owner == "copy" else ["b"])
    # The key is free again, for another tensor.
    assert mine.add("a", ARRAY + 1) == "a"


def test_after_each_pass_only_what_the_module_refers_to_is_left() -> None:
    class Rename(Pass):
        name = "rename"

        def run(self, module: ModuleOp, session: Session) -> None:
            for op in list(module.walk()):
                if op.name == "nn.constant":
                    array = session.resources.array(op.value)
                    op.value = session.resources.attribute_for(f"{op.value.key}x", array + 1, F32)

    session, kept = Session(ResourceStore()), []
    session.resources.add("w", ARRAY)
    module = module_of("w")
    for _ in range(3):
        Pipeline([Rename()]).run(module, session)
        kept.append(session.resources.keys)
    assert kept == [["wx"], ["wxx"], ["wxxx"]]


# -------------------------------------------------------------- files


def test_files_are_those_of_the_library() -> None:
    rng = np.random.default_rng(0)
    dtypes = ["bool", "f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
    arrays: dict[str, NDArray[Any]] = {}
    for number, dtype in enumerate(dtypes):
        arrays[f'b"{number}\\é\n'] = rng.integers(0, 2, (3, number)).astype(dtype)
        arrays[f"a{number}"] = np.array(1, dtype)
    arrays["transposed"] = np.asfortranarray(ARRAY)
    written = b"".join(file_parts({key: ArrayTensor(array) for key, array in arrays.items()}))
    assert written == save({key: array.copy(order="C") for key, array in arrays.items()})


def test_a_file_is_written_part_by_part() -> None:
    def numbers() -> Iterator[NDArray[Any]]:
        for number in range(4):
            yield np.full(1, number, np.int8)

    given = ArrayTensor(np.ones((2, 2), np.int8))
    parts = file_parts({"derived": DerivedTensor("int8", (4,), numbers), "given": given})
    assert [len(part) for part in parts][1:] == [1, 1, 1, 1, 4]
