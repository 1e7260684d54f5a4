"""Conversion between numbers and the bits of small floats, in integer arithmetic.

Only the target's 32- and 64-bit integers and floats are needed: no instructions for small floats,
and none of the compiler's support routines for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from tvm import te, tirx

from tvmake.elements import ELEMENTS

_Expr: TypeAlias = Any  # TVM's expressions have no types


@dataclass(frozen=True)
class Format:
    """A binary floating point format of at most 16 bits with a sign bit.

    Attributes:
        largest: bits of the largest finite number.
        infinity: bits of infinity; None if there is none.
        nan: bits of the NaN that conversions give; None if there is none.
        has_negative_zero: if not, the bits of -0 are the only NaN.
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int
    largest: int
    infinity: int | None
    nan: int | None
    has_negative_zero: bool = True

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 1 << (self.exponent_bits + self.mantissa_bits)


# OCP 8-bit floating point specification 1.0, OCP microscaling formats 1.0; the "fnuz" types as in
# "8-bit numerical formats for deep neural networks" (Noune et al., 2022).
FORMATS = {
    "bfloat16": Format(8, 7, 127, 0x7F7F, 0x7F80, 0x7FC0),
    "float8_e4m3fn": Format(4, 3, 7, 0x7E, None, 0x7F),
    "float8_e4m3fnuz": Format(4, 3, 8, 0x7F, None, 0x80, has_negative_zero=False),
    "float8_e5m2": Format(5, 2, 15, 0x7B, 0x7C, 0x7E),
    "float8_e5m2fnuz": Format(5, 2, 16, 0x7F, None, 0x80, has_negative_zero=False),
    "float6_e2m3fn": Format(2, 3, 1, 0x1F, None, None),
    "float6_e3m2fn": Format(3, 2, 3, 0x1F, None, None),
    "float4_e2m1fn": Format(2, 1, 1, 0x7, None, None),
}
_HALF = Format(5, 10, 15, 0x7BFF, 0x7C00, 0x7E00)
INTEGER_BITS = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4}
_SOURCES = {"float32": ("uint32", 23, 127), "float64": ("uint64", 52, 1023)}


def decode(value: _Expr, element: str) -> _Expr:
    """The float32 number that stored bits stand for. Exact."""
    if element == "float8_e8m0fnu":
        return _decode_power(value)
    form = FORMATS[element]
    bits = value.astype("uint32")
    magnitude = bits & _u32(form.sign - 1)
    sign = (bits & _u32(form.sign)) << _u32(31 - form.exponent_bits - form.mantissa_bits)
    if form.exponent_bits == 8:  # float32's own exponent
        return tirx.reinterpret("float32", bits << _u32(16))
    rebias = (127 - form.bias) << 23
    normal = tirx.reinterpret(
        "float32", (magnitude << _u32(23 - form.mantissa_bits)) + _u32(rebias)
    )
    step = 2.0 ** (1 - form.bias - form.mantissa_bits)
    subnormal = magnitude.astype("float32") * tirx.const(step, "float32")
    is_normal = magnitude >= _u32(1 << form.mantissa_bits)
    number = tirx.Select(is_normal, normal, subnormal)
    result = tirx.reinterpret("uint32", number) | sign
    if form.infinity is not None:
        result = tirx.Select(magnitude >= _u32(form.infinity), _u32(0x7F800000) | sign, result)
        result = tirx.Select(magnitude > _u32(form.infinity), _u32(0x7FC00000) | sign, result)
    elif not form.has_negative_zero:
        result = tirx.Select(bits == _u32(form.sign), _u32(0x7FC00000), result)
    elif form.nan is not None:
        result = tirx.Select(magnitude == _u32(form.nan), _u32(0x7FC00000) | sign, result)
    return tirx.reinterpret("float32", result)


def encode(value: _Expr, element: str, *, saturate: bool, round_mode: str = "up") -> _Expr:
    """The bits of the nearest number, ties to even; powers of two are rounded as asked.

    Args:
        value: of any numeric type.
        element: the type to convert to.
        saturate: whether what is too large, infinity too, becomes the largest finite number; else
            it becomes infinity, or NaN where there is none.
        round_mode: `up`, `down` or `nearest`, for float8_e8m0fnu alone.
    """
    value = _as_source(value)
    if element == "float8_e8m0fnu":
        return _encode_power(value.astype("float32"), saturate, round_mode)
    return _encode(value, FORMATS[element], saturate).astype(ELEMENTS[element].storage)


def encode_half(value: _Expr) -> _Expr:
    """The nearest float16 number. Not every target has an instruction for doubles."""
    bits = _encode(_as_source(value), _HALF, saturate=False)
    return tirx.reinterpret("float16", bits.astype("uint16"))


def _as_source(value: _Expr) -> _Expr:
    """The value in a type whose bits are known here."""
    dtype = str(value.ty.dtype)
    if dtype in _SOURCES:
        return value
    wide = dtype in ("int32", "uint32", "int64", "uint64")
    return value.astype("float64" if wide else "float32")


def _encode(value: _Expr, form: Format, saturate: bool) -> _Expr:
    """The bits as an unsigned integer of the value's width."""
    word, mantissa, bias = _SOURCES[str(value.ty.dtype)]
    bits = tirx.reinterpret(word, value)
    width = 32 if word == "uint32" else 64

    def const(number: int) -> _Expr:
        return tirx.const(number, word)

    magnitude = bits & const((1 << (width - 1)) - 1)
    infinity = const(((1 << (width - 1 - mantissa)) - 1) << mantissa)
    code = _rounded(magnitude, form, mantissa, bias, word)
    too_large = code > const(form.largest)
    # Formats without infinity and NaN saturate whatever the model says.
    overflow = form.infinity if form.infinity is not None else form.nan
    limit = const(form.largest if saturate or overflow is None else overflow)
    code = tirx.Select(too_large, limit, code)
    if not saturate and form.infinity is None and overflow is not None:
        code = tirx.Select(magnitude == infinity, const(overflow), code)
    sign = (bits >> const(width - 1)) * const(form.sign)
    if not form.has_negative_zero:
        sign = tirx.Select(code == const(0), const(0), sign)
    result = code | sign
    is_nan = magnitude > infinity
    if form.nan is None:
        result = tirx.Select(is_nan, const(form.sign) - sign, result)
    else:
        nan = const(form.nan)
        result = tirx.Select(is_nan, (nan | sign) if form.has_negative_zero else nan, result)
    return result


def _rounded(magnitude: _Expr, form: Format, mantissa: int, bias: int, word: str) -> _Expr:
    """The code of a magnitude, rounded to nearest even; more than the largest if it overflows."""
    width = 32 if word == "uint32" else 64

    def const(number: int) -> _Expr:
        return tirx.const(number, word)

    one = const(1)
    drop = mantissa - form.mantissa_bits

    def round_off(number: _Expr, shift: _Expr) -> _Expr:
        half = (one << (shift - one)) - one
        return (number + half + ((number >> shift) & one)) >> shift

    smallest = bias - form.bias + 1  # exponent field of the smallest normal number
    clipped = tirx.min(magnitude, const(((1 << (width - 1 - mantissa)) - 1) << mantissa))
    if smallest <= 1:  # the source's own exponents, its subnormal numbers included
        return round_off(clipped, const(drop))
    normal = round_off(
        tirx.max(clipped, const(smallest << mantissa)) - const((smallest - 1) << mantissa),
        const(drop),
    )
    exponent = clipped >> const(mantissa)
    significand = (clipped & const((1 << mantissa) - 1)) | const(1 << mantissa)
    # Below the smallest step everything rounds to zero, as it does at a shift of mantissa + 2.
    shift = const(drop + smallest) - tirx.min(exponent, const(smallest))
    subnormal = round_off(significand, tirx.max(tirx.min(shift, const(mantissa + 2)), one))
    return tirx.Select(exponent >= const(smallest), normal, subnormal)


def _decode_power(value: _Expr) -> _Expr:
    bits = value.astype("uint32")
    power = tirx.Select(bits == _u32(0), _u32(1 << 22), bits << _u32(23))
    return tirx.reinterpret("float32", tirx.Select(bits == _u32(255), _u32(0x7FC00000), power))


def _encode_power(value: _Expr, saturate: bool, round_mode: str) -> _Expr:
    """The exponent of a float32 number, rounded; infinity and NaN become NaN.

    As ONNX has it (`onnx.numpy_helper.to_float8e8m0`): the sign is dropped, and `nearest` rounds
    half up unless the exponent is the smallest.
    """
    bits = tirx.reinterpret("uint32", value) & _u32(0x7FFFFFFF)
    exponent = bits >> _u32(23)
    fraction = bits & _u32(0x7FFFFF)
    if round_mode == "down":
        up = _u32(0)
    elif round_mode == "up":
        up = tirx.Select(fraction > _u32(0), _u32(1), _u32(0))
    else:
        half = tirx.Select(exponent > _u32(0), _u32(0x400000), _u32(0x400001))
        up = tirx.Select(fraction >= half, _u32(1), _u32(0))
    largest = _u32(0xFE if saturate else 0xFF)
    rounded = tirx.min(exponent + up, largest)
    return tirx.Select(exponent == _u32(0xFF), _u32(0xFF), rounded).astype("uint8")


def wrap_integer(value: _Expr, element: str) -> _Expr:
    """The lowest bits of a number, fractions cut off, as a small integer."""
    bits = INTEGER_BITS[element]
    dtype = str(value.ty.dtype)
    whole = value.astype("int32") if dtype[0] != "u" else value.astype("uint32").astype("int32")
    low = whole & tirx.const((1 << bits) - 1, "int32")
    if element[0] != "u":
        sign = tirx.const(1 << (bits - 1), "int32")
        low = (low ^ sign) - sign
    return low.astype(ELEMENTS[element].storage)


def elementwise(function: Callable[[_Expr], _Expr], name: str) -> Callable[[te.Tensor], te.Tensor]:
    """A function of numbers as one of tensors."""

    def compute(data: te.Tensor) -> te.Tensor:
        return te.compute(data.shape, lambda *index: function(data(*index)), name=name)

    return compute


def _u32(number: int) -> _Expr:
    return tirx.const(number, "uint32")
