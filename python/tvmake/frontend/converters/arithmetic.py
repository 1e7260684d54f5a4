"""Arithmetic on each element."""

from __future__ import annotations

import functools
from collections.abc import Callable

from tvm import relax

from .operator import Converter, Operator

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


CONVERTERS: dict[str, Converter] = {
    "Cosh": _hyperbolic(relax.op.add),
    "IsInf": _is_infinite,
    "Max": _chain(relax.op.maximum),
    "Mean": _mean,
    "Min": _chain(relax.op.minimum),
    "Sinh": _hyperbolic(relax.op.subtract),
    "Sum": _chain(relax.op.add),
}
