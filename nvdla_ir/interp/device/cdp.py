"""CDP and CDP_RDMA: one layer of local response normalization. Source: cdp.md."""

from __future__ import annotations

from nvdla_ir.arith import fast
from nvdla_ir.arith.parameters import Normalization
from nvdla_ir.interp.device.cubes import read_cube, write_cube
from nvdla_ir.interp.device.environment import Environment
from nvdla_ir.interp.device.look_up_tables import LookUpUnitRegisters
from nvdla_ir.interp.device.record import LayerNotes
from nvdla_ir.interp.device.registers import Fields

_INT8 = 0
_OFFSET_BITS = 8
_OUTPUT_OFFSET_BITS = 25
_INDEX_SELECT_LIMIT = 32


def run_cdp(
    environment: Environment, unit: LookUpUnitRegisters, rdma: Fields, notes: LayerNotes
) -> None:
    """Normalize the cube in memory and store it."""
    fields = unit.fields
    for format_fields, name in ((fields, "INPUT_DATA_TYPE"), (rdma, "INPUT_DATA")):
        environment.unsupported(
            format_fields[name] == _INT8, format_fields, name, "only INT8 (0) is modelled"
        )
    for name in ("LUT_LE_INDEX_SELECT", "LUT_LO_INDEX_SELECT"):
        unused = name == "LUT_LE_INDEX_SELECT" and not fields["LUT_LE_FUNCTION"]
        environment.require(
            unused or -_INDEX_SELECT_LIMIT <= fields[name] < _INDEX_SELECT_LIMIT,
            fields,
            name,
            f"must be {-_INDEX_SELECT_LIMIT} to {_INDEX_SELECT_LIMIT - 1}",
        )
    channels, height, width = (rdma[name] + 1 for name in ("CHANNEL", "HEIGHT", "WIDTH"))
    surfaces = environment.surfaces_of(channels)
    source, destination = (
        environment.surface(
            end_fields,
            (surfaces, height, width),
            ram_type=f"{end}_RAM_TYPE",
            address=(f"{end}_BASE_ADDR_LOW", f"{end}_BASE_ADDR_HIGH"),
            strides=(f"{end}_LINE_STRIDE", f"{end}_SURFACE_STRIDE"),
            element_bytes=environment.configuration.memory_atom,
        )
        for end_fields, end in ((rdma, "SRC"), (fields, "DST"))
    )
    size = channels, height, width
    environment.bounded(rdma, "CHANNEL", 8 * surfaces * source.element_bytes * height * width)
    notes.reads.append(source.area("input", size))
    notes.writes.append(destination.area("output", size))
    environment.check_output(fields, "DST_BASE_ADDR_LOW", notes.writes[0], notes.reads)
    layer = Normalization(
        size=2 * fields["NORMALZ_LEN"] + 3,
        table=unit.look_up_table(),
        input_offset=_signed(fields["DATIN_OFFSET"], _OFFSET_BITS),
        input_scale=fields["DATIN_SCALE"],
        input_shift=fields["DATIN_SHIFTER"],
        output_offset=_signed(fields["DATOUT_OFFSET"], _OUTPUT_OFFSET_BITS),
        output_scale=fields["DATOUT_SCALE"],
        output_shift=fields["DATOUT_SHIFTER"],
        bypass_square_sum=bool(fields["SQSUM_BYPASS"]),
        bypass_multiply=bool(fields["MUL_BYPASS"]),
    )
    cube = read_cube(source, surfaces, height, width)
    # Lanes that fill the last atom count as the value that converts to zero.
    cube[channels:] = layer.input_offset
    result = fast.local_response_normalization(cube, layer)
    unit.check_written(environment.rules, result.counters)
    # Neither RTL nor functional model asks LUT_EN.
    counters = {
        "D_PERF_LUT_UFLOW": result.counters.underflow,
        "D_PERF_LUT_OFLOW": result.counters.overflow,
        "D_PERF_LUT_HYBRID": result.counters.hybrid,
        "D_PERF_LUT_LE_HIT": result.counters.le_hit,
        "D_PERF_LUT_LO_HIT": result.counters.lo_hit,
    }
    if environment.configuration.has_cdp_saturation_counter:
        counters["D_OUT_SATURATION"] = result.saturated
    for register, value in counters.items():
        unit.set_counter(register, value)
        notes.counters[register] = value
    write_cube(destination, result.values)
    notes.shape["output"] = size
    notes.saturated["CDP"] = result.saturated


def _signed(value: int, bits: int) -> int:
    """The low ``bits`` bits of a register value, signed."""
    sign = 1 << (bits - 1)
    return ((value & (2 * sign - 1)) ^ sign) - sign
