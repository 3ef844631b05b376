"""Registers of SDP and SDP_RDMA. Source: sdp.md sections 8, 9, 12 and 13."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects.layer import describe
from nvdla_ir.dialects.nn.shapes import shape_of
from nvdla_ir.dialects.nvdla import ConstantOp, SdpOp, SdpUnit, StreamType
from nvdla_ir.hw.configuration import HardwareConfiguration
from nvdla_ir.ir.diagnostics import DiagnosticError
from nvdla_ir.ir.operation import Value
from nvdla_ir.passes.registers.fields import PRIMARY_MEMORY, Fields, address_fields
from nvdla_ir.passes.registers.memory import (
    PlacedCube,
    address_of,
    channels_height_width,
    data_use,
    memory_source,
    operand_layout,
    placed_cube,
)

_STREAMS = {"BS": "BRDMA", "BN": "NRDMA", "EW": "ERDMA"}


@frozen(eq=False)
class _Operand:
    """What a unit reads from memory: its base address, strides, and how it is read."""

    address: int
    line_stride: int
    surface_stride: int
    use: str
    size: str
    mode: str


@frozen(eq=False)
class Processor:
    """The SDP's part of a layer."""

    op: SdpOp
    hw: HardwareConfiguration
    source: PlacedCube | None
    destination: PlacedCube | None
    operands: dict[str, _Operand]

    @staticmethod
    def of(op: SdpOp, hw: HardwareConfiguration) -> Processor:
        """Raises: DiagnosticError where an operand is not in memory or the hardware lacks what
        ``op`` asks for."""
        units = {"BS": (op.bs_unit, op.bs_operand), "BN": (op.bn_unit, op.bn_operand)}
        present = {"BS": hw.sdp.has_bs, "BN": hw.sdp.has_bn}
        for name, (unit, _) in units.items():
            if not unit.is_bypassed and not present[name]:
                raise DiagnosticError.at(
                    op.location, f"{describe(op)} uses {name}, which {hw.name} does not have"
                )
        return Processor(
            op,
            hw,
            None if isinstance(op.input.type, StreamType) else placed_cube(op.input, op, hw),
            None if isinstance(op.output.type, StreamType) else placed_cube(op.output, op, hw),
            {
                name: _operand(op, unit, value, hw)
                for name, (unit, value) in units.items()
                if value is not None
            },
        )

    def units(self, first_row: int, rows: int) -> dict[str, Fields]:
        """The fields of SDP, and of SDP_RDMA where memory is read, for some rows of the cube."""
        reads_memory = self.source is not None or bool(self.operands)
        rdma = {"SDP_RDMA": self._rdma(first_row, rows)} if reads_memory else {}
        return {**rdma, "SDP": self._sdp(first_row, rows)}

    def _size(self, rows: int) -> Fields:
        channels, _, width = channels_height_width(self.op.output)
        return {"WIDTH": width - 1, "HEIGHT": rows - 1, "CHANNEL": channels - 1}

    @property
    def _is_one_pixel(self) -> bool:
        """The SDP then wants the surfaces of each stream one behind the other (section 12)."""
        return channels_height_width(self.op.output)[1:] == (1, 1)

    @property
    def _flying_mode(self) -> str:
        return "ON" if self.source is None else "OFF"

    def _sdp(self, first_row: int, rows: int) -> Fields:
        op, destination = self.op, self.destination
        fields = self._size(rows)
        if destination is not None:
            fields |= address_fields(
                "DST_BASE_ADDR_LOW", "DST_BASE_ADDR_HIGH", destination.row(first_row), self.hw
            )
            fields["DST_LINE_STRIDE"] = destination.layout.line_stride
            fields["DST_SURFACE_STRIDE"] = destination.layout.surface_stride
        return {
            **fields,
            **_x_unit("BS", op.bs_unit),
            **_x_unit("BN", op.bn_unit),
            "EW_BYPASS": "YES",
            "EW_ALU_BYPASS": "YES",
            "EW_ALU_ALGO": "MAX",
            "EW_MUL_BYPASS": "YES",
            "EW_MUL_PRELU": "NO",
            "EW_LUT_BYPASS": "YES",
            "FLYING_MODE": self._flying_mode,
            "OUTPUT_DST": "PDP" if destination is None else "MEM",
            "WINOGRAD": "OFF",
            "NAN_TO_ZERO": "DISABLE",
            "BATCH_NUMBER": 0,
            "DST_RAM_TYPE": PRIMARY_MEMORY,
            "PROC_PRECISION": "INT8",
            "OUT_PRECISION": "INT8",
            "CVT_OFFSET": op.cvt_offset,
            "CVT_SCALE": op.cvt_scale,
            "CVT_SHIFT": op.cvt_shift,
            "PERF_DMA_EN": "NO",
            "PERF_LUT_EN": "NO",
            "PERF_SAT_EN": "NO",
            "PERF_NAN_INF_COUNT_EN": "NO",
        }

    def _rdma(self, first_row: int, rows: int) -> Fields:
        fields = self._size(rows)
        if self.source is not None:
            fields |= address_fields(
                "SRC_BASE_ADDR_LOW", "SRC_BASE_ADDR_HIGH", self.source.row(first_row), self.hw
            )
            fields["SRC_LINE_STRIDE"] = self.source.layout.line_stride
            fields["SRC_SURFACE_STRIDE"] = self.source.layout.surface_stride
        for unit in _STREAMS:
            fields |= self._stream(unit, first_row)
        return {
            **fields,
            "FLYING_MODE": self._flying_mode,
            "WINOGRAD": "OFF",
            "IN_PRECISION": "INT8",
            "PROC_PRECISION": "INT8",
            "OUT_PRECISION": "INT8",
            "BATCH_NUMBER": 0,
            "SRC_RAM_TYPE": PRIMARY_MEMORY,
            "PERF_DMA_EN": "NO",
            "PERF_NAN_INF_COUNT_EN": "NO",
        }

    def _stream(self, unit: str, first_row: int) -> Fields:
        """The stream that brings a unit its operands (section 8)."""
        stream, operand = _STREAMS[unit], self.operands.get(unit)
        if operand is None:
            return {f"{stream}_DISABLE": "YES"}
        fields: Fields = {
            f"{stream}_DISABLE": "NO",
            f"{stream}_DATA_USE": operand.use,
            f"{stream}_DATA_SIZE": operand.size,
            f"{stream}_DATA_MODE": operand.mode,
            f"{stream}_RAM_TYPE": PRIMARY_MEMORY,
        }
        offset = 0
        if operand.mode == "PER_ELEMENT":
            offset = first_row * operand.line_stride
            fields[f"{unit}_LINE_STRIDE"] = operand.line_stride
        if operand.mode == "PER_ELEMENT" or self._is_one_pixel:
            fields[f"{unit}_SURFACE_STRIDE"] = operand.surface_stride
        low, high = f"{unit}_BASE_ADDR_LOW", f"{unit}_BASE_ADDR_HIGH"
        return fields | address_fields(low, high, operand.address + offset, self.hw)


def _operand(op: SdpOp, unit: SdpUnit, value: Value, hw: HardwareConfiguration) -> _Operand:
    source = memory_source(value, op)
    if isinstance(source, ConstantOp):
        layout = operand_layout(value, unit, op, hw)
        return _Operand(
            address_of(source),
            layout.line_stride,
            # One operand of a group follows the other.
            layout.group_bytes if layout.mode == "PER_KERNEL" else layout.surface_stride,
            layout.use,
            layout.size,
            layout.mode,
        )
    if len(shape_of(value)) != 4:
        raise DiagnosticError.at(
            op.location,
            f"{describe(op)} reads a table that is no constant: only cubes are computed",
        )
    cube = placed_cube(value, op, hw)
    return _Operand(
        cube.address,
        cube.layout.line_stride,
        cube.layout.surface_stride,
        data_use(unit),
        "ONE_BYTE",
        "PER_ELEMENT",
    )


def _x_unit(name: str, unit: SdpUnit) -> Fields:
    """BS or BN (section 4). The shift acts even where the multiplier is bypassed."""
    has_alu, has_mul = unit.alu is not None, unit.mul
    fields: Fields = {
        f"{name}_BYPASS": _yes(unit.is_bypassed),
        f"{name}_ALU_BYPASS": _yes(not has_alu),
        f"{name}_ALU_ALGO": (unit.alu or "max").upper(),
        f"{name}_MUL_BYPASS": _yes(not has_mul),
        f"{name}_MUL_PRELU": _yes(unit.prelu),
        f"{name}_RELU_BYPASS": _yes(not unit.relu),
    }
    if unit.is_bypassed:
        return fields
    if has_alu:
        fields[f"{name}_ALU_SRC"] = "MEM" if unit.alu_from_memory else "REG"
        fields[f"{name}_ALU_SHIFT_VALUE"] = unit.alu_shift
        if unit.alu_value is not None:
            fields[f"{name}_ALU_OPERAND"] = unit.alu_value
    fields[f"{name}_MUL_SRC"] = "MEM" if unit.mul_from_memory else "REG"
    fields[f"{name}_MUL_SHIFT_VALUE"] = unit.mul_shift
    if unit.mul_value is not None:
        fields[f"{name}_MUL_OPERAND"] = unit.mul_value
    return fields


def _yes(flag: bool) -> str:
    return "YES" if flag else "NO"
