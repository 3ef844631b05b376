"""What a convolution leaves in the convolution buffer for the next one.

Data and weights each have a ring of entries in banks of their own. CDMA writes behind what it wrote
last, CSC reads and releases behind what it released last; nothing moves these positions between
layers but a change of the bank split. So each ring is a queue of entries: what CDMA fetched and CSC
has not released comes before what the next layer fetches. Sources: convolution.md sections 3.6 and
8.3, and where functional model and RTL differ, the RTL.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from nvdla_ir.arith.errors import Int8Array
from nvdla_ir.hw.formats.sizes import align_up
from nvdla_ir.interp.device.environment import Environment
from nvdla_ir.interp.device.registers import Fields

Bytes = NDArray[np.uint8]

_MODE = ("CONV_MODE", "DATAIN_FORMAT")


@frozen(eq=False)
class Weights:
    """The weights of a layer as CSC meets them: the bytes from its read position on, and where
    they are compressed, their mask."""

    stream: Bytes
    mask: Bytes | None = None


@frozen
class _Mismatch:
    """A convolution of register ``group`` after which CDMA stands behind ``fetched`` bytes and CSC
    behind ``read``."""

    group: int
    weight_bytes: int
    fetched: int
    read: int


@define
class ConvolutionBuffer:
    """The contents of the buffer between layers.

    A layer calls `begin`, then `lines` and `weights`, then `end`.
    """

    _environment: Environment
    _banks: tuple[int, int] | None = None
    _mode: tuple[int, ...] = ()
    # Lines that are not released, int8 [batch, channel, line, column] as CSC sees them.
    _lines: Int8Array | None = None
    _keeps_all_lines: bool = False
    # Weights that are not released, whole entries.
    _stream: Bytes = field(factory=lambda: np.zeros(0, np.uint8))
    # What the layer before keeps of them (SKIP_WEIGHT_RLS = 1).
    _kept: int | None = None
    _mask: Bytes | None = None
    _mismatch: _Mismatch | None = None
    _same_mode: bool = False
    _same_weight_banks: bool = True

    def begin(self, cdma: Fields) -> None:
        """Start a layer: what another split of the banks resets."""
        banks = cdma["DATA_BANK"], cdma["WEIGHT_BANK"]
        mode = tuple(cdma[name] for name in _MODE)
        before = self._banks or banks
        self._same_mode = self._mode == mode
        self._same_weight_banks = before[1] == banks[1]
        if before != banks:
            self._report_mismatch_behind_reset(cdma)
            self._stream = self._stream[:0]
            self._kept = self._mask = self._mismatch = None
        if before[0] != banks[0] or not self._same_mode:
            self._drop_lines(cdma)
        self._banks, self._mode = banks, mode

    def lines(self, cdma: Fields, csc: Fields, fetch: Callable[[], Int8Array]) -> Int8Array:
        """All lines that CSC needs: kept ones first, then those that CDMA fetches."""
        environment = self._environment
        kept = self._lines if cdma["DATA_REUSE"] else None
        if kept is not None:
            environment.require(
                self._same_weight_banks or not kept.shape[2],
                cdma,
                "DATA_REUSE",
                "the layer before has another WEIGHT_BANK: the functional model fetches all lines, "
                "the RTL uses those that are kept",
            )
        elif cdma["DATA_REUSE"]:
            environment.rules.remark(
                cdma.block,
                cdma.place_of("DATA_REUSE"),
                1,
                "nothing is kept from a layer of the same mode and banks: all is fetched",
            )
        if kept is not None and self._keeps_all_lines:
            data = kept
        else:
            data = fetch()
            if kept is not None and kept.shape[2]:
                environment.unsupported(
                    kept.shape[:2] == data.shape[:2] and kept.shape[3] == data.shape[3],
                    cdma,
                    "DATA_REUSE",
                    f"the buffer keeps lines of {kept.shape[1]} channels and {kept.shape[3]} "
                    f"columns, but this layer has {data.shape[1]} and {data.shape[3]}",
                )
                data = np.concatenate((kept, data), axis=2)
        environment.unsupported(
            data.shape[2] == csc["DATAIN_HEIGHT_EXT"] + 1,
            csc,
            "DATAIN_HEIGHT_EXT",
            f"the buffer holds {data.shape[2]} lines: must be {data.shape[2] - 1}",
        )
        return data

    def weights(self, cdma: Fields, fetch: Callable[[], Weights]) -> Weights:
        """What CSC finds at its read position: kept weights, or what ``fetch`` brings."""
        if self._reuses_weights(cdma):
            return Weights(self._stream, self._mask)
        self._release_kept()
        mismatch = self._mismatch
        if mismatch is not None:
            self._environment.rules.require(
                False,
                cdma.block,
                cdma.place_of("WEIGHT_BYTES"),
                mismatch.weight_bytes,
                f"in the convolution before (group {mismatch.group}) CDMA fetched "
                f"{self._entries(mismatch.fetched)}, but CSC read {self._entries(mismatch.read)}: "
                "CSC reads the weights of this one from the wrong place. There it must be "
                f"{mismatch.read}, whole entries of the weights",
            )
        fetched = fetch()
        self._mask = fetched.mask
        self._stream = np.concatenate((self._stream, self._padded(fetched.stream)))
        return Weights(self._stream, fetched.mask)

    def end(self, csc: Fields, group: int, data: Int8Array, weight_bytes: int) -> None:
        """End a layer of register ``group``: release what it does not keep.

        ``data`` are its lines, ``weight_bytes`` is how much CSC read of the weights.
        """
        self._keeps_all_lines = csc["SKIP_DATA_RLS"] == 1
        self._lines = data if self._keeps_all_lines else data[:, :, csc["RLS_SLICES"] + 1 :]
        held, read = len(self._stream), align_up(weight_bytes, self._entry_bytes)
        self._mismatch = None
        if held != read:
            self._mismatch = _Mismatch(group, csc["WEIGHT_BYTES"], held, read)
        if csc["SKIP_WEIGHT_RLS"]:
            self._kept = held
        else:
            self._kept = None
            self._stream = self._stream[read:]

    @property
    def _entry_bytes(self) -> int:
        return self._environment.configuration.cbuf.entry_bytes

    def _entries(self, size: int) -> str:
        return f"{size // self._entry_bytes} entries of {self._entry_bytes} bytes"

    def _padded(self, stream: Bytes) -> Bytes:
        """``stream`` in whole entries."""
        missing = -len(stream) % self._entry_bytes
        return np.pad(stream, (0, missing)) if missing else stream

    def _drop_lines(self, cdma: Fields) -> None:
        if self._lines is not None:
            self._environment.require(
                not (cdma["DATA_REUSE"] and self._lines.shape[2]),
                cdma,
                "DATA_REUSE",
                "the lines that the layer before keeps are dropped, because it has another mode or "
                "DATA_BANK: must be 0",
            )
        self._lines = None

    def _reuses_weights(self, cdma: Fields) -> bool:
        if not cdma["WEIGHT_REUSE"]:
            return False
        self._environment.require(
            self._kept is not None and self._same_mode,
            cdma,
            "WEIGHT_REUSE",
            "no weights are kept: the layer before must have SKIP_WEIGHT_RLS = 1 and the same mode "
            "and banks",
        )
        if self._kept is None:
            return False
        self._environment.unsupported(
            (self._mask is not None) == bool(cdma["WEIGHT_FORMAT"]),
            cdma,
            "WEIGHT_FORMAT",
            "the weights that are kept have the other format",
        )
        return True

    def _release_kept(self) -> None:
        if self._kept is not None:
            self._stream = self._stream[self._kept :]
            self._kept = None

    def _report_mismatch_behind_reset(self, cdma: Fields) -> None:
        """On the RTL another split mends everything; the functional model waits forever for the
        entries that are missing."""
        mismatch = self._mismatch
        if mismatch is not None and self._kept is None:
            self._environment.rules.remark(
                cdma.block,
                cdma.place_of("WEIGHT_BYTES"),
                mismatch.weight_bytes,
                f"in the convolution before (group {mismatch.group}) CDMA fetched "
                f"{self._entries(mismatch.fetched)}, but CSC read {self._entries(mismatch.read)}. "
                "Only because this one has another D_BANK it is right on the RTL; the functional "
                "model never ends it",
            )
