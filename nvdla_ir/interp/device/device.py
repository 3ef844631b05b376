"""The register-level device: CSB registers in, memory and interrupts out.

A hardware layer runs when the last unit that it needs is enabled: at once, as a whole, on the
memory as it is then. Between two register writes nothing happens, so that an interrupt that is not
there yet never comes by waiting; `Device.wait` and `Device.poll` report such waits as deadlocks.
What would go wrong because layers take time is told all the same (`in_flight`).

What can be read back:

* S_STATUS, S_POINTER, D_OP_ENABLE of all units, and the GLB's registers, as they are now. BDMA's
  STATUS tells free slots; it is always idle, for a launch runs at once. S_CBUF_FLUSH_STATUS is 1.
* Results of the last layer of a group: CACC's D_OUT_SATURATION; the SDP's D_STATUS (comparison),
  D_PERF_OUT_SATURATION and D_PERF_LUT_*, the last ones where their enable bits are set; the CDP's
  D_PERF_LUT_* always, its D_OUT_SATURATION where the configuration has the counter.
* Look-up tables through S_LUT_ACCESS_DATA.

Registers that count cycles (stalls, latencies) read 0, as time is not modelled, and so do counters
of NaN and infinity, which INT8 does not have.
"""

from __future__ import annotations

from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.hw.registers import WORD_MASK, Block, Register, RegisterError, register_map
from nvdla_ir.interp.device.areas import MemoryArea
from nvdla_ir.interp.device.bdma import LAUNCHES, BdmaRegisters
from nvdla_ir.interp.device.environment import Environment
from nvdla_ir.interp.device.errors import DeadlockError, DeviceError, Remark, Rules
from nvdla_ir.interp.device.global_control import (
    ALL_INTERRUPTS,
    GlobalControl,
    Interrupt,
    InterruptSource,
)
from nvdla_ir.interp.device.in_flight import LayersInFlight
from nvdla_ir.interp.device.look_up_tables import LookUpUnitRegisters
from nvdla_ir.interp.device.memory import Memory
from nvdla_ir.interp.device.pipelines import Pipelines
from nvdla_ir.interp.device.record import LayerRecord
from nvdla_ir.interp.device.registers import RegisterFile, UnitRegisters

_LOOK_UP_BLOCKS = ("SDP", "CDP")
_FLUSH_STATUS = "S_CBUF_FLUSH_STATUS"


class Device:
    """An NVDLA of one hardware configuration with its memories.

    :param primary: the memory behind RAM_TYPE 1 (MC); a new one if None.
    :param secondary: the memory behind RAM_TYPE 0 (CV).
    :param lenient: turn what the hardware ignores, or would only do wrong, into `remarks`.

    Addresses on the CSB are byte addresses, words have 32 bits. Methods that take a register
    raise DeviceError for unknown blocks and registers and for every broken rule of a layer that
    the access starts; MemoryAccessError for a layer that reads or writes outside memory.
    """

    def __init__(
        self,
        configuration: HardwareConfiguration,
        *,
        primary: Memory | None = None,
        secondary: Memory | None = None,
        lenient: bool = False,
    ) -> None:
        bits = configuration.address_bits
        self.configuration = configuration
        self.primary = primary or Memory("primary", address_bits=bits)
        self.secondary = secondary or Memory("secondary", address_bits=bits)
        self.records: list[LayerRecord] = []
        self._rules = Rules(lenient)
        self._map = register_map(configuration.register_map)
        self._files: dict[str, RegisterFile] = {}
        self._slots: dict[int, tuple[RegisterFile, Register]] = {}
        self._absent = {
            name
            for name, present in (
                ("PDP", configuration.has_pdp),
                ("PDP_RDMA", configuration.has_pdp),
                ("CDP", configuration.has_cdp),
                ("CDP_RDMA", configuration.has_cdp),
                ("RBK", configuration.has_rubik),
                ("BDMA", configuration.has_bdma),
            )
            if not present
        }
        control = self._file("GLB")
        assert isinstance(control, GlobalControl)
        self._control = control
        environment = Environment(configuration, self.primary, self.secondary, self._rules)
        self._in_flight = LayersInFlight(self._rules)
        self._pipelines = Pipelines(environment, self._file, control.occur, self._started)

    @property
    def remarks(self) -> list[Remark]:
        """What was ignored so far, oldest first."""
        return self._rules.remarks

    def write_register(self, address: int, word: int) -> None:
        """A CSB write to a byte address."""
        slot = self._slots.get(address) or self._slot(address)
        if slot is not None:
            self._write(slot[0], slot[1], word)

    def read_register(self, address: int) -> int:
        """A CSB read from a byte address."""
        slot = self._slots.get(address) or self._slot(address)
        return 0 if slot is None else self._read(slot[0], slot[1])

    def write(self, block: str, register: str, word: int) -> None:
        """A CSB write by names, e.g. ``("SDP", "D_CVT_SCALE", 1)``."""
        file, found = self._named(block, register)
        self._write(file, found, word)

    def read(self, block: str, register: str) -> int:
        """A CSB read by names."""
        return self._read(*self._named(block, register))

    def poll(self, block: str, register: str, word: int, mask: int = WORD_MASK) -> None:
        """Wait until a register reads ``word`` in the bits of ``mask``; raises DeadlockError if it
        never will."""
        found = self.read(block, register) & mask
        if found != word & mask:
            raise DeadlockError(
                block,
                register,
                found,
                f"polled for {word:#x}, which never comes: {self.waiting_report()}",
            )

    def pending_interrupts(self) -> tuple[Interrupt, ...]:
        """Interrupts that are set and not masked."""
        return self._control.pending()

    def wait(self, source: str | InterruptSource, group: int) -> None:
        """Wait for a unit's interrupt and clear it; raises DeadlockError if it never comes."""
        if isinstance(source, str):
            if source not in InterruptSource.__members__:
                raise DeviceError(source, "", None, "raises no interrupts")
            source = InterruptSource[source]
        interrupt = Interrupt(source, group)
        if interrupt not in ALL_INTERRUPTS:
            raise DeviceError(source.name, "", group, "there are the register groups 0 and 1")
        if self._control.take(interrupt):
            self._in_flight.taken(interrupt)
            return
        if self._control.masked(interrupt):
            reason = "it is masked in GLB.S_INTR_MASK"
        else:
            reason = self.waiting_report()
        raise DeadlockError(
            source.name, "", None, f"the interrupt of group {group} never comes: {reason}"
        )

    def wait_any(self) -> None:
        """Wait until any interrupt is pending; raises DeadlockError if none ever is."""
        first = self._in_flight.first_to_come(self.pending_interrupts())
        if first is not None:
            self._in_flight.seen(first)
        else:
            reason = f"no interrupt ever comes that is not masked: {self.waiting_report()}"
            raise DeadlockError("GLB", "S_INTR_STATUS", None, reason)

    def host_access(self, area: MemoryArea, *, writes: bool) -> None:
        """The host reads ``area`` of memory, or ``writes`` to it; raises DeviceError where a layer
        in flight may still use it."""
        self._in_flight.check_host(area, writes=writes)

    def waiting_report(self) -> str:
        """Which enabled units wait for what."""
        return "; ".join(self._pipelines.waiting()) or "no unit is enabled"

    def _started(self, record: LayerRecord) -> None:
        self.records.append(record)
        self._in_flight.start(record)

    def _file(self, name: str) -> RegisterFile:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = _new_file(self._map[name])
        return file

    def _slot(self, address: int) -> tuple[RegisterFile, Register] | None:
        found = self._map.at(address)
        if found is None:
            self._rules.require(False, "CSB", f"{address:#x}", None, "no register at this address")
            return None
        slot = self._slots[address] = (self._file(found[0].name), found[1])
        return slot

    def _named(self, block: str, register: str) -> tuple[RegisterFile, Register]:
        try:
            found = self._map.block(block).register(register)
        except RegisterError as error:
            raise DeviceError(block, register, None, str(error)) from None
        return self._file(block), found

    def _write(self, file: RegisterFile, register: Register, word: int) -> None:
        name = file.block.name
        if not 0 <= word <= 0xFFFF_FFFF:
            raise DeviceError(name, register.name, word, "registers have 32 bits")
        if name in self._absent:
            self._rules.require(
                False, name, register.name, word, f"{self.configuration.name} has no {name}"
            )
        if isinstance(file, UnitRegisters):
            if not self._accepts(file, register, word):
                return
        elif isinstance(file, GlobalControl):
            self._note_interrupts(register, word)
        elif register.name in LAUNCHES and word & 1:
            self._in_flight.check_launch(name, LAUNCHES[register.name], register.name, word)
        file.write(register, word)
        if register.name in self._pipelines.triggers:
            self._pipelines.advance(name)

    def _accepts(self, file: UnitRegisters, register: Register, word: int) -> bool:
        """Whether the register takes the write; otherwise it is dropped, as by the RTL."""
        name = file.block.name
        if register.grouped and file.armed[file.producer]:
            self._rules.require(
                False, name, register.name, word, f"dropped: group {file.producer} is enabled"
            )
            return False
        if register.grouped and self._in_flight.drops(name, file.producer, register.name, word):
            return False
        if register.name.startswith("S_LUT_"):
            if file.ready:
                self._rules.require(
                    False,
                    name,
                    register.name,
                    word,
                    "a layer of the unit that uses them is enabled",
                )
            self._in_flight.check_tables(name, register.name, word)
        if (
            register.name == "S_LUT_ACCESS_DATA"
            and isinstance(file, LookUpUnitRegisters)
            and file.behind_table
        ):
            self._rules.require(
                False, name, register.name, word, "an entry behind the last one of the table"
            )
        return True

    def _read(self, file: RegisterFile, register: Register) -> int:
        if register.name == _FLUSH_STATUS:
            return 1  # the buffer of a model is clean from the start
        if isinstance(file, GlobalControl) and register.name == "S_INTR_STATUS":
            for interrupt in file.occurred():
                self._in_flight.seen(interrupt)
        elif register.name in ("S_STATUS", "STATUS"):
            self._in_flight.idle(file.block.name)
        elif register.name == "D_OP_ENABLE" and isinstance(file, UnitRegisters):
            self._in_flight.idle(file.block.name, file.producer)
        return file.read(register)

    def _note_interrupts(self, register: Register, word: int) -> None:
        """A write to the GLB: which interrupts it sets and clears."""
        noted = {
            "S_INTR_SET": self._in_flight.forced,
            "S_INTR_STATUS": self._in_flight.cleared,
        }.get(register.name)
        if noted is not None:
            for interrupt in ALL_INTERRUPTS:
                if word & interrupt.bit:
                    noted(interrupt)


def _new_file(block: Block) -> RegisterFile:
    if block.name == "GLB":
        return GlobalControl(block)
    if block.name in _LOOK_UP_BLOCKS:
        return LookUpUnitRegisters(block)
    if block.name == "BDMA":
        return BdmaRegisters(block)
    if "S_POINTER" in block.registers:
        return UnitRegisters(block)
    return RegisterFile(block)
