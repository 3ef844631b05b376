"""How one of the SDP's X units (BS, BN) is set up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from nvdla_ir.ir.attributes import Attribute, DictAttr, IntegerAttr, StringAttr, UnitAttr

_INT16 = range(-(1 << 15), 1 << 15)
_SHIFT = range(64)


@frozen
class SdpUnit:
    """``{alu = "sum", alu_shift = 3, mul, mul_shift = 14, relu}``: ALU, then multiplier with its
    shift, then ReLU (sdp.md section 4).

    alu:       "sum", "max", "min", or None: bypassed
    alu_value: the operand of all elements (16 bits); None: it comes from memory
    alu_shift: left shift of the operand, 0 to 63
    mul:       whether the multiplier works
    mul_value: as alu_value
    mul_shift: right shift of the product, 0 to 63
    prelu:     multiply negative values only
    relu:      clamp at zero
    """

    alu: str | None = None
    alu_value: int | None = None
    alu_shift: int = 0
    mul: bool = False
    mul_value: int | None = None
    mul_shift: int = 0
    prelu: bool = False
    relu: bool = False

    @property
    def alu_from_memory(self) -> bool:
        return self.alu is not None and self.alu_value is None

    @property
    def mul_from_memory(self) -> bool:
        return self.mul and self.mul_value is None

    @property
    def needs_operand(self) -> bool:
        """Whether it reads an operand tensor."""
        return self.alu_from_memory or self.mul_from_memory

    @property
    def is_bypassed(self) -> bool:
        return self == SdpUnit()

    @staticmethod
    def from_attribute(entries: Mapping[str, Attribute] | None) -> SdpUnit:
        """Raises: ValueError naming every entry that is unknown or out of range."""
        faults = list(_faults(entries or {}))
        if faults:
            raise ValueError("; ".join(faults))
        fields: dict[str, object] = {}
        for name, value in (entries or {}).items():
            if isinstance(value, UnitAttr):
                fields[name] = True
            elif isinstance(value, IntegerAttr | StringAttr):
                fields[name] = value.value
        return SdpUnit(**fields)  # pyright: ignore[reportArgumentType]

    def to_attribute(self) -> DictAttr | None:
        """The entries that differ from a bypassed unit; None where there are none."""
        entries: list[tuple[str, Attribute]] = []
        for name in _ORDER:
            value = getattr(self, name)
            if value is True:
                entries.append((name, UnitAttr()))
            elif isinstance(value, str):
                entries.append((name, StringAttr(value)))
            elif value is not None and value is not False and (value or name.endswith("_value")):
                entries.append((name, IntegerAttr(value)))
        return DictAttr(tuple(entries)) if entries else None


_ORDER = ("alu", "alu_value", "alu_shift", "mul", "mul_value", "mul_shift", "prelu", "relu")
_ALU = ("sum", "max", "min")


def _faults(entries: Mapping[str, Attribute]) -> Iterable[str]:
    for name, value in entries.items():
        if name in ("mul", "prelu", "relu"):
            if not isinstance(value, UnitAttr):
                yield f"'{name}' stands alone, without '= {value}'"
        elif name == "alu":
            if not isinstance(value, StringAttr) or value.value not in _ALU:
                yield f"'alu = {value}' must be one of {', '.join(map(repr, _ALU))}"
        elif name in ("alu_value", "mul_value", "alu_shift", "mul_shift"):
            legal = _INT16 if name.endswith("_value") else _SHIFT
            if not isinstance(value, IntegerAttr) or value.value not in legal:
                yield f"'{name} = {value}' must be from {legal[0]} to {legal[-1]}"
        else:
            yield f"'{name}' is unknown; known are {', '.join(_ORDER)}"
    if "alu_value" in entries and "alu" not in entries:
        yield "'alu_value' needs 'alu'"
    if "mul_value" in entries and "mul" not in entries:
        yield "'mul_value' needs 'mul'"
    if "prelu" in entries and "mul" not in entries:
        yield "'prelu' needs 'mul'"
