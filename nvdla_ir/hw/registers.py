"""Register maps as data, and the checked codec between named fields and 32-bit words.

Names are those of NVDLA's manual (``CDMA``, ``D_CVT_SCALE``, ``CVT_SCALE``). Two generations exist:
``master`` (all configurations but nv_full) and ``v1`` (nv_full); their offsets agree, while bases,
a few widths and resets differ (convolution.md section 7).

Byte values: address, stride and surface-size fields hold byte counts. In ``v1`` these fields start
at bit 5 or 7, but the word that is written is the byte count in both generations, with the low bits
zero. Such a field is ``in_bytes`` here: callers read and write byte counts, and a count that is not
a multiple of ``alignment`` is refused.

Loaded data are shared and read-only; blocks are built on first use.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import attrs
from attrs import define, frozen

from nvdla_ir.hw.suggestion import nearest

WORD_MASK = 0xFFFF_FFFF
BLOCK_WINDOW = 0x1000
"""Bytes of CSB address space that one block occupies."""

GENERATIONS = ("master", "v1")

_DATA = Path(__file__).with_name("register_maps")


def _reset_word(fields: Mapping[str, Field]) -> int:
    return sum(field.encode(field.reset) for field in fields.values())


# The largest number of a field whose bits are kept: cubes have extents up to 8192.
_LARGEST_KNOWN = (1 << 13) - 1


class RegisterError(ValueError):
    """Field values that a block cannot hold; the message names every fault."""


# eq=False: a generation's fields, registers and blocks are shared, so identity is equality
# slots=False: cached_property needs an instance dictionary
@frozen(eq=False, slots=False)
class Field:
    """Bits ``msb:lsb`` of one register.

    ``access`` is "r", "w" or "rw". ``enum`` maps value names to values. ``reset`` is the field's
    value after reset, in the field's own terms (bytes if ``in_bytes``, negative if ``signed``).
    """

    name: str
    register: str
    msb: int
    lsb: int
    access: str
    reset: int
    signed: bool
    in_bytes: bool
    enum: Mapping[str, int]

    @cached_property
    def width(self) -> int:
        """Number of bits."""
        return self.msb - self.lsb + 1

    @cached_property
    def mask(self) -> int:
        """The field's bits within the register word."""
        return ((1 << self.width) - 1) << self.lsb

    @cached_property
    def alignment(self) -> int:
        """What every value must be a multiple of: 1, or 32 / 128 for byte fields of v1."""
        return 1 << self.lsb if self.in_bytes else 1

    @cached_property
    def minimum(self) -> int:
        """The least value that the field holds."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @cached_property
    def maximum(self) -> int:
        """The greatest value that the field holds (bytes if ``in_bytes``)."""
        if self.in_bytes:
            return self.mask
        return (1 << (self.width - (1 if self.signed else 0))) - 1

    @cached_property
    def writable(self) -> bool:
        """Whether a CSB write changes the field."""
        return "w" in self.access

    def encode(self, value: int | str) -> int:
        """Return ``value`` (number or enumeration name) as bits in place in the register word.

        Raises RegisterError for an unknown name, a value out of range, or a misaligned byte count.
        """
        number = self._number(value) if isinstance(value, str) else int(value)
        if not self.minimum <= number <= self.maximum:
            raise RegisterError(
                f"{self.register}.{self.name} = {number}: out of range, "
                f"must be {self.minimum} to {self.maximum}"
            )
        if number % self.alignment:
            raise RegisterError(
                f"{self.register}.{self.name} = {number:#x}: must be a multiple of "
                f"{self.alignment} bytes"
            )
        return number if self.in_bytes else (number << self.lsb) & self.mask

    def decode(self, word: int) -> int:
        """Return the field's value in a register word: bytes if ``in_bytes``, else a number."""
        if self.in_bytes:
            return word & self.mask
        value = (word & self.mask) >> self.lsb
        return value - (1 << self.width) if self.signed and value >> (self.width - 1) else value

    def value_name(self, value: int) -> str | None:
        """Return the enumeration's name of ``value``, or None where it has none."""
        return next((name for name, number in self.enum.items() if number == value), None)

    def _number(self, value: str) -> int:
        if value in self.enum:
            return self.enum[value]
        allowed = f"allowed: {', '.join(self.enum)}" if self.enum else "it takes a number"
        raise RegisterError(
            f"{self.register}.{self.name} = {value!r}: unknown value name, {allowed}"
            f"{nearest(value, self.enum)}"
        )


@frozen(eq=False)
class Register:
    """One 32-bit register at byte ``offset`` in its block.

    ``grouped`` registers exist twice, once in each ping-pong group (section 6.1 of convolution.md).
    ``reset`` is the word after reset.
    """

    name: str
    offset: int
    fields: Mapping[str, Field]
    reset: int = attrs.field(
        init=False, default=attrs.Factory(lambda self: _reset_word(self.fields), takes_self=True)
    )

    @property
    def grouped(self) -> bool:
        """Whether the register is duplicated: exactly the ``D_*`` registers are."""
        return self.name.startswith("D_")

    @property
    def writable_mask(self) -> int:
        """The bits that a CSB write changes."""
        return sum(field.mask for field in self.fields.values() if field.writable)

    def decode(self, word: int) -> dict[str, int]:
        """Split a word into its fields' values (see Field.decode)."""
        return {name: field.decode(word) for name, field in self.fields.items()}

    def decode_names(self, word: int) -> dict[str, int | str]:
        """Like decode, with the enumeration's name instead of the number where there is one."""
        named: dict[str, int | str] = {}
        for name, field in self.fields.items():
            value = field.decode(word)
            named[name] = field.value_name(value) or value
        return named


# slots=False: cached_property needs an instance dictionary
@define(slots=False, eq=False)
class Block:
    """One unit's registers; ``base`` is its byte address on the CSB."""

    name: str
    base: int
    registers: Mapping[str, Register]

    @cached_property
    def by_offset(self) -> Mapping[int, Register]:
        """Registers by byte offset."""
        return {register.offset: register for register in self.registers.values()}

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """Fields by qualified name ``REGISTER.FIELD``, and by bare name where that is unique.

        Bare names are unique in every unit that computes; BDMA and GEC repeat some.
        """
        found: dict[str, Field] = {}
        repeated: set[str] = set()
        for register in self.registers.values():
            for name, field in register.fields.items():
                found[f"{register.name}.{name}"] = field
                if name in found:
                    repeated.add(name)
                found[name] = field
        return {name: field for name, field in found.items() if name not in repeated}

    @cached_property
    def _known_bits(self) -> dict[tuple[str, int | str], tuple[int, int, int]]:
        """What ``_bits`` found."""
        return {}

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return {name: position for position, name in enumerate(self.registers)}

    @cached_property
    def _resets(self) -> Sequence[tuple[str, int]]:
        return [(register.name, register.reset) for register in self.registers.values()]

    @cached_property
    def field_order(self) -> Mapping[str, int]:
        """The position of each of ``fields``, by name."""
        return {name: position for position, name in enumerate(self.fields)}

    def register(self, name: str) -> Register:
        """Return the register of this name; raises RegisterError with the nearest name."""
        if name in self.registers:
            return self.registers[name]
        raise RegisterError(f"{self.name} has no register {name!r}{nearest(name, self.registers)}")

    def field(self, name: str) -> Field:
        """Return the field ``FIELD`` or ``REGISTER.FIELD``; raises RegisterError if unknown."""
        if name in self.fields:
            return self.fields[name]
        repeats = [r.name for r in self.registers.values() if name in r.fields]
        if repeats:
            choices = ", ".join(f"{register}.{name}" for register in repeats)
            raise RegisterError(f"{self.name} has several fields {name!r}: write one of {choices}")
        raise RegisterError(f"{self.name} has no field {name!r}{nearest(name, self.fields)}")

    def resets(self, grouped: bool | None = None) -> dict[str, int]:
        """Return the reset word of each register (only grouped or ungrouped ones if given)."""
        return {
            register.name: register.reset
            for register in self.registers.values()
            if grouped is None or register.grouped == grouped
        }

    def encode(
        self,
        values: Mapping[str, int | str],
        base: Mapping[str, int] | None = None,
        alignment: int = 1,
    ) -> dict[str, int]:
        """Pack named field values into the words of the registers that they belong to.

        ``values`` maps field names to numbers (bytes for ``in_bytes`` fields, negative numbers for
        signed fields) or enumeration names. Fields not named keep their bits in ``base`` (register
        name to word), or their reset value. ``alignment`` is the memory atom in bytes: every
        ``in_bytes`` value must be a multiple of it (convolution.md section 2.1).

        Returns register name to 32-bit word, in address order, for the registers touched only.
        Raises RegisterError that lists all unknown, read-only, misaligned and out-of-range fields.
        """
        faults: list[str] = []
        words: dict[int, int] = {}
        known, resets = self._known_bits, self._resets
        # Each field of a program passes here at least twice, most with a value that came before.
        for item in values.items():
            found = known.get(item)
            if found is None:
                try:
                    found = self._bits(*item, alignment)
                except RegisterError as error:
                    faults.append(str(error))
                    continue
            position, others, bits = found
            word = words.get(position)
            if word is None:
                register, word = resets[position]
                if base is not None:
                    word = base.get(register, word)
            words[position] = word & others | bits
        if faults:
            raise RegisterError(f"cannot program {self.name}: " + "; ".join(faults))
        return {resets[position][0]: words[position] for position in sorted(words)}

    def _bits(self, name: str, value: int | str, alignment: int) -> tuple[int, int, int]:
        """The position of the field's register, the bits of the other fields there, and its own in
        place. Raises: RegisterError"""
        field = self.field(name)
        bits = field.encode(value)
        if not field.writable:
            raise RegisterError(f"{field.register}.{field.name} is read-only")
        if field.in_bytes and bits % alignment:
            raise RegisterError(
                f"{field.register}.{field.name} = {bits:#x}: must be a multiple of the "
                f"memory atom, {alignment} bytes"
            )
        found = self._positions[field.register], WORD_MASK & ~field.mask, bits
        # Modes, names and sizes repeat from layer to layer; addresses are too many to keep.
        if isinstance(value, str) or (0 <= value <= _LARGEST_KNOWN and not field.in_bytes):
            self._known_bits[name, value] = found
        return found


class RegisterMap(Mapping[str, Block]):
    """All blocks of one generation by name, in address order; see register_map."""

    def __init__(self, generation: str, bases: Mapping[str, int], data: _Source) -> None:
        self.generation = generation
        self._bases = dict(sorted(bases.items(), key=lambda item: item[1]))
        self._names_by_base = {base: name for name, base in self._bases.items()}
        self._data = data
        self._built: dict[str, Block] = {}

    def __getitem__(self, name: str) -> Block:
        """Return the block; raises KeyError if this generation has none of that name."""
        block = self._built.get(name)
        if block is None:
            block = self._built[name] = self._data.build(name, self._bases[name])
        return block

    def __iter__(self) -> Iterator[str]:
        return iter(self._bases)

    def __len__(self) -> int:
        return len(self._bases)

    def block(self, name: str) -> Block:
        """Return the block; raises RegisterError that names the nearest block if unknown."""
        if name in self._bases:
            return self[name]
        raise RegisterError(
            f"the {self.generation} register map has no block {name!r}{nearest(name, self._bases)}"
        )

    def find(self, name: str) -> tuple[Block, Register]:
        """Look up ``BLOCK.REGISTER``; raises RegisterError if either is unknown."""
        block_name, _, register_name = name.partition(".")
        block = self.block(block_name)
        return block, block.register(register_name)

    def at(self, address: int) -> tuple[Block, Register] | None:
        """Return the block and register at a CSB byte address, or None where nothing is."""
        block_name = self._names_by_base.get(address // BLOCK_WINDOW * BLOCK_WINDOW)
        if block_name is None:
            return None
        block = self[block_name]
        register = block.by_offset.get(address - block.base)
        return None if register is None else (block, register)


class _Source:
    """The JSON data of one generation. Fields are ``[msb, lsb, flags, reset, enum]`` there, with
    trailing defaults left out; flags are the access and ``signed`` or ``bytes``."""

    def __init__(
        self, blocks: Mapping[str, Any], enums: Mapping[str, Any], changes: Mapping[str, Any]
    ) -> None:
        self._blocks = blocks
        self._enums = enums
        self._changes = changes

    def build(self, name: str, base: int) -> Block:
        changes: Mapping[str, Any] = self._changes.get(name, {}).get("changes", {})
        registers = {
            register: Register(
                register,
                offset,
                {
                    field: self._field(register, field, data, changes.get(register, {}).get(field))
                    for field, data in fields.items()
                },
            )
            for register, (offset, fields) in self._blocks[name]["registers"].items()
        }
        return Block(name, base, registers)

    def _field(self, register: str, name: str, data: list[Any], change: Any) -> Field:
        msb, lsb = data[:2]
        access, _, kind = (data[2] if len(data) > 2 else "rw").partition(" ")
        reset = data[3] if len(data) > 3 else 0
        enum: Mapping[str, int] = self._enums[data[4]] if len(data) > 4 else {}
        if change is not None:
            msb, lsb = change.get("bits", (msb, lsb))
            reset = change.get("reset", reset)
        return Field(
            name, register, msb, lsb, access, reset, kind == "signed", kind == "bytes", enum
        )


def _read(generation: str) -> dict[str, Any]:
    return json.loads((_DATA / f"{generation}.json").read_text(encoding="utf-8"))


@cache
def register_map(generation: str) -> RegisterMap:
    """Return the register map of "master" or "v1"; raises RegisterError for another name."""
    if generation not in GENERATIONS:
        raise RegisterError(
            f"unknown register map {generation!r}: known are {', '.join(GENERATIONS)}"
        )
    data = _read(generation)
    blocks: Mapping[str, Any] = data["blocks"]
    bases = {name: block["base"] for name, block in blocks.items()}
    # v1 states only what differs from the map that it extends
    full = _read(data["extends"]) if "extends" in data else data
    return RegisterMap(generation, bases, _Source(full["blocks"], full["enums"], blocks))
