"""Registers of SDP and SDP_RDMA from an operation's descriptors. Sources: loadable.md section 4,
sdp.md sections 8 to 13."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.frontends.loadable.cubes import Context, Cube, Fields, cube_of, place_of
from nvdla_ir.frontends.loadable.network import NONE, Operation
from nvdla_ir.frontends.loadable.structures import Record
from nvdla_ir.hw.formats.sizes import ceil_div

_NOTHING, _MULTIPLY, _ADD, _BOTH = 0, 1, 2, 3
_PER_LAYER, _PER_KERNEL = 0, 1
_RELU, _TABLE, _PRELU = 1, 2, 3
_DATA_USE = {_NOTHING: "MUL", _MULTIPLY: "MUL", _ADD: "ALU", _BOTH: "BOTH"}
_ALGORITHMS = ("MAX", "MIN", "SUM", "EQL")
_WINOGRAD = 1


@frozen(eq=False)
class _Unit:
    """One of X1, X2 and Y: the registers' ``name``, its ``stream``, and its descriptor."""

    name: str
    stream: str
    record: Record

    @property
    def is_enabled(self) -> bool:
        return bool(self.record["enable"])

    @property
    def has_operand(self) -> bool:
        """Whether it computes with an operand, rather than an activation alone."""
        return self.is_enabled and self.record["type"] != _NOTHING

    @property
    def reads_memory(self) -> bool:
        return self.has_operand and self.record["mode"] != _PER_LAYER

    @property
    def adds(self) -> bool:
        return self.record["type"] in (_ADD, _BOTH)

    @property
    def multiplies(self) -> bool:
        return self.record["type"] in (_MULTIPLY, _BOTH)

    @property
    def operand_bytes(self) -> int:
        """Bytes of one element's operands."""
        return (2 if self.record["type"] == _BOTH else 1) * (2 if self.record["precision"] else 1)

    @property
    def source(self) -> str:
        return "REG" if self.record["mode"] == _PER_LAYER else "MEM"


def sdp_units(operation: Operation, context: Context) -> dict[str, Fields]:
    """The fields of SDP_RDMA, where memory is read, and of SDP.

    Raises: DiagnosticError for what the firmware or the hardware refuses.
    """
    source = cube_of(operation, "src_data", context, may_fly=True)
    destination = cube_of(operation, "dst_data", context, may_fly=True)
    units = (
        _Unit("BS", "BRDMA", operation.descriptor.part("x1_op")),
        _Unit("BN", "NRDMA", operation.descriptor.part("x2_op")),
        _Unit("EW", "ERDMA", operation.descriptor.part("y_op")),
    )
    _check(operation, context, source, destination, units)
    reads_memory = not source.is_flying or any(unit.reads_memory for unit in units)
    rdma = {"SDP_RDMA": _rdma(operation, context, source, units)} if reads_memory else {}
    return {**rdma, "SDP": _sdp(operation, context, source, destination, units)}


def _check(
    operation: Operation,
    context: Context,
    source: Cube,
    destination: Cube,
    units: tuple[_Unit, ...],
) -> None:
    op, hw = operation.descriptor, context.hw
    context.has_known(operation, "conv_mode", op["conv_mode"], 2)
    context.require(
        op["conv_mode"] != _WINOGRAD or hw.has_winograd,
        operation,
        f"follows a Winograd convolution, which {hw.name} does not have",
    )
    context.require(
        1 <= op["batch_num"] <= hw.max_batch,
        operation,
        f"has batch_num = {op['batch_num']}, but {hw.name} takes 1 to {hw.max_batch}",
    )
    present = {"BS": hw.sdp.has_bs, "BN": hw.sdp.has_bn, "EW": hw.sdp.has_ew}
    for unit in units:
        names = {"type": 4, "mode": 3, "act": 4, "alu_type": 4, "precision": 2}
        for name, allowed in names.items():
            context.has_known(operation, f"{unit.record.path}: {name}", unit.record[name], allowed)
        context.require(
            present[unit.name] or not unit.is_enabled,
            operation,
            f"uses {unit.name}, which {hw.name} does not have",
        )
        context.require(
            unit.name == "EW" or unit.record["act"] != _TABLE,
            operation,
            f"has a look-up table in {unit.name}, but only EW has one",
        )
    uses_table = units[-1].is_enabled and units[-1].record["act"] == _TABLE
    context.require(
        hw.sdp.has_lut or not (uses_table or op["lut_index"] > NONE),
        operation,
        f"uses a look-up table, which {hw.name} does not have",
    )
    context.require(
        not uses_table or op["lut_index"] > NONE, operation, "looks up a table, but names none"
    )
    context.require(
        source.size == destination.size,
        operation,
        f"makes a cube of {_by(destination)} of one of {_by(source)}, but they must be equal",
    )
    for cube in (source, destination):
        if not cube.is_flying:
            cube.layout(context)


def _by(cube: Cube) -> str:
    return f"{cube.width}x{cube.height}x{cube.channels}"


def _flying(source: Cube) -> str:
    return "ON" if source.is_flying else "OFF"


def _size(source: Cube) -> Fields:
    return {
        "WIDTH": source.width - 1,
        "HEIGHT": source.height - 1,
        "CHANNEL": source.channels - 1,
    }


def _rdma(operation: Operation, context: Context, source: Cube, units: tuple[_Unit, ...]) -> Fields:
    op = operation.descriptor
    fields: Fields = {
        **_size(source),
        "FLYING_MODE": _flying(source),
        "WINOGRAD": op["conv_mode"],
        "IN_PRECISION": "INT8",
        "PROC_PRECISION": "INT8",
        "OUT_PRECISION": "INT8",
        "BATCH_NUMBER": op["batch_num"] - 1,
    }
    if not source.is_flying:
        fields |= {
            **context.address_fields("SRC_BASE_ADDR_LOW", "SRC_BASE_ADDR_HIGH", source.address),
            "SRC_LINE_STRIDE": source.line_stride,
            "SRC_SURFACE_STRIDE": source.surface_stride,
            "SRC_RAM_TYPE": source.memory,
        }
    for unit, name in zip(units, ("x1_data", "x2_data", "y_data"), strict=True):
        fields |= _stream(operation, context, source, unit, name)
    return fields


def _stream(operation: Operation, context: Context, source: Cube, unit: _Unit, name: str) -> Fields:
    """The stream that brings a unit its operands (sdp.md section 8)."""
    surface, stream = operation.surface.part(name), unit.stream
    memory = "MC" if surface["type"] == 0 else "CV"
    fields: Fields = {
        f"{stream}_DISABLE": "NO" if unit.reads_memory else "YES",
        f"{stream}_DATA_USE": _DATA_USE[unit.record["type"]],
        f"{stream}_DATA_SIZE": "TWO_BYTE" if unit.record["precision"] else "ONE_BYTE",
        f"{stream}_DATA_MODE": (
            "PER_KERNEL" if unit.record["mode"] == _PER_KERNEL else "PER_ELEMENT"
        ),
        f"{stream}_RAM_TYPE": memory,
    }
    if not unit.reads_memory:
        return fields
    cube = Cube(name, operation, surface, place_of(operation, name, surface, context))
    cube.require_room(_operand_bytes(source, cube, unit, context), context)
    prefix = unit.name
    return {
        **fields,
        **context.address_fields(
            f"{prefix}_BASE_ADDR_LOW", f"{prefix}_BASE_ADDR_HIGH", cube.address
        ),
        f"{prefix}_LINE_STRIDE": cube.line_stride,
        f"{prefix}_SURFACE_STRIDE": cube.surface_stride,
    }


def _operand_bytes(source: Cube, cube: Cube, unit: _Unit, context: Context) -> int:
    """Bytes that a stream reads from its base on (sdp.md section 2.2)."""
    atom = context.hw.memory_atom
    surfaces = ceil_div(source.channels, atom)
    position = atom * unit.operand_bytes
    if unit.record["mode"] == _PER_KERNEL or source.width == source.height == 1:
        return surfaces * position
    return (
        (surfaces - 1) * cube.surface_stride
        + (source.height - 1) * cube.line_stride
        + source.width * position
    )


def _sdp(
    operation: Operation,
    context: Context,
    source: Cube,
    destination: Cube,
    units: tuple[_Unit, ...],
) -> Fields:
    op = operation.descriptor
    converter = op.part("out_cvt")
    fields = _size(source)
    if not destination.is_flying:
        fields |= {
            **context.address_fields(
                "DST_BASE_ADDR_LOW", "DST_BASE_ADDR_HIGH", destination.address
            ),
            "DST_LINE_STRIDE": destination.line_stride,
            "DST_SURFACE_STRIDE": destination.surface_stride,
            "DST_RAM_TYPE": destination.memory,
        }
    for unit in units[:2]:
        fields |= _x_unit(unit)
    fields |= _y_unit(units[2])
    if op["batch_num"] > 1:
        fields["DST_BATCH_STRIDE"] = op["batch_stride"]
    return {
        **fields,
        "FLYING_MODE": _flying(source),
        "OUTPUT_DST": "PDP" if destination.is_flying else "MEM",
        "WINOGRAD": op["conv_mode"],
        "BATCH_NUMBER": op["batch_num"] - 1,
        "PROC_PRECISION": "INT8",
        "OUT_PRECISION": "INT8",
        "CVT_OFFSET": converter["offset"],
        "CVT_SCALE": converter["scale"],
        "CVT_SHIFT": converter["truncate"],
    }


def _yes(flag: bool) -> str:
    return "YES" if flag else "NO"


def _switches(unit: _Unit) -> Fields:
    """What is on in a unit."""
    name = unit.name
    return {
        f"{name}_BYPASS": _yes(not unit.is_enabled),
        f"{name}_ALU_BYPASS": _yes(not unit.adds),
        # BS and BN have no EQL: their ALU then adds (sdp.md section 4)
        f"{name}_ALU_ALGO": (
            _ALGORITHMS[unit.record["alu_type"]] if name == "EW" else unit.record["alu_type"]
        ),
        f"{name}_MUL_BYPASS": _yes(not unit.multiplies),
        f"{name}_MUL_PRELU": _yes(unit.record["act"] == _PRELU),
    }


def _x_unit(unit: _Unit) -> Fields:
    """BS or BN (sdp.md section 4). The shift acts even where the multiplier is bypassed."""
    name, record = unit.name, unit.record
    fields = _switches(unit)
    fields[f"{name}_RELU_BYPASS"] = _yes(record["act"] != _RELU)
    if not unit.is_enabled:
        return fields
    if unit.adds:
        fields[f"{name}_ALU_SRC"] = unit.source
        fields[f"{name}_ALU_SHIFT_VALUE"] = record["shift_value"]
    if record["mode"] == _PER_LAYER:
        # what does not act may be anything: the registers take its low 16 bits
        fields[f"{name}_ALU_OPERAND"] = _operand(record["alu_operand"], unit.adds)
        fields[f"{name}_MUL_OPERAND"] = _operand(record["mul_operand"], unit.multiplies)
    fields[f"{name}_MUL_SRC"] = unit.source
    fields[f"{name}_MUL_SHIFT_VALUE"] = record["truncate"]
    return fields


def _operand(value: int, acts: bool) -> int:
    return value if acts else ((value + 0x8000) & 0xFFFF) - 0x8000


def _y_unit(unit: _Unit) -> Fields:
    """EW (sdp.md section 5)."""
    record = unit.record
    fields = _switches(unit)
    fields["EW_LUT_BYPASS"] = _yes(record["act"] != _TABLE)
    if not unit.is_enabled:
        return fields
    for part, active in (("ALU", unit.adds), ("MUL", unit.multiplies)):
        if not active:
            continue
        converter = record.part(f"{part.lower()}_cvt")
        fields[f"EW_{part}_SRC"] = unit.source
        fields[f"EW_{part}_CVT_BYPASS"] = _yes(not converter["enable"])
        if record["mode"] == _PER_LAYER:
            fields[f"EW_{part}_OPERAND"] = record[f"{part.lower()}_operand"]
        else:
            fields[f"EW_{part}_CVT_OFFSET"] = converter["offset"]
            fields[f"EW_{part}_CVT_SCALE"] = converter["scale"]
            fields[f"EW_{part}_CVT_TRUNCATE"] = converter["truncate"]
    fields["EW_TRUNCATE"] = record["truncate"]
    return fields
