"""Small traces for tests, written by hand: the SDP copies 8x8x8 cubes on nv_small."""

from __future__ import annotations

import random
import re
import zlib

import numpy as np

from nvdla_ir.dialects import default_context
from nvdla_ir.dialects.builtin import ModuleOp
from nvdla_ir.formats.trace import export_trace
from nvdla_ir.hw.registers import register_map
from nvdla_ir.passes.base import Session
from nvdla_ir.passes.pipeline import Pipeline
from nvdla_ir.passes.registry import layers_to_registers
from nvdla_ir.resources import ResourceStore
from nvdla_ir.text.parser import parse

INPUT, MIDDLE, OUTPUT = 0x8000_0000, 0x8000_1000, 0x8000_2000
SIZE = 8 * 8 * 8

DATA = np.random.default_rng(5).integers(0, 256, SIZE, np.uint8).tobytes()
"""What is copied."""


def dat(data: bytes, packet: int = 16, key: str = "payload") -> str:
    """A data file of packets of ``packet`` bytes."""
    lines = ["{"]
    for offset in range(0, len(data), packet):
        part = data[offset : offset + packet]
        payload = " ".join(f"0x{byte:02x}" for byte in part)
        lines.append(f"{{offset:{offset:#x}, size:{len(part)}, {key}:{payload}}} ,")
    return "\n".join([*lines, "}", ""])


def sdp_registers(source: int, destination: int) -> list[tuple[str, str, int]]:
    """Block, register and word: a layer that copies a cube from memory to memory."""
    words = {
        "SDP_RDMA": {
            "D_DATA_CUBE_WIDTH": 7,
            "D_DATA_CUBE_HEIGHT": 7,
            "D_DATA_CUBE_CHANNEL": 7,
            "D_SRC_BASE_ADDR_LOW": source,
            "D_SRC_BASE_ADDR_HIGH": 0,
            "D_SRC_LINE_STRIDE": 64,
            "D_SRC_SURFACE_STRIDE": 512,
            "D_BRDMA_CFG": 0x1,
            "D_NRDMA_CFG": 0x1,
            "D_ERDMA_CFG": 0x1,
            "D_FEATURE_MODE_CFG": 0,
            "D_SRC_DMA_CFG": 1,
        },
        "SDP": {
            "D_DATA_CUBE_WIDTH": 7,
            "D_DATA_CUBE_HEIGHT": 7,
            "D_DATA_CUBE_CHANNEL": 7,
            "D_DST_BASE_ADDR_LOW": destination,
            "D_DST_BASE_ADDR_HIGH": 0,
            "D_DST_LINE_STRIDE": 64,
            "D_DST_SURFACE_STRIDE": 512,
            "D_DP_BS_CFG": 0x1,
            "D_DP_BN_CFG": 0x1,
            "D_DP_EW_CFG": 0x1,
            "D_FEATURE_MODE_CFG": 0,
            "D_DST_DMA_CFG": 1,
            "D_DATA_FORMAT": 0,
            "D_CVT_OFFSET": 0,
            "D_CVT_SCALE": 1,
            "D_CVT_SHIFT": 0,
        },
    }
    return [
        (block, register, word)
        for block, registers in words.items()
        for register, word in registers.items()
    ]


def layer(group: int, source: int, destination: int, waits: tuple[str, ...] = ()) -> list[str]:
    """Commands that program and enable one copy; both units wait for ``waits`` before."""
    lines = [f"reg_write(NVDLA_{block}.S_POINTER_0, {group});" for block in ("SDP", "SDP_RDMA")]
    lines += [
        f"reg_write(NVDLA_{block}.{register}_0, {word:#x});"
        for block, register, word in sdp_registers(source, destination)
    ]
    for block in ("SDP_RDMA", "SDP"):
        lines += [f"sync_wait(NVDLA_{block}, {event});" for event in waits]
        lines.append(f"reg_write(NVDLA_{block}.D_OP_ENABLE_0, 0x1);")
    return lines


def copy_twice() -> dict[str, str]:
    """Two dependent layers with a check of each."""
    crc = zlib.crc32(DATA)
    lines = [
        "// two copies",
        f'mem_load(pri_mem, {INPUT:#x}, "copy_in.dat");',
        f"mem_init(pri_mem, {MIDDLE:#x}, {SIZE:#x}, ONES);",
        f"mem_init(pri_mem, {OUTPUT:#x}, {SIZE:#x}, ADDR);",
        "reg_write(NVDLA_GLB.S_INTR_MASK_0, 0x3f03fc);",
        *layer(0, INPUT, MIDDLE),
        "intr_notify(SDP_0, first);",
        f"check_crc(first, pri_mem, {MIDDLE:#x}, {SIZE:#x}, {crc:#x});",
        *layer(1, MIDDLE, OUTPUT, ("first",)),
        "intr_notify(SDP_1, second);",
        f"check_crc(second, 1, {OUTPUT:#x}, {SIZE:#x}, {crc:#x});",
        "",
    ]
    return {"copy.cfg": "\n".join(lines), "copy_in.dat": dat(DATA)}


def copy_txn() -> dict[str, str]:
    """One copy as a ``.txn`` trace, with register reads, for the map of nv_small."""
    registers = register_map("master")

    def number(block: str, register: str) -> str:
        found = registers[block]
        address = found.base + found.register(register).offset
        return f"{0xFFFF_0000 | address >> 2:#x}"

    lines = ["# one copy", f"load_mem {INPUT:#x} {SIZE:#x} copy_in.hex # the cube"]
    for block, register, word in sdp_registers(INPUT, OUTPUT):
        lines.append(f"write_reg {number(block, register)} {word:#x} #{block}.{register}")
        lines.append(f"read_reg {number(block, register)} 0xffffffff {word:#x}")
    lines += [f"write_reg {number(block, 'D_OP_ENABLE')} 0x1" for block in ("SDP_RDMA", "SDP")]
    lines += [
        "wait",
        f"read_reg {number('GLB', 'S_INTR_STATUS')} 0x1 0x1",
        f"write_reg {number('GLB', 'S_INTR_STATUS')} 0x1",
        f"dump_mem {OUTPUT:#x} {SIZE:#x} copy_out.hex",
        "",
    ]
    rows = [DATA[start : start + 16].hex(" ") for start in range(0, SIZE, 16)]
    hexadecimal = "\n".join(["NAME=copy", "SIZE=512", *rows, ""])
    return {
        "input.txn": "\n".join(lines),
        "copy_in.hex": hexadecimal,
        "copy_out.hex": hexadecimal,
    }


def enabled_in_order(text: str) -> str:
    """A trace in which CSC and CDMA wait for the enables of CMAC and CACC before them in the file:
    in the vendor's traces nothing but a player that is fair sees to that."""
    lines: list[str] = []
    waited: dict[str, list[str]] = {"CSC": [], "CDMA": []}
    for number, line in enumerate(text.split("\n")):
        match = re.match(r"reg_write\(NVDLA_(\w+)\.D_OP_ENABLE_0, 0x0*1\)", line)
        unit = match[1] if match else ""
        if unit in waited:
            lines += [f"sync_wait(NVDLA_{unit}, {event});" for event in waited[unit]]
            waited[unit].clear()
        lines.append(line)
        if unit in ("CMAC_A", "CMAC_B", "CACC"):
            lines.append(f"sync_notify(NVDLA_{unit}, enabled_{number});")
            for events in waited.values():
                events.append(f"enabled_{number}")
    return "\n".join(lines)


def interleaved(text: str, seed: int) -> str:
    """The commands of a trace in an order that a player with one command stream for each block
    cannot tell from the given one: streams, expected interrupts and checks mixed at random."""
    rng = random.Random(seed)
    streams: dict[str, list[str]] = {}
    for line in text.split("\n"):
        command = re.match(r"(\w+)\((\w+)", line)
        if command is None:
            continue
        name, first = command[1], command[2].upper()
        if name.startswith(("reg_", "poll_", "sync_")):
            key = first
        elif name.startswith("mem_"):
            key = "memory"
        else:
            key = name
        streams.setdefault(key, []).append(line)
    mixed: list[str] = []
    while streams:
        key = rng.choice(sorted(streams))
        count = rng.choice((1, 2, 5, 1000))
        mixed += streams[key][:count]
        del streams[key][:count]
        if not streams[key]:
            del streams[key]
    return "\n".join(mixed)


def convolution() -> dict[str, str]:
    """A convolution with pooling on the fly, made by the compiler."""
    rng = np.random.default_rng(6)
    element = "!quant.uniform<i8:f32, 0.5>"
    text = f"""
module attributes {{nvdla.target = "nv_small"}} {{
  func.func @main(%x: tensor<1x3x6x5x{element}>) -> tensor<1x9x3x2x{element}> {{
    %a = nvdla.upload %x -> tensor<1x3x6x5x{element}>
    %w = nvdla.constant value=dense_resource<w> : tensor<9x3x3x3xi8>
    %c = nvdla.conv %a, %w pads=[1, 1, 1, 1] layers=["conv"] -> !nvdla.stream<1x9x6x5xi32>
    %s = nvdla.sdp %c cvt_scale=3 cvt_shift=4 -> !nvdla.stream<1x9x6x5x{element}>
    %p = nvdla.pdp max %s kernel=[2, 2] strides=[2, 2] layers=["pool"]
      -> tensor<1x9x3x2x{element}>
    %y = nvdla.download %p -> tensor<1x9x3x2x{element}>
    func.return %y
  }}
}}
"""
    (module,) = parse(text, default_context()).operations
    assert isinstance(module, ModuleOp)
    resources = ResourceStore()
    resources.add("w", rng.integers(-128, 128, (9, 3, 3, 3), np.int8))
    Pipeline(layers_to_registers()).run(module, Session(resources))
    image = rng.integers(-128, 128, (1, 3, 6, 5), np.int8)
    files = export_trace(module, resources, {"x": image}, "conv")
    return {name: data.decode() for name, data in files.items()}
