"""Which layers must come before which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import define, field

from nvdla_ir.dialects.nvdla import ConcatOp, InterleaveOp, SliceOp
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.passes.scheduling.footprints import Footprint


@define(eq=False)
class Source:
    """A cube that layers read: who writes it, and who reads it or a part, by their numbers.

    ``latest``: the last convolution that must come before its readers, directly or not; -1: none.
    """

    writers: list[int]
    latest: int = -1
    readers: list[int] = field(factory=list[int])


@define(eq=False)
class Dependences:
    """Of layers in the order in which they are written.

    sources: what each reads that others of them write
    results: what others read of its result
    follows: whether it must be the next convolution behind the one before it, as it takes over what
             that left in the convolution buffer
    before:  where convolutions follow it so, all up to this one must come first, as nothing that
             they need may come between; -1: none must
    """

    sources: list[list[Source]]
    results: list[list[Source]]
    follows: list[bool]
    before: list[int]

    @staticmethod
    def of(layers: Sequence[Footprint]) -> Dependences:
        count = len(layers)
        found = Dependences([], [[] for _ in layers], [False] * count, [-1] * count)
        numbers: dict[Operation, int] = {
            layer.layer.last: number for number, layer in enumerate(layers)
        }
        known: dict[Value, Source] = {}
        # the last convolution that each layer needs, or that it is
        latest: list[int] = []
        for number, layer in enumerate(layers):
            operands = (value for op in layer.layer.operations for value in op.operands)
            sources: list[Source] = []
            for value in dict.fromkeys(map(_whole, operands)):
                source = known.get(value)
                if source is None:
                    writers = sorted(_writers(value, numbers))
                    source = Source(
                        writers, max((latest[writer] for writer in writers), default=-1)
                    )
                    known[value] = source
                    for writer in writers:
                        found.results[writer].append(source)
                if source.writers:
                    source.readers.append(number)
                    sources.append(source)
            found.sources.append(sources)
            needed = max((source.latest for source in sources), default=-1)
            latest.append(needed if layer.layer.convolution is None else number)
        found._find_runs(layers)
        return found

    @property
    def is_chain(self) -> bool:
        """Whether each layer needs the one before, so that there is one order only."""
        return all(
            any(source.writers[-1] == number - 1 for source in self.sources[number])
            for number in range(1, len(self.sources))
        )

    def _find_runs(self, layers: Sequence[Footprint]) -> None:
        """Find convolutions that follow each other at once, and what must come before."""
        first, kept = 0, False
        for number, layer in enumerate(layers):
            convolution = layer.layer.convolution
            if convolution is None:
                continue
            if kept and (convolution.reuse_data or convolution.reuse_weights):
                self.follows[number] = True
                needed = max((source.latest for source in self.sources[number]), default=-1)
                if needed >= first:
                    # one of the run; what else it needs is not known
                    needed = first - 1
                self.before[first] = max(self.before[first], needed)
            else:
                first = number
            kept = convolution.keep_data or convolution.keep_weights


def _whole(value: Value) -> Value:
    """What a value is a slice of, or itself."""
    while isinstance(operation := value.defining_operation, SliceOp):
        value = operation.input
    return value


def _writers(value: Value, numbers: Mapping[Operation, int]) -> set[int]:
    """The layers that write a cube, or parts of it, of those that have ``numbers``."""
    operation = value.defining_operation
    if isinstance(operation, ConcatOp | InterleaveOp):
        return {one for part in operation.inputs for one in _writers(_whole(part), numbers)}
    return {numbers[operation]} if operation is not None and operation in numbers else set()
