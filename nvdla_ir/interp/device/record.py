"""What the device notes about each hardware layer that it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from nvdla_ir.interp.device.areas import CubeElement, LineByte, MemoryArea

CONVOLUTION_UNITS = ("CDMA", "CSC", "CMAC_A", "CMAC_B", "CACC")
STARTERS = ("CSC", "CDMA")
"""When both are enabled, a convolution begins."""
NOT_WAITED_FOR = ("CMAC_A", "CMAC_B", "CACC")
"""What CSC sends to; only credits for CACC's buffer hold it. The SDP is waited for."""

BUFFERED = ("convolution input", "image plane 0", "image plane 1")
"""Purposes of areas that are read completely before a layer writes."""

WEIGHTS = ("weights", "weight mask", "weight group sizes")
"""Purposes of areas that CDMA fetches as weights."""

TABLE_HEADINGS = ("layer", "input", "kernel", "output", "MACs", "saturated", "ms")
"""Of the cells that `LayerRecord.table_row` gives."""


@frozen
class LayerRecord:
    """One executed layer: a chain of units that ran as one.

    ``units`` maps each unit that took part to its register group, in order of the data flow.
    ``shape`` holds the sizes by name: ``input``, ``kernel``, ``output``, ``pooled`` as (channels,
    height, width) tuples, the kernel with the number of kernels in front; ``stride``, ``dilation``
    and ``padding`` as (vertical, horizontal). ``counters`` are the status and performance counters
    by register, whether or not their enable bits are set. ``saturated`` tells how many elements
    each stage that clamps has changed by it: "CACC" (to 32 bits), "SDP" and "CDP" (to 8 bits).
    ``multiplications`` counts those with padding too; ``seconds`` is what the simulation took.
    ``reads`` and ``writes`` are the areas of memory, in order of time.
    """

    units: Mapping[str, int]
    shape: Mapping[str, tuple[int, ...]]
    counters: Mapping[str, int]
    multiplications: int
    seconds: float
    saturated: Mapping[str, int] = field(factory=dict[str, int])
    reads: tuple[MemoryArea, ...] = ()
    writes: tuple[MemoryArea, ...] = ()

    @property
    def name(self) -> str:
        """The units that took part, short: ``CONV+SDP+PDP``; RDMA units are left out."""
        names = [
            "CONV" if unit == CONVOLUTION_UNITS[0] else unit
            for unit in self.units
            if unit not in CONVOLUTION_UNITS[1:] and not unit.endswith("_RDMA")
        ]
        return "+".join(names)

    @property
    def saturations(self) -> str:
        """The stages that clamped something and how often, or ``""``."""
        return " ".join(f"{stage} {count}" for stage, count in self.saturated.items() if count)

    def table_row(self) -> tuple[str, ...]:
        """Cells for a table with `TABLE_HEADINGS`."""
        groups = "/".join(sorted({str(group) for group in self.units.values()}))
        output = "pooled" if "pooled" in self.shape else "output"
        return (
            f"{self.name} (group {groups})",
            _size(self.shape.get("input", ())),
            _size(self.shape.get("kernel", ())),
            _size(self.shape.get(output, ())),
            f"{self.multiplications:,}" if self.multiplications else "",
            self.saturations,
            f"{self.seconds * 1e3:.3f}",
        )

    def __str__(self) -> str:
        units = " ".join(f"{unit}:{group}" for unit, group in self.units.items())
        shape = " ".join(f"{name} {_size(size)}" for name, size in self.shape.items())
        counters = "".join(f" {name}={count}" for name, count in self.counters.items() if count)
        saturated = f" saturated {self.saturations}" if self.saturations else ""
        return f"[{units}] {shape}{counters}{saturated} {self.seconds * 1e3:.3f} ms"


def _size(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


@frozen
class Write:
    """Which layer wrote a byte of memory: its ``record``, number ``index`` of those searched."""

    index: int
    record: LayerRecord
    area: MemoryArea
    element: CubeElement | LineByte

    def __str__(self) -> str:
        return f"{self.area.purpose} of layer {self.index} ({self.record.name}): {self.element}"


def last_write(records: Sequence[LayerRecord], memory: str, address: int) -> Write | None:
    """The latest write of the byte at ``address`` of ``memory`` by a layer of ``records``.

    ``memory`` is the memory's name, "primary" or "secondary" unless it was made otherwise.
    Returns None where no layer wrote: a gap, or a byte that the host put there.
    """
    for index in range(len(records) - 1, -1, -1):
        for area in reversed(records[index].writes):
            if area.memory == memory and area.base <= address < area.end:
                element = area.locate(address)
                if element is not None:
                    return Write(index, records[index], area, element)
    return None


@frozen
class LayerNotes:
    """Collects what goes into a layer's record while its units run."""

    shape: dict[str, tuple[int, ...]] = field(factory=dict[str, "tuple[int, ...]"])
    counters: dict[str, int] = field(factory=dict[str, int])
    saturated: dict[str, int] = field(factory=dict[str, int])
    reads: list[MemoryArea] = field(factory=list[MemoryArea])
    writes: list[MemoryArea] = field(factory=list[MemoryArea])

    @property
    def streamed(self) -> list[MemoryArea]:
        """What is still read while the layer writes: all but the input of a convolution, which
        is complete in the buffer before the first output (convolution.md section 3.5)."""
        return [area for area in self.reads if area.purpose not in BUFFERED]

    @property
    def latest(self) -> str:
        """The area that was accessed last, in words."""
        areas = self.writes or self.reads
        return str(areas[-1]) if areas else "before any access"

    def record(self, units: Mapping[str, int], multiplications: int, seconds: float) -> LayerRecord:
        """The record of the layer that these notes are about."""
        return LayerRecord(
            units,
            self.shape,
            self.counters,
            multiplications,
            seconds,
            self.saturated,
            tuple(self.reads),
            tuple(self.writes),
        )
