"""Sorting for all frontends: TVM's own needs a library function that no device has."""

from __future__ import annotations

import math

from tvm import relax

from tvmake.kernels.sorting import top_k


def emit_top_k(
    builder: relax.BlockBuilder,
    data: relax.Expr,
    count: int,
    *,
    axis: int = -1,
    largest: bool = True,
    index_dtype: str = "int64",
) -> tuple[relax.Expr, relax.Expr]:
    """The first `count` elements along an axis in sorted order, and their positions.

    Equal elements keep their order.
    """
    shape = [int(dim) for dim in data.ty.shape]
    axis %= len(shape)
    order = [*(i for i in range(len(shape)) if i != axis), axis]
    moved = builder.emit(relax.op.permute_dims(data, order)) if axis != order[axis] else data
    rows = [shape[i] for i in order[:-1]]
    flat = builder.emit(relax.op.reshape(moved, [math.prod(rows), shape[axis]]))
    result = builder.emit_te(
        lambda x: top_k(x, count, largest=largest, index_dtype=index_dtype),
        flat,
        primfunc_name_hint="top_k",
    )
    inverse = [order.index(i) for i in range(len(shape))]

    def restored(index: int) -> relax.Expr:
        part = builder.emit(relax.TupleGetItem(result, index))
        part = builder.emit(relax.op.reshape(part, [*rows, count]))
        return (
            part if axis == len(shape) - 1 else builder.emit(relax.op.permute_dims(part, inverse))
        )

    return restored(0), restored(1)
