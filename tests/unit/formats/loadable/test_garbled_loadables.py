"""Garbled loadables give a diagnostic or a module, whose run gives a diagnostic or results."""

from __future__ import annotations

import os
import random
import struct
from collections import Counter

import numpy as np
import pytest
from loadable_corpus import corpus
from loadable_running import function_of

from nvdla_ir.formats.loadable import import_loadable
from nvdla_ir.formats.loadable.container import read_container
from nvdla_ir.interp.machine import Machine, Mode
from nvdla_ir.ir.diagnostics import DiagnosticError, render
from nvdla_ir.ir.types import TensorType
from nvdla_ir.ir.verifier import verify
from nvdla_ir.resources import ResourceStore

CORPUS = list(corpus())
# ``make fuzz`` asks for more.
SHARDS = int(os.environ.get("GARBLED_THOUSANDS", "1"))
PER_SHARD = 1000

_WORDS = (0, 1, 2, 7, 8, 31, 32, 255, 256, 4096, 8192, 8193, 0x7FFF, 0x8000, 0xFFFF)
_LONG_WORDS = (*_WORDS, 1 << 16, 1 << 24, 1 << 29, 1 << 30, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


def descriptors(data: bytes) -> list[tuple[int, int]]:
    """Where the blobs lie in the file, and how long they are."""
    return [
        (data.find(bytes(blob.data)), len(blob.data))
        for blob in read_container(data, "f").blobs
        if len(blob.data)
    ]


PLACES = [descriptors(data) for _, data in CORPUS]


def garbled(rng: random.Random) -> tuple[str, bytes]:
    """A configuration, and a loadable of the corpus with one to three changes."""
    number = rng.randrange(len(CORPUS))
    target, original = CORPUS[number]
    data = bytearray(original)
    for _ in range(rng.randint(1, 3)):
        _change(rng, data, PLACES[number])
    return target, bytes(data)


def _change(rng: random.Random, data: bytearray, places: list[tuple[int, int]]) -> None:
    if not data:
        return
    kind = rng.random()
    if kind < 0.6:  # a word of a descriptor
        start, length = rng.choice(places)
        place = start + rng.randrange(length)
        _put(rng, data, place - (place - start) % rng.choice((1, 2, 4)))
    elif kind < 0.8:  # a word anywhere
        _put(rng, data, rng.randrange(len(data)) // 2 * 2)
    elif kind < 0.87:  # bytes anywhere
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind < 0.95:  # a piece from elsewhere: tables and vectors at other places
        other = rng.choice(CORPUS)[1]
        length = rng.choice((4, 8, 16, 36, 100, 644))
        source, target = rng.randrange(len(other)) // 4 * 4, rng.randrange(len(data)) // 4 * 4
        piece = other[source : source + length]
        data[target : target + len(piece)] = piece
    else:
        del data[rng.randrange(len(data)) :]


def _put(rng: random.Random, data: bytearray, place: int) -> None:
    code, words = rng.choice((("<H", _WORDS), ("<I", _LONG_WORDS), ("<B", range(256))))
    size = struct.calcsize(code)
    if place + size <= len(data):
        value = rng.choice(words)
        if rng.random() < 0.3:  # a neighbour of what is there
            value = struct.unpack_from(code, data, place)[0] + rng.choice((-8, -1, 1, 8, 32))
        struct.pack_into(code, data, place, value % (1 << 8 * size))


def attempt(data: bytes, target: str | None, rng: random.Random) -> str:
    """Import and run: what came of it. Raises: whatever is no DiagnosticError."""
    resources = ResourceStore()
    options = {
        "target": target,
        "raw_inputs": {"x"} if rng.random() < 0.3 else set[str](),
        "raw_outputs": {"y"} if rng.random() < 0.3 else set[str](),
        "hardware_only": rng.random() < 0.1,
    }
    try:
        module = import_loadable(data, "f", resources, **options)
    except DiagnosticError as error:
        assert all(render(diagnostic) for diagnostic in error.diagnostics)
        return "refused"
    verify(module)
    function = function_of(module)
    inputs = {}
    for argument in function.body.arguments:
        type = argument.type
        assert isinstance(type, TensorType)
        dtype = np.uint8 if str(type.element) == "ui8" else np.int8
        inputs[function.argument_name(argument)] = np.zeros(type.static_shape, dtype)
    try:
        Machine(resources, Mode.INTEGER).run(function, inputs)
    except DiagnosticError as error:
        assert all(render(diagnostic) for diagnostic in error.diagnostics)
        return "cannot run"
    return "runs"


@pytest.mark.parametrize("index", range(len(CORPUS)))
def test_the_corpus_runs_as_it_is(index: int) -> None:
    target, data = CORPUS[index]
    always = random.Random(1)
    always.random = lambda: 1.0  # type: ignore[method-assign]
    assert attempt(data, target, always) == "runs"


@pytest.mark.parametrize("shard", range(SHARDS))
def test_garbled_loadables_are_refused_or_run(shard: int) -> None:
    rng = random.Random(shard)
    outcomes: Counter[str] = Counter()
    for number in range(PER_SHARD):
        target, data = garbled(rng)
        state = rng.getstate()
        try:
            outcomes[attempt(data, target if rng.random() < 0.9 else None, rng)] += 1
        except Exception as error:
            rng.setstate(state)
            raise AssertionError(f"loadable {number} of shard {shard}") from error
    # the changes are neither all harmless nor all fatal
    assert outcomes["refused"] > PER_SHARD // 5
    assert outcomes["runs"] > PER_SHARD // 20
