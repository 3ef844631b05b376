"""What units are told, as descriptors and back: nothing is lost, whatever the setting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from exporting import require_same_fields

from nvdla_ir.formats.loadable.buffers import Buffers, allocate_buffers
from nvdla_ir.formats.loadable.container import (
    AddressEntry,
    Container,
    MemoryEntry,
    SubmitEntry,
    TaskEntry,
)
from nvdla_ir.formats.loadable.convolution import convolution_descriptor, convolution_units
from nvdla_ir.formats.loadable.cubes import ReadingContext
from nvdla_ir.formats.loadable.descriptors import (
    Addresses,
    Descriptor,
    Region,
    WritingContext,
)
from nvdla_ir.formats.loadable.look_up_tables import table_values, tables_of
from nvdla_ir.formats.loadable.movement import (
    bdma_descriptor,
    bdma_transfers,
    rubik_descriptor,
    rubik_units,
)
from nvdla_ir.formats.loadable.network import Network, Operation
from nvdla_ir.formats.loadable.planar import (
    cdp_descriptor,
    cdp_units,
    pdp_descriptor,
    pdp_units,
)
from nvdla_ir.formats.loadable.sdp import sdp_units
from nvdla_ir.formats.loadable.sdp_writing import sdp_descriptor
from nvdla_ir.formats.loadable.structures import Record, structure
from nvdla_ir.hardware.bdma import BdmaSetting, Transfer, TransferPlaces
from nvdla_ir.hardware.cdp import CdpConverter, CdpPlaces, CdpSetting
from nvdla_ir.hardware.convolution import ConvolutionPlaces, ConvolutionSetting
from nvdla_ir.hardware.convolution_geometry import (
    Banks,
    CompressedWeights,
    ImageInput,
    InputConverter,
    Reuse,
    Window,
)
from nvdla_ir.hardware.pdp import PdpPlaces, PdpSetting, PoolWindow, width_split
from nvdla_ir.hardware.place import (
    BlockPlace,
    BytesPlace,
    CubePlace,
    ImagePlace,
    OperandPlace,
    PlanesPlace,
)
from nvdla_ir.hardware.program import Tables
from nvdla_ir.hardware.rubik import RubikPlaces, RubikSetting
from nvdla_ir.hardware.sdp import (
    OperandConverter,
    OperandStream,
    OutputConverter,
    SdpPlaces,
    SdpSetting,
    XStage,
    YOperand,
    YStage,
)
from nvdla_ir.hw.configuration import HardwareConfiguration, load_configuration
from nvdla_ir.hw.formats.feature import FeatureLayout
from nvdla_ir.hw.look_up_tables import LookUpTable, LookUpTables, Slope
from nvdla_ir.hw.pixels import PIXEL_FORMATS
from nvdla_ir.ir.location import UNKNOWN

TRIALS = 20
SIZE = 1 << 24
TARGETS = pytest.mark.parametrize("target", ["nv_small", "nv_full"])
LAYOUTS = pytest.mark.parametrize("old", [False, True], ids=["current layout", "old layout"])


class Bench:
    """One large buffer, at the same address for those who write and those who read."""

    def __init__(self, target: str, seed: int, old: bool = False) -> None:
        self.hw: HardwareConfiguration = load_configuration(target)
        self.rng = np.random.default_rng(seed)
        self.old = old
        base = self._buffers([AddressEntry(1, 1, 0, SIZE)]).by_memory[1]
        assert base is not None
        self.base = base.address
        region = Region(self.base, self.base + SIZE, 1)
        self.addresses = Addresses([region], has_offset=not old)
        self.writing = WritingContext(self.hw, self.addresses)

    def _buffers(self, entries: list[AddressEntry]) -> Buffers:
        used = tuple(range(len(entries) + 1))
        container = Container(
            (0, 7, 0),
            (TaskEntry(0, 1, -1, used, (), ()),),
            tuple(
                MemoryEntry(i, 0, 1, size, 4096, (), (), 0, 0) for i, size in ((0, 64), (1, SIZE))
            ),
            (AddressEntry(0, 0, 0, 64), *entries),
            (),
            (),
            (),
            (),
            (SubmitEntry(0, (0,)),),
        )
        buffers = allocate_buffers(container, UNKNOWN)
        buffers.place(self.hw)
        return buffers

    # -------------------------------------------------------------- draws

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def pick(self, *choices: Any) -> Any:
        return choices[self.number(0, len(choices) - 1)]

    def chance(self) -> bool:
        return self.number(0, 1) == 1

    def address(self) -> int:
        return self.base + self.number(0, 1000) * 128

    def cube(self, channels: int, height: int, width: int) -> CubePlace:
        """With or without gaps; of one pixel without."""
        atom, single = self.hw.memory_atom, height == width == 1
        line = (width + (0 if single else self.number(0, 2))) * atom
        surface = height * line + (0 if single else self.number(0, 2) * atom)
        return CubePlace(
            self.address(), FeatureLayout(channels, height, width, atom, line, surface)
        )

    # -------------------------------------------------------------- back

    def read(self, descriptor: Descriptor) -> tuple[Operation, ReadingContext]:
        assert not self.writing.faults, self.writing.faults
        prefix = descriptor.kind.name.lower()
        op = self._record(f"{prefix}_op", descriptor.operation)
        surface = self._record(f"{prefix}_surface", descriptor.surface)
        buffers = self._buffers(self.addresses.entries[1:])
        assert buffers.by_memory[1] is not None and buffers.by_memory[1].address == self.base
        none = self._record("common", {})
        operation = Operation(0, 0, descriptor.kind, none, op, surface, UNKNOWN)
        return operation, ReadingContext(buffers, self.hw)

    def _record(self, name: str, values: Any) -> Record:
        kind = structure(name, not self.old)
        return kind.read(memoryview(kind.write(values)), 0, name)

    def packed(self, descriptor: Descriptor) -> list[bytes]:
        prefix = descriptor.kind.name.lower()
        return [
            structure(f"{prefix}_op", not self.old).write(descriptor.operation),
            structure(f"{prefix}_surface", not self.old).write(descriptor.surface),
        ]


def possible(make: Callable[[Bench], Any], bench: Bench) -> Iterator[Any]:
    """Settings that the hardware can do, each with its places."""
    found = 0
    while found < TRIALS:
        made = make(bench)
        if made is not None and not made[0].faults(bench.hw):
            found += 1
            yield made


def require_nothing_lost(
    bench: Bench, write: Callable[[Any, Any], Descriptor], units: Any, make: Any
) -> None:
    for setting, places in possible(make, bench):
        descriptor = write(setting, places)
        operation, context = bench.read(descriptor)
        found, fields = units(operation, context)
        expected = setting.fields(bench.hw, places)
        if isinstance(expected, tuple):
            assert fields == expected
        else:
            assert list(fields) == list(expected)
            for unit, values in expected.items():
                require_same_fields(unit, values, fields[unit])
        assert bench.packed(write(found, places)) == bench.packed(descriptor)


# -------------------------------------------------------------- convolution


def _window(bench: Bench, taps: int, *, winograd: bool = False) -> Window | None:
    if winograd:
        size = 4 * bench.number(2, 5)
        return Window(size, 3, 1, 1, 1, 1, size)
    stride, dilation = bench.number(1, 3), bench.number(1, 2)
    before, size = bench.number(0, 2), bench.number(1, 18)
    outputs = (before + size - (taps - 1) * dilation - 1) // stride + 1
    if outputs < 1:
        return None
    return Window.exact(
        taps=taps, stride=stride, dilation=dilation, before=before, size=size, outputs=outputs
    )


def _convolution(bench: Bench) -> Any:
    hw = bench.hw
    is_image = bench.number(0, 3) == 0
    winograd = hw.has_winograd and not is_image and bench.number(0, 3) == 0
    rows = _window(bench, bench.number(1, 4), winograd=winograd)
    columns = _window(bench, bench.number(1, 4), winograd=winograd)
    if rows is None or columns is None:
        return None
    image, channels = None, bench.number(1, 40)
    if is_image:
        names = [n for n in hw.pixel_formats if PIXEL_FORMATS[n].component_bits == 8]
        pixels = PIXEL_FORMATS[bench.pick(*names)]
        means = tuple(bench.number(-300, 300) for _ in range(4)) if bench.chance() else None
        image, channels = ImageInput(pixels, bench.chance(), means), pixels.channels
    converter = None
    if bench.chance():
        numbers = bench.number(-128, 127), bench.number(-999, 999), bench.number(0, 20)
        converter = InputConverter(*numbers)
    compressed = None
    if hw.has_weight_compression and not is_image and bench.number(0, 3) == 0:
        compressed = CompressedWeights(bench.number(1, 9) * 128, bench.number(1, 3) * 128)
    setting = ConvolutionSetting(
        channels=channels,
        kernels=bench.number(1, 40),
        rows=rows,
        columns=columns,
        banks=Banks(bench.number(1, 12), bench.number(1, 12)),
        image=image,
        converter=converter,
        pad_value=bench.number(-128, 127),
        clip_truncate=bench.number(0, 16),
        reuse=Reuse(
            keep_data=bench.chance(),
            keep_weights=bench.chance(),
            released=bench.pick(None, bench.number(1, rows.size)),
        ),
        winograd=winograd,
        winograd_truncate=bench.number(0, 2) if winograd else 0,
        post_extension=0,
        fetch_grain=bench.number(1, 5),
        compressed=compressed,
    )
    size = rows.size, columns.size
    place: CubePlace | ImagePlace = bench.cube(channels, *size)
    if image is not None:
        first, lines = (
            bench.address(),
            tuple(
                (columns.size * pixel // hw.memory_atom + 2) * hw.memory_atom
                for pixel in image.pixel_format.bytes_per_pixel
            ),
        )
        second = first + bench.number(1, 9) * 4096
        place = ImagePlace((first, second)[: len(lines)], lines)
    places = ConvolutionPlaces(
        place,
        BytesPlace(bench.address()),
        bench.pick(None, bench.cube(setting.kernels, rows.outputs, columns.outputs)),
        BytesPlace(bench.address()) if compressed else None,
        BytesPlace(bench.address()) if compressed else None,
    )
    return setting, places


@LAYOUTS
@TARGETS
def test_convolutions(target: str, old: bool) -> None:
    bench = Bench(target, 1, old)

    def write(setting: ConvolutionSetting, places: ConvolutionPlaces) -> Descriptor:
        return convolution_descriptor(setting, places, bench.writing)

    require_nothing_lost(bench, write, convolution_units, _convolution)


# -------------------------------------------------------------- SDP


def _x_stage(bench: Bench) -> tuple[XStage, OperandStream | None]:
    if bench.number(0, 2) == 0:
        return XStage(), None
    alu, mul = bench.pick(None, "SUM", "MAX", "MIN"), bench.chance()
    reads = bench.chance() and (alu is not None or mul)
    stage = XStage(
        bypass=False,
        alu=alu,
        alu_from_memory=reads and alu is not None,
        alu_operand=None if reads or alu is None else bench.number(-(1 << 15), (1 << 15) - 1),
        alu_shift=bench.number(0, 63) if alu is not None else 0,
        mul=mul,
        mul_from_memory=reads and mul,
        mul_operand=None if reads or not mul else bench.number(-(1 << 15), (1 << 15) - 1),
        mul_shift=bench.number(0, 63),
        prelu=mul and bench.number(0, 3) == 0,
    )
    if not stage.prelu:
        stage = evolve(stage, relu=bench.chance())
    return stage, _stream(bench, reads, alu is not None, mul)


def _y_stage(bench: Bench) -> tuple[YStage, OperandStream | None]:
    if bench.number(0, 2) == 0:
        return YStage(), None
    adds, mul = bench.chance(), bench.chance()
    reads = bench.chance() and (adds or mul)

    def operand() -> YOperand:
        if not reads:
            return YOperand(operand=bench.number(-(1 << 31), (1 << 31) - 1))
        numbers = bench.number(-(1 << 31), (1 << 31) - 1), bench.number(-999, 999), 63
        return YOperand(True, None, bench.pick(None, OperandConverter(*numbers)))

    stage = YStage(
        bypass=False,
        alu=operand() if adds else None,
        algorithm=bench.pick("SUM", "MAX", "MIN", "EQL") if adds else "MAX",
        mul=operand() if mul else None,
        truncate=bench.number(0, 255),
        table=bench.hw.sdp.has_lut and bench.chance(),
    )
    return stage, _stream(bench, reads, adds, mul)


def _stream(bench: Bench, reads: bool, adds: bool, multiplies: bool) -> OperandStream | None:
    if not reads:
        return None
    use = "BOTH" if adds and multiplies else "ALU" if adds else "MUL"
    mode = bench.pick("PER_KERNEL", "PER_ELEMENT")
    return OperandStream(use, bench.pick("ONE_BYTE", "TWO_BYTE"), mode)


def _sdp(bench: Bench) -> Any:
    extents = bench.number(1, 40), bench.pick(1, bench.number(1, 9)), bench.pick(1, 5)
    flying = bench.chance()
    bs, bn, ew = _x_stage(bench), _x_stage(bench), _y_stage(bench)
    named: dict[Any, OperandStream | None] = {"BS": bs[1], "BN": bn[1], "EW": ew[1]}
    streams: dict[Any, OperandStream] = {
        n: stream for n, stream in named.items() if stream is not None
    }
    setting = SdpSetting(
        *extents,
        flying=flying,
        to_pdp=flying and bench.chance(),
        bs=bs[0],
        bn=bn[0],
        ew=ew[0],
        streams=streams,
        converter=OutputConverter(
            bench.number(-(1 << 31), (1 << 31) - 1), bench.number(-(1 << 15), (1 << 15) - 1), 63
        ),
    )
    operands: dict[Any, OperandPlace] = {}
    for name, stream in streams.items():
        both, wide = stream.use == "BOTH", stream.size == "TWO_BYTE"
        position = bench.hw.memory_atom * (1 + both) * (1 + wide)
        if stream.mode == "PER_KERNEL":
            operands[name] = OperandPlace(bench.address(), None, position)
            continue
        line = extents[2] * position
        operands[name] = OperandPlace(bench.address(), line, extents[1] * line)
    places = SdpPlaces(
        None if flying else bench.cube(*extents),
        None if setting.to_pdp else bench.cube(*extents),
        operands,
    )
    return None if setting.place_faults(places) else (setting, places)


@LAYOUTS
@TARGETS
def test_sdp(target: str, old: bool) -> None:
    bench = Bench(target, 2, old)

    def write(setting: SdpSetting, places: SdpPlaces) -> Descriptor:
        tables = Tables("SDP", _tables(bench)) if setting.ew.table else None
        made = sdp_descriptor(setting, places, tables, bench.writing)
        return evolve(made, operation={**made.operation, "lut_index": 0 if tables else -1})

    require_nothing_lost(bench, write, sdp_units, _sdp)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"bs": XStage(False, "SUM", alu_from_memory=True, mul=True, mul_operand=3)},
            "BS in memory",
        ),
        ({"bn": XStage(False, mul=True, mul_operand=1, prelu=True, relu=True)}, "PReLU and ReLU"),
        (
            {"ew": YStage(False, mul=YOperand(operand=1, converter=OperandConverter(0, 1, 0)))},
            "EW's MUL",
        ),
    ],
)
def test_what_no_descriptor_of_the_sdp_says(changes: dict[str, Any], message: str) -> None:
    bench = Bench("nv_full", 3)
    stream = OperandStream("ALU", "ONE_BYTE", "PER_KERNEL")
    setting = SdpSetting(8, 2, 2, flying=True, streams={"BS": stream}, **changes)
    operand: dict[Any, OperandPlace] = {"BS": OperandPlace(bench.address(), None, 32)}
    places = SdpPlaces(None, bench.cube(8, 2, 2), operand)
    sdp_descriptor(setting, places, None, bench.writing)
    (fault,) = bench.writing.faults
    assert message in fault


# -------------------------------------------------------------- PDP and CDP


def _pool_window(bench: Bench) -> PoolWindow | None:
    kernel, stride = bench.number(1, 8), bench.number(1, 8)
    before, size = bench.number(0, min(7, kernel - 1)), bench.pick(bench.number(1, 20), 150)
    outputs = (before + size - kernel) // stride + 1
    if outputs < 1:
        return None
    return PoolWindow.exact(
        kernel=kernel, stride=stride, before=before, size=size, outputs=outputs, flying=True
    )


def _pdp(bench: Bench) -> Any:
    rows, columns = _pool_window(bench), _pool_window(bench)
    if rows is None or columns is None:
        return None
    flying = bench.chance()
    try:
        split = None if flying else width_split(rows, columns)
    except ValueError:
        return None
    average = bench.chance()
    channels = bench.number(1, 40)
    setting = PdpSetting(
        channels,
        rows,
        columns,
        "AVERAGE" if average else bench.pick("MAX", "MIN"),
        flying,
        split,
        (65536 // rows.kernel, 65536 // columns.kernel) if average else None,
        tuple(bench.number(-900, 900) for _ in range(7)) if average else None,
    )
    source = None if flying else bench.cube(channels, rows.size, columns.size)
    return setting, PdpPlaces(source, bench.cube(channels, rows.outputs, columns.outputs))


@LAYOUTS
@TARGETS
def test_pdp(target: str, old: bool) -> None:
    bench = Bench(target, 4, old)

    def write(setting: PdpSetting, places: PdpPlaces) -> Descriptor:
        return pdp_descriptor(setting, places, bench.writing)

    require_nothing_lost(bench, write, pdp_units, _pdp)


def test_what_no_descriptor_of_the_pdp_says() -> None:
    bench = Bench("nv_small", 5)
    rows, columns = PoolWindow(20, 3, 9, 0, 0, 2), PoolWindow(6, 6, 6, 0, 0, 1)
    setting = PdpSetting(8, rows, columns, "AVERAGE", True, None, (21845, 10923))
    places = PdpPlaces(None, bench.cube(8, 2, 1))
    pdp_descriptor(setting, places, bench.writing)
    assert [fault.partition(",")[0] for fault in bench.writing.faults] == [
        "pooling windows 9 apart",
        "an average with the reciprocals (21845",
    ]


def _cdp(bench: Bench) -> Any:
    extents = bench.number(1, 40), bench.number(1, 9), bench.number(1, 9)

    def converter(offset: int, shift: int) -> CdpConverter:
        scale = bench.number(-(1 << 15), (1 << 15) - 1)
        return CdpConverter(bench.number(-offset, offset - 1), scale, bench.number(0, shift))

    setting = CdpSetting(
        *extents,
        bench.pick(3, 5, 7, 9),
        converter(1 << 15, 31),
        converter(1 << 31, 63),
        bench.chance(),
        bench.chance(),
    )
    return setting, CdpPlaces(bench.cube(*extents), bench.cube(*extents))


@LAYOUTS
@TARGETS
def test_cdp(target: str, old: bool) -> None:
    bench = Bench(target, 6, old)

    def write(setting: CdpSetting, places: CdpPlaces) -> Descriptor:
        made = cdp_descriptor(setting, places, Tables("CDP", _tables(bench)), bench.writing)
        return evolve(made, operation={**made.operation, "lut_index": 0})

    require_nothing_lost(bench, write, cdp_units, _cdp)


def _tables(bench: Bench, bits: int = 32) -> LookUpTables:
    def table(entries: int) -> LookUpTable:
        half = 1 << (bits - 1)
        slopes = [
            Slope(bench.number(-(1 << 15), (1 << 15) - 1), bench.number(-16, 15)) for _ in range(2)
        ]
        return LookUpTable(
            tuple(bench.number(-(1 << 15), (1 << 15) - 1) for _ in range(entries)),
            bench.number(-half, -1),
            bench.number(0, half - 1),
            bench.number(0, 20),
            *slopes,
        )

    names = [bench.pick("LE", "LO") for _ in range(3)]
    return LookUpTables(table(65), table(257), bench.pick("EXPONENT", "LINEAR"), *names)


@pytest.mark.parametrize(("unit", "bits"), [("SDP", 32), ("CDP", 38)])
def test_look_up_tables(unit: Any, bits: int) -> None:
    bench = Bench("nv_full", 7)
    setting, places = next(possible(_cdp, bench))
    for _ in range(5):
        tables = _tables(bench, bits)
        made = cdp_descriptor(setting, places, Tables(unit, tables), bench.writing)
        made = evolve(made, operation={**made.operation, "lut_index": 0})
        operation, context = bench.read(made)
        kind = structure("lut")
        record = kind.read(memoryview(kind.write(table_values(tables))), 0, "lut")
        network = Network(0, UNKNOWN, (operation,), (), (record,), False)
        assert tables_of(operation, network, unit, context) == Tables(unit, tables)


# -------------------------------------------------------------- movement


def _rubik(bench: Bench) -> Any:
    mode, atom = bench.pick("CONTRACT", "SPLIT", "MERGE"), bench.hw.memory_atom
    height, width = bench.number(1, 9), bench.number(1, 9)
    strides = (bench.number(1, 4), bench.number(1, 4)) if mode == "CONTRACT" else (1, 1)
    results = bench.number(1, 40)
    groups = strides[0] * strides[1] * -(-results // atom) * atom
    channels = groups if mode == "CONTRACT" else results
    setting = RubikSetting(mode, channels, height, width, results, strides)
    cubes = [bench.cube(channels, height, width), bench.cube(*setting.output)]
    if mode != "CONTRACT":
        line = -(-width // atom) * atom
        planes = PlanesPlace(bench.address(), line, height * line)
        cubes[mode == "SPLIT"] = planes  # pyright: ignore[reportCallIssue, reportArgumentType]
    places = RubikPlaces(*cubes)
    return None if setting.place_faults(places, bench.hw) else (setting, places)


@LAYOUTS
def test_rubik(old: bool) -> None:
    bench = Bench("nv_full", 8, old)

    def write(setting: RubikSetting, places: RubikPlaces) -> Descriptor:
        return rubik_descriptor(setting, places, bench.writing)

    require_nothing_lost(bench, write, rubik_units, _rubik)


def _bdma(bench: Bench) -> Any:
    transfers: list[Transfer] = []
    places: list[TransferPlaces] = []
    for _ in range(bench.number(1, 20)):
        transfer = Transfer(bench.number(1, 9) * 32, bench.number(1, 9), bench.number(1, 4))
        line = transfer.line_bytes + bench.number(0, 3) * 32
        block = BlockPlace(bench.address(), line, line * transfer.lines + 64)
        transfers.append(transfer)
        places.append(TransferPlaces(block, evolve(block, address=bench.address())))
    return BdmaSetting(tuple(transfers)), tuple(places)


@LAYOUTS
def test_bdma(old: bool) -> None:
    bench = Bench("nv_full", 9, old)

    def write(setting: BdmaSetting, places: Any) -> Descriptor:
        return bdma_descriptor(setting, places, bench.writing)

    require_nothing_lost(bench, write, bdma_transfers, _bdma)
