"""Local response normalization: x / (bias + alpha/size · sum of x² over nearby channels)^beta.

Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
2012, section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx

ANNOTATION = "tvmake.lrn"
LRN, SUMS = "lrn", "lrn_sums"
_LARGEST_PRODUCT = 4  # exponents up to here are written as products


@dataclass(frozen=True)
class Lrn:
    """The operator's parameters, with ONNX's names."""

    size: int
    alpha: float
    beta: float
    bias: float

    @staticmethod
    def read(numbers: Sequence[Any]) -> Lrn:
        """From an annotation."""
        size, *factors = numbers
        return Lrn(int(size), *map(float, factors))

    @property
    def annotation(self) -> list[tirx.PrimExpr]:
        """As an attribute of a prim func or a block."""
        factors = (self.alpha, self.beta, self.bias)
        return [tirx.IntImm("int64", self.size), *(tirx.FloatImm("float64", f) for f in factors)]

    @property
    def before(self) -> int:
        """How many channels before its own a sum takes."""
        return (self.size - 1) // 2

    @property
    def after(self) -> int:
        """How many after it."""
        return self.size - 1 - self.before

    def scaled(self, x: Any, total: Any) -> Any:
        """An element of the result, from that of the input and the sum of squares around it."""
        dtype = str(x.ty.dtype)
        factor, bias = (tirx.const(v, dtype) for v in (self.alpha / self.size, self.bias))
        return x / _power(bias + factor * total, self.beta)


def plain(x: te.Tensor, lrn: Lrn) -> te.Tensor:
    """Of [N, C, …]."""
    channels = x.shape[1]

    def square(k: Any, n: Any, c: Any, *place: Any) -> Any:
        at = c + k - lrn.before
        value = x(n, at, *place)
        return tirx.if_then_else(
            tirx.all(at >= 0, at < channels), value * value, tirx.const(0, x.dtype)
        )

    return _normalized(x, lrn, square, {})


def blocked(x: te.Tensor, lrn: Lrn, channels: int) -> te.Tensor:
    """Of [N, B, H, W, b], whose first lanes have channels, in order."""
    lanes = int(x.shape[4])

    def square(k: Any, n: Any, c: Any, h: Any, w: Any, v: Any) -> Any:
        at = c * lanes + v + k - lrn.before
        value = x(n, tirx.indexdiv(at, lanes), h, w, tirx.indexmod(at, lanes))
        return tirx.if_then_else(
            tirx.all(at >= 0, at < channels), value * value, tirx.const(0, x.dtype)
        )

    numbers = [*lrn.annotation, tirx.IntImm("int64", channels)]
    return _normalized(x, lrn, square, {ANNOTATION: numbers})


def _normalized(x: te.Tensor, lrn: Lrn, square: Any, attributes: dict[str, Any]) -> te.Tensor:
    near = te.reduce_axis((0, lrn.size), name="near")
    sums = te.compute(x.shape, lambda *at: te.sum(square(near, *at), axis=near), name=SUMS)
    return te.compute(
        x.shape, lambda *at: lrn.scaled(x(*at), sums(*at)), name=LRN, attrs=attributes
    )


def _power(base: Any, exponent: float) -> Any:
    """A power without a call: by products and roots where the exponent is so many quarters."""
    dtype = str(base.ty.dtype)
    quarters = abs(exponent) * 4
    if not quarters.is_integer() or abs(exponent) > _LARGEST_PRODUCT:
        if dtype != "float32":
            return tirx.power(base, tirx.const(exponent, dtype))
        return tirx.exp(tirx.const(exponent, dtype) * tirx.log(base))
    whole, part = divmod(int(quarters), 4)
    root = tirx.sqrt(base)
    factors = [base] * whole + [root] * (part // 2) + [tirx.sqrt(root)] * (part % 2)
    result = tirx.const(1, dtype)
    for position, factor in enumerate(factors):
        result = result * factor if position else factor
    return result if exponent >= 0 else tirx.const(1, dtype) / result
