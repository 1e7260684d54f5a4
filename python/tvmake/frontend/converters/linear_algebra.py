"""Determinants and norms."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T  # noqa: N812 - as TVM calls it

from .operator import Converter, Operator


def _det(operator: Operator) -> relax.Expr:
    """By elimination with row pivots, in double precision."""
    shape = operator.shape(0)
    outer, size = shape[:-2], shape[-1]
    count = int(np.prod(outer))
    dtype = str(operator.operand(0).ty.dtype)
    flat = operator.emit(relax.op.reshape(operator.operand(0), [count * size * size]))

    def determinants(matrices: te.Tensor) -> te.Tensor:
        return te.extern(
            [(count,), (count * size * size + 1,)],  # the last one serves to exchange two entries
            [matrices],
            lambda ins, outs: _determinants(ins[0], outs[0], outs[1], count, size),
            dtype=[dtype, "float64"],
            name="det",
        )[0]

    result = operator.call_te(determinants, flat)
    return operator.emit(relax.op.reshape(result, outer))


def _determinants(source: Any, result: Any, work: Any, count: int, size: int) -> Any:
    with IRBuilder() as builder:
        source, result, work = (T.buffer_proxy(buffer) for buffer in (source, result, work))
        with T.serial(0, count) as matrix:
            base = matrix * size * size
            with T.serial(0, size * size) as i:
                work[base + i] = tirx.Cast("float64", source[base + i])
            result[matrix] = tirx.const(1, str(result.dtype))
            with T.serial(0, size) as column:
                with T.serial(0, size - 1 - column) as below:
                    row = column + 1 + below
                    _exchange_if_larger(work, result, matrix, base, row, column, size, count)
                diagonal = work[base + column * size + column]
                result[matrix] = result[matrix] * tirx.Cast(str(result.dtype), diagonal)
                with T.serial(0, size - 1 - column) as below:
                    row = column + 1 + below
                    _eliminate(work, base, row, column, size)
        return builder.get()


def _exchange_if_larger(
    work: Any, result: Any, matrix: Any, base: Any, row: Any, column: Any, size: int, count: int
) -> None:
    """Exchange two rows, and the sign, if the lower one has the better pivot."""
    spare = count * size * size
    upper, lower = base + column * size, base + row * size
    with T.If(tirx.abs(work[lower + column]) > tirx.abs(work[upper + column])), T.Then():
        result[matrix] = tirx.const(-1, str(result.dtype)) * result[matrix]
        with T.serial(0, size) as k:
            work[spare] = work[upper + k]
            work[upper + k] = work[lower + k]
            work[lower + k] = work[spare]


def _eliminate(work: Any, base: Any, row: Any, column: Any, size: int) -> None:
    """Subtract the pivot's row, so that the column is zero; not where it is zero already."""
    upper, lower = base + column * size, base + row * size
    is_needed = work[lower + column] != tirx.const(0, "float64")
    with T.If(is_needed), T.Then(), T.serial(0, size - 1 - column) as step:
        k = size - 1 - step  # the factor's own column, not needed any more, stays
        factor = work[lower + column] / work[upper + column]
        work[lower + k] = work[lower + k] - factor * work[upper + k]


def _lp_normalization(operator: Operator) -> relax.Expr:
    """Divided by its norm along an axis; a vector of norm 0 stays 0."""
    data = operator.operand(0)
    axis = int(operator.attributes.get("axis", -1))
    order = int(operator.attributes.get("p", 2))
    if order == 1:
        norm = relax.op.sum(operator.emit(relax.op.abs(data)), axis, keepdims=True)
    else:
        squares = operator.emit(relax.op.multiply(data, data))
        norm = relax.op.sqrt(operator.emit(relax.op.sum(squares, axis, keepdims=True)))
    norm = operator.emit(norm)
    zero = relax.const(0.0, str(data.ty.dtype))
    is_zero = operator.emit(relax.op.equal(norm, zero))
    divided = operator.emit(relax.op.divide(data, norm))
    return operator.emit(relax.op.where(is_zero, zero, divided))


CONVERTERS: dict[str, Converter] = {"Det": _det, "LpNormalization": _lp_normalization}
