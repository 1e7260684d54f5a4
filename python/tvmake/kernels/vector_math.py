"""exp, log, erf, tanh and their kin in float32, from additions and multiplications.

LLVM calls libm for each element of a vector. These are the same few operations in every lane, so
they run in vectors on any CPU. NaN stays NaN; infinities and overflow give what the limit is.

Exponential and logarithm reduce their argument by powers of two and follow it with a polynomial
(Muller, "Elementary Functions", 3rd edition, chapter 11). erf and tanh are x·P(x²)/Q(x²), with all
coefficients positive, so that nothing cancels; P and Q minimize the largest relative error, by
Lawson's weighting of linearized least squares (Rice, "The Approximation of Functions", volume 2,
section 13.4). Errors, in units in the last place: exp, log and rsqrt 2, sigmoid 3, log1p 4, tanh
and erf 6.

They are written in LLVM's language and linked into the kernels that call them, where they are
inlined. As TVM expressions they would not do: TVM's simplifier puts the values of `Let` variables
in their places, and the size doubles with each.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence

_LOG2_E = 1.4426950408889634
# ln 2 in two parts, of which the first has so few bits that its small multiples are exact.
_LN2_HIGH = 0.693359375
_LN2_LOW = math.log(2) - _LN2_HIGH
_ROUND = 12582912.0  # 1.5·2^23: adding it rounds to an integer, which then is in the low bits
_EXPONENT_BIAS = 127
_MANTISSA_BITS = 23
_SMALLEST_NORMAL = 2.0**-126
_EXP_LOWEST, _EXP_HIGHEST = -104.0, 89.0  # beyond, exp is 0 or infinite

_SIGMOID_SCALE = 64  # exponent of what the fraction is scaled with
_SIGMOID_END = 30.0  # beyond, it is one

_EXP = (1.0, 1.0, 0.49999993, 0.1666652, 0.04166839, 0.008368745, 0.0013814539)
# Of (log(1 + m) - m + m²/2) / m³.
_LOG = (
    *(0.33333332, -0.25000821, 0.20001227, -0.16623357),
    *(0.14201759, -0.13160184, 0.12761573, -0.07634487),
)
_TANH_P = (1.0, 0.13379753, 0.0034940755, 2.0584115e-05, 1.331987e-08)
_TANH_Q = (1.0, 0.4671307, 0.02587123, 0.0003283158, 7.762363e-07)
_TANH_END = 9.02  # where it rounds to one
_ERF_P = (1.1283791, 0.1915436685, 0.0528745875, 0.00380788324, 0.00028468229, 2.0259663e-06)
_ERF_Q = (1.0, 0.5030838251, 0.1145568937, 0.0150545305, 0.00117066, 3.7832131e-05)
_ERF_END = 3.95


def definitions(name: str, lanes: int) -> str:
    """LLVM code that defines one of `FUNCTIONS` for vectors of `lanes` floats, or for floats."""
    code = _Code(lanes)
    result = FUNCTIONS[name](code, _Value(code, "%x"))
    kind = code.float_type
    body = "\n".join([*code.lines, f"  ret {kind} {result.name}"])
    return f"define {kind} @{symbol(name, lanes)}({kind} %x) {{\n{body}\n}}\n"


def declarations(lanes: int) -> str:
    """LLVM code that the definitions for one width need once."""
    kind, suffix = _Code(lanes).float_type, _suffix(lanes)
    return (
        f"declare {kind} @llvm.fmuladd.{suffix}({kind}, {kind}, {kind})\n"
        f"declare {kind} @llvm.sqrt.{suffix}({kind})\n"
    )


def symbol(name: str, lanes: int) -> str:
    """The name of a function for one width."""
    return f"tvmake_{name}_{lanes}"


def _exp(code: _Code, x: _Value) -> _Value:
    bounded = code.clamp(x, _EXP_LOWEST, _EXP_HIGHEST)
    # In two steps: the result may be subnormal, or beyond the largest power of two.
    power, exponent = _scaled_exp(code, bounded, 1, 2 * _EXPONENT_BIAS)
    half = code.shift_right(exponent, 1)
    return power * code.power_of_two(half) * code.power_of_two(exponent - half)


def _scaled_exp(code: _Code, x: _Value, sign: int, offset: int) -> tuple[_Value, _Value]:
    """e^(sign·x) / 2^n, between √½ and √2, and an integer that ends with the bits of n + offset.

    `power_of_two` takes it as it is: the bits before those have no place in an exponent.
    """
    rounding = code.real(_ROUND + offset)
    shifted = code.muladd(x, code.real(sign * _LOG2_E), rounding)
    n = shifted - rounding
    rest = code.muladd(n, code.real(-sign * _LN2_HIGH), x)
    rest = code.muladd(n, code.real(-sign * _LN2_LOW), rest)
    coefficients = [c * sign**degree for degree, c in enumerate(_EXP)]
    return code.polynomial(coefficients, rest), code.bits(shifted)


def _log(code: _Code, x: _Value) -> _Value:
    small = code.less(x, code.real(_SMALLEST_NORMAL))
    normal = code.select(small, x * code.real(2.0**_MANTISSA_BITS), x)
    offset = code.select(small, code.real(-float(_MANTISSA_BITS)), code.real(0.0))
    # So that the mantissa lies between √½ and √2, around one.
    bits = code.bits(normal)
    exponent = code.arithmetic_shift(bits - code.whole(_float_bits(math.sqrt(0.5))), _MANTISSA_BITS)
    mantissa = code.from_bits(bits - code.shift_left(exponent, _MANTISSA_BITS))
    m = mantissa - code.real(1.0)
    e = code.to_float(exponent) + offset
    square = m * m
    tail = code.muladd(e, code.real(_LN2_LOW), square * m * code.polynomial(_LOG, m))
    tail = code.muladd(square, code.real(-0.5), tail)
    result = code.muladd(e, code.real(_LN2_HIGH), m + tail)
    # Infinity and NaN, which compare so, are their own logarithm.
    result = code.select(code.less(x, code.real(math.inf)), result, x)
    result = code.select(code.less(x, code.real(0.0)), code.real(math.nan), result)
    return code.select(code.equal(x, code.real(0.0)), code.real(-math.inf), result)


def _log1p(code: _Code, x: _Value) -> _Value:
    """Exact for small x too (Higham, "Accuracy and Stability", 2nd edition, section 1.14.1)."""
    one = code.real(1.0)
    total = x + one
    corrected = _log(code, total) * (x / (total - one))
    corrected = code.select(code.equal(total, code.real(math.inf)), x, corrected)
    corrected = code.select(code.equal(total, code.real(0.0)), code.real(-math.inf), corrected)
    return code.select(code.equal(total, one), x, corrected)


def _tanh(code: _Code, x: _Value) -> _Value:
    return code.rational(x, _TANH_P, _TANH_Q, _TANH_END)


def _erf(code: _Code, x: _Value) -> _Value:
    return code.rational(x, _ERF_P, _ERF_Q, _ERF_END)


def _sigmoid(code: _Code, x: _Value) -> _Value:
    """1 / (1 + e^-x), where all of the fraction is scaled, so that e^-x does not overflow."""
    bounded = code.clamp(x, _EXP_LOWEST, _SIGMOID_END)
    offset = _EXPONENT_BIAS - _SIGMOID_SCALE
    power, exponent = _scaled_exp(code, bounded, -1, offset)
    scale = code.real(2.0**-_SIGMOID_SCALE)
    return scale / code.muladd(power, code.power_of_two(exponent), scale)


def _rsqrt(code: _Code, x: _Value) -> _Value:
    return code.real(1.0) / code.sqrt(x)


FUNCTIONS: dict[str, Callable[[_Code, _Value], _Value]] = {
    "exp": _exp,
    "log": _log,
    "log1p": _log1p,
    "tanh": _tanh,
    "erf": _erf,
    "sigmoid": _sigmoid,
    "rsqrt": _rsqrt,
}


class _Value:
    """A float or integer vector of the code; arithmetic adds instructions."""

    def __init__(self, code: _Code, name: str, *, integer: bool = False) -> None:
        self.code, self.name, self.integer = code, name, integer

    def __add__(self, other: _Value) -> _Value:
        return self._binary("add", other)

    def __sub__(self, other: _Value) -> _Value:
        return self._binary("sub", other)

    def __mul__(self, other: _Value) -> _Value:
        return self._binary("mul", other)

    def __truediv__(self, other: _Value) -> _Value:
        return self._binary("div", other)

    def _binary(self, operation: str, other: _Value) -> _Value:
        prefix, kind = ("", self.code.int_type) if self.integer else ("f", self.code.float_type)
        text = f"{prefix}{operation} {kind} {self.name}, {other.name}"
        return self.code.add(text, integer=self.integer)


class _Code:
    """Instructions under way into a function of LLVM."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.float_type, self.int_type, self._bool_type = (
            kind if lanes == 1 else f"<{lanes} x {kind}>" for kind in ("float", "i32", "i1")
        )
        self.lines: list[str] = []

    def add(self, text: str, *, integer: bool = False) -> _Value:
        """Append an instruction that gives a value."""
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {text}")
        return _Value(self, name, integer=integer)

    def real(self, value: float) -> _Value:
        """A constant in every lane; LLVM reads floats as the bits of the same double."""
        single = struct.unpack("<f", struct.pack("<f", value))[0]
        bits = int.from_bytes(struct.pack(">d", single), "big")
        return self._constant(f"float 0x{bits:016X}", integer=False)

    def whole(self, value: int) -> _Value:
        return self._constant(f"i32 {value}", integer=True)

    def _constant(self, text: str, *, integer: bool) -> _Value:
        name = text.split()[1] if self.lanes == 1 else f"splat ({text})"
        return _Value(self, name, integer=integer)

    def muladd(self, a: _Value, b: _Value, c: _Value) -> _Value:
        """a·b + c, fused where the CPU can."""
        return self._intrinsic("fmuladd", a, b, c)

    def sqrt(self, x: _Value) -> _Value:
        return self._intrinsic("sqrt", x)

    def _intrinsic(self, name: str, *operands: _Value) -> _Value:
        arguments = ", ".join(f"{self.float_type} {operand.name}" for operand in operands)
        return self.add(f"call {self.float_type} @llvm.{name}.{_suffix(self.lanes)}({arguments})")

    def less(self, a: _Value, b: _Value) -> _Value:
        """False where one is NaN."""
        return self.add(f"fcmp olt {self.float_type} {a.name}, {b.name}")

    def equal(self, a: _Value, b: _Value) -> _Value:
        return self.add(f"fcmp oeq {self.float_type} {a.name}, {b.name}")

    def select(self, condition: _Value, a: _Value, b: _Value) -> _Value:
        kind = self.float_type
        return self.add(
            f"select {self._bool_type} {condition.name}, {kind} {a.name}, {kind} {b.name}"
        )

    def bits(self, x: _Value) -> _Value:
        return self.add(f"bitcast {self.float_type} {x.name} to {self.int_type}", integer=True)

    def from_bits(self, x: _Value) -> _Value:
        return self.add(f"bitcast {self.int_type} {x.name} to {self.float_type}")

    def to_float(self, x: _Value) -> _Value:
        return self.add(f"sitofp {self.int_type} {x.name} to {self.float_type}")

    def arithmetic_shift(self, x: _Value, count: int) -> _Value:
        return self.add(f"ashr {self.int_type} {x.name}, {self.whole(count).name}", integer=True)

    def shift_right(self, x: _Value, count: int) -> _Value:
        """With zeros coming in."""
        return self.add(f"lshr {self.int_type} {x.name}, {self.whole(count).name}", integer=True)

    def shift_left(self, x: _Value, count: int) -> _Value:
        return self.add(f"shl {self.int_type} {x.name}, {self.whole(count).name}", integer=True)

    def power_of_two(self, biased: _Value) -> _Value:
        """Of an exponent that the bias of exponents is added to; only its low bits count."""
        return self.from_bits(self.shift_left(biased, _MANTISSA_BITS))

    def clamp(self, x: _Value, low: float, high: float) -> _Value:
        """Comparisons with NaN are false, so NaN comes through."""
        raised = self.select(self.less(x, self.real(low)), self.real(low), x)
        return self.select(self.less(self.real(high), raised), self.real(high), raised)

    def polynomial(self, coefficients: Sequence[float], x: _Value) -> _Value:
        """By Horner's rule; the constant term comes first."""
        result = self.real(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            result = self.muladd(result, x, self.real(coefficient))
        return result

    def rational(self, x: _Value, p: Sequence[float], q: Sequence[float], end: float) -> _Value:
        """x·P(x²)/Q(x²) up to `end`, where it is one but for rounding."""
        bounded = self.clamp(x, -end, end)
        square = bounded * bounded
        ratio = bounded * self.polynomial(p, square) / self.polynomial(q, square)
        return self.clamp(ratio, -1.0, 1.0)


def _suffix(lanes: int) -> str:
    return "f32" if lanes == 1 else f"v{lanes}f32"


def _float_bits(value: float) -> int:
    return int.from_bytes(struct.pack("<f", value), "little")
