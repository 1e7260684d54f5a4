"""Reading and writing tensors through indices."""

from __future__ import annotations

import math

import numpy as np
import tvm
from tvm import relax

from .operator import Converter, Operator, static_shape


def _gather(operator: Operator) -> relax.Expr | None:
    """Gather with indices clipped to the table: TVM's reads whatever memory an index points to."""
    data, indices = operator.operand(0), operator.operand(1)
    try:
        shape, _ = static_shape(data), static_shape(indices)
    except ValueError:
        return None
    axis = int(operator.attributes.get("axis", 0)) % len(shape)
    wrapped = _from_start(operator, indices, shape[axis])
    return operator.emit(relax.op.take(data, wrapped, axis=axis, mode="clip"))


def _from_start(operator: Operator, indices: relax.Expr, size: int) -> relax.Expr:
    """Indices of which negative ones count from the end."""
    dtype = str(indices.ty.dtype)
    if isinstance(indices, tvm.ir.GenericConst):
        known = indices.value.numpy()
        return relax.const(np.where(known < 0, known + size, known).astype(dtype), dtype)
    from_end = operator.emit(relax.op.add(indices, relax.const(size, dtype)))
    is_negative = operator.emit(relax.op.less(indices, relax.const(0, dtype)))
    return operator.emit(relax.op.where(is_negative, from_end, indices))


def _compress(operator: Operator) -> relax.Expr | None:
    """Compress by a condition that is a constant."""
    condition = operator.constant(1)
    if condition is None:
        return None
    data, shape = operator.operand(0), operator.shape(0)
    if "axis" not in operator.attributes:
        data, shape = operator.emit(relax.op.reshape(data, [-1])), [math.prod(shape)]
    axis = int(operator.attributes.get("axis", 0)) % len(shape)
    chosen = np.flatnonzero(condition[: shape[axis]])
    return operator.emit(relax.op.take(data, relax.const(chosen, "int64"), axis, mode="clip"))


CONVERTERS: dict[str, Converter] = {"Compress": _compress, "Gather": _gather}
