"""SDP layers for traces: operands, look-up table, output converter. Source: sdp.md."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray
from trace_writer import PRIMARY, Cube, Trace, align

from nvdla_ir.arith import reference
from nvdla_ir.arith.parameters import (
    AluAlgorithm,
    LookUpFunction,
    LookUpPriority,
    LookUpTable,
    OperandConverter,
    OutputConverter,
    SdpResult,
    Slope,
    XUnit,
    YUnit,
)

_STREAMS = {"BS": "BRDMA", "BN": "NRDMA", "EW": "ERDMA"}


@frozen
class Memory:
    """Operands in memory: bytes of a component, one a kernel or one an element, how large."""

    size: int
    per_element: bool
    limit: int = 0
    """Magnitude; all that the size holds if 0."""
    memory: str = PRIMARY


@frozen
class Unit:
    """BS, BN or EW. An operand is a register's number, or in memory; None: bypassed."""

    alu: AluAlgorithm | None = None
    alu_operand: int | Memory = 0
    alu_shift: int = 0
    mul: int | Memory | None = None
    mul_shift: int = 0
    prelu: bool = False
    relu: bool = False
    alu_converter: OperandConverter | None = None
    mul_converter: OperandConverter | None = None
    cube: Cube | None = None
    """The ALU's operand is this cube: an eltwise layer."""

    def parts(self) -> list[tuple[str, Memory]]:
        """The operands in memory, in the order of memory."""
        found: list[tuple[str, Memory]] = []
        if self.alu is not None and isinstance(self.alu_operand, Memory):
            found.append(("ALU", self.alu_operand))
        if isinstance(self.mul, Memory):
            found.append(("MUL", self.mul))
        return found


@frozen
class Sdp:
    """One SDP layer behind its data."""

    channels: int
    units: dict[str, Unit] = field(factory=dict)
    table: LookUpTable | None = None
    scale: int = 0
    """The output converter's scale; one that uses most of the range if 0."""
    offset: int = 0
    shift: int = 0
    fields: dict[str, int] = field(factory=dict)


def _operands(
    trace: Trace, layer: Sdp, unit: str, lanes: int, size: tuple[int, int], fields: dict[str, int]
) -> dict[str, NDArray[Any]]:
    """Put a unit's operands into memory (section 2.2); arrays [lanes, H or 1, W or 1]."""
    parts = layer.units[unit].parts()
    if not parts:
        return {}
    given, stream, atom = layer.units[unit].cube, _STREAMS[unit], trace.hw.memory_atom
    memory = parts[0][1]
    positions = size if memory.per_element else (1, 1)
    record = memory.size * len(parts)
    found: dict[str, NDArray[Any]] = {}
    if given is not None:
        found["ALU"] = trace.read(given)
        base, line, surface, name = given.base, given.line, given.surface, given.memory
    else:
        name = memory.memory
        gap = trace.pick(0, 1) * atom if memory.per_element else 0
        line = positions[1] * atom * record + gap
        surface = positions[0] * line
        if size == (1, 1) or not memory.per_element:
            line = surface = atom * record
        base = trace.allocate(lanes // atom * surface, name)
        for part, kind in parts:
            limit = kind.limit or (1 << 8 * memory.size - 1) - 1
            found[part] = trace.integers(-limit - 1, limit, lanes, *positions)
        for c, y, x in product(range(lanes), *map(range, positions)):
            place = base + c // atom * surface + y * line + (x * atom + c % atom) * record
            for number, (part, _) in enumerate(parts):
                value = int(found[part][c, y, x])
                data = [value & 0xFF, value >> 8 & 0xFF][: memory.size]
                trace.load(name, place + number * memory.size, data)
    use = {("MUL",): 0, ("ALU",): 1, ("ALU", "MUL"): 2}[tuple(part for part, _ in parts)]
    fields |= {
        f"{stream}_DISABLE": 0, f"{stream}_DATA_USE": use, f"{stream}_DATA_SIZE": memory.size - 1,
        f"{stream}_DATA_MODE": int(memory.per_element), f"{stream}_RAM_TYPE": int(name == PRIMARY),
        **({f"{unit}_LINE_STRIDE": line} if positions[0] > 1 else {}),
        **({f"{unit}_SURFACE_STRIDE": surface} if lanes > atom else {}),
        **trace.address_fields(f"{unit}_BASE_ADDR_LOW", f"{unit}_BASE_ADDR_HIGH", base),
    }  # fmt: skip
    return found


def _unit_fields(unit: str, spec: Unit) -> dict[str, int]:
    fields = {
        f"{unit}_BYPASS": 0,
        f"{unit}_ALU_BYPASS": int(spec.alu is None),
        f"{unit}_ALU_ALGO": 0 if spec.alu is None else int(spec.alu),
        f"{unit}_MUL_BYPASS": int(spec.mul is None),
        f"{unit}_MUL_PRELU": int(spec.prelu),
    }
    for part, operand in (("ALU", spec.alu_operand), ("MUL", spec.mul)):
        fields[f"{unit}_{part}_SRC"] = int(isinstance(operand, Memory))
        fields[f"{unit}_{part}_OPERAND"] = operand if isinstance(operand, int) else 0
    if unit != "EW":
        return fields | {
            f"{unit}_RELU_BYPASS": int(not spec.relu),
            f"{unit}_ALU_SHIFT_VALUE": spec.alu_shift,
            f"{unit}_MUL_SHIFT_VALUE": spec.mul_shift,
        }
    fields |= {"EW_LUT_BYPASS": 1, "EW_TRUNCATE": spec.mul_shift}
    for part, converter in (("ALU", spec.alu_converter), ("MUL", spec.mul_converter)):
        fields[f"EW_{part}_CVT_BYPASS"] = int(converter is None)
        if converter is not None:
            fields |= {
                f"EW_{part}_CVT_OFFSET": converter.offset,
                f"EW_{part}_CVT_SCALE": converter.scale,
                f"EW_{part}_CVT_TRUNCATE": converter.truncate,
            }
    return fields


def _kernel(spec: Unit, found: dict[str, NDArray[Any]], unit: str) -> XUnit | YUnit:
    alu_operand = found.get("ALU", spec.alu_operand)
    mul_operand = found.get("MUL", spec.mul)
    if unit == "EW":
        return YUnit(
            mul_operand=mul_operand, mul_converter=spec.mul_converter, truncate=spec.mul_shift,
            prelu=spec.prelu, alu=spec.alu, alu_operand=alu_operand,
            alu_converter=spec.alu_converter,
        )  # fmt: skip
    return XUnit(
        alu=spec.alu, alu_operand=alu_operand, alu_shift=spec.alu_shift, mul_operand=mul_operand,
        mul_shift=spec.mul_shift, prelu=spec.prelu, relu=spec.relu,
    )  # fmt: skip


def process(
    trace: Trace,
    layer: Sdp,
    data: NDArray[Any],
    *,
    source: Cube | None = None,
    destination: Cube | None = None,
) -> SdpResult:
    """Program SDP and SDP_RDMA for ``data`` [N, lanes, H, W], of ``source`` or of the CACC.

    With a destination, the result is in memory then; without one it is for the PDP.
    """
    batches, lanes, height, width = data.shape
    size = {"WIDTH": width - 1, "HEIGHT": height - 1, "CHANNEL": layer.channels - 1}
    flying = int(source is None)
    rdma = {
        **size, "FLYING_MODE": flying, "IN_PRECISION": 0, "PROC_PRECISION": 0,
        "BRDMA_DISABLE": 1, "NRDMA_DISABLE": 1, "ERDMA_DISABLE": 1, "BATCH_NUMBER": batches - 1,
    }  # fmt: skip
    fields = {
        **size, "FLYING_MODE": flying, "OUTPUT_DST": int(destination is None),
        "PROC_PRECISION": 0, "OUT_PRECISION": 0, "BATCH_NUMBER": batches - 1,
        "BS_BYPASS": 1, "BN_BYPASS": 1, "EW_BYPASS": 1,
    }  # fmt: skip
    if source is not None:
        rdma |= {
            **source.strides("SRC_LINE_STRIDE", "SRC_SURFACE_STRIDE"),
            "SRC_RAM_TYPE": source.ram_type,
            **trace.address_fields("SRC_BASE_ADDR_LOW", "SRC_BASE_ADDR_HIGH", source.base),
        }  # fmt: skip
    kernels: dict[str, Any] = {}
    for unit, spec in layer.units.items():
        found = _operands(trace, layer, unit, lanes, (height, width), rdma)
        fields |= _unit_fields(unit, spec)
        kernels[unit] = _kernel(spec, found, unit)
    if layer.table is not None:
        fields["EW_LUT_BYPASS"] = 0
    chain = {
        "x_units": [kernels[unit] for unit in ("BS", "BN") if unit in kernels],
        "y_unit": kernels.get("EW"),
        "look_up_table": layer.table,
    }
    converter = _converter(trace, layer, data, chain)
    result = reference.sdp_layer(data, **chain, output=converter)
    fields |= {
        "CVT_OFFSET": converter.offset, "CVT_SCALE": converter.scale, "CVT_SHIFT": converter.shift
    }  # fmt: skip
    if destination is not None:
        fields |= {
            **destination.strides("DST_LINE_STRIDE", "DST_SURFACE_STRIDE"),
            "DST_RAM_TYPE": destination.ram_type,
            "DST_BATCH_STRIDE": destination.batch_stride if batches > 1 else 0,
            **trace.address_fields("DST_BASE_ADDR_LOW", "DST_BASE_ADDR_HIGH", destination.base),
        }  # fmt: skip
        for number, cube in enumerate(result.values):
            trace.write(destination, cube, number)
    trace.configure("SDP", fields | layer.fields)
    if needs_rdma(layer, source):
        trace.configure("SDP_RDMA", rdma | {k: v for k, v in layer.fields.items() if k in rdma})
    return result


def needs_rdma(layer: Sdp, source: Cube | None) -> bool:
    return source is not None or any(unit.parts() for unit in layer.units.values())


def units_of(layer: Sdp, source: Cube | None) -> tuple[str, ...]:
    return ("SDP_RDMA", "SDP") if needs_rdma(layer, source) else ("SDP",)


def _converter(
    trace: Trace, layer: Sdp, data: NDArray[Any], chain: dict[str, Any]
) -> OutputConverter:
    """The layer's own, or one whose results use the range but seldom leave it."""
    if layer.scale:
        return OutputConverter(layer.offset, layer.scale, layer.shift)
    for unit in chain["x_units"]:
        data = reference.sdp_x(data, unit)
    if chain["y_unit"] is not None:
        data = reference.sdp_y(data, chain["y_unit"])
    if chain["look_up_table"] is not None:
        data = reference.look_up(data, chain["look_up_table"]).values
    real = data[:, : layer.channels]
    offset = int(np.median(real)) // 2
    spread = max(1.0, float(np.quantile(np.abs(real - offset), 0.85)))
    scale = trace.pick(5, 77, 1234, -333)
    shift = max(0, round(np.log2(spread * abs(scale) / 100)))
    return OutputConverter(offset, scale, shift)


def window_table(
    trace: Trace,
    block: str,
    *,
    linear: bool,
    starts: tuple[int, int],
    selects: tuple[int, int],
    offset: int,
) -> LookUpTable:
    """Tables LE and LO of which a few entries are loaded; the others stay 0."""
    tables = np.zeros(65, np.int64), np.zeros(257, np.int64)
    le_parts = (slice(0, 8), slice(24, 30)) if linear else (slice(0, 14),)
    parts = (*le_parts, slice(64, 65)), (slice(0, 5), slice(120, 127), slice(256, 257))
    for number, table in enumerate(tables):
        for part in parts[number]:
            table[part] = trace.integers(-20000, 20000, part.stop - part.start)
            trace.register(block, "S_LUT_ACCESS_CFG", 1 << 17 | number << 16 | part.start)
            for entry in table[part]:
                trace.register(block, "S_LUT_ACCESS_DATA", int(entry) & 0xFFFF)
    le, lo = tables
    (start, lo_start), (select, lo_select) = starts, selects
    found = LookUpTable(
        le_table=le, lo_table=lo,
        le_function=LookUpFunction.LINEAR if linear else LookUpFunction.EXPONENTIAL,
        le_index_offset=offset, le_index_select=select, lo_index_select=lo_select,
        le_start=start, lo_start=lo_start, le_end=start + 3000, lo_end=lo_start + 5000,
        le_underflow=Slope(trace.pick(-321, 97), 3), le_overflow=Slope(trace.pick(-7, 19), -2),
        lo_underflow=Slope(trace.pick(5, -2), -1), lo_overflow=Slope(trace.pick(-900, 777), 9),
        underflow_priority=LookUpPriority(trace.pick(0, 1)),
        overflow_priority=LookUpPriority(trace.pick(0, 1)),
        hybrid_priority=LookUpPriority(trace.pick(0, 1)),
    )  # fmt: skip
    limits = {"LE_START": found.le_start, "LE_END": found.le_end}
    limits |= {"LO_START": found.lo_start, "LO_END": found.lo_end}
    fields: dict[str, int] = {}
    for name, value in limits.items():
        if block == "SDP":
            fields[f"LUT_{name}"] = value
        else:
            fields[f"LUT_{name}_LOW"] = value & 0xFFFF_FFFF
            fields[f"LUT_{name}_HIGH"] = value >> 32
    trace.single(
        block, LUT_LE_FUNCTION=int(linear), LUT_LE_INDEX_OFFSET=offset,
        LUT_LE_INDEX_SELECT=select, LUT_LO_INDEX_SELECT=lo_select,
        LUT_UFLOW_PRIORITY=int(found.underflow_priority),
        LUT_OFLOW_PRIORITY=int(found.overflow_priority),
        LUT_HYBRID_PRIORITY=int(found.hybrid_priority), **fields,
        **{
            f"LUT_{table}_SLOPE_{end}_{part}": value
            for table, end, slope in (
                ("LE", "UFLOW", found.le_underflow), ("LE", "OFLOW", found.le_overflow),
                ("LO", "UFLOW", found.lo_underflow), ("LO", "OFLOW", found.lo_overflow),
            )
            for part, value in (("SCALE", slope.scale), ("SHIFT", slope.shift))
        },
    )  # fmt: skip
    return found


def zero_lanes(values: NDArray[np.int8], atom: int) -> NDArray[np.int8]:
    """[C, H, W] with zeros in the lanes that fill the last atom."""
    filled = np.zeros((align(len(values), atom), *values.shape[1:]), np.int8)
    filled[: len(values)] = values
    return filled
