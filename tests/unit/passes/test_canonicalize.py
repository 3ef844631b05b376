"""What the canonical form leaves out, and what it must not touch."""

from __future__ import annotations

import pytest
from running import module_of, named, run

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.passes.canonicalize import Canonicalize
from nvdla_ir.text.printer import print_operation


def canonical(body: str, *, arguments: str = "", result: str = "") -> tuple[list[str], ModuleOp]:
    """The lines of a function body after the pass; the last value of ``body`` is returned."""
    last = body.strip().splitlines()[-1].split(" = ")[0].strip()
    type_ = result or body.strip().splitlines()[-1].split(" -> ")[-1].strip()
    arguments = arguments or "%x: tensor<1x2x4x4xf32>"
    module = module_of(
        f"func.func @main({arguments}) -> {type_} {{\n{body}\n  func.return {last}\n}}"
    )
    run(Canonicalize(), module)
    lines = [line.strip() for line in print_operation(module).splitlines()]
    return lines[2:-2], module


T = "tensor<1x2x4x4xf32>"
PRODUCER = f'%p = nn.relu %x layers=["p"] -> {T}'
KEPT = f'%p = nn.relu %x layers=["id", "p"] -> {T}'


@pytest.mark.parametrize(
    "identity",
    [
        f'nn.max_pool %p kernel=[1, 1] layers=["id"] -> {T}',
        f'nn.max_pool %p kernel=[1, 1] strides=[1, 1] pads=[0, 0, 0, 0] layers=["id"] -> {T}',
        f'nn.average_pool %p kernel=[1, 1] layers=["id"] -> {T}',
        f'nn.reshape %p layers=["id"] -> {T}',
        f'nn.flatten %p axis=3 layers=["id"] -> {T}',
        f'nn.concat %p layers=["id"] -> {T}',
    ],
)
def test_identities_go_and_leave_their_layers_name(identity: str) -> None:
    lines, _ = canonical(f"  {PRODUCER}\n  %y = {identity}")
    assert lines == [KEPT, "func.return %p"]


def test_means_of_single_integers_that_are_divided_by_one() -> None:
    codes = "tensor<1x2x4x4x!quant.uniform<i8:f32, 0.5>>"
    text = (
        f"func.func @f(%x: {codes}) -> {codes} {{\n"
        "  %y = fixed.average_pool %x kernel=[1, 1] reciprocals=[65536, {}] -> "
        f"{codes}\n  func.return %y\n}}\n"
    )
    for height, kept in ((65536, 0), (32768, 1)):
        module = module_of(text.replace("65536, {}", f"65536, {height}"))
        run(Canonicalize(), module)
        assert sum(op.name == "fixed.average_pool" for op in module.walk()) == kept


@pytest.mark.parametrize(
    ("constant", "operation"),
    [
        ("dense<0.0> : tensor<2xf32>", "nn.bias_add %p, %k"),
        ("dense<[0.0, 0.0]> : tensor<2xf32>", "nn.bias_add %p, %k"),
        ("dense<1.0> : tensor<2xf32>", "nn.scale %p, %k"),
        ("dense<[1.0, 1.0]> : tensor<2xf32>", "nn.scale %p, %k"),
    ],
)
def test_neutral_constants(constant: str, operation: str) -> None:
    lines, _ = canonical(
        f"  {PRODUCER}\n  %k = nn.constant value={constant}\n"
        f'  %y = {operation} layers=["id"] -> {T}'
    )
    assert lines == [KEPT, "func.return %p"]


@pytest.mark.parametrize(
    "operation",
    [
        f'nn.max_pool %x kernel=[1, 1] strides=[2, 2] layers=["a"] -> {T.replace("4x4", "2x2")}',
        f'nn.max_pool %x kernel=[2, 2] layers=["a"] -> {T.replace("4x4", "3x3")}',
        f'nn.max_pool %x kernel=[3, 3] pads=[1, 1, 1, 1] layers=["a"] -> {T}',
        'nn.reshape %x layers=["a"] -> tensor<1x4x2x4xf32>',
        f'nn.concat %x, %x layers=["a"] -> {T.replace("1x2x", "1x4x")}',
        f'nn.reshape %x layers=["a"] -> {T.replace("f32", "!quant.calibrated<f32<-1.0:1.0>>")}',
        f'nn.add %x, %x layers=["a"] -> {T}',
    ],
)
def test_what_does_something_stays(operation: str) -> None:
    lines, _ = canonical(f"  %y = {operation}")
    assert lines == [f"%y = {operation}", "func.return %y"]


@pytest.mark.parametrize(
    ("constants", "operation"),
    [
        ("dense<[0.0, 0.5]> : tensor<2xf32>", "nn.bias_add %x, %k"),
        ("dense_resource<zeros> : tensor<2xf32>", "nn.bias_add %x, %k"),
        ("dense<[1.0, 2.0]> : tensor<2xf32>", "nn.scale %x, %k"),
        ("dense<1.0> : tensor<2xf32>", "nn.scale %x, %k, %k"),
    ],
)
def test_other_constants_stay(constants: str, operation: str) -> None:
    lines, _ = canonical(f"  %k = nn.constant value={constants}\n  %y = {operation} -> {T}")
    assert len(lines) == 3


def test_repeated_relus() -> None:
    lines, module = canonical(
        f'  %a = nn.relu %x layers=["a"] -> {T}\n  %b = nn.relu %a layers=["b"] -> {T}\n'
        f'  %c = nn.relu %b layers=["c"] -> {T}'
    )
    assert lines == [f'%c = nn.relu %x layers=["a", "b", "c"] -> {T}', "func.return %c"]
    assert str(named(module, "c").location) == (
        'fused["test.ir":2:8, "test.ir":3:8, "test.ir":4:8]'
    )


def test_a_relu_that_others_use_stays() -> None:
    lines, _ = canonical(
        f'  %a = nn.relu %x layers=["a"] -> {T}\n  %b = nn.relu %a layers=["b"] -> {T}\n'
        f"  %c = nn.add %a, %b -> {T}"
    )
    assert lines[:2] == [
        f'%a = nn.relu %x layers=["a"] -> {T}',
        f'%b = nn.relu %x layers=["a", "b"] -> {T}',
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            '  %a = nn.flatten %x axis=2 layers=["a"] -> tensor<1x2x16xf32>\n'
            '  %b = nn.flatten %a axis=1 layers=["b"] -> tensor<1x32xf32>',
            '%b = nn.flatten %x axis=1 layers=["a", "b"] -> tensor<1x32xf32>',
        ),
        (
            '  %a = nn.reshape %x layers=["a"] -> tensor<1x4x8xf32>\n'
            '  %b = nn.flatten %a axis=1 layers=["b"] -> tensor<1x32xf32>',
            '%b = nn.reshape %x layers=["a", "b"] -> tensor<1x32xf32>',
        ),
        (
            '  %a = nn.flatten %x axis=1 layers=["a"] -> tensor<1x32xf32>\n'
            '  %b = nn.reshape %a layers=["b"] -> tensor<1x4x8xf32>',
            '%b = nn.reshape %x layers=["a", "b"] -> tensor<1x4x8xf32>',
        ),
    ],
)
def test_views_of_views(body: str, expected: str) -> None:
    lines, _ = canonical(body)
    assert lines == [expected, "func.return %b"]


def test_a_view_back_to_the_first_shape_goes() -> None:
    lines, _ = canonical(
        f"  %a = nn.flatten %x axis=1 -> tensor<1x32xf32>\n  %b = nn.reshape %a -> {T}"
    )
    assert lines == ["func.return %x"]


I8 = "tensor<1x2x4x4x!quant.uniform<i8:f32, 0.5>>"
OTHER_I8 = "tensor<1x2x4x4x!quant.uniform<i8:f32, 0.25>>"


def test_casts_to_and_fro() -> None:
    lines, _ = canonical(
        f"  %a = quant.dcast %x -> {T}\n  %b = quant.qcast %a -> {I8}", arguments=f"%x: {I8}"
    )
    assert lines == ["func.return %x"]


@pytest.mark.parametrize(
    ("body", "argument"),
    [
        (f"  %a = quant.dcast %x -> {T}\n  %b = quant.qcast %a -> {OTHER_I8}", I8),
        (f"  %a = quant.qcast %x -> {I8}\n  %b = quant.dcast %a -> {T}", T),
        (f"  %a = nn.relu %x -> {OTHER_I8}\n  %b = nn.relu %a -> {OTHER_I8}", I8),
    ],
)
def test_what_rounds_stays(body: str, argument: str) -> None:
    lines, _ = canonical(body, arguments=f"%x: {argument}")
    assert len(lines) == 3


def test_equal_constants_are_merged() -> None:
    body = f"""
  %a = nn.constant value=dense_resource<k> : {T}
  %b = nn.constant value=dense_resource<k> : {T}
  %c = nn.constant value=dense<0.0> : {T}
  %d = nn.constant value=dense<-0.0> : {T}
  %s = nn.add %a, %b -> {T}
  %t = nn.add %c, %d -> {T}
  %y = nn.add %s, %t -> {T}"""
    lines, _ = canonical(body)
    assert lines == [
        f"%a = nn.constant value=dense_resource<k> : {T}",
        f"%c = nn.constant value=dense<0.0> : {T}",
        f"%d = nn.constant value=dense<-0.0> : {T}",
        f"%s = nn.add %a, %a -> {T}",
        f"%t = nn.add %c, %d -> {T}",
        f"%y = nn.add %s, %t -> {T}",
        "func.return %y",
    ]


def test_dead_code_goes_with_all_that_fed_it() -> None:
    lines, _ = canonical(
        f"  %k = nn.constant value=dense_resource<k> : {T}\n  %a = nn.add %x, %k -> {T}\n"
        f"  %dead = nn.relu %a -> {T}\n  %y = nn.relu %x -> {T}"
    )
    assert lines == [f"%y = nn.relu %x -> {T}", "func.return %y"]


def test_unregistered_operations_are_left_alone() -> None:
    text = f"""
module {{
  func.func @main(%x: {T}) -> {T} {{
    "other.effect"(%x) : ({T}) -> ()
    %a = "other.relu"(%x) : ({T}) -> {T}
    %b = "other.relu"(%a) : ({T}) -> {T}
    %unused = "other.relu"(%b) : ({T}) -> {T}
    %k = "other.constant"() {{v = 1}} : () -> {T}
    %l = "other.constant"() {{v = 1}} : () -> {T}
    %region = "other.loop"(%k, %l) ({{
      %dead = nn.relu %a -> {T}
      "other.yield"(%a) : ({T}) -> ()
    }}) : ({T}, {T}) -> {T}
    func.return %a
  }}
}}
"""
    module = module_of(text, allow_unregistered=True)
    run(Canonicalize(), module)
    expected = "".join(line for line in text.splitlines(True) if "%dead" not in line)
    assert print_operation(module).strip() == expected.strip()


def test_a_network_in_canonical_form_stays_as_it_is() -> None:
    from running import PROJECT, new_session, read_module

    session = new_session()
    module = read_module(PROJECT / "examples" / "digits" / "resnet.ir", session)
    before = print_operation(module)
    run(Canonicalize(), module, session)
    assert print_operation(module) == before
    assert session.statistics == {"canonicalize": {"constants merged": 0, "operations removed": 0}}
