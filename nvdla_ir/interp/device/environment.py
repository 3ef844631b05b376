"""What every unit of the device shares: configuration, memories, rules."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, frozen

from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.interp.device.areas import MemoryArea, MemoryCube
from nvdla_ir.interp.device.errors import DeviceError, Rules
from nvdla_ir.interp.device.memory import Bytes, Memory
from nvdla_ir.interp.device.overlaps import first_overlap, overlaps_itself, same_place
from nvdla_ir.interp.device.registers import Fields

PRIMARY = 1
"""The RAM_TYPE of primary memory (MC); 0 is secondary memory (CV)."""


@frozen
class Surface:
    """Where a feature cube lies, from one set of registers.

    Address of atom (surface s, line y, column x): ``base + s * surface_stride + y * line_stride +
    x * element_bytes`` (convolution.md section 2.1); ``element_bytes`` is the memory atom for
    cubes and a multiple of it for operand tensors.
    """

    memory: Memory
    base: int
    line_stride: int
    surface_stride: int
    element_bytes: int

    def moved(self, offset: int) -> Surface:
        """The same layout ``offset`` bytes further on."""
        return evolve(self, base=self.base + offset)

    def read(self, surfaces: int, height: int, width: int, first_column: int = 0) -> Bytes:
        """Bytes ``[surfaces, height, width, element_bytes]``; possibly a view of the memory."""
        return self.memory.read_strided(
            self.base + first_column * self.element_bytes,
            (surfaces, height, width, self.element_bytes),
            self._strides,
        )

    def write(self, data: Bytes, first_column: int = 0) -> None:
        """Store bytes ``[surfaces, height, width, element_bytes]``."""
        self.memory.write_strided(
            self.base + first_column * self.element_bytes, self._strides, data
        )

    def area(self, purpose: str, size: tuple[int, int, int], element_bytes: int = 1) -> MemoryCube:
        """The cube of ``size`` (channels, height, width) here, for a layer's record."""
        return MemoryCube(
            purpose,
            self.memory.name,
            self.base,
            *size,
            self.line_stride,
            self.surface_stride,
            self.element_bytes,
            element_bytes,
        )

    @property
    def _strides(self) -> tuple[int, int, int, int]:
        return self.surface_stride, self.line_stride, self.element_bytes, 1


@frozen
class Environment:
    """The world of a unit. Rules that a program breaks are reported through ``rules``."""

    configuration: HardwareConfiguration
    primary: Memory
    secondary: Memory
    rules: Rules

    def require(self, holds: bool, fields: Fields, name: str, rule: str) -> None:
        """Report ``rule`` about the register field ``name`` unless it ``holds``."""
        if not holds:
            self.rules.require(False, fields.block, fields.place_of(name), fields[name], rule)

    def unsupported(self, holds: bool, fields: Fields, name: str, rule: str) -> None:
        """Like `require`, but for what this device cannot compute: an error even if lenient."""
        if not holds:
            raise DeviceError(fields.block, fields.place_of(name), fields[name], rule)

    def bounded(self, fields: Fields, name: str, size: int) -> None:
        """Refuse a layer whose intermediate results take more bytes than a memory may hold."""
        limit = self.primary.limit_bytes
        self.unsupported(
            size <= limit, fields, name, f"the layer needs {size} bytes: the limit is {limit}"
        )

    def memory(self, fields: Fields, ram_type: str) -> Memory:
        """The memory that a RAM_TYPE field selects."""
        if fields[ram_type] == PRIMARY:
            return self.primary
        self.require(
            self.configuration.has_secondary_memory,
            fields,
            ram_type,
            f"{self.configuration.name} has no secondary memory (CV): must be {PRIMARY} (MC)",
        )
        return self.secondary

    def address(self, fields: Fields, low: str, high: str) -> int:
        """A byte address, checked to be a multiple of the memory atom and rounded down to it."""
        address = fields.address(low, high, self.configuration.address_bits)
        return self._aligned(fields, low, address)

    def stride(self, fields: Fields, name: str, *, used: bool = True) -> int:
        """A stride in bytes, checked and rounded like `address`; 0 where it is not ``used``."""
        return self._aligned(fields, name, fields[name]) if used else 0

    def _aligned(self, fields: Fields, name: str, value: int) -> int:
        atom = self.configuration.memory_atom
        self.require(
            value % atom == 0, fields, name, f"must be a multiple of the memory atom, {atom} bytes"
        )
        return value // atom * atom

    def surface(
        self,
        fields: Fields,
        size: tuple[int, int, int],
        *,
        ram_type: str,
        address: tuple[str, str],
        strides: tuple[str, str] | None,
        element_bytes: int,
    ) -> Surface:
        """The cube of ``size`` (surfaces, height, width) that the named registers describe.

        ``address`` names the low and high register, ``strides`` the line and surface stride; None
        where everything follows without gaps. Raises DeviceError where lines or surfaces overlap.
        """
        memory = self.memory(fields, ram_type)
        base = self.address(fields, address[0], address[1])
        surfaces, height, width = size
        if strides is None:
            packed = width * element_bytes
            return Surface(memory, base, packed, height * packed, element_bytes)
        line = self.stride(fields, strides[0], used=height > 1)
        surface = self.stride(fields, strides[1], used=surfaces > 1)
        found = Surface(memory, base, line, surface, element_bytes)
        line_bytes = width * element_bytes
        apart = height == 1 or line >= line_bytes
        self.require(
            apart,
            fields,
            strides[0],
            f"lines overlap: must be at least {line_bytes} for {width} columns",
        )
        if apart and surface < (height - 1) * line + line_bytes:
            channels = surfaces * element_bytes
            self.require(
                not overlaps_itself(found.area("", (channels, height, width))),
                fields,
                strides[1],
                f"surfaces overlap: {surfaces} of {height} lines with a stride of {line}",
            )
        return found

    def check_output(
        self,
        fields: Fields,
        address: str,
        area: MemoryArea,
        reads: Iterable[MemoryArea],
        *,
        in_place: bool = False,
    ) -> None:
        """Report an output that lies where the layer still reads; ``address`` is its register.

        The units stream: what is read there depends on timing. ``in_place``: a cube may take the
        place of one with the same layout. Source: sdp.md section 3.3.
        """
        others = (read for read in reads if not (in_place and same_place(read, area)))
        found = first_overlap(area, others)
        if found is not None:
            self.require(
                False, fields, address, f"the {area.purpose} overlaps what the layer reads: {found}"
            )

    def surfaces_of(self, channels: int) -> int:
        """INT8 surfaces (memory atoms along the channels) of a cube."""
        return -(-channels // self.configuration.memory_atom)
