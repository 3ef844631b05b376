"""One run of a program, and what it computed for each layer of the network.

A layer is known by its name on every level: the last of an operation's ``layers``. Of several
operations with the name, the last one in the program has the layer's output. On the level of
registers the outputs lie in memory; the device's records tell where.
"""

# numpy's stubs leave parts of many overloads unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import NDArray

from nvdla_ir.dialects.func import FuncOp
from nvdla_ir.dialects.layer import LayerOp
from nvdla_ir.dialects.quant import GridType, QuantizeCastOp, QuantizedType
from nvdla_ir.evaluation.batches import batch_of, split
from nvdla_ir.interp.machine import Machine, Mode, executed_operations, settled
from nvdla_ir.interp.quantization import dequantize, element_of
from nvdla_ir.ir.operation import BlockArgument, Operation, Value
from nvdla_ir.ir.types import FloatType
from nvdla_ir.resources import ResourceStore

if TYPE_CHECKING:
    from nvdla_ir.interp.device.record import LayerRecord

Array = NDArray[Any]

IN_MEMORY = "memory"
"""In place of an operation's name: the layer's output was found in the device's memory."""

_RANK = 4


@frozen(eq=False)
class Executable:
    """A function, its tensors, and how it is executed."""

    func: FuncOp
    resources: ResourceStore
    mode: Mode
    lenient: bool = False


@frozen(eq=False)
class LayerOutput:
    """What one layer computed: [N, …].

    array:     reals, or stored integers
    element:   what the stored integers mean; None for reals, and for bytes in memory, of which
               only ``stored`` is known
    stored:    whether ``array`` has stored integers
    operation: the name of the operation, or ``IN_MEMORY``
    """

    array: Array
    element: QuantizedType | None
    stored: bool
    operation: str

    @property
    def size(self) -> int:
        """Elements of one image."""
        return self.array.size // max(len(self.array), 1) if self.array.ndim else 1

    def reals(self) -> Array | None:
        """The numbers it stands for; None where they are not known."""
        if not self.stored:
            return self.array
        return None if self.element is None else dequantize(self.array, self.element)

    def typed_as(self, other: LayerOutput) -> LayerOutput:
        """Bytes in memory, read as the type that the same layer has in another program."""
        element = other.element
        if self.element is not None or not self.stored or element is None:
            return self
        if element.storage.width != self.array.dtype.itemsize * 8:
            return self
        return evolve(self, element=element, array=_surfaces(self.array, other.array.shape))


def _surfaces(array: Array, shape: tuple[int, ...]) -> Array:
    """Cubes as the device saw them: where it took the surfaces of a cube of ``shape``, of a row
    each, for rows, the cube."""
    if array.ndim == len(shape) == _RANK and array.shape[2] > 1 == shape[2]:
        count, atom, surfaces, width = array.shape
        if shape[1:] == (atom * surfaces, 1, width):
            return array.swapaxes(1, 2).reshape(count, *shape[1:])
    return array


@frozen(eq=False)
class Recording:
    """What one run computed.

    layers:  by name, then by number of elements of an image, in the order of the program
    every:   all outputs of a name and a number of elements, in that order, of one run
    outputs: by name, as the machine gives them
    watched: the value that the recorder was to watch
    """

    layers: dict[str, dict[int, LayerOutput]] = field(factory=dict[str, "dict[int, LayerOutput]"])
    every: dict[tuple[str, int], list[LayerOutput]] = field(
        factory=dict[tuple[str, int], "list[LayerOutput]"]
    )
    outputs: dict[str, Array] = field(factory=dict[str, Array])
    watched: list[LayerOutput] = field(factory=list[LayerOutput])

    def add(self, name: str, output: LayerOutput) -> None:
        by_size = self.layers.setdefault(name, {})
        by_size.pop(output.size, None)
        by_size[output.size] = output

    def add_every(self, name: str, output: LayerOutput) -> None:
        self.add(name, output)
        self.every.setdefault((name, output.size), []).append(output)

    @staticmethod
    def joined(recordings: Sequence[Recording]) -> Recording:
        """Those of several images, one behind the other."""
        if len(recordings) == 1:
            return recordings[0]
        joined = Recording()
        for name, by_size in recordings[0].layers.items():
            for size, output in by_size.items():
                arrays = [recording.layers[name][size].array for recording in recordings]
                joined.add(name, evolve(output, array=np.concatenate(arrays)))
        for name in recordings[0].outputs:
            joined.outputs[name] = np.concatenate([r.outputs[name] for r in recordings])
        for index, output in enumerate(recordings[0].watched):
            arrays = [recording.watched[index].array for recording in recordings]
            joined.watched.append(evolve(output, array=np.concatenate(arrays)))
        return joined


class Recorder:
    """Executes a program and records its layers.

    wanted:  the names of layers that are recorded; None for all
    watched: a result that is recorded whether or not it has a name
    every:   whether all outputs of a name are kept, where there are several
    """

    def __init__(
        self,
        executable: Executable,
        wanted: Collection[str] | None = None,
        watched: Value | None = None,
        *,
        every: bool = False,
    ) -> None:
        self.executable = executable
        self.wanted = wanted
        self.watched = watched
        self.every = every
        self._machine = Machine(
            executable.resources, executable.mode, self._observe, lenient=executable.lenient
        )
        self._recording = Recording()
        self._layers_seen = 0
        self._on_device = any(
            op.name.startswith("csb.") for op in executed_operations(executable.func)
        )

    @property
    def takes_any_batch(self) -> bool:
        """Whether several images can be run at once. Raises: DiagnosticError"""
        return self._machine.takes_any_batch(self.executable.func)

    def run_all(self, inputs: Mapping[str, Array]) -> Recording:
        """All of ``inputs``, batch by batch where the program does not take them at once.

        Raises: DiagnosticError
        """
        if self.takes_any_batch or not inputs:
            return self.run(inputs)
        func = self.executable.func
        return Recording.joined([self.run(p) for p in split(func, inputs, batch_of(func))])

    def run(self, inputs: Mapping[str, Array]) -> Recording:
        """One run; ``inputs`` are as the machine takes them. Raises: DiagnosticError"""
        func = self.executable.func
        self._recording = Recording()
        self._layers_seen = 0
        for argument in func.body.arguments:
            self._record_argument(argument, inputs)
        self._recording.outputs.update(self._machine.run(func, inputs))
        recording, self._recording = self._recording, Recording()
        return recording

    def _record_argument(self, argument: BlockArgument, inputs: Mapping[str, Array]) -> None:
        name = self.executable.func.argument_name(argument)
        array = inputs.get(name)
        if array is None:
            return  # the machine says so
        array = settled(array, argument.type, self.executable.mode)
        output = self._output(array, element_of(argument.type), "argument")
        if output is not None and (self.wanted is None or name in self.wanted):
            self._recording.add(name, output)

    def _observe(self, op: Operation, results: Sequence[Any]) -> None:
        if self._on_device:
            self._observe_device()
        name = output_name(op, self.executable.func)
        if len(op.results) != 1:
            return
        value = op.results[0]
        if name is not None and (self.wanted is None or name in self.wanted):
            output = self._output(results[0], element_of(value.type), op.name)
            if output is not None and self.every:
                self._recording.add_every(name, output)
            elif output is not None:
                self._recording.add(name, output)
        if value is self.watched:
            output = self._output(results[0], element_of(value.type), op.name)
            if output is not None:
                self._recording.watched.append(output)

    def _output(self, array: Array, element: object, operation: str) -> LayerOutput | None:
        """None for what are no numbers of the network, such as indices."""
        if isinstance(element, QuantizedType):
            stored = self.executable.mode is Mode.INTEGER
            return LayerOutput(array, element if stored else None, stored, operation)
        if isinstance(element, FloatType | GridType):
            return LayerOutput(array, None, stored=False, operation=operation)
        return None

    # -------------------------------------------------------------- on the device

    def _observe_device(self) -> None:
        """Read what the layers that just ran wrote, before others write there."""
        from nvdla_ir.interp.csb.run import executed_layers

        layers = executed_layers(self._machine)
        for layer in layers[self._layers_seen :]:
            if layer.names and (self.wanted is None or layer.names[-1] in self.wanted):
                self._record_memory(layer.names[-1], layer.record)
        self._layers_seen = len(layers)

    def _record_memory(self, name: str, record: LayerRecord) -> None:
        from nvdla_ir.hw.formats.feature import from_atoms
        from nvdla_ir.interp.csb.run import device_of
        from nvdla_ir.interp.device.areas import MemoryCube

        device = device_of(self._machine)
        if device is None or len(record.writes) != 1:
            return
        area = record.writes[0]
        if not isinstance(area, MemoryCube) or area.element_bytes != 1 or area.batches != 1:
            return
        memory = device.primary if area.memory == device.primary.name else device.secondary
        atoms = memory.read_strided(
            area.base,
            (area.surfaces, area.height, area.width, area.atom_bytes),
            (area.surface_stride, area.line_stride, area.atom_bytes, 1),
        )
        cube: Array = from_atoms(atoms, area.channels)
        array = cube.view(np.int8).reshape(1, *cube.shape).copy()
        self._recording.add(name, LayerOutput(array, None, stored=True, operation=IN_MEMORY))


def output_name(op: Operation, func: FuncOp) -> str | None:
    """The name of the layer, or of the input of ``func``, whose tensor ``op`` computes."""
    if isinstance(op, LayerOp):
        return op.layers[-1] if op.layers else None
    if isinstance(op, QuantizeCastOp) and isinstance(op.input, BlockArgument):
        return func.argument_name(op.input)
    return None
