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


CONVERTERS: dict[str, Converter] = {
    "Max": _chain(relax.op.maximum),
    "Mean": _mean,
    "Min": _chain(relax.op.minimum),
    "Sum": _chain(relax.op.add),
}
