"""Pow of any two types: the result is of the base's."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, te, tirx

from .operator import Operator

_BITS = 6  # of an exponent whose powers of 2 fit 64 bits


def power(operator: Operator) -> relax.Expr | None:
    """Pow of integers, exact, or of two types; TVM's are for two floats of the same one."""
    base, exponent = operator.operand(0), operator.operand(1)
    kinds = np.dtype(str(base.ty.dtype)), np.dtype(str(exponent.ty.dtype))
    if kinds[0] == kinds[1] and kinds[0].kind == "f":
        return None
    if kinds[0].kind in "iu" and kinds[1].kind in "iu":
        shape = np.broadcast_shapes(tuple(operator.shape(0)), tuple(operator.shape(1)))
        operands = [operator.emit(relax.op.broadcast_to(v, shape)) for v in (base, exponent)]
        return operator.call_te(_integer_power, *operands)
    if kinds[0].kind == "f" and _is_exact(operator, kinds[0]):
        same = operator.emit(relax.op.astype(exponent, kinds[0].name))
        return operator.emit(relax.op.power(base, same))
    wide = [operator.emit(relax.op.astype(value, "float64")) for value in (base, exponent)]
    result = operator.emit(relax.op.power(*wide))
    return operator.emit(relax.op.astype(result, kinds[0].name))


def _is_exact(operator: Operator, dtype: Any) -> bool:
    """Whether the exponent is a constant that the type holds."""
    try:
        known = operator.constant(1)
    except ValueError:
        return False
    return known is not None and np.array_equal(known.astype(dtype).astype("float64"), known)


def _integer_power(base: te.Tensor, exponent: te.Tensor) -> te.Tensor:
    def element(*index: Any) -> Any:
        return _power(base(*index), exponent(*index))

    return te.compute(base.shape, element, name="power")


def _power(base: Any, exponent: Any) -> Any:
    """By repeated squaring. What overflows is not defined, a fraction is cut to 0."""
    dtype = np.dtype(str(exponent.ty.dtype))
    word = f"uint{np.dtype(str(base.ty.dtype)).itemsize * 8}"  # which may overflow
    one = tirx.const(1, word)
    # From 64 on all powers overflow but those of 0, 1 and -1, for which even or odd decides.
    is_odd = tirx.bitwise_and(exponent, tirx.const(1, dtype.name))
    most = tirx.const((1 << _BITS) - 2, dtype.name) + is_odd
    small = tirx.Select(exponent > most, most, exponent)
    square, power = base.astype(word), one
    for bit in range(_BITS):
        is_set = tirx.bitwise_and(small >> tirx.const(bit, dtype.name), tirx.const(1, dtype.name))
        power = power * tirx.Select(is_set != 0, square, one)
        square = square * square
    if dtype.kind == "i":
        # The inverses of 1 and -1 are themselves; of another number it is a fraction.
        is_unit = tirx.any(base == 1, base == -1) if _is_signed(base) else base == 1
        unit = tirx.Select(is_odd != 0, base.astype(word), one)
        fraction = tirx.Select(is_unit, unit, tirx.const(0, word))
        power = tirx.Select(exponent < 0, fraction, power)
    return power.astype(str(base.ty.dtype))


def _is_signed(value: Any) -> bool:
    return str(value.ty.dtype)[0] != "u"
