"""Determinants, norms, and sums of products."""

from __future__ import annotations

import math
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


def _einsum(operator: Operator) -> relax.Expr | None:
    """Two operands whose common letters are a batch, or summed: a product of matrices."""
    terms, _, result = operator.text("equation", "").replace(" ", "").partition("->")
    left, _, right = terms.partition(",")
    if not (right.isalpha() and left.isalpha() and result.isalpha()):
        return None
    if any(len({*letters}) < len(letters) for letters in (left, right, result)):
        return None
    batch = [letter for letter in left if letter in right and letter in result]
    summed = [letter for letter in left if letter in right and letter not in result]
    rows = [letter for letter in left if letter not in right]
    columns = [letter for letter in right if letter not in left]
    extents = [extent for index in (0, 1) for extent in operator.operand(index).ty.shape]
    if not all(isinstance(extent, tirx.IntImm) for extent in extents):
        return None
    size = dict(zip(left + right, map(int, extents), strict=True))
    if not summed or {*result} != {*batch, *rows, *columns}:
        return None

    def matrices(index: int, letters: str, first: list[str], second: list[str]) -> relax.Expr:
        order = [letters.index(letter) for letter in (*batch, *first, *second)]
        moved = operator.emit(relax.op.permute_dims(operator.operand(index), order))
        extents = [math.prod(size[letter] for letter in part) for part in (first, second)]
        return operator.emit(relax.op.reshape(moved, [*(size[b] for b in batch), *extents]))

    product = relax.op.matmul(matrices(0, left, rows, summed), matrices(1, right, summed, columns))
    have = [*batch, *rows, *columns]
    full = relax.op.reshape(operator.emit(product), [size[letter] for letter in have])
    order = [have.index(letter) for letter in result]
    return operator.emit(relax.op.permute_dims(operator.emit(full), order))


CONVERTERS: dict[str, Converter] = {
    "Einsum": _einsum,
    "Det": _det,
    "LpNormalization": _lp_normalization,
}
