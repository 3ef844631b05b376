"""Which units form a layer, when it may run, and what waits for what.

A layer is a chain of units that run together: CDMA, CSC, CMAC_A, CMAC_B, CACC, SDP (with SDP_RDMA
where memory is read) and PDP on the fly; PDP with PDP_RDMA; CDP with CDP_RDMA; RBK; BDMA. It runs
when each of its units is armed for the group that its CONSUMER points at. The order of the writes
is free, but that a convolution starts with CSC and CDMA (on the RTL, CACC that is enabled later
loses its place in the partial sums). Sources: convolution.md section 6, sdp.md section 11, pdp.md
section 6, cdp.md section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

from nvdla_ir.arith.errors import OperandError
from nvdla_ir.hw.formats.sizes import LayoutError
from nvdla_ir.interp.device import pdp, sdp
from nvdla_ir.interp.device.bdma import BdmaRegisters
from nvdla_ir.interp.device.cdp import run_cdp
from nvdla_ir.interp.device.convolution import ConvolutionPipeline
from nvdla_ir.interp.device.environment import Environment
from nvdla_ir.interp.device.errors import DeviceError, MemoryAccessError
from nvdla_ir.interp.device.global_control import INTERRUPTS, Interrupt, InterruptSource
from nvdla_ir.interp.device.look_up_tables import LookUpUnitRegisters
from nvdla_ir.interp.device.record import (
    CONVOLUTION_UNITS,
    NOT_WAITED_FOR,
    STARTERS,
    LayerNotes,
    LayerRecord,
)
from nvdla_ir.interp.device.registers import GROUPS, RegisterFile, UnitRegisters
from nvdla_ir.interp.device.rubik import run_rubik

_HEADS = ("SDP", "PDP", "CDP", "RBK")


class Pipelines:
    """Starts layers and tells what keeps them from starting.

    :param file: gives a block's registers.
    :param occur: raises an interrupt.
    :param record: takes the record of each layer that ran.
    """

    triggers = frozenset(("D_OP_ENABLE", "CFG_LAUNCH0", "CFG_LAUNCH1"))
    """Registers whose writes may start something."""

    def __init__(
        self,
        environment: Environment,
        file: Callable[[str], RegisterFile],
        occur: Callable[[Interrupt], None],
        record: Callable[[LayerRecord], None],
    ) -> None:
        self._environment = environment
        self._file = file
        self._occur = occur
        self._record = record
        self._convolution = ConvolutionPipeline(environment)
        self._sdp = environment.configuration.sdp
        self._seen: set[str] = set()

    def advance(self, block: str) -> None:
        """Run whatever may run, now that a register of ``block`` was written."""
        file = self._file(block)
        if isinstance(file, BdmaRegisters):
            for record in file.run(self._environment):
                self._occur(Interrupt(InterruptSource.BDMA, record.units[block]))
                self._record(record)
            return
        self._seen.add(block)
        if block in NOT_WAITED_FOR:
            self._check_order(block)
        while self._advance_one():
            pass

    def _check_order(self, block: str) -> None:
        """Report a unit of a convolution that was enabled when its layer had started without it."""
        unit = self._unit(block)
        if unit.producer == unit.consumer and all(map(self._ready, (block, *STARTERS))):
            self._environment.rules.require(
                False,
                block,
                "D_OP_ENABLE",
                1,
                f"{' and '.join(STARTERS)} are enabled already and send without asking for "
                f"{block}, which starts anew on what comes after: enable it before one of them",
            )

    def waiting(self) -> list[str]:
        """One sentence for each armed register group: what it waits for."""
        found = [
            f"{block} (group {group}) {self._reason(block, group)}"
            for block in sorted(self._seen)
            for group in GROUPS
            if self._unit(block).armed[group]
        ]
        copies = self._file("BDMA") if self._environment.configuration.has_bdma else None
        if isinstance(copies, BdmaRegisters) and copies.queued:
            found.append(f"BDMA has {copies.queued} transfers that wait for a launch")
        return found

    def _unit(self, block: str) -> UnitRegisters:
        file = self._file(block)
        assert isinstance(file, UnitRegisters)
        return file

    def _advance_one(self) -> bool:
        if self._ready("SDP_RDMA") and sdp.rdma_is_idle(self._unit("SDP_RDMA").fields, self._sdp):
            self._unit("SDP_RDMA").finish()
            return True
        for head in _HEADS:
            if self._ready(head) and not self._missing(head):
                self._run(head)
                return True
        return False

    def _ready(self, block: str) -> bool:
        return block in self._seen and self._unit(block).ready

    def _chain(self, head: str) -> Iterator[str]:
        """The units that take part in the next layer of ``head``, in order of the data flow."""
        if head == "SDP":
            fields = self._unit("SDP").fields
            if sdp.is_flying(fields):
                yield from CONVOLUTION_UNITS
            if sdp.needs_rdma(fields, self._sdp):
                yield "SDP_RDMA"
            yield "SDP"
            if sdp.feeds_pdp(fields, self._sdp):
                yield "PDP"
        elif head == "PDP":
            if pdp.is_flying(self._unit("PDP").fields):
                yield "SDP"
            else:
                yield "PDP_RDMA"
            yield "PDP"
        elif head == "CDP":
            yield from ("CDP_RDMA", "CDP")
        else:
            yield head

    def _missing(self, head: str) -> list[str]:
        """Units of the next layer of ``head`` that are not armed for it."""
        missing = [block for block in self._chain(head) if not self._ready(block)]
        feeds_pdp = self._ready("SDP") and sdp.feeds_pdp(self._unit("SDP").fields, self._sdp)
        if head == "SDP" and feeds_pdp and "PDP" not in missing:
            if not pdp.is_flying(self._unit("PDP").fields):
                missing.append("PDP on the fly (its armed layer reads memory)")
        elif head == "PDP" and pdp.is_flying(self._unit("PDP").fields):
            # The SDP's layer is what runs both.
            missing = ["SDP with OUTPUT_DST = 1 (PDP)"] if not feeds_pdp else self._missing("SDP")
            return missing or ["SDP"]
        return missing

    def _reason(self, block: str, group: int) -> str:
        unit = self._unit(block)
        if group != unit.consumer:
            other = "the layer there" if unit.armed[unit.consumer] else "a layer to be enabled"
            return f"waits for {other} in group {unit.consumer}, which comes first"
        head = next((h for h in _HEADS if self._ready(h) and block in self._chain(h)), None)
        if head is None:
            wanted = "SDP on the fly" if block in CONVOLUTION_UNITS else block.removesuffix("_RDMA")
            return f"waits for {wanted} to be enabled in its next group"
        return f"waits for {self._groups(self._missing(head))} to be enabled"

    def _groups(self, missing: Sequence[str]) -> str:
        return ", ".join(
            f"{name} (group {self._unit(name).consumer})" if " " not in name else name
            for name in missing
        )

    def _run(self, head: str) -> None:
        begin = perf_counter()
        notes = LayerNotes()
        chain = tuple(self._chain(head))
        units = {block: self._unit(block) for block in chain}
        try:
            multiplications = self._execute(head, units, notes)
        except (LayoutError, OperandError) as error:
            raise DeviceError(head, "", None, str(error)) from error
        except MemoryAccessError as error:
            group = units[head].consumer
            raise MemoryAccessError(f"{head} (group {group}), {notes.latest}: {error}") from error
        groups = {block: unit.consumer for block, unit in units.items()}
        for block, unit in units.items():
            unit.finish()
            for source in INTERRUPTS.get(block, ()):
                self._occur(Interrupt(source, groups[block]))
        self._record(notes.record(groups, multiplications, perf_counter() - begin))

    def _execute(self, head: str, units: dict[str, UnitRegisters], notes: LayerNotes) -> int:
        """Compute a layer; returns its number of multiplications."""
        multiplications = 0
        environment = self._environment
        if head == "SDP":
            accumulators = None
            if "CACC" in units:
                accumulators, multiplications = self._convolution.run(units, notes)
            processor = units["SDP"]
            assert isinstance(processor, LookUpUnitRegisters)
            layer = sdp.SdpLayer(environment, processor, units.get("SDP_RDMA"), notes)
            cube = layer.run(accumulators)
            if cube is not None:
                pdp.PdpLayer(environment, units["PDP"], None, notes).run(cube[0])
        elif head == "PDP":
            pdp.PdpLayer(environment, units["PDP"], units["PDP_RDMA"], notes).run(None)
        elif head == "CDP":
            processor = units["CDP"]
            assert isinstance(processor, LookUpUnitRegisters)
            run_cdp(environment, processor, units["CDP_RDMA"].fields, notes)
        else:
            run_rubik(environment, units["RBK"].fields, notes)
        return multiplications
