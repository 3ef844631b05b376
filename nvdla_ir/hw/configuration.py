"""Hardware configurations as data: what a build of NVDLA has, and how large its parts are.

The shipped ones are ``configurations/*.toml``; a user describes another in a TOML file of the same
keys, from scratch or as a variant of a shipped one::

    base = "nv_small"
    atomic_c = 16
    [cbuf]
    entry_bytes = 16

Code asks a configuration for what it can do (``hw.sdp.has_ew``), never for its name.

A configuration is a value: ``written`` gives the few keys that say all of it, and
``configuration_from`` reads them, so that it can be stated where no file is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import attrs
from attrs import Attribute, field, fields_dict, frozen

from nvdla_ir.hw.pixels import EIGHT_BIT_FORMATS, PIXEL_FORMATS, PixelFormat
from nvdla_ir.hw.suggestion import nearest

_DATA = Path(__file__).with_name("configurations")
_PRECISIONS = ("int8", "int16", "fp16")
_V1_WEIGHT_UNIT_BYTES = 128
_SECTIONS = ("cbuf", "sdp")

KeyValue: TypeAlias = "int | bool | str | tuple[str, ...]"


class ConfigurationError(ValueError):
    """A configuration that is unknown, unreadable or inconsistent; the message names all faults."""


class _Rule(NamedTuple):
    """What a key may hold: its wording for messages, and the test of a value."""

    wording: str
    accepts: Callable[[object], bool]


def _integer(low: int, high: int) -> Any:
    def accepts(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return field(metadata={"rule": _Rule(f"an integer from {low} to {high}", accepts)})


def _power_of_two(low: int, high: int) -> Any:
    allowed = [1 << n for n in range(low.bit_length() - 1, high.bit_length())]

    def accepts(value: object) -> bool:
        return not isinstance(value, bool) and value in allowed

    return field(metadata={"rule": _Rule(f"one of {', '.join(map(str, allowed))}", accepts)})


def _boolean() -> Any:
    def accepts(value: object) -> bool:
        return isinstance(value, bool)

    return field(metadata={"rule": _Rule("true or false", accepts)})


def _choice(*allowed: str) -> Any:
    def accepts(value: object) -> bool:
        return value in allowed

    return field(metadata={"rule": _Rule(f"one of {', '.join(map(repr, allowed))}", accepts)})


def _subset(wording: str, allowed: tuple[str, ...]) -> Any:
    def accepts(value: object) -> bool:
        if not isinstance(value, list):
            return False
        items = cast("list[object]", value)
        return len(items) > 0 and all(item in allowed for item in items)

    return field(metadata={"rule": _Rule(wording, accepts)})


@frozen
class ConvolutionBuffer:
    """The convolution buffer (CBUF): ``banks`` of ``entries_per_bank`` entries each."""

    banks: int = _integer(2, 32)
    entry_bytes: int = _power_of_two(8, 128)
    entries_per_bank: int = _power_of_two(16, 4096)

    @property
    def bank_bytes(self) -> int:
        """Bytes in one bank."""
        return self.entry_bytes * self.entries_per_bank

    @property
    def total_bytes(self) -> int:
        """Bytes in all banks."""
        return self.bank_bytes * self.banks


@frozen
class SdpCapabilities:
    """Which stages the single data point processor has: BS (X1), BN (X2), EW (Y), LUT (in EW); and
    elements that each takes a cycle, if it is there."""

    has_bs: bool = _boolean()
    has_bn: bool = _boolean()
    has_ew: bool = _boolean()
    has_lut: bool = _boolean()
    bs_throughput: int = _integer(1, 64)
    bn_throughput: int = _integer(1, 64)
    ew_throughput: int = _integer(1, 64)

    @property
    def throughput(self) -> int:
        """Elements a cycle of the fastest stage, which is what CACC hands over."""
        stages = (
            (self.has_bs, self.bs_throughput),
            (self.has_bn, self.bn_throughput),
            (self.has_ew, self.ew_throughput),
        )
        return max((throughput for present, throughput in stages if present), default=1)


@frozen
class HardwareConfiguration:
    """One build of NVDLA.

    ``register_map`` names the generation of its registers ("master" or "v1"). ``atomic_c`` is the
    number of channels of one MAC operation, ``atomic_k`` the number of INT8 kernels in one kernel
    group, ``memory_atom`` the bytes of one memory atom (convolution.md section 0). Capabilities are
    ``has_*`` (without its saturation counter, the CDP's register reads 0); ``max_batch`` is 1
    without batch mode. ``address_bits`` is the width of a memory
    address, ``accumulator_bits`` that of CACC's INT8 sums, ``weight_alignment`` the bytes that a
    weight surface is padded to, ``weight_request_bytes`` those for which the buffer must have room
    before CDMA asks for them. ``memory_width_bytes`` is what the interface of the primary memory
    moves in one cycle at most; ``pdp_throughput`` and ``cdp_throughput`` count elements a cycle.
    ``pixel_formats`` are manual names, see ``nvdla_ir.hw.pixels``. ``base`` names
    the shipped configuration that this one is written as a variant of, if any; it says nothing of
    the hardware.
    """

    name: str
    cbuf: ConvolutionBuffer
    sdp: SdpCapabilities
    register_map: str = _choice("master", "v1")
    precisions: tuple[str, ...] = _subset(
        f"a list of some of {', '.join(map(repr, _PRECISIONS))}", _PRECISIONS
    )
    atomic_c: int = _power_of_two(8, 128)
    atomic_k: int = _power_of_two(8, 64)
    memory_atom: int = _power_of_two(8, 64)
    accumulator_bits: int = _integer(32, 64)
    weight_alignment: int = _power_of_two(32, 256)
    weight_request_bytes: int = _power_of_two(8, 256)
    memory_width_bytes: int = _power_of_two(8, 128)
    pdp_throughput: int = _integer(1, 64)
    cdp_throughput: int = _integer(1, 64)
    address_bits: int = _integer(32, 64)
    max_batch: int = _integer(1, 32)
    has_pdp: bool = _boolean()
    has_cdp: bool = _boolean()
    has_cdp_saturation_counter: bool = _boolean()
    has_rubik: bool = _boolean()
    has_bdma: bool = _boolean()
    has_winograd: bool = _boolean()
    has_weight_compression: bool = _boolean()
    has_secondary_memory: bool = _boolean()
    pixel_formats: tuple[str, ...] = _subset(
        "a list of pixel format names (T_R8, T_A8B8G8R8, ...)", tuple(PIXEL_FORMATS)
    )
    base: str | None = field(default=None, eq=False)

    @property
    def macs(self) -> int:
        """INT8 products that are made in a cycle."""
        return self.atomic_c * self.atomic_k

    @property
    def atoms_per_entry(self) -> int:
        """Memory atoms in one CBUF entry: 1, 2 or 4."""
        return self.cbuf.entry_bytes // self.memory_atom

    @property
    def has_batch(self) -> bool:
        """Whether one convolution layer may process several cubes."""
        return self.max_batch > 1

    def usable_banks(self, *, compressed: bool = False) -> int:
        """CBUF banks for data and weights; compressed weights take one for their mask (WMB)."""
        return self.cbuf.banks - 1 if compressed else self.cbuf.banks

    def supports_pixel_format(self, pixel_format: PixelFormat) -> bool:
        """Whether the image input of this build accepts the format."""
        return pixel_format.name in self.pixel_formats


@cache
def names() -> tuple[str, ...]:
    """Return the names of the shipped configurations, smallest first: by MACs, convolution buffer,
    precisions and units."""
    return tuple(sorted(_shipped_names(), key=lambda name: _size(_load_shipped(name))))


def _size(hw: HardwareConfiguration) -> tuple[int | str, ...]:
    parts = attrs.asdict(hw, recurse=False) | attrs.asdict(hw.sdp)
    features = sum(value is True for value in parts.values())
    return hw.macs, hw.cbuf.total_bytes, len(hw.precisions), features, hw.name


@cache
def _shipped_names() -> frozenset[str]:
    return frozenset(path.stem for path in _DATA.glob("*.toml"))


def load_configuration(name_or_path: str | Path) -> HardwareConfiguration:
    """Return a shipped configuration by name, or the one that a user's TOML file describes.

    Raises ConfigurationError: for an unknown name with the nearest known one; for a file with every
    unknown key, wrong type or value and inconsistency in it at once.
    """
    name = str(name_or_path)
    path = configuration_file(name)
    if path is None:
        return _load_shipped(name)
    if path.suffix != ".toml" and not _is_file(path):
        raise _unknown(name, "; or give a path to a .toml file")
    return _resolve(f"{path}: ", {"name": path.stem, **_read(path)})


def shipped_configuration(name: str) -> HardwareConfiguration:
    """Return a shipped configuration. Raises ConfigurationError with the nearest known name."""
    if name not in _shipped_names():
        raise _unknown(name, "")
    return _load_shipped(name)


def configuration_from(keys: Mapping[str, object]) -> HardwareConfiguration:
    """Return the configuration that ``written`` has written.

    Raises ConfigurationError with every unknown key, wrong type or value and inconsistency.
    """
    data: dict[str, Any] = {}
    for key, value in keys.items():
        section, dot, inner = key.partition(".")
        if not dot:
            data[key] = value
        elif isinstance(table := data.setdefault(section, {}), dict):
            table[inner] = value
    return _resolve("", data)


def written(hw: HardwareConfiguration) -> dict[str, KeyValue]:
    """Return the keys that say all of ``hw``: its name, its base, and what differs from that (all
    keys where it has none). Those of a table have its name before them: ``cbuf.banks``."""
    keys: dict[str, KeyValue] = {"name": hw.name}
    known: dict[str, KeyValue] = {}
    if hw.base is not None:
        keys["base"] = hw.base
        known = keys_of(_load_shipped(hw.base))
    return keys | {key: value for key, value in keys_of(hw).items() if known.get(key) != value}


def keys_of(hw: HardwareConfiguration) -> dict[str, KeyValue]:
    """Return all keys of ``hw`` but its name and base, those of tables last, as ``cbuf.banks``."""
    keys: dict[str, Any] = attrs.asdict(hw, recurse=False)
    del keys["name"], keys["base"]
    for section in _SECTIONS:
        table = attrs.asdict(keys.pop(section))
        keys |= {f"{section}.{key}": value for key, value in table.items()}
    return keys


def _unknown(name: str, alternative: str) -> ConfigurationError:
    return ConfigurationError(
        f"unknown hardware configuration {name!r}{nearest(name, names())} "
        f"(known: {', '.join(names())}{alternative})"
    )


def configuration_file(name_or_path: str) -> Path | None:
    """The user's file that ``load_configuration`` would read; None for a shipped configuration."""
    return None if name_or_path in _shipped_names() else Path(name_or_path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have, or a folder that is closed
        return False


@cache
def _load_shipped(name: str) -> HardwareConfiguration:
    return _build(f"{name}: ", {"name": name, **_shipped_data(name)}, name)


@cache
def _shipped_data(name: str) -> Mapping[str, Any]:
    return _read(_DATA / f"{name}.toml")


def _resolve(origin: str, data: dict[str, Any]) -> HardwareConfiguration:
    """The configuration that ``data`` describes, with what it takes from its base."""
    base = data.pop("base", None)
    if base is None:
        return _build(origin, data, None)
    if not isinstance(base, str) or base not in _shipped_names():
        hint = nearest(base, names()) if isinstance(base, str) else ""
        raise ConfigurationError(
            f"{origin}base = {base!r}: must be one of {', '.join(names())}{hint}"
        )
    merged = dict(_shipped_data(base))
    for key, value in data.items():
        inherited = merged.get(key)
        if isinstance(inherited, dict) and isinstance(value, dict):
            value = cast("dict[str, Any]", inherited | value)
        merged[key] = value  # a section that is not a table is left for _build to refuse
    return _build(origin, merged, base)


def _read(path: Path) -> dict[str, Any]:
    try:
        return _toml().loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 text: {error.reason}") from None
    except ValueError as error:  # the TOML reader's own error is one
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from None


def _toml() -> Any:
    """Return the TOML reader: the standard library's, or its backport before Python 3.11."""
    try:
        return import_module("tomllib")
    except ModuleNotFoundError:
        return import_module("tomli")


def _build(origin: str, data: Mapping[str, Any], base: str | None) -> HardwareConfiguration:
    faults: list[str] = []
    values = dict(data)
    if not isinstance(values.get("name"), str):
        faults.append(f"name = {values.get('name')!r}: must be a string")
    sections: dict[str, Any] = {}
    sound: dict[str, Any] = {}
    for section, section_class in zip(_SECTIONS, (ConvolutionBuffer, SdpCapabilities), strict=True):
        table: Any = values.pop(section, {})
        if isinstance(table, dict):
            sections[section] = cast("dict[str, Any]", table)
            sound |= _check(section_class, sections[section], f"{section}.", faults)
        else:
            faults.append(f"{section} = {table!r}: must be a table, [{section}]")
    sound |= _check(HardwareConfiguration, values, "", faults)
    faults += _inconsistencies(sound)
    if not faults:
        values |= {key: tuple(values[key]) for key in ("precisions", "pixel_formats")}
        return HardwareConfiguration(
            cbuf=ConvolutionBuffer(**sections["cbuf"]),
            sdp=SdpCapabilities(**sections["sdp"]),
            base=base,
            **values,
        )
    lines = "".join(f"\n  {fault}" for fault in faults)
    raise ConfigurationError(f"{origin}not a hardware configuration:{lines}")


def _check(
    section_class: type, values: Mapping[str, Any], prefix: str, faults: list[str]
) -> dict[str, Any]:
    """Append what is wrong with the keys and values of one table to ``faults``; return what is
    right, with ``prefix`` ahead of its keys."""
    attributes: dict[str, Attribute[Any]] = fields_dict(section_class)
    rules: dict[str, _Rule] = {
        name: attribute.metadata["rule"]
        for name, attribute in attributes.items()
        if "rule" in attribute.metadata
    }
    for key, value in values.items():
        if key not in attributes:
            faults.append(
                f"{prefix}{key}: unknown key{nearest(key, rules)} (allowed: {', '.join(rules)})"
            )
        elif key in rules and not rules[key].accepts(value):
            faults.append(f"{prefix}{key} = {value!r}: must be {rules[key].wording}")
    faults += [
        f"{prefix}{key}: missing, must be {rule.wording}"
        for key, rule in rules.items()
        if key not in values
    ]
    return {
        f"{prefix}{key}": values[key]
        for key, rule in rules.items()
        if key in values and rule.accepts(values[key])
    }


def _inconsistencies(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what does not fit together of ``values``, by key, those of tables as ``cbuf.banks``.

    Each is allowed alone; those that are not are missing, and what needs them is not judged.
    """
    for rule in (
        _entry_is_1_2_or_4_atoms,
        _groups_are_whole_atoms,
        _entry_feeds_the_macs,
        _banks_fit_their_fields,
        _weights_are_counted_in_entries,
        _table_is_in_ew,
        _has_int8,
        _pixels_have_a_precision,
    ):
        with suppress(KeyError):
            yield from rule(values)


def _entry_is_1_2_or_4_atoms(v: Mapping[str, Any]) -> Iterator[str]:
    """The entries-per-slice formula knows these (convolution.md section 3.4)."""
    entry, atom = v["cbuf.entry_bytes"], v["memory_atom"]
    if entry not in (atom, 2 * atom, 4 * atom):
        yield f"cbuf.entry_bytes = {entry}: must be 1, 2 or 4 times memory_atom = {atom}"


def _groups_are_whole_atoms(v: Mapping[str, Any]) -> Iterator[str]:
    """CACC hands whole atoms of one kernel group to SDP (convolution.md section 4.2)."""
    group, atom = v["atomic_k"], v["memory_atom"]
    if group % atom:
        yield f"atomic_k = {group}: must be a multiple of memory_atom = {atom}"


def _entry_feeds_the_macs(v: Mapping[str, Any]) -> Iterator[str]:
    """One CBUF entry feeds at least one MAC operation's channels."""
    channels, entry = v["atomic_c"], v["cbuf.entry_bytes"]
    if channels > entry:
        yield f"atomic_c = {channels}: must not exceed cbuf.entry_bytes = {entry}"


def _banks_fit_their_fields(v: Mapping[str, Any]) -> Iterator[str]:
    """v1 has 4-bit bank fields (convolution.md section 7)."""
    if v["register_map"] == "v1" and v["cbuf.banks"] > 16:
        yield f"cbuf.banks = {v['cbuf.banks']}: must be at most 16 with register_map = 'v1'"


def _weights_are_counted_in_entries(v: Mapping[str, Any]) -> Iterator[str]:
    """v1's WEIGHT_BYTES counts 128 bytes, and must be whole entries (convolution.md sections 7
    and 8.3)."""
    entry = v["cbuf.entry_bytes"]
    if v["register_map"] == "v1" and entry != _V1_WEIGHT_UNIT_BYTES:
        yield (
            f"cbuf.entry_bytes = {entry}: must be {_V1_WEIGHT_UNIT_BYTES} with register_map = "
            "'v1', whose WEIGHT_BYTES counts such entries"
        )


def _table_is_in_ew(v: Mapping[str, Any]) -> Iterator[str]:
    if v["sdp.has_lut"] and not v["sdp.has_ew"]:
        yield "sdp.has_lut = true: needs sdp.has_ew = true, the LUT is part of that stage"


def _has_int8(v: Mapping[str, Any]) -> Iterator[str]:
    if "int8" not in v["precisions"]:
        yield f"precisions = {list(v['precisions'])}: must contain 'int8'"


def _pixels_have_a_precision(v: Mapping[str, Any]) -> Iterator[str]:
    wide = [name for name in v["pixel_formats"] if name not in EIGHT_BIT_FORMATS]
    if wide and set(v["precisions"]) == {"int8"}:
        yield f"pixel_formats: {', '.join(wide)} need precisions beyond 'int8'"
