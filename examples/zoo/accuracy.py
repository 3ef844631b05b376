"""What integers lose on the zoo's networks, against fake quantization with the same scales.

python examples/zoo/accuracy.py                            # all, images and channels reduced
python examples/zoo/accuracy.py vgg16 --target nv_full --images 48

SQNR of the outputs ahead of a softmax, against floats, in dB: with every tensor that has a range
rounded to it; as integers; and as the integers' steps are in reals, where what is computed together
is not rounded between.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from attrs import frozen
from batch_norms import photos
from matrix import CALIBRATION_IMAGES, SIZES, SMALL, WIDTH, Images, Subject
from numpy.typing import NDArray
from zoo import TOPOLOGIES

from nvdla_ir.dialects import nn
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.quant import DequantizeCastOp
from nvdla_ir.evaluation.batches import machine_inputs
from nvdla_ir.evaluation.recording import Executable, Recorder
from nvdla_ir.interp.machine import Mode
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.location import UNKNOWN
from nvdla_ir.ir.operation import Value
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.insert_converters import InsertConverters
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import ALIASES, PassRegistry

Reals = NDArray[np.float64]
IMAGES = 24


@frozen
class Accuracy:
    """SQNR in dB of one output."""

    network: str
    output: str
    fake_quantized: float
    integers: float
    integers_as_reals: float

    def text(self) -> str:
        loss = self.fake_quantized - self.integers
        numbers = f"{self.fake_quantized:14.1f} {self.integers:8.1f} {self.integers_as_reals:8.1f}"
        return f"{self.network:20} {self.output:20} {numbers} {loss:8.2f}"


def accuracies(name: str, target: str, count: int) -> Iterator[Accuracy]:
    """Of each output of the network ``name``, on ``count`` images that it was not calibrated on.

    Raises: DiagnosticError where it has no integer form on ``target``
    """
    network = TOPOLOGIES[name](width=WIDTH, size=SIZES.get(name, SMALL))
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject.of(network, Path(folder))
        images = photos(network, CALIBRATION_IMAGES + count)[CALIBRATION_IMAGES:]
        module, session = subject.module()
        watched = list(dict.fromkeys(map(_name, _main(module).return_op.operands)))
        floats = _outputs(module, session, Mode.FLOAT, images, watched)
        steps = [
            step
            for alias, value in (
                ("target", target),
                ("import-calib", str(subject.table)),
                ("quantize", "per-channel"),
            )
            for made in (ALIASES[alias].specifications_ahead, ALIASES[alias].specifications)
            for step in map(PassRegistry().create, made(value, UNKNOWN))
        ]
        converting = next(i for i, step in enumerate(steps) if isinstance(step, InsertConverters))
        Pipeline(steps[:converting]).run(module, session)
        fake = _outputs(module, session, Mode.FAKE_QUANTIZED, images, watched)
        Pipeline(steps[converting:]).run(module, session)
        integers = _outputs(module, session, Mode.INTEGER, images, watched)
        as_reals = _outputs(module, session, Mode.FAKE_QUANTIZED, images, watched)
    for index, output in enumerate(watched):
        reference = floats[index]
        found = (_sqnr(reference, other[index]) for other in (fake, integers, as_reals))
        yield Accuracy(name, output, *found)


def _main(module: ModuleOp) -> FuncOp:
    function = module.body.first_op
    assert isinstance(function, FuncOp)
    return function


def _name(value: Value) -> str:
    """Of the layer that computes ``value``, or what a softmax makes it of."""
    op = value.defining_operation
    while isinstance(op, nn.SoftmaxOp | nn.ViewOp | nn.TransposeOp | DequantizeCastOp):
        op = op.input.defining_operation
    assert isinstance(op, LayerOp)
    assert op.layers
    return op.layers[-1]


def _outputs(
    module: ModuleOp, session: Session, mode: Mode, images: Images, watched: Sequence[str]
) -> list[Reals]:
    function = _main(module)
    recorder = Recorder(Executable(function, session.resources, mode), watched)
    name = function.argument_name(function.body.arguments[0])
    found: list[list[Reals]] = [[] for _ in watched]
    for image in images:
        recording = recorder.run(machine_inputs(function, mode, {name: image[None]}))
        for index, output in enumerate(watched):
            *_, last = recording.layers[output].values()
            reals = last.reals()
            assert reals is not None
            found[index].append(reals.astype(np.float64).ravel())
    return [np.concatenate(parts) for parts in found]


def _sqnr(reference: Reals, compared: Reals) -> float:
    noise = float(((reference - compared) ** 2).sum())
    return 10 * float(np.log10((reference**2).sum() / noise)) if noise else float("inf")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("network", nargs="*", help="all by default")
    parser.add_argument("--target", default="nv_small")
    parser.add_argument("--images", type=int, default=IMAGES)
    arguments = parser.parse_args(argv)
    names: list[str] = arguments.network or list(TOPOLOGIES)
    unknown = [name for name in names if name not in TOPOLOGIES]
    if unknown:
        parser.error(f"there is no network '{unknown[0]}'; there are {', '.join(TOPOLOGIES)}")
    print(f"{'':41} fake-quantized integers as reals     loss")
    for name in names:
        try:
            for found in accuracies(name, arguments.target, arguments.images):
                print(found.text(), flush=True)
        except DiagnosticError as error:
            print(f"{name:20} refused: {error.diagnostics[0].message}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
