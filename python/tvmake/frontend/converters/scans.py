"""Running sums and products along an axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax, topi

from .operator import Converter, Operator


def _scan(combine: Callable[..., Any]) -> Converter:
    def convert(operator: Operator) -> relax.Expr:
        data, axis = operator.operand(0), operator.constant(1)
        if axis is None:
            raise ValueError(f"{operator.name} lacks its axis")
        position = int(axis.reshape(-1)[0]) % len(operator.shape(0))
        exclusive = bool(operator.attributes.get("exclusive", 0))
        backwards = bool(operator.attributes.get("reverse", 0))
        if backwards:
            data = operator.emit(relax.op.flip(data, position))
        result = operator.call_te(
            lambda values: combine(values, axis=position, exclusive=exclusive), data
        )
        return operator.emit(relax.op.flip(result, position)) if backwards else result

    return convert


CONVERTERS: dict[str, Converter] = {"CumProd": _scan(topi.cumprod), "CumSum": _scan(topi.cumsum)}
