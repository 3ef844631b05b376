"""Random IR for round trips: types, attributes, locations, names, nested regions."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.nn import FakeQuantizedType
from nvdla_ir.dialects.quant import CalibratedType, UniformPerAxisType, UniformType
from nvdla_ir.ir.attributes import (
    ArrayAttr,
    Attribute,
    BoolAttr,
    DenseArrayAttr,
    DenseElementsAttr,
    DenseResourceAttr,
    DictAttr,
    FloatAttr,
    IntegerAttr,
    OpaqueAttr,
    StringAttr,
    SymbolRefAttr,
    TypeAttr,
    UnitAttr,
)
from nvdla_ir.ir.location import UNKNOWN, FileLineCol, FusedLoc, Location, NameLoc
from nvdla_ir.ir.operation import Block, Operation, Region, UnregisteredOp, Value
from nvdla_ir.ir.types import (
    F32,
    F64,
    INDEX,
    FloatType,
    FunctionType,
    IntegerType,
    NoneType,
    OpaqueType,
    TensorType,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
any_float = st.one_of(finite, st.sampled_from([math.inf, -math.inf, math.nan]))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
words = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)

integer_types = st.builds(
    IntegerType, st.sampled_from([1, 4, 8, 16, 32, 64, 128]), st.sampled_from(["", "s", "u"])
)
float_types = st.sampled_from([FloatType(name) for name in ("f16", "bf16", "f32", "f64")])
scales = st.floats(2.0**-60, 2.0**60)
quantized_types = st.one_of(
    st.builds(UniformType, st.just(IntegerType(8)), st.just(F32), scales, st.integers(-128, 127)),
    st.builds(UniformType, st.just(IntegerType(8, "u")), st.just(F32), scales, st.integers(0, 255)),
    st.lists(st.tuples(scales, st.integers(-128, 127)), min_size=1, max_size=4).map(
        lambda pairs: UniformPerAxisType(
            IntegerType(8), F32, 1, tuple(s for s, _ in pairs), tuple(z for _, z in pairs)
        )
    ),
    st.builds(FakeQuantizedType, float_types, scales, st.integers(-128, 127)),
    st.builds(CalibratedType, float_types, st.floats(-1e6, -1e-6), st.floats(0, 1e6)),
)
opaque_types = st.sampled_from(
    [OpaqueType(text) for text in ("!other.t", "!other.box<f32, [1, 2]>", "!a.b.c<<x>, y<z<1>>>")]
)
elements = st.one_of(integer_types, float_types, quantized_types, opaque_types, st.just(INDEX))
tensor_types = st.builds(
    TensorType,
    st.lists(st.none() | st.integers(0, 9), max_size=4).map(tuple),
    elements,
)
value_types = st.one_of(elements, tensor_types, st.just(NoneType()))
function_types = st.builds(
    FunctionType,
    st.lists(value_types, max_size=3).map(tuple),
    st.lists(value_types, max_size=3).map(tuple),
)


def bounds(type: IntegerType) -> tuple[int, int]:
    # MLIR's true is 1, whatever its sign.
    is_positive = type.signedness == "u" or type == IntegerType(1)
    low = 0 if is_positive else -(1 << (type.width - 1))
    return low, (1 << (type.width - (type.signedness == "s"))) - 1


integers = integer_types.flatmap(
    lambda type: st.builds(IntegerAttr, st.integers(*bounds(type)), st.just(type))
)


def dense_of(type: TensorType) -> st.SearchStrategy[DenseElementsAttr]:
    element = type.element
    number = (
        any_float if isinstance(element, FloatType) else st.integers(*bounds(element))  # type: ignore[arg-type]
    )
    count = type.element_count
    sizes = st.just(count) if count in (0, 1) else st.sampled_from([1, count])
    values = sizes.flatmap(lambda n: st.lists(number, min_size=n, max_size=n))
    return st.builds(DenseElementsAttr, st.just(type), values.map(tuple))


dense = st.builds(
    TensorType,
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.one_of(integer_types, float_types),
).flatmap(dense_of)
dense_arrays = st.one_of(
    st.builds(DenseArrayAttr, float_types, st.lists(any_float, max_size=3).map(tuple)),
    integer_types.filter(lambda type: type.width != 4).flatmap(
        lambda type: st.builds(
            DenseArrayAttr,
            st.just(type),
            st.lists(st.integers(*bounds(type)), max_size=3).map(tuple),
        )
    ),
)
static_tensors = st.builds(
    TensorType, st.lists(st.integers(1, 9), max_size=3).map(tuple), float_types
)
keys = st.one_of(words, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6))
plain_attributes: st.SearchStrategy[Attribute] = st.one_of(
    integers,
    st.integers(-(1 << 63), (1 << 63) - 1).map(IntegerAttr),
    st.builds(FloatAttr, any_float, st.sampled_from([F32, F64])),
    st.booleans().map(BoolAttr),
    st.just(UnitAttr()),
    texts.map(StringAttr),
    st.one_of(words, texts).map(SymbolRefAttr),
    st.one_of(value_types, function_types).map(TypeAttr),
    dense,
    dense_arrays,
    st.builds(DenseResourceAttr, keys, static_tensors),
    st.sampled_from([OpaqueAttr("#other.a"), OpaqueAttr("#other.b<1, [x]>")]),
)


def dictionaries(values: st.SearchStrategy[Attribute]) -> st.SearchStrategy[DictAttr]:
    return st.dictionaries(keys, values, max_size=3).map(lambda d: DictAttr(tuple(d.items())))


attributes = st.recursive(
    plain_attributes,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: ArrayAttr(tuple(items))),
        dictionaries(inner),
    ),
    max_leaves=6,
)

positions = st.builds(FileLineCol, texts, st.integers(1, 1 << 30), st.integers(1, 1 << 20))
locations: st.SearchStrategy[Location] = st.recursive(
    st.one_of(st.just(UNKNOWN), positions, st.builds(NameLoc, texts)),
    lambda inner: st.one_of(
        st.builds(NameLoc, texts, inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: FusedLoc(tuple(items))),
    ),
    max_leaves=4,
)

# Including names that are no names, names with what MLIR does not allow, and collisions.
name_hints = st.one_of(
    st.none(),
    st.sampled_from(
        ["x", "x_0", "x_1", "conv1", "0", "7", "1x", "a.b", "res2a/add:0", "é", "", "-"]
    ),
)


@st.composite
def operations(draw: st.DrawFn, visible: list[Value], depth: int) -> UnregisteredOp:
    operands = draw(st.lists(st.sampled_from(visible), max_size=3)) if visible else []
    regions: list[Region] = []
    if depth:
        for _ in range(draw(st.integers(0, 2))):
            regions.append(draw(region(visible, depth - 1)))
    op = UnregisteredOp(
        draw(st.sampled_from(["test.op", "test.other", "a.b.c", "other"])),
        operands,
        draw(st.lists(value_types, max_size=3)),
        draw(st.dictionaries(keys, attributes, max_size=3)),
        regions,
        draw(locations),
    )
    for result in op.results:
        result.name_hint = draw(name_hints)
    return op


@st.composite
def region(draw: st.DrawFn, visible: list[Value], depth: int) -> Region:
    blocks: list[Block] = []
    for _ in range(draw(st.integers(1, 2))):
        block = Block()
        for type in draw(st.lists(value_types, max_size=2)):
            block.add_argument(type, draw(name_hints), draw(locations))
        # Values of a sibling block are not visible.
        inside: list[Value] = [*visible, *block.arguments]
        for _ in range(draw(st.integers(0, 3))):
            op = draw(operations(inside, depth))
            block.append(op)
            inside.extend(op.results)
        blocks.append(block)
    return Region(blocks)


@st.composite
def modules(draw: st.DrawFn) -> ModuleOp:
    module = ModuleOp.of([])
    inside: list[Value] = []
    for _ in range(draw(st.integers(0, 4))):
        op: Operation = draw(operations(inside, 2))
        module.body.append(op)
        inside.extend(op.results)
    return module
