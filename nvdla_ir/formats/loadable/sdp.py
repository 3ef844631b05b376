"""An SDP operation's descriptors: what they tell the hardware. Sources: loadable.md section 4,
sdp.md sections 2, 4, 5 and 8."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.formats.loadable.cubes import Cube, ReadingContext, cube_of, place_of
from nvdla_ir.formats.loadable.network import NONE, Operation
from nvdla_ir.formats.loadable.structures import Record
from nvdla_ir.hardware.fields import UnitFields
from nvdla_ir.hardware.place import OperandPlace
from nvdla_ir.hardware.sdp import (
    OperandConverter,
    OperandStream,
    OutputConverter,
    SdpPlaces,
    SdpSetting,
    StageName,
    XStage,
    YOperand,
    YStage,
)
from nvdla_ir.hw.formats.operands import DataUse
from nvdla_ir.hw.formats.sizes import ceil_div

NOTHING, MULTIPLY, ADD, BOTH = 0, 1, 2, 3
PER_LAYER, PER_KERNEL, PER_ELEMENT = 0, 1, 2
RELU, TABLE, PRELU = 1, 2, 3
ALGORITHMS = ("MAX", "MIN", "SUM", "EQL")
WINOGRAD = 1
SURFACES: dict[StageName, str] = {"BS": "x1_data", "BN": "x2_data", "EW": "y_data"}
"""Of the stages, which the firmware calls X1, X2 and Y."""

_DATA_USE: dict[int, DataUse] = {NOTHING: "MUL", MULTIPLY: "MUL", ADD: "ALU", BOTH: "BOTH"}


@frozen(eq=False)
class _Unit:
    """One of X1, X2 and Y, which the hardware calls ``name``, and its descriptor."""

    name: StageName
    record: Record

    @property
    def is_enabled(self) -> bool:
        return bool(self.record["enable"])

    @property
    def is_per_layer(self) -> bool:
        """Whether its operands are those of registers."""
        return self.record["mode"] == PER_LAYER

    @property
    def reads_memory(self) -> bool:
        """Whether it computes with an operand, rather than an activation alone, from memory."""
        return self.is_enabled and self.record["type"] != NOTHING and not self.is_per_layer

    @property
    def adds(self) -> bool:
        return self.record["type"] in (ADD, BOTH)

    @property
    def multiplies(self) -> bool:
        return self.record["type"] in (MULTIPLY, BOTH)

    @property
    def operand_bytes(self) -> int:
        """Bytes of one element's operands."""
        return (2 if self.record["type"] == BOTH else 1) * (2 if self.record["precision"] else 1)

    @property
    def x_stage(self) -> XStage:
        """What BS or BN is told (sdp.md section 4)."""
        record, is_set = self.record, self.is_enabled and self.is_per_layer
        # BS and BN have no EQL: their ALU then adds
        algorithm = record["alu_type"] if record["alu_type"] == 3 else self.algorithm
        return XStage(
            bypass=not self.is_enabled,
            alu=algorithm if self.adds else None,
            idle_alu=algorithm,
            alu_from_memory=not self.is_per_layer,
            alu_operand=_operand(record["alu_operand"], self.adds) if is_set else None,
            alu_shift=record["shift_value"] if self.is_enabled and self.adds else 0,
            mul=self.multiplies,
            mul_from_memory=not self.is_per_layer,
            mul_operand=_operand(record["mul_operand"], self.multiplies) if is_set else None,
            mul_shift=record["truncate"] if self.is_enabled else 0,
            prelu=record["act"] == PRELU,
            relu=record["act"] == RELU,
        )

    @property
    def y_stage(self) -> YStage:
        """What EW is told (sdp.md section 5)."""
        record = self.record
        return YStage(
            bypass=not self.is_enabled,
            alu=self._y_operand("alu") if self.adds else None,
            algorithm=self.algorithm,
            mul=self._y_operand("mul") if self.multiplies else None,
            prelu=record["act"] == PRELU,
            table=record["act"] == TABLE,
            truncate=record["truncate"],
        )

    @property
    def algorithm(self) -> str:
        return ALGORITHMS[self.record["alu_type"]]

    def _y_operand(self, part: str) -> YOperand:
        if self.is_per_layer:
            return YOperand(operand=self.record[f"{part}_operand"])
        converter = self.record.part(f"{part}_cvt")
        if not converter["enable"]:
            return YOperand(from_memory=True)
        conversion = OperandConverter(
            converter["offset"], converter["scale"], converter["truncate"]
        )
        return YOperand(from_memory=True, converter=conversion)

    @property
    def stream(self) -> OperandStream:
        """What its part of SDP_RDMA is told (sdp.md section 8)."""
        return OperandStream(
            _DATA_USE[self.record["type"]],
            "TWO_BYTE" if self.record["precision"] else "ONE_BYTE",
            "PER_KERNEL" if self.record["mode"] == PER_KERNEL else "PER_ELEMENT",
            enabled=self.reads_memory,
        )


def _operand(value: int, acts: bool) -> int:
    """What does not act may be anything: registers take its low 16 bits."""
    return value if acts else ((value + 0x8000) & 0xFFFF) - 0x8000


def sdp_units(operation: Operation, context: ReadingContext) -> tuple[SdpSetting, UnitFields]:
    """What SDP, and SDP_RDMA where memory is read, are told.

    Raises: DiagnosticError for what the firmware or the hardware refuses.
    """
    op = operation.descriptor
    source = cube_of(operation, "src_data", context, may_fly=True)
    destination = cube_of(operation, "dst_data", context, may_fly=True)
    x1, x2, y = (
        _Unit("BS", op.part("x1_op")),
        _Unit("BN", op.part("x2_op")),
        _Unit("EW", op.part("y_op")),
    )
    _check(operation, context, source, destination, (x1, x2, y))
    converter = op.part("out_cvt")
    setting = SdpSetting(
        channels=source.channels,
        height=source.height,
        width=source.width,
        flying=source.is_flying,
        to_pdp=destination.is_flying,
        bs=x1.x_stage,
        bn=x2.x_stage,
        ew=y.y_stage,
        streams={unit.name: unit.stream for unit in (x1, x2, y)},
        converter=OutputConverter(converter["offset"], converter["scale"], converter["truncate"]),
        winograd=op["conv_mode"] == WINOGRAD,
        batch=op["batch_num"],
    )
    context.require_possible(operation, setting.faults(context.hw))
    places = SdpPlaces(
        None if source.is_flying else source.cube_place(context),
        None if destination.is_flying else destination.cube_place(context),
        {unit.name: _operand_place(operation, context, source, unit) for unit in (x1, x2, y)},
        op["batch_stride"],
    )
    context.require_possible(operation, setting.place_faults(places))
    return setting, setting.fields(context.hw, places)


def _check(
    operation: Operation,
    context: ReadingContext,
    source: Cube,
    destination: Cube,
    units: tuple[_Unit, ...],
) -> None:
    """What the firmware refuses, and what is no setting of the SDP."""
    op = operation.descriptor
    context.has_known(operation, "conv_mode", op["conv_mode"], 2)
    for unit in units:
        names = {"type": 4, "mode": 3, "act": 4, "alu_type": 4, "precision": 2}
        for name, allowed in names.items():
            context.has_known(operation, f"{unit.record.path}: {name}", unit.record[name], allowed)
        context.require(
            unit.name == "EW" or unit.record["act"] != TABLE,
            operation,
            f"has a look-up table in {unit.name}, but only EW has one",
        )
    uses_table = units[-1].is_enabled and units[-1].record["act"] == TABLE
    context.require(
        not uses_table or op["lut_index"] > NONE, operation, "looks up a table, but names none"
    )
    context.require(
        source.size == destination.size,
        operation,
        f"makes a cube of {_by(destination)} of one of {_by(source)}, but they must be equal",
    )


def _by(cube: Cube) -> str:
    return f"{cube.width}x{cube.height}x{cube.channels}"


def _operand_place(
    operation: Operation, context: ReadingContext, source: Cube, unit: _Unit
) -> OperandPlace:
    """Where a stage's operands lie; of those that it does not read the firmware tells the memory
    alone."""
    name = SURFACES[unit.name]
    surface = operation.surface.part(name)
    if not unit.reads_memory:
        return OperandPlace(0, None, 0, Cube(name, operation, surface, None).memory)
    cube = Cube(name, operation, surface, place_of(operation, name, surface, context))
    cube.require_room(_operand_bytes(source, cube, unit, context), context)
    return OperandPlace(cube.address, cube.line_stride, cube.surface_stride, cube.memory)


def _operand_bytes(source: Cube, cube: Cube, unit: _Unit, context: ReadingContext) -> int:
    """Bytes that a stream reads from its base on (sdp.md section 2.2)."""
    atom = context.hw.memory_atom
    surfaces = ceil_div(source.channels, atom)
    position = atom * unit.operand_bytes
    if unit.record["mode"] == PER_KERNEL or source.width == source.height == 1:
        return surfaces * position
    return (
        (surfaces - 1) * cube.surface_stride
        + (source.height - 1) * cube.line_stride
        + source.width * position
    )
