"""Random networks of all operations compile to programs that compute the same, or are refused with
a place and a reason. ``make fuzz`` tries many more."""

from __future__ import annotations

import pytest
from random_networks import MAKERS, Outcome, compile_random, random_module, trials

from nvdla_ir.dialects.nn import NN, BinaryOp
from nvdla_ir.text.printer import print_operation

COUNT = 24
PARTS = 2


@pytest.mark.parametrize("part", range(PARTS))
def test_random_networks(part: int) -> None:
    found = [compile_random(seed, target) for seed, target in trials(COUNT, 0)[part::PARTS]]
    wrong = [trial for trial in found if trial.outcome is Outcome.WRONG]
    assert not wrong, wrong
    assert any(trial.outcome is Outcome.EQUAL for trial in found)


def test_networks_are_of_all_operations_and_always_the_same() -> None:
    seen: set[str] = set()
    for seed in range(400):
        module, _ = random_module(seed)
        seen |= {op.name for op in module.walk()}
    assert print_operation(random_module(7)[0]) == print_operation(random_module(7)[0])
    # What stands outside of networks of reals, or needs more than they have.
    others = {"nn.normalize", "nn.power", "nn.argmax", "nn.quantize", "nn.reshape", "nn.div"}
    others |= {name for name in NN.operations if "convert" in name}
    missing = {name for name in NN.operations if name not in seen} - others
    assert len(MAKERS) > 10
    assert issubclass(NN.operations["nn.add"], BinaryOp)
    assert not missing, sorted(missing)
