"""Which function executes which class of operation.

    @kernel(nn.ReluOp, any_batch=True)
    def relu(op: nn.ReluOp, values: Values) -> NDArray[Any]:
        return np.maximum(values[op.input], 0)

The kernels of the package's dialects are imported when a machine meets an operation of the
dialect; a user's kernels register themselves when their module is imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, TypeVar

from attrs import define, field, frozen

from nvdla_ir.dialects.quant import QuantizedType
from nvdla_ir.interp.quantization import dequantize, element_of
from nvdla_ir.ir.class_registry import ClassRegistry
from nvdla_ir.ir.operation import Operation, Value
from nvdla_ir.resources import ResourceStore

KERNEL_MODULES = {
    "csb": "nvdla_ir.interp.csb",
    "fixed": "nvdla_ir.interp.fixed",
    "nn": "nvdla_ir.interp.nn",
    "nvdla": "nvdla_ir.interp.hardware",
    "quant": "nvdla_ir.interp.quant_casts",
}
"""By name of dialect, the module whose import registers the kernels."""


_PACKAGE = f"{__name__.partition('.')[0]}."


class Numbers(Enum):
    """What a kernel computes on."""

    REAL = "real"
    """The numbers that tensors stand for; quantized operands arrive dequantized."""
    STORED = "stored"
    """The integers that quantized tensors are stored as."""


@define(eq=False)
class MachineBase:
    """What kernels may use of the machine that runs them.

    resources: the tensors that ``dense_resource<…>`` attributes refer to
    lenient:   whether the device goes on, with a remark, where a register program asks for what
               its hardware lacks or forbids
    state:     belongs to the kernels for the length of one run (a device, its memory); cleared
               when a run starts
    cache:     belongs to the kernels for the machine's life (what they make of constants)
    """

    resources: ResourceStore = field(factory=ResourceStore)
    lenient: bool = field(default=False, kw_only=True)
    state: dict[object, Any] = field(factory=dict[object, Any], init=False)
    cache: dict[object, Any] = field(factory=dict[object, Any], init=False)


class Values:
    """What a kernel may read: the value of each operand, and the machine that runs it."""

    def __init__(self, machine: MachineBase, environment: dict[Value, Any], as_reals: bool) -> None:
        self.machine = machine
        self._environment = environment
        self._as_reals = as_reals

    def __getitem__(self, value: Value) -> Any:
        """The operand ``value``: an array, unless its producer made something else. A kernel on
        reals gets quantized operands dequantized."""
        found = self._environment[value]
        element = element_of(value.type)
        if self._as_reals and isinstance(element, QuantizedType):
            return dequantize(found, element)
        return found

    def get(self, value: Value | None) -> Any:
        """The operand, or None for an optional operand that is absent."""
        return None if value is None else self[value]


OpT = TypeVar("OpT", bound=Operation)
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
KernelFunction = Callable[[OpT, Values], Any]
"""Takes the operation and the values it may read. Returns what its result is; where it has
several, a sequence with one an item; where it has none, anything."""


@frozen(eq=False)
class Kernel:
    """A registered function.

    any_batch: whether operands may have more images along their leading axis than their types
               say, images that do not influence each other; may depend on the operation
    constant:  whether the result depends on nothing but the operation, so that it is computed
               once and not for each image
    """

    function: KernelFunction[Any]
    numbers: Numbers
    any_batch: Callable[[Any], bool]
    constant: bool


@frozen(eq=False)
class Fusion:
    """A way to compute an operation on reals together with those that follow it.

    absorbs:  whether an operation may join the chain before it, whose result only it reads
    function: takes the chain and the values it may read, returns what the last operation's result
              is
    """

    absorbs: Callable[[Sequence[Operation], Operation], bool]
    function: Callable[[Sequence[Operation], Values], Any]


_fusions: dict[type[Operation], Fusion] = {}
KERNELS = {numbers: ClassRegistry[Kernel]() for numbers in Numbers}
"""What executes each class of operation, by what it computes on."""


def kernel(
    op_class: type[OpT],
    *,
    numbers: Numbers = Numbers.REAL,
    any_batch: bool | Callable[[OpT], bool] = False,
    constant: bool = False,
) -> Callable[[FunctionT], FunctionT]:
    """Make the decorated function the kernel of ``op_class`` on ``numbers``. The last one
    registered for a class holds; a subclass without a kernel has that of its base."""

    def register(function: FunctionT) -> FunctionT:
        predicate: Callable[[OpT], bool]
        predicate = any_batch if callable(any_batch) else (lambda op, answer=any_batch: answer)
        found = Kernel(function, numbers, predicate, constant)
        KERNELS[numbers].register(op_class, function, found)
        return function

    return register


def fusion(
    op_class: type[Operation], *, absorbs: Callable[[Sequence[Operation], Operation], bool]
) -> Callable[[FunctionT], FunctionT]:
    """Make the decorated function the way to compute chains that start with an ``op_class``."""

    def register(function: FunctionT) -> FunctionT:
        _fusions[op_class] = Fusion(absorbs, function)
        return function

    return register


def find_fusion(op: Operation) -> Fusion | None:
    """How ``op`` is computed together with others, or None; its kernels are imported already."""
    return _fusions.get(type(op))


def find_kernel(op: Operation, numbers: Numbers) -> Kernel | None:
    """The kernel for ``op`` on ``numbers``, its dialect's kernels and those of its bases' dialects
    imported; None without one."""
    registry, op_class = KERNELS[numbers], type(op)
    found = registry.find(op_class)
    if found is None:
        for base in op_class.__mro__:
            package, _, rest = base.__module__.partition("dialects.")
            module = KERNEL_MODULES.get(rest.partition(".")[0])
            if package == _PACKAGE and module is not None:
                importlib.import_module(module)
        found = registry.find(op_class)
    return found
