"""Types of the nn dialect."""

from __future__ import annotations

from attrs import frozen

from nvdla_ir.dialects.quant import GridType, UniformType
from nvdla_ir.ir.attributes import format_float
from nvdla_ir.ir.types import I8, TensorType, Type


@frozen(cache_hash=True)
class FakeQuantizedType(GridType):
    """``!nn.fake_quantized<i8:f32, 0.05:-128>``: reals that their layer rounds to int8 codes.

    The type is part of what the network computes, in every mode: a layer whose result has it
    divides by the scale (float32), rounds to nearest, ties to even, adds the zero point,
    saturates to -128 to 127, and hands on what the code stands for. That is ONNX's QuantizeLinear
    followed by DequantizeLinear (uint8 moved by 128). Quantizers leave ReLUs and clips to that
    saturation, so a rewrite may take such a type from a tensor, or move it to another one, only
    where it can show that the values that come out are the same.

    Raises: ValueError on a scale that is not positive and finite, or a zero point that is no int8.
    """

    mnemonic = "nn.fake_quantized"

    expressed: Type
    scale: float
    zero_point: int = 0

    def __attrs_post_init__(self) -> None:
        self.quantized()

    @staticmethod
    def of(codes: UniformType) -> FakeQuantizedType:
        """Reals that are rounded to the int8 ``codes``."""
        return FakeQuantizedType(codes.expressed, codes.scale, codes.zero_point)

    def __str__(self) -> str:
        zero_point = f":{self.zero_point}" if self.zero_point else ""
        return f"!nn.fake_quantized<i8:{self.expressed}, {format_float(self.scale)}{zero_point}>"

    def quantized(self) -> UniformType:
        return UniformType(I8, self.expressed, self.scale, self.zero_point)


def parse_fake_quantized(storage: Type, expressed: Type, scale: tuple[float, int]) -> Type:
    if storage != I8:
        raise ValueError(f"the codes of a fake-quantized tensor are i8, not {storage}")
    return FakeQuantizedType(expressed, *scale)


def is_fake_quantized(type: Type) -> bool:
    """Whether ``type`` is a tensor that its layer rounds and saturates."""
    return isinstance(type, TensorType) and isinstance(type.element, FakeQuantizedType)
