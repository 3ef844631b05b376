"""What the device notes about each hardware layer that it ran."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen


@frozen
class LayerRecord:
    """One executed layer: a chain of units that ran as one.

    ``units`` maps each unit that took part to its register group, in order of the data flow.
    ``shape`` holds the sizes by name (``input``, ``kernel``, ``output``, ... as (channels, height,
    width) tuples), ``counters`` the saturation and look-up counters that were counted.
    """

    units: Mapping[str, int]
    shape: Mapping[str, tuple[int, ...]]
    counters: Mapping[str, int]
    multiplications: int
    seconds: float

    def __str__(self) -> str:
        units = " ".join(f"{unit}:{group}" for unit, group in self.units.items())
        shape = " ".join(f"{name} {'x'.join(map(str, size))}" for name, size in self.shape.items())
        counters = "".join(f" {name}={count}" for name, count in self.counters.items() if count)
        return f"[{units}] {shape}{counters} {self.seconds * 1e3:.3f} ms"


@frozen
class LayerNotes:
    """Collects a layer's shapes and counters while its units run."""

    shape: dict[str, tuple[int, ...]] = field(factory=dict[str, "tuple[int, ...]"])
    counters: dict[str, int] = field(factory=dict[str, int])
