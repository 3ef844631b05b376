"""The pixel formats of the convolution's image input (convolution.md section 2.3). No numpy here.

Format names list components from most to least significant, so the last named one is at the lowest
address. The hardware presents each pixel's channels in canonical order: R, G, B, A or Y, U, V, A
(X counts as A: a real channel, whose weights must be zero).
"""

from __future__ import annotations

from attrs import frozen


# eq=False: there is one object per format, so identity is equality
@frozen(eq=False)
class PixelFormat:
    """One value of ``CDMA.PIXEL_FORMAT``.

    ``order[i]`` is the index of the memory component (lowest address first) that becomes canonical
    channel i; in two-plane formats channel 0 comes from plane 0 and the order is that of plane 1.
    ``component_bits`` is 8, 16, or 10 for formats packed into 32 bits (there the order counts bit
    fields from the lowest). ``is_float`` marks the half-precision formats.
    """

    code: int
    name: str
    order: tuple[int, ...]
    component_bits: int = 8
    planes: int = 1
    is_float: bool = False

    @property
    def channels(self) -> int:
        """Channels per pixel: 1, 3 (two planes) or 4."""
        return len(self.order) + (1 if self.planes == 2 else 0)

    @property
    def bytes_per_pixel(self) -> tuple[int, ...]:
        """Bytes that one pixel occupies in each plane."""
        if self.component_bits == 10:
            return (4,)
        component_bytes = self.component_bits // 8
        if self.planes == 2:
            return (component_bytes, 2 * component_bytes)
        return (component_bytes * len(self.order),)


_RGBA, _BGRA, _ARGB, _ABGR = (0, 1, 2, 3), (2, 1, 0, 3), (1, 2, 3, 0), (3, 2, 1, 0)
_UV, _VU = (0, 1), (1, 0)

PIXEL_FORMATS: dict[str, PixelFormat] = {
    pixel_format.name: pixel_format
    for pixel_format in (
        PixelFormat(0, "T_R8", (0,)),
        PixelFormat(1, "T_R10", (0,), 16),
        PixelFormat(2, "T_R12", (0,), 16),
        PixelFormat(3, "T_R16", (0,), 16),
        PixelFormat(4, "T_R16_I", (0,), 16),
        PixelFormat(5, "T_R16_F", (0,), 16, is_float=True),
        PixelFormat(6, "T_A16B16G16R16", _RGBA, 16),
        PixelFormat(7, "T_X16B16G16R16", _RGBA, 16),
        PixelFormat(8, "T_A16B16G16R16_F", _RGBA, 16, is_float=True),
        PixelFormat(9, "T_A16Y16U16V16", _BGRA, 16),
        PixelFormat(10, "T_V16U16Y16A16", _ARGB, 16),
        PixelFormat(11, "T_A16Y16U16V16_F", _BGRA, 16, is_float=True),
        PixelFormat(12, "T_A8B8G8R8", _RGBA),
        PixelFormat(13, "T_A8R8G8B8", _BGRA),
        PixelFormat(14, "T_B8G8R8A8", _ARGB),
        PixelFormat(15, "T_R8G8B8A8", _ABGR),
        PixelFormat(16, "T_X8B8G8R8", _RGBA),
        PixelFormat(17, "T_X8R8G8B8", _BGRA),
        PixelFormat(18, "T_B8G8R8X8", _ARGB),
        PixelFormat(19, "T_R8G8B8X8", _ABGR),
        PixelFormat(20, "T_A2B10G10R10", _RGBA, 10),
        PixelFormat(21, "T_A2R10G10B10", _BGRA, 10),
        PixelFormat(22, "T_B10G10R10A2", _ARGB, 10),
        PixelFormat(23, "T_R10G10B10A2", _ABGR, 10),
        PixelFormat(24, "T_A2Y10U10V10", _BGRA, 10),
        PixelFormat(25, "T_V10U10Y10A2", _ARGB, 10),
        PixelFormat(26, "T_A8Y8U8V8", _BGRA),
        PixelFormat(27, "T_V8U8Y8A8", _ARGB),
        PixelFormat(28, "T_Y8___U8V8_N444", _VU, planes=2),
        PixelFormat(29, "T_Y8___V8U8_N444", _UV, planes=2),
        PixelFormat(30, "T_Y10___U10V10_N444", _VU, 16, planes=2),
        PixelFormat(31, "T_Y10___V10U10_N444", _UV, 16, planes=2),
        PixelFormat(32, "T_Y12___U12V12_N444", _VU, 16, planes=2),
        PixelFormat(33, "T_Y12___V12U12_N444", _UV, 16, planes=2),
        PixelFormat(34, "T_Y16___U16V16_N444", _VU, 16, planes=2),
        PixelFormat(35, "T_Y16___V16U16_N444", _UV, 16, planes=2),
    )
}
"""All formats by their manual name, in code order."""

EIGHT_BIT_FORMATS: tuple[str, ...] = tuple(
    name for name, pixel_format in PIXEL_FORMATS.items() if pixel_format.component_bits == 8
)
"""The formats that an INT8-only build implements (convolution.md section 2.3)."""

PIXEL_FORMATS_BY_CODE: dict[int, PixelFormat] = {
    pixel_format.code: pixel_format for pixel_format in PIXEL_FORMATS.values()
}
"""The same formats by register value."""
