"""The pass outline-device-programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

from attrs import define, field, frozen

from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.dialects.func import CallOp, FuncOp, ReturnOp
from nvdla_ir.dialects.nvdla import (
    PROGRAM,
    PROGRAM_ATTRIBUTE,
    Buffer,
    ConvOp,
    MemoryOp,
    UploadOp,
    WaitOp,
    bind_buffers,
    is_program,
)
from nvdla_ir.ir.attributes import StringAttr
from nvdla_ir.ir.builder import Builder, InsertionPoint
from nvdla_ir.ir.operation import Block, Operation, Region, Value
from nvdla_ir.ir.traits import Pure, has_trait
from nvdla_ir.ir.types import FunctionType
from nvdla_ir.passes.base import Pass, Session
from nvdla_ir.passes.conditions import has_hardware_layers
from nvdla_ir.passes.settings.constants import constant_of
from nvdla_ir.passes.settings.layers import hardware_layers
from nvdla_ir.passes.settings.memory import buffer_of


@frozen
class OutlineDevicePrograms(Pass):
    """Makes functions of what the hardware computes between operations of the host.

    Before::

        func.func @main(%x: tensor<1x8x4x4xi8>) -> tensor<1x8x4x4xi8> {
          %a = nvdla.upload %x -> tensor<1x8x4x4xi8>
          %s = nvdla.sdp %a -> tensor<1x8x4x4xi8>
          %d = nvdla.download %s -> tensor<1x8x4x4xi8>
          %h = nn.transpose %d permutation=[0, 1, 3, 2] -> tensor<1x8x4x4xi8>
          %b = nvdla.upload %h -> tensor<1x8x4x4xi8>
          %t = nvdla.sdp %b bn_operand=%s bn=#nvdla.x_stage<alu = "sum"> -> tensor<1x8x4x4xi8>
          …

    After::

        func.func @main(%x: tensor<1x8x4x4xi8>) -> tensor<1x8x4x4xi8> {
          %a = nvdla.upload %x -> tensor<1x8x4x4xi8>
          %s = func.call @main_program_0 %a -> tensor<1x8x4x4xi8>
          %d = nvdla.download %s -> tensor<1x8x4x4xi8>
          %h = nn.transpose %d permutation=[0, 1, 3, 2] -> tensor<1x8x4x4xi8>
          %b = nvdla.upload %h -> tensor<1x8x4x4xi8>
          %t = func.call @main_program_1 %b, %s -> tensor<1x8x4x4xi8>
          …
        }
        func.func private @main_program_0(%a: tensor<1x8x4x4xi8>) -> tensor<1x8x4x4xi8>
            attributes {nvdla.program} {
          %s = nvdla.sdp %a -> tensor<1x8x4x4xi8>
          func.return %s
        }
        …

    A layer runs in the first program in which all that it reads is there, so that there are as few
    programs as can be. What a program makes and a later one reads stays in memory. Constants stand
    in each program that reads them.
    """

    name = "outline-device-programs"
    subject = has_hardware_layers()

    def run(self, module: ModuleOp, session: Session) -> None:
        names = {
            name.value
            for op in module.body.operations
            if isinstance(name := op.attributes.get("sym_name"), StringAttr)
        }
        for function in list(module.body.operations):
            if not isinstance(function, FuncOp) or function.is_declaration:
                continue
            if not is_program(function):
                programs = _Outlining(function, names).run()
                session.count(self.name, "programs", len(programs))


def _is_on_device(operation: Operation) -> bool:
    """Whether a program does it, rather than the host."""
    return isinstance(operation, MemoryOp | ConvOp | WaitOp) and not isinstance(operation, UploadOp)


def _is_constant(operation: Operation) -> bool:
    """Whether the operation is a constant, or some kernels of one."""
    return isinstance(operation, MemoryOp) and constant_of(operation.results[0]) is not None


@define(eq=False)
class _Outlining:
    """The work on one function.

    In stage k the host works, then program k runs. ``_stages`` has the stage of each operation but
    constants, which stand in each program that reads them, and the terminator.
    """

    function: FuncOp
    names: set[str]
    _stages: dict[Operation, int] = field(factory=dict[Operation, int], init=False)
    _programs: list[FuncOp] = field(factory=list[FuncOp], init=False)

    def run(self) -> list[FuncOp]:
        """Returns the programs."""
        block = self.function.body
        operations = list(block.operations)
        if not any(map(_is_on_device, operations)):
            return []
        constants = [op for op in operations if _is_constant(op)]
        self._find_stages(operations)
        self._delay_uploads(operations)
        members = self._members(operations)
        by_host: dict[int, list[Operation]] = {}
        for op, stage in self._stages.items():
            if not _is_on_device(op):
                by_host.setdefault(stage, []).append(op)
        for stage in range(max(self._stages.values()) + 1):
            for op in by_host.get(stage, ()):
                block.append(op)
            if stage in members:
                self._outline(members[stage])
        block.append(operations[-1])
        for op in reversed(constants):
            if not op.results[0].is_used:
                op.erase()
        return self._programs

    # -------------------------------------------------------------- stages

    def _find_stages(self, operations: Sequence[Operation]) -> None:
        chains: dict[Operation, tuple[Operation, ...]] = {
            layer.last: layer.operations for layer in hardware_layers(self.function.body)
        }
        inside = {op for chain in chains.values() for op in chain[:-1]}
        effects = 0
        for op in operations[:-1]:
            if _is_constant(op) or op in inside:
                continue
            chain = chains.get(op, (op,))
            operands = [operand for each in chain for operand in each.operands]
            stage = max((self._first_stage(operand, op) for operand in operands), default=0)
            if not _is_on_device(op) and not has_trait(op, Pure):
                # what may have effects stays behind what had them before
                stage = effects = max(stage, effects)
            self._stages.update(dict.fromkeys(chain, stage))

    def _first_stage(self, value: Value, reader: Operation) -> int:
        """The first stage in which ``reader`` can read ``value``."""
        definer = value.defining_operation
        if definer is None or definer not in self._stages:
            return 0
        waits = _is_on_device(definer) and not _is_on_device(reader)
        return self._stages[definer] + waits

    def _delay_uploads(self, operations: Iterable[Operation]) -> None:
        """Uploads happen ahead of the first program that reads them, not before."""
        for op in operations:
            if isinstance(op, UploadOp) and op.output.is_used:
                self._stages[op] = min(self._stages[user] for user in op.output.users)

    def _members(self, operations: Sequence[Operation]) -> dict[int, list[Operation]]:
        """What each program consists of, in order."""
        stages: dict[Operation, set[int]] = {}
        for op in reversed(operations):
            if _is_constant(op):
                readers = [user for user in op.results[0].users if user in stages]
                stages[op] = {stage for reader in readers for stage in stages[reader]}
            elif _is_on_device(op):
                stages[op] = {self._stages[op]}
        members: dict[int, list[Operation]] = {}
        for op in operations:
            for stage in stages.get(op, ()):
                members.setdefault(stage, []).append(op)
        return members

    # -------------------------------------------------------------- functions

    def _outline(self, members: Sequence[Operation]) -> None:
        """Move ``members`` to a program of their own, and call it at the end of the host's block.
        Constants are copied."""
        own = set(members)
        outputs = [
            result
            for op in members
            if not _is_constant(op)
            for result in op.results
            if any(user not in own for user in result.users)
        ]
        block = Block()
        mapping: dict[Value, Value] = {}
        inputs: list[Value] = []
        buffers: list[Buffer] = []
        for op in members:
            if _is_constant(op):
                block.append(op.clone(mapping))
                continue
            for index, operand in enumerate(op.operands):
                if operand.defining_operation not in own and operand not in mapping:
                    buffers.append(buffer_of(operand, op))
                    inputs.append(operand)
                    place = self.function.location
                    if operand.defining_operation is not None:
                        place = operand.defining_operation.location
                    mapping[operand] = block.add_argument(operand.type, operand.name_hint, place)
                if operand in mapping:
                    op.set_operand(index, mapping[operand])
            block.append(op)
        program = self._function(block, outputs)
        call = CallOp.create(
            callee=program.sym_name,
            arguments=inputs,
            result_types=[output.type for output in outputs],
            location=program.location,
        )
        self.function.body.append(call)
        for output, result in zip(outputs, call.results, strict=True):
            result.name_hint = output.name_hint
            for user, index in output.uses:
                if user not in own:
                    user.set_operand(index, result)
        # only now, since the values returned are no uses outside
        block.append(ReturnOp(outputs))
        bind_buffers(program, buffers, [Buffer()] * len(outputs))
        # images among the outputs are rows of arguments
        bind_buffers(program, buffers, [buffer_of(value, program) for value in outputs])

    def _function(self, block: Block, outputs: Sequence[Value]) -> FuncOp:
        """A program with this body, behind those there are."""
        program = FuncOp.create(
            sym_name=self._new_name(),
            function_type=FunctionType(
                tuple(argument.type for argument in block.arguments),
                tuple(output.type for output in outputs),
            ),
            sym_visibility="private",
            regions=[Region([block])],
            discardable={PROGRAM_ATTRIBUTE: PROGRAM},
            location=self.function.location,
        )
        behind = self._programs[-1] if self._programs else self.function
        Builder(InsertionPoint.after(behind)).insert(program)
        self._programs.append(program)
        return program

    def _new_name(self) -> str:
        stem = f"{self.function.sym_name}_program"
        candidates = (f"{stem}_{number}" for number in count(len(self._programs)))
        name = next(candidate for candidate in candidates if candidate not in self.names)
        self.names.add(name)
        return name
