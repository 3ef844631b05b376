"""A register trace under construction: registers, memory, what must be in it in the end.

Memory is a dictionary of bytes, and every layout is a loop over elements, written from the
specifications (sections are named); nothing here comes from the package's own memory formats.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from nvdla_ir.hw.configuration import HardwareConfiguration, load_configuration
from nvdla_ir.hw.registers import RegisterMap, register_map

PRIMARY, SECONDARY = "pri_mem", "sec_mem"
_BASES = {PRIMARY: 0x8000_0000, SECONDARY: 0x4000_0000}
_HIGH = 0x12_0000_0000
_PATTERNS = {"ALL_ZERO": 0x00, "ONES": 0xFF, "AFIVE": 0xA5}
_INTERRUPTS = {
    "SDP": 0, "CDP": 2, "PDP": 4, "BDMA": 6, "RUBIK": 8, "CDMA_DAT": 16, "CDMA_WT": 18, "CACC": 20,
}  # fmt: skip
_SOURCES = {
    "CDMA": ("CDMA_WT", "CDMA_DAT"), "CACC": ("CACC",), "SDP": ("SDP",), "PDP": ("PDP",),
    "CDP": ("CDP",), "BDMA": ("BDMA",), "RBK": ("RUBIK",),
}  # fmt: skip
"""The interrupts that a unit raises."""
_LOUD = ("CDMA_WT", "CDMA_DAT", "CACC")
_LONGEST_GAP = 8
_ALL_INTERRUPTS = 0x3F03FF


def ceil_div(value: int, divisor: int) -> int:
    return -(-value // divisor)


def align(value: int, unit: int) -> int:
    return ceil_div(value, unit) * unit


@frozen
class Cube:
    """A feature cube in memory, convolution.md section 2.1; planes are cubes with an atom of 1."""

    memory: str
    base: int
    channels: int
    height: int
    width: int
    line: int
    surface: int
    atom: int
    batches: int = 1
    batch_stride: int = 0

    @property
    def ram_type(self) -> int:
        return int(self.memory == PRIMARY)

    @property
    def surfaces(self) -> int:
        return ceil_div(self.channels, self.atom)

    @property
    def lanes(self) -> int:
        return self.surfaces * self.atom

    @property
    def size(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width

    @property
    def end(self) -> int:
        return self.address(self.lanes - 1, self.height - 1, self.width - 1, self.batches - 1) + 1

    def address(self, channel: int, row: int, column: int, batch: int = 0) -> int:
        surface, lane = divmod(channel, self.atom)
        return (
            self.base
            + batch * self.batch_stride
            + surface * self.surface
            + row * self.line
            + column * self.atom
            + lane
        )

    def strides(self, line: str, surface: str) -> dict[str, int]:
        """Fields for the strides that any address needs; others are left alone."""
        fields = {line: self.line} if self.height > 1 else {}
        single = self.height == self.width == 1  # the functional model insists on it
        return fields | ({surface: self.surface} if single or self.surfaces > 1 else {})

    @property
    def line_packed(self) -> int:
        """Whether the lines follow each other, as far as there is a stride that tells."""
        return int(self.height > 1 and self.line == self.width * self.atom)

    def elements(self) -> Iterator[tuple[int, int, int]]:
        """Every lane of the atoms, those beyond the last channel too."""
        return product(range(self.lanes), range(self.height), range(self.width))


@define
class Trace:
    """One case."""

    target: str
    name: str
    loud: bool = False
    """Wait for the interrupts of CDMA and CACC too."""
    hw: HardwareConfiguration = field(init=False)
    map: RegisterMap = field(init=False)
    rng: np.random.Generator = field(init=False)
    ignored: dict[str, dict[str, int]] = field(init=False, factory=dict)
    """By unit: values of fields that the layers do not use."""
    informative: list[NDArray[np.int8]] = field(init=False, factory=list)
    """What layers wrote, without the lanes that fill the last atom."""
    commands: list[str] = field(init=False, factory=list)
    content: dict[str, dict[int, int]] = field(init=False)
    """Bytes as they are now."""
    loaded: dict[str, dict[int, int]] = field(init=False)
    """Bytes that the trace loads."""
    fills: list[str] = field(init=False, factory=list)
    regions: dict[tuple[str, int], int] = field(init=False, factory=dict)
    words: dict[tuple[str, int, str], int] = field(init=False, factory=dict)
    pointers: dict[str, int] = field(init=False, factory=dict)
    consumers: dict[str, int] = field(init=False, factory=dict)
    mask: int = field(init=False, default=_ALL_INTERRUPTS)
    events: int = field(init=False, default=0)
    ended: str = field(init=False, default="")
    """The event at which the latest layer has ended."""
    waited: dict[str, str] = field(init=False, factory=dict)
    """By unit: the latest event that it waits for."""
    free: dict[str, int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.hw = load_configuration(self.target)
        self.map = register_map(self.hw.register_map)
        self.rng = np.random.default_rng(zlib.crc32(f"{self.target}/{self.name}".encode()))
        self.content = {PRIMARY: {}, SECONDARY: {}}
        self.loaded = {PRIMARY: {}, SECONDARY: {}}
        self.free = dict(_BASES)

    def go_high(self) -> None:
        """Use addresses beyond 32 bits where the configuration has them."""
        if self.hw.address_bits == 64:
            self.free = {memory: base + _HIGH for memory, base in self.free.items()}

    # ---------------------------------------------------------- data

    def integers(self, low: int, high: int, *shape: int) -> NDArray[np.int64]:
        """Random integers from ``low`` to ``high``, both included."""
        return self.rng.integers(low, high + 1, shape)

    def bytes(self, *shape: int, sign: int = 0) -> NDArray[np.int8]:
        """Full-range bytes, or only negative ones (-1) or such from 0 on (1)."""
        low, high = ((-128, 127), (0, 127), (-128, -1))[sign]
        return self.integers(low, high, *shape).astype(np.int8)

    def pick(self, *choices: int) -> int:
        return int(self.rng.choice(choices))

    # ---------------------------------------------------------- memory

    @property
    def other_memory(self) -> str:
        """Secondary memory where there is one."""
        return SECONDARY if self.hw.has_secondary_memory else PRIMARY

    def allocate(self, size: int, memory: str = PRIMARY, alignment: int = 0) -> int:
        """The address of ``size`` free bytes: a multiple of the atom, at an odd one if it can."""
        alignment = alignment or self.hw.memory_atom
        address = align(self.free[memory] + alignment, alignment)
        self.free[memory] = address + size
        return address

    def load(self, memory: str, address: int, data: Iterable[int]) -> None:
        for offset, byte in enumerate(data):
            self.loaded[memory][address + offset] = int(byte) & 0xFF
            self.content[memory][address + offset] = int(byte) & 0xFF

    def fill(self, memory: str, address: int, size: int) -> None:
        """Mark a region that will be written: its CRC covers the gaps too."""
        pattern = str(self.rng.choice(["ALL_ZERO", "ONES", "AFIVE", "ADDR"]))
        self.fills.append(f"mem_init({memory}, {address:#x}, {size:#x}, {pattern});")
        for place in range(address, address + size):
            self.content[memory][place] = _PATTERNS.get(pattern, place & 0xFF)
        self.regions[memory, address] = size

    def cube(
        self,
        channels: int,
        height: int,
        width: int,
        memory: str = PRIMARY,
        *,
        gaps: bool = True,
        atom: int = 0,
        batches: int = 1,
        alignment: int = 0,
    ) -> Cube:
        """Room for a cube; with gaps between lines and surfaces unless told otherwise."""
        unit = alignment or self.hw.memory_atom
        atom = atom or self.hw.memory_atom
        gap = self.pick(0, 1, 2) if gaps and (height, width) != (1, 1) else 0
        line = align(width * atom, unit) + gap * unit
        surface = height * line + (self.pick(0, 1) if gap else 0) * unit
        if (height, width) == (1, 1):
            line = surface = align(atom, unit)
        batch_stride = align(ceil_div(channels, atom) * surface, unit) + gap * unit
        base = self.allocate(batches * batch_stride, memory, unit)
        return Cube(
            memory, base, channels, height, width, line, surface, atom, batches, batch_stride
        )

    def source(
        self,
        values: NDArray[np.int8],
        memory: str = PRIMARY,
        *,
        gaps: bool = True,
        filled: bool = True,
    ) -> Cube:
        """A cube with ``values`` [C, H, W]; the lanes beyond C hold random bytes, or zeros."""
        cube = self.cube(*values.shape, memory, gaps=gaps)
        lanes = self.bytes(cube.lanes, *values.shape[1:])
        lanes[len(values) :] *= int(filled)
        lanes[: len(values)] = values
        for element in cube.elements():
            self.load(memory, cube.address(*element), [lanes[element]])
        return cube

    def destination(self, *size: int, memory: str = PRIMARY, **options: int) -> Cube:
        """A cube to be written, in a region that is filled before and checked afterwards."""
        cube = self.cube(*size, memory, **options)
        unit = options.get("alignment", 0) or self.hw.memory_atom
        self.fill(memory, cube.base, align(cube.end - cube.base, max(unit, 4)))
        return cube

    def read(self, cube: Cube, batch: int = 0) -> NDArray[np.int8]:
        """All lanes of a cube as they are in memory now, int8 [lanes, H, W]."""
        found = np.zeros((cube.lanes, cube.height, cube.width), np.int64)
        for element in cube.elements():
            found[element] = self.content[cube.memory].get(cube.address(*element, batch), 0)
        return found.astype(np.uint8).view(np.int8)

    def write(self, cube: Cube, lanes: NDArray[np.int8], batch: int = 0) -> None:
        """What a layer writes: all lanes of a cube."""
        assert lanes.shape == (cube.lanes, cube.height, cube.width)
        self.informative.append(lanes[: cube.channels])
        for element in cube.elements():
            address = cube.address(*element, batch)
            self.content[cube.memory][address] = int(lanes[element]) & 0xFF

    # ---------------------------------------------------------- registers

    def group(self, unit: str) -> int:
        """The register group of the unit's next layer."""
        return self.consumers.get(unit, 0)

    def configure(self, unit: str, fields: Mapping[str, int]) -> None:
        """Write the registers of the unit's next layer; what is not named gets its reset value."""
        block, group = self.map[unit], self.group(unit)
        fields = {**self.ignored.get(unit, {}), **fields}
        if self.pointers.get(unit, 0) != group:
            self.pointers[unit] = group
            self.register(unit, "S_POINTER", group)
        wanted = {
            name: register.reset
            for name, register in block.registers.items()
            if register.grouped and register.writable_mask and name != "D_OP_ENABLE"
        }
        for name, word in (wanted | block.encode(fields)).items():
            key = unit, group, name
            if self.words.get(key, block.registers[name].reset) != word:
                self.words[key] = word
                self.register(unit, name, word)

    def register(self, unit: str, name: str, word: int) -> None:
        if self.waited.get(unit, "") != self.ended:
            # The unit's commands go on by themselves: nothing else keeps them back.
            self.waited[unit] = self.ended
            self.commands.append(f"sync_wait(NVDLA_{unit}, {self.ended});")
        self.commands.append(f"reg_write(NVDLA_{unit}.{name}_0, {word:#x});")

    def single(self, unit: str, **fields: int) -> None:
        """Registers that exist once."""
        for name, word in self.map[unit].encode(fields).items():
            self.register(unit, name, word)

    def address_fields(self, low: str, high: str, address: int) -> dict[str, int]:
        return {low: address & 0xFFFF_FFFF, high: address >> 32}

    # ---------------------------------------------------------- running

    def enable(self, *units: str) -> None:
        """Start the next layer of the units; their groups alternate."""
        for unit in units:
            self.register(unit, "D_OP_ENABLE", 1)

    def finish(
        self,
        units: Iterable[str],
        written: Iterable[Cube] = (),
        reads: Mapping[str, int] | None = None,
    ) -> None:
        """Wait for the interrupts of a layer, check its regions and status registers.

        ``units`` are those that took part, ``reads`` maps "UNIT.REGISTER" to what it must read.
        """
        units = tuple(units)
        event = ""
        for unit in units:
            for source in _SOURCES.get(unit, ()):
                if source in _LOUD and not self.loud:
                    continue
                group = self.group(unit)
                self.mask &= ~(1 << (_INTERRUPTS[source] + group))
                event = f"e{self.events}"
                self.events += 1
                self.commands.append(f"intr_notify({source}_{group}, {event});")
        for name, word in (reads or {}).items():
            unit, _, register = name.partition(".")
            self.commands.append(f"sync_wait(NVDLA_{unit}, {event});")
            self.commands.append(f"reg_read_check(NVDLA_{unit}.{register}_0, {word:#x});")
        for cube in written:
            self.check(event, cube.memory, cube.base)
        self.ended = event
        for unit in units:
            self.consumers[unit] = self.group(unit) ^ 1

    def check(self, event: str, memory: str, base: int) -> None:
        """The CRC of a region that was filled, stride gaps included."""
        size = self.regions[memory, base]
        data = bytes(self.content[memory].get(base + offset, 0) for offset in range(size))
        self.commands.append(
            f"check_crc({event}, {memory}, {base:#x}, {size:#x}, {zlib.crc32(data):#010x});"
        )

    # ---------------------------------------------------------- files

    def files(self) -> dict[str, str]:
        """The trace's files by name."""
        head: list[str] = []
        found: dict[str, str] = {}
        for memory, loaded in self.loaded.items():
            if loaded:
                file = f"{self.name}_{memory[:3]}.dat"
                base = min(loaded)
                head.append(f'mem_load({memory}, {base:#x}, "{file}");')
                found[file] = _packets(loaded, base)
        mask = f"reg_write(NVDLA_GLB.S_INTR_MASK_0, {self.mask:#x});"
        lines = [*self.fills, *head, mask, *self.commands]
        found[f"{self.name}.cfg"] = "\n".join(lines) + "\n"
        return found

    def save(self, folder: Path) -> None:
        (folder / self.target / self.name).mkdir(parents=True, exist_ok=True)
        for name, text in self.files().items():
            (folder / self.target / self.name / name).write_text(text)


def _packets(loaded: Mapping[int, int], base: int) -> str:
    """Contiguous bytes as packets of a .dat file, convolution.md section 1.3.

    Long runs of zeros are left out: memory that nobody wrote reads as 0.
    """
    runs: list[tuple[int, list[int]]] = []
    for address, byte in sorted(loaded.items()):
        if byte == 0:
            continue
        gap = address - (runs[-1][0] + len(runs[-1][1])) if runs else _LONGEST_GAP
        if gap < _LONGEST_GAP and all(address - back in loaded for back in range(1, gap + 1)):
            runs[-1][1].extend([0] * gap + [byte])
        else:
            runs.append((address, [byte]))
    lines = [
        f"{{offset:{start - base:#x}, size:{len(data)}, "
        f"payload:{' '.join(f'{byte:#x}' for byte in data)}}} ,"
        for start, data in runs
    ]
    return "\n".join(["{", *lines, "}"]) + "\n"
