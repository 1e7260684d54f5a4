"""Largest and smallest elements. TVM's start from the largest finite number, not from infinity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from .operator import Converter, Operator

_AXES_ARE_OPERANDS = 18  # opset from which the axes are an operand


def _extreme(combine: Callable[[Any, Any], Any], sign: int) -> Converter:
    """`sign` is -1 if the largest element is looked for, whose identity is the smallest number."""

    def convert(operator: Operator) -> relax.Expr | None:
        data, shape = operator.operand(0), operator.shape(0)
        dtype = str(data.ty.dtype)
        axes = _axes(operator, len(shape))
        if not axes:
            return data
        kept = bool(operator.attributes.get("keepdims", 1))
        if dtype == "bool":
            data = operator.emit(relax.op.astype(data, "uint8"))
        number = "uint8" if dtype == "bool" else dtype
        identity = sign * np.inf if number.startswith("float") else _bound(number, sign)
        reducer = te.comm_reducer(combine, lambda kind: tirx.const(identity, kind), name="extreme")
        result = operator.call_te(lambda x: _reduce(x, axes, reducer, kept=kept), data)
        return operator.emit(relax.op.astype(result, "bool")) if dtype == "bool" else result

    return convert


def _bound(dtype: str, sign: int) -> int:
    limits = np.iinfo(dtype)
    return int(limits.min if sign < 0 else limits.max)


def _axes(operator: Operator, rank: int) -> list[int]:
    if operator.opset >= _AXES_ARE_OPERANDS:
        operand = operator.constant(1) if len(operator.inputs) > 1 else None
        given = [] if operand is None else operand.reshape(-1).tolist()
    else:
        given = list(operator.attributes.get("axes", ()))
    if not given and not operator.attributes.get("noop_with_empty_axes", 0):
        given = list(range(rank))
    return sorted({int(axis) % rank for axis in given})


def _reduce(data: te.Tensor, axes: list[int], reducer: Any, *, kept: bool) -> te.Tensor:
    shape = [int(size) for size in data.shape]
    loops = {axis: te.reduce_axis((0, shape[axis]), name=f"k{axis}") for axis in axes}
    result = [1 if axis in loops else size for axis, size in enumerate(shape)]
    if not kept:
        result = [size for axis, size in enumerate(shape) if axis not in loops]

    def element(*index: Any) -> Any:
        free = iter(index)
        position = []
        for axis in range(len(shape)):
            outer = next(free) if kept or axis not in loops else None
            position.append(loops.get(axis, outer))
        return reducer(data(*position), axis=list(loops.values()))

    return te.compute(result, element, name="extreme")


# TE counts the parameters of these: two, while TVM's own functions have more.
def _larger(a: Any, b: Any) -> Any:
    return tirx.max(a, b)


def _smaller(a: Any, b: Any) -> Any:
    return tirx.min(a, b)


CONVERTERS: dict[str, Converter] = {
    "ReduceMax": _extreme(_larger, -1),
    "ReduceMin": _extreme(_smaller, 1),
}
