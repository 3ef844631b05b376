"""SDP and SDP_RDMA: one layer of the single data processor. Source: sdp.md."""

from __future__ import annotations

from math import prod

import numpy as np
from attrs import evolve, frozen

from nvdla_ir.arith import fast
from nvdla_ir.arith.errors import Int8Array, IntegerArray, Operand
from nvdla_ir.arith.parameters import (
    AluAlgorithm,
    LookUpCounters,
    LookUpFunction,
    OperandConverter,
    OutputConverter,
    XUnit,
    YUnit,
)
from nvdla_ir.hw.configuration import SdpCapabilities
from nvdla_ir.hw.formats.operands import DataUse, OperandLayout
from nvdla_ir.interp.device.areas import MemoryCube
from nvdla_ir.interp.device.cubes import read_cube, read_operands, write_cube
from nvdla_ir.interp.device.environment import Environment
from nvdla_ir.interp.device.look_up_tables import LookUpUnitRegisters
from nvdla_ir.interp.device.overlaps import overlaps_itself
from nvdla_ir.interp.device.record import LayerNotes
from nvdla_ir.interp.device.registers import Fields, UnitRegisters

INT8 = 0
TO_PDP = 1
_USES: dict[int, DataUse] = {0: "MUL", 1: "ALU", 2: "BOTH"}
_COUNTERS = (
    "D_STATUS",
    "D_PERF_OUT_SATURATION",
    "D_PERF_LUT_UFLOW",
    "D_PERF_LUT_OFLOW",
    "D_PERF_LUT_HYBRID",
    "D_PERF_LUT_LE_HIT",
    "D_PERF_LUT_LO_HIT",
)
_IN_COMPARISON = {
    "CVT_OFFSET": 0,
    "CVT_SCALE": 1,
    "CVT_SHIFT": 0,
    "EW_LUT_BYPASS": 1,
    "BATCH_NUMBER": 0,
    "WINOGRAD": 0,
    "OUTPUT_DST": 0,
}
"""What a comparison must be programmed with. Section 12, item 6."""
_INDEX_RANGES = {
    "LUT_LE_INDEX_SELECT": (-6, 25),
    "LUT_LO_INDEX_SELECT": (-8, 23),
    "LUT_LE_INDEX_OFFSET": (-64, 31),
}
_DISABLED = -128
"""An index select with which a linear table never hits. Section 6.4."""
_STREAMS = {"BS": "BRDMA", "BN": "NRDMA", "EW": "ERDMA"}


def is_flying(fields: Fields) -> bool:
    """Whether the layer takes its data from the convolution pipeline."""
    return fields["FLYING_MODE"] == 1


def is_active(fields: Fields, units: SdpCapabilities, unit: str) -> bool:
    """Whether BS, BN or EW does something; one that the build lacks is bypassed whatever its
    registers say. Convolution.md section 8.4."""
    return _has(units, unit) and not fields[f"{unit}_BYPASS"]


def _has(units: SdpCapabilities, unit: str) -> bool:
    return {"BS": units.has_bs, "BN": units.has_bn, "EW": units.has_ew}[unit]


def compares(fields: Fields, units: SdpCapabilities) -> bool:
    """Whether the layer is a comparison (EQL), which outputs nothing. Section 5.4."""
    return (
        is_active(fields, units, "EW")
        and not fields["EW_ALU_BYPASS"]
        and fields["EW_ALU_ALGO"] == 3
    )


def feeds_pdp(fields: Fields, units: SdpCapabilities) -> bool:
    """Whether the layer's output goes to the PDP on the fly."""
    return fields["OUTPUT_DST"] == TO_PDP and not compares(fields, units)


def needs_rdma(fields: Fields, units: SdpCapabilities) -> bool:
    """Whether the layer reads memory: its data, or operands of an active unit. Section 11."""
    return not is_flying(fields) or any(_memory_operands(fields, units, unit) for unit in _STREAMS)


def rdma_is_idle(rdma: Fields, units: SdpCapabilities) -> bool:
    """Whether an armed RDMA group has nothing to read, so that it ends by itself."""
    return is_flying(rdma) and all(
        rdma[f"{stream}_DISABLE"] or not _has(units, unit) for unit, stream in _STREAMS.items()
    )


def _memory_operands(fields: Fields, units: SdpCapabilities, unit: str) -> tuple[str, ...]:
    """Which of ALU and MUL of a unit take their operand from memory."""
    if not is_active(fields, units, unit):
        return ()
    return tuple(
        part
        for part in ("ALU", "MUL")
        if not fields[f"{unit}_{part}_BYPASS"] and fields[f"{unit}_{part}_SRC"]
    )


@frozen
class SdpLayer:
    """One layer of the SDP, from the registers of its group (and its RDMA's)."""

    environment: Environment
    unit: LookUpUnitRegisters
    rdma_unit: UnitRegisters | None
    notes: LayerNotes

    @property
    def _units(self) -> SdpCapabilities:
        return self.environment.configuration.sdp

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height, width; without the padding lanes."""
        fields = self.unit.fields
        return fields["CHANNEL"] + 1, fields["HEIGHT"] + 1, fields["WIDTH"] + 1

    def run(self, accumulators: IntegerArray | None) -> Int8Array | None:
        """Process the cube and store it; returns it where the PDP wants it, else None.

        ``accumulators`` are the CACC's ``[batch, channel, row, column]`` with all lanes of the
        last atom, or None to read the cube from memory. The result is laid out like them.
        """
        fields = self.unit.fields
        self._check()
        for register in _COUNTERS:
            self.unit.set_counter(register, 0)
        self.notes.shape["output"] = self.size
        data = self._read_source() if accumulators is None else accumulators
        units = self._units
        x_units = [self._x_unit(name) for name in ("BS", "BN") if is_active(fields, units, name)]
        y_unit = self._y_unit() if is_active(fields, units, "EW") else None
        if y_unit is not None and compares(fields, units):
            for unit in x_units:
                data = fast.sdp_x(data, unit)
            self._count("D_STATUS", int(fast.sdp_y(data, y_unit).any()))
            return None
        looks_up = y_unit is not None and self._looks_up
        result = fast.sdp_layer(
            data,
            x_units=x_units,
            y_unit=y_unit,
            look_up_table=self.unit.look_up_table() if looks_up else None,
            output=OutputConverter(fields["CVT_OFFSET"], fields["CVT_SCALE"], fields["CVT_SHIFT"]),
        )
        self._count("D_PERF_OUT_SATURATION", result.saturated, enabled=fields["PERF_SAT_EN"])
        self.notes.saturated["SDP"] = result.clipped
        if result.look_up is not None:
            self.unit.check_written(self.environment.rules, result.look_up)
            self._count_look_ups(result.look_up)
        if feeds_pdp(fields, units):
            return result.values
        self._store(result.values)
        return None

    def _check(self) -> None:
        fields, environment = self.unit.fields, self.environment
        hardware = environment.configuration
        for name in ("PROC_PRECISION", "OUT_PRECISION"):
            environment.unsupported(fields[name] == INT8, fields, name, "only INT8 (0) is modelled")
        environment.require(
            hardware.has_winograd or not fields["WINOGRAD"],
            fields,
            "WINOGRAD",
            f"{hardware.name} has no Winograd mode: must be 0",
        )
        environment.require(
            fields["BATCH_NUMBER"] < hardware.max_batch,
            fields,
            "BATCH_NUMBER",
            f"{hardware.name} runs at most {hardware.max_batch} cubes a layer",
        )
        for unit in _STREAMS:
            environment.require(
                fields[f"{unit}_BYPASS"] == 1 or is_active(fields, self._units, unit),
                fields,
                f"{unit}_BYPASS",
                f"{hardware.name} has no {unit} unit: it is bypassed",
            )
        if is_active(fields, self._units, "EW"):
            environment.require(
                hardware.sdp.has_lut or fields["EW_LUT_BYPASS"] == 1,
                fields,
                "EW_LUT_BYPASS",
                f"{hardware.name} has no LUT: it is bypassed",
            )
        elements = prod((environment.surfaces_of(self.size[0]), *self.size[1:]))
        environment.bounded(fields, "WIDTH", 8 * elements * hardware.memory_atom)
        if compares(fields, self._units):
            converted = {"EW_ALU_CVT_BYPASS": 1} if fields["EW_ALU_SRC"] else {}
            right = _IN_COMPARISON | converted
            for name, value in right.items():
                environment.require(
                    fields[name] == value, fields, name, f"must be {value} in a comparison"
                )
        for name in ("BATCH_NUMBER", "WINOGRAD"):
            environment.require(
                is_flying(fields) or fields[name] == 0,
                fields,
                name,
                "must be 0 where the data come from memory",
            )
        if is_active(fields, self._units, "EW") and self._looks_up:
            self._check_look_up()
        if fields["BATCH_NUMBER"]:
            # Atoms of two cubes are paired into one burst.
            pair = 2 * hardware.memory_atom
            for name in (
                "DST_BASE_ADDR_LOW",
                "DST_LINE_STRIDE",
                "DST_SURFACE_STRIDE",
                "DST_BATCH_STRIDE",
            ):
                environment.require(
                    fields[name] % pair == 0, fields, name, f"must be a multiple of {pair} bytes"
                )
            environment.require(
                not feeds_pdp(fields, self._units),
                fields,
                "OUTPUT_DST",
                "several cubes cannot go to the PDP",
            )
        if self.rdma_unit is not None:
            self._check_rdma(self.rdma_unit.fields)

    @property
    def _looks_up(self) -> bool:
        """Whether EW, where it is active, looks up its result in the tables."""
        return self._units.has_lut and not self.unit.fields["EW_LUT_BYPASS"]

    def _check_look_up(self) -> None:
        """Ranges of the table parameters that matter. Section 12, item 8."""
        fields = self.unit.fields
        linear = fields["LUT_LE_FUNCTION"] == LookUpFunction.LINEAR
        used = "LUT_LE_INDEX_SELECT" if linear else "LUT_LE_INDEX_OFFSET"
        for name in (used, "LUT_LO_INDEX_SELECT"):
            low, high = _INDEX_RANGES[name]
            disabled = name != "LUT_LE_INDEX_OFFSET" and fields[name] == _DISABLED
            self.environment.require(
                disabled or low <= fields[name] <= high,
                fields,
                name,
                f"must be {low} to {high}",
            )

    def _check_rdma(self, rdma: Fields) -> None:
        fields, environment = self.unit.fields, self.environment
        environment.unsupported(
            rdma["PROC_PRECISION"] == INT8, rdma, "PROC_PRECISION", "only INT8 (0) is modelled"
        )
        if not is_flying(fields):
            environment.unsupported(
                rdma["IN_PRECISION"] == INT8, rdma, "IN_PRECISION", "only INT8 (0) is modelled"
            )
        for name in ("WIDTH", "HEIGHT", "CHANNEL", "FLYING_MODE", "WINOGRAD", "BATCH_NUMBER"):
            environment.require(
                rdma[name] == fields[name], rdma, name, f"must equal SDP's, {fields[name]}"
            )
        for unit, stream in _STREAMS.items():
            wanted = _memory_operands(fields, self._units, unit)
            use = rdma[f"{stream}_DATA_USE"]
            environment.require(
                bool(wanted) != bool(rdma[f"{stream}_DISABLE"]),
                rdma,
                f"{stream}_DISABLE",
                f"{unit} takes {' and '.join(wanted) or 'no'} operands from memory: "
                f"must be {0 if wanted else 1}",
            )
            if wanted:
                right = "BOTH" if len(wanted) == 2 else wanted[0]
                environment.require(
                    _USES.get(use) == right,
                    rdma,
                    f"{stream}_DATA_USE",
                    f"{unit} takes {' and '.join(wanted)} operands from memory: must be {right}",
                )

    def _read_source(self) -> Int8Array:
        assert self.rdma_unit is not None
        rdma, environment = self.rdma_unit.fields, self.environment
        channels, height, width = self.size
        surface = environment.surface(
            rdma,
            (environment.surfaces_of(channels), height, width),
            ram_type="SRC_RAM_TYPE",
            address=("SRC_BASE_ADDR_LOW", "SRC_BASE_ADDR_HIGH"),
            strides=self._strides(rdma, "SRC"),
            element_bytes=environment.configuration.memory_atom,
        )
        self.notes.shape["input"] = self.size
        self.notes.reads.append(surface.area("input", self.size))
        return read_cube(surface, environment.surfaces_of(channels), height, width)[np.newaxis]

    def _strides(self, fields: Fields, end: str) -> tuple[str, str] | None:
        """The stride registers of the source or destination; a 1x1 cube has no use for them."""
        channels, height, width = self.size
        if height * width > 1:
            return f"{end}_LINE_STRIDE", f"{end}_SURFACE_STRIDE"
        if end == "DST" or self.environment.surfaces_of(channels) > 1:
            atom = self.environment.configuration.memory_atom
            self._check_single(fields, f"{end}_SURFACE_STRIDE", atom)
        return None

    def _check_single(self, fields: Fields, name: str, right: int) -> None:
        self.environment.require(
            fields[name] == right,
            fields,
            name,
            f"the surfaces of a 1x1 cube follow each other: must be {right}",
        )

    def _operands(self, unit: str) -> dict[str, Operand]:
        """Operands of a unit by part, "ALU" and "MUL": register values, or from memory."""
        fields = self.unit.fields
        operands: dict[str, Operand] = {
            part: fields[f"{unit}_{part}_OPERAND"] for part in ("ALU", "MUL")
        }
        wanted = _memory_operands(fields, self._units, unit)
        if not wanted or self.rdma_unit is None:
            return operands
        stream, rdma, environment = _STREAMS[unit], self.rdma_unit.fields, self.environment
        channels, height, width = self.size
        use = _USES.get(rdma[f"{stream}_DATA_USE"])
        if use is None:
            environment.unsupported(False, rdma, f"{stream}_DATA_USE", "must be 0, 1 or 2")
        assert use is not None
        per_element = rdma[f"{stream}_DATA_MODE"] == 1
        strided = per_element and height * width > 1
        surfaces = environment.surfaces_of(channels)
        if strided:
            self._check_operand_strides(unit, use)
        layout = OperandLayout(
            channels,
            height,
            width,
            environment.configuration.memory_atom,
            use,
            "TWO_BYTE" if rdma[f"{stream}_DATA_SIZE"] else "ONE_BYTE",
            "PER_ELEMENT" if per_element else "PER_KERNEL",
            environment.stride(rdma, f"{unit}_LINE_STRIDE", used=strided and height > 1),
            environment.stride(rdma, f"{unit}_SURFACE_STRIDE", used=strided and surfaces > 1),
        )
        if height * width == 1 and surfaces > 1:
            self._check_single(rdma, f"{unit}_SURFACE_STRIDE", layout.group_bytes)
        memory = environment.memory(rdma, f"{stream}_RAM_TYPE")
        base = environment.address(rdma, f"{unit}_BASE_ADDR_LOW", f"{unit}_BASE_ADDR_HIGH")
        self.notes.reads.append(
            MemoryCube(
                f"{unit} operands",
                memory.name,
                base,
                channels,
                *layout.positions,
                layout.line_stride if strided else layout.group_bytes,
                layout.surface_stride if strided else layout.group_bytes * prod(layout.positions),
                layout.group_bytes,
                layout.group_bytes // layout.atom,
            )
        )
        found = read_operands(memory, base, layout)
        return operands | {part: found[part] for part in wanted if part in found}

    def _check_operand_strides(self, unit: str, use: DataUse) -> None:
        """Operands of neighbouring lines and surfaces must not overlap. Section 2.2."""
        assert self.rdma_unit is not None
        rdma, (channels, height, width) = self.rdma_unit.fields, self.size
        atom = self.environment.configuration.memory_atom
        components = 2 if use == "BOTH" else 1
        extent = width * atom * components * (rdma[f"{_STREAMS[unit]}_DATA_SIZE"] + 1)
        for name, count in (("LINE", height), ("SURFACE", -(-channels // atom))):
            stride = rdma[f"{unit}_{name}_STRIDE"]
            if count > 1:
                self.environment.unsupported(
                    stride >= extent,
                    rdma,
                    f"{unit}_{name}_STRIDE",
                    f"operands overlap: must be at least {extent}",
                )
                extent += (count - 1) * stride

    def _x_unit(self, name: str) -> XUnit:
        fields = self.unit.fields
        operands = self._operands(name)
        alu = None if fields[f"{name}_ALU_BYPASS"] else AluAlgorithm(fields[f"{name}_ALU_ALGO"])
        return XUnit(
            alu=alu,
            alu_operand=operands["ALU"],
            alu_shift=fields[f"{name}_ALU_SHIFT_VALUE"],
            mul_operand=None if fields[f"{name}_MUL_BYPASS"] else operands["MUL"],
            mul_shift=fields[f"{name}_MUL_SHIFT_VALUE"],
            prelu=bool(fields[f"{name}_MUL_PRELU"]),
            relu=not fields[f"{name}_RELU_BYPASS"],
        )

    def _y_unit(self) -> YUnit:
        fields = self.unit.fields
        operands = self._operands("EW")
        return YUnit(
            mul_operand=None if fields["EW_MUL_BYPASS"] else operands["MUL"],
            mul_converter=self._operand_converter("MUL"),
            truncate=fields["EW_TRUNCATE"],
            prelu=bool(fields["EW_MUL_PRELU"]),
            alu=None if fields["EW_ALU_BYPASS"] else AluAlgorithm(fields["EW_ALU_ALGO"]),
            alu_operand=operands["ALU"],
            alu_converter=self._operand_converter("ALU"),
        )

    def _operand_converter(self, part: str) -> OperandConverter | None:
        """The converter of a memory operand; register operands have none. Section 5.1."""
        fields = self.unit.fields
        if (
            part not in _memory_operands(fields, self._units, "EW")
            or fields[f"EW_{part}_CVT_BYPASS"]
        ):
            return None
        return OperandConverter(
            fields[f"EW_{part}_CVT_OFFSET"],
            fields[f"EW_{part}_CVT_SCALE"],
            fields[f"EW_{part}_CVT_TRUNCATE"],
        )

    def _count_look_ups(self, counters: LookUpCounters) -> None:
        enabled = self.unit.fields["PERF_LUT_EN"]
        for name, value in (
            ("UFLOW", counters.underflow),
            ("OFLOW", counters.overflow),
            ("HYBRID", counters.hybrid),
            ("LE_HIT", counters.le_hit),
            ("LO_HIT", counters.lo_hit),
        ):
            self._count(f"D_PERF_LUT_{name}", value, enabled=enabled)

    def _count(self, register: str, value: int, *, enabled: int = 1) -> None:
        """Note a counter, and store it in its register where counting is enabled."""
        if enabled:
            self.unit.set_counter(register, value)
        self.notes.counters[register] = value

    def _store(self, result: Int8Array) -> None:
        fields, environment = self.unit.fields, self.environment
        channels, height, width = self.size
        surface = environment.surface(
            fields,
            (environment.surfaces_of(channels), height, width),
            ram_type="DST_RAM_TYPE",
            address=("DST_BASE_ADDR_LOW", "DST_BASE_ADDR_HIGH"),
            strides=self._strides(fields, "DST"),
            element_bytes=environment.configuration.memory_atom,
        )
        batch_stride = environment.stride(fields, "DST_BATCH_STRIDE") if len(result) > 1 else 0
        area = surface.area("output", self.size)
        area = evolve(area, batches=len(result), batch_stride=batch_stride)
        self.notes.writes.append(area)
        environment.require(
            len(result) == 1 or not overlaps_itself(area),
            fields,
            "DST_BATCH_STRIDE",
            f"cubes overlap: {area}",
        )
        environment.check_output(
            fields, "DST_BASE_ADDR_LOW", area, self.notes.streamed, in_place=True
        )
        for number, cube in enumerate(result):
            write_cube(surface.moved(number * batch_stride), cube)
