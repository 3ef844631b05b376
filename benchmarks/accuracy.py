"""The digits networks on the register-level device: top-1 and noise of the logits."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from measure import Row

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples" / "digits"))

from digits import compiled, run, sqnr, stage_named, test_set

from nvdla_ir.interp.machine import Mode

TARGETS = ("nv_small", "nv_large", "nv_full")
SQNR_TARGET = 33.0
SQNR_TOLERANCE = 0.5
TOP1_TOLERANCE = 0.4


def rows() -> Iterator[Row]:
    for network in ("lenet", "resnet"):
        images, labels = test_set(network)
        floats = run(stage_named("float", network, "nv_small"), images, Mode.FLOAT)
        yield Row("accuracy", f"{network}, float, top-1", floats.top1(labels), "%")
        for granularity in ("per-channel", "per-tensor"):
            stage = stage_named("int8 with converters", network, "nv_small", granularity)
            fake = run(stage, images, Mode.FAKE_QUANTIZED)
            ideal = sqnr(floats.logits, fake.logits)
            yield Row(
                "accuracy", f"{network}, {granularity}, fake-quantized, SQNR of logits", ideal, "dB"
            )
            for target in TARGETS if granularity == "per-channel" else TARGETS[:1]:
                name = f"{network}, {granularity}, {target} registers"
                program = compiled(network, target, granularity)
                start = time.perf_counter()
                integers = run(program, images, Mode.INTEGER)
                seconds = time.perf_counter() - start
                yield Row(
                    "accuracy",
                    f"{name}, top-1",
                    integers.top1(labels),
                    "%",
                    floats.top1(labels) - TOP1_TOLERANCE,
                )
                wanted = min(SQNR_TARGET, ideal - SQNR_TOLERANCE)
                yield Row(
                    "accuracy",
                    f"{name}, SQNR of logits",
                    sqnr(floats.logits, integers.logits),
                    "dB",
                    wanted if network == "resnet" else None,
                )
                yield Row("speed", name, len(images) / seconds, "images/s")
