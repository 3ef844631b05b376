"""Register storage of one block: single registers, ping-pong groups, decoded fields.

Sources: convolution.md section 6.1, rubik-bdma-glb.md section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from nvdla_ir.hw.registers import Block, Register

GROUPS = (0, 1)
IDLE, RUNNING, PENDING = 0, 1, 2


@cache
def _decoders(block: Block) -> dict[str, tuple[str, int, int, int]]:
    """Per field name: register, mask in place, right shift, sign bit of the shifted value."""
    return {
        name: (
            field.register,
            field.mask,
            0 if field.in_bytes else field.lsb,
            1 << (field.width - 1) if field.signed else 0,
        )
        for name, field in block.fields.items()
    }


@cache
def _writable(block: Block) -> Mapping[str, int]:
    return {name: register.writable_mask for name, register in block.registers.items()}


@cache
def _resets(block: Block, grouped: bool) -> Mapping[str, int]:
    return block.resets(grouped)


class Fields:
    """Named fields of a register group together with the block's single registers.

    Values are those of `nvdla_ir.hw.registers.Field.decode`: numbers, or bytes for addresses and
    strides.
    """

    def __init__(self, block: Block, words: Mapping[str, int], single: Mapping[str, int]) -> None:
        self.block = block.name
        self._decoders = _decoders(block)
        self._words = words
        self._single = single

    def __getitem__(self, name: str) -> int:
        register, mask, shift, sign = self._decoders[name]
        word = self._words.get(register)
        value = ((self._single[register] if word is None else word) & mask) >> shift
        return (value ^ sign) - sign

    def address(self, low: str, high: str, bits: int) -> int:
        """The address in two registers, cut to the ``bits`` that the configuration decodes."""
        return ((self[high] << 32) | self[low]) & ((1 << bits) - 1)

    def place_of(self, name: str) -> str:
        """The field as ``REGISTER.FIELD``, for messages."""
        return name if "." in name else f"{self._decoders[name][0]}.{name}"


class RegisterFile:
    """A block whose registers only store what is written, each once."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.single = dict(_resets(block, False))
        self._masks = _writable(block)

    def write(self, register: Register, word: int) -> None:
        """A CSB write: bits that are read-only or do not exist keep their value."""
        name = register.name
        mask = self._masks[name]
        self.single[name] = (self.single[name] & ~mask) | (word & mask)

    def read(self, register: Register) -> int:
        """A CSB read of the whole register."""
        return self.single[register.name]


class UnitRegisters(RegisterFile):
    """A block with two register groups, of which PRODUCER is seen by the CSB.

    A group is armed by writing 1 to D_OP_ENABLE; until its layer is done, it takes no writes (the
    device drops them). CONSUMER is the group of the current or next layer; it toggles after each.
    """

    def __init__(self, block: Block) -> None:
        super().__init__(block)
        self.groups = tuple(dict(_resets(block, True)) for _ in GROUPS)
        self.producer = 0
        self.consumer = 0
        self.armed = [False, False]
        self._fields = tuple(Fields(block, words, self.single) for words in self.groups)

    @property
    def ready(self) -> bool:
        """Whether the next layer's group is armed."""
        return self.armed[self.consumer]

    @property
    def fields(self) -> Fields:
        """Fields of the group that runs, or will run next."""
        return self._fields[self.consumer]

    def write(self, register: Register, word: int) -> None:
        if not register.grouped:
            if register.name == "S_POINTER":
                self.producer = word & 1
            else:
                super().write(register, word)
        else:
            words, name = self.groups[self.producer], register.name
            mask = self._masks[name]
            words[name] = (words[name] & ~mask) | (word & mask)
            if name == "D_OP_ENABLE" and word & 1:
                self.armed[self.producer] = True

    def read(self, register: Register) -> int:
        if register.grouped:
            return self.groups[self.producer][register.name]
        if register.name == "S_POINTER":
            return self.producer | self.consumer << 16
        if register.name == "S_STATUS":
            return self.status(0) | self.status(1) << 16
        return super().read(register)

    def status(self, group: int) -> int:
        """IDLE, RUNNING or PENDING (armed, but the other group comes first)."""
        if not self.armed[group]:
            return IDLE
        return RUNNING if group == self.consumer else PENDING

    def set_counter(self, register: str, value: int) -> None:
        """Store the value of a status register of the group that runs."""
        self.groups[self.consumer][register] = value & 0xFFFF_FFFF

    def finish(self) -> None:
        """End the layer: disarm its group and go on to the other one."""
        self.armed[self.consumer] = False
        self.groups[self.consumer]["D_OP_ENABLE"] = 0
        self.consumer ^= 1
