"""Arithmetic on each element."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tvm
from tvm import relax

from .operator import Converter, Operator
from .powers import power

_PRELU_BROADCASTS = 7  # opset from which the slope's shape is broadcast

_Binary = Callable[[relax.Expr, relax.Expr], relax.Expr]


def _chain(binary: _Binary) -> Converter:
    """A variadic operator as a chain of binary ones, which fuse; TVM stacks and reduces."""
    return lambda operator: _reduce(operator, binary)


def _reduce(operator: Operator, binary: _Binary) -> relax.Expr:
    operands = [operator.operand(index) for index in range(len(operator.inputs))]
    return functools.reduce(lambda a, b: operator.emit(binary(a, b)), operands)


def _mean(operator: Operator) -> relax.Expr:
    total = _reduce(operator, relax.op.add)
    count = relax.const(len(operator.inputs), str(total.ty.dtype))
    return operator.emit(relax.op.divide(total, count))


def _clip(operator: Operator) -> relax.Expr:
    """Clip, as operators that fuse with the one before; TVM's calls kernels of its own."""
    value = operator.operand(0)
    for index, (name, bounded) in enumerate(
        (("min", relax.op.maximum), ("max", relax.op.minimum)), start=1
    ):
        bound = _bound(operator, index, name)
        if bound is not None:
            value = operator.emit(bounded(value, bound))
    return value


def _bound(operator: Operator, index: int, name: str) -> relax.Expr | None:
    """One of Clip's bounds, until opset 10 an attribute; NaN bounds nothing."""
    dtype = str(operator.operand(0).ty.dtype)
    if name in operator.attributes:
        return relax.const(operator.attributes[name], dtype)
    bound = operator.optional(index)
    if bound is None or not dtype.startswith("float"):
        return bound
    if isinstance(bound, tvm.ir.GenericConst):
        return None if np.isnan(np.asarray(operator.constant(index))).all() else bound
    unbounded = relax.const(-np.inf if name == "min" else np.inf, dtype)
    return operator.emit(relax.op.where(operator.emit(relax.op.isnan(bound)), unbounded, bound))


def _hard_swish(operator: Operator) -> relax.Expr:
    """HardSwish as ONNX defines it, x · max(0, min(1, x/6 + 1/2)): TVM divides."""
    x = operator.operand(0)
    sixth, half = (relax.const(value, str(x.ty.dtype)) for value in (1 / 6, 0.5))
    line = operator.emit(relax.op.add(operator.emit(relax.op.multiply(x, sixth)), half))
    return operator.emit(relax.op.multiply(x, operator.emit(relax.op.clip(line, 0, 1))))


def _hyperbolic(combine: _Binary) -> Converter:
    """(exp(x) ± exp(-x)) / 2: TVM has no code for sinh and cosh."""

    def convert(operator: Operator) -> relax.Expr:
        x = operator.operand(0)
        rising = operator.emit(relax.op.exp(x))
        falling = operator.emit(relax.op.exp(operator.emit(relax.op.negative(x))))
        half = relax.const(0.5, str(x.ty.dtype))
        return operator.emit(relax.op.multiply(operator.emit(combine(rising, falling)), half))

    return convert


def _is_infinite(operator: Operator) -> relax.Expr:
    """IsInf, of the signs that are asked for: TVM's looks at neither attribute."""
    x = operator.operand(0)
    dtype = str(x.ty.dtype)
    is_plus = operator.emit(relax.op.equal(x, relax.const(float("inf"), dtype)))
    is_minus = operator.emit(relax.op.equal(x, relax.const(float("-inf"), dtype)))
    plus = bool(operator.attributes.get("detect_positive", 1))
    minus = bool(operator.attributes.get("detect_negative", 1))
    if plus and minus:
        return operator.emit(relax.op.logical_or(is_plus, is_minus))
    if plus or minus:
        return is_plus if plus else is_minus
    return operator.emit(relax.op.logical_and(is_plus, is_minus))


def _bit_shift(operator: Operator) -> relax.Expr:
    """BitShift; what is shifted beyond its width is gone, where processors take the rest modulo."""
    op = relax.op
    x, amount = operator.operand(0), operator.operand(1)
    dtype = np.dtype(str(x.ty.dtype))
    zero, last = relax.const(0, dtype.name), relax.const(dtype.itemsize * 8 - 1, dtype.name)
    is_outside = operator.emit(op.greater(amount, last))
    if dtype.kind == "i":
        is_negative = operator.emit(op.less(amount, zero))
        is_outside = operator.emit(op.logical_or(is_outside, is_negative))
    within = operator.emit(op.where(is_outside, last, amount))
    left = operator.text("direction", "") == "LEFT"
    shifted = operator.emit((op.left_shift if left else op.right_shift)(x, within))
    if dtype.kind == "i" and not left:
        return shifted  # nothing but copies of the sign
    return operator.emit(op.where(is_outside, zero, shifted))


def _mod(operator: Operator) -> relax.Expr | None:
    """Mod of floats with the sign of the divisor, as Python's."""
    op = relax.op
    x, y = operator.operand(0), operator.operand(1)
    dtype = str(x.ty.dtype)
    if operator.attributes.get("fmod", 0) or not dtype.startswith("float"):
        return None
    zero = relax.const(0, dtype)
    rest = operator.emit(op.mod(x, y))
    is_negative = operator.emit(op.less(y, zero))
    differs = operator.emit(op.logical_xor(is_negative, operator.emit(op.less(rest, zero))))
    moved = operator.emit(op.where(differs, operator.emit(op.add(rest, y)), rest))
    signed_zero = op.where(is_negative, relax.const(-0.0, dtype), zero)
    is_zero = operator.emit(op.equal(rest, zero))
    return operator.emit(op.where(is_zero, operator.emit(signed_zero), moved))


def _prelu(operator: Operator) -> relax.Expr:
    """PRelu; before opset 7 a slope is that of a channel."""
    op = relax.op
    x, slope = operator.operand(0), operator.operand(1)
    if operator.opset < _PRELU_BROADCASTS and operator.shape(1) != [1]:
        rank = len(operator.shape(0))
        slope = operator.emit(op.reshape(slope, [1, -1, *[1] * (rank - 2)]))
    scaled = operator.emit(op.multiply(x, slope))
    is_negative = operator.emit(op.less(x, relax.const(0, str(x.ty.dtype))))
    return operator.emit(op.where(is_negative, scaled, x))


CONVERTERS: dict[str, Converter] = {
    "BitShift": _bit_shift,
    "Clip": _clip,
    "Cosh": _hyperbolic(relax.op.add),
    "HardSwish": _hard_swish,
    "IsInf": _is_infinite,
    "Max": _chain(relax.op.maximum),
    "Mean": _mean,
    "Min": _chain(relax.op.minimum),
    "Mod": _mod,
    "PRelu": _prelu,
    "Pow": power,
    "Sinh": _hyperbolic(relax.op.subtract),
    "Sum": _chain(relax.op.add),
}
