"""Sorting along the last axis, as a tensor expression."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T  # noqa: N812 - TVM's own name for it

from tvmake.kernels.selection import Heap
from tvmake.schedule.primitives import PARALLEL_WORK

_SELECTED = 4  # of so many elements one, or fewer, are selected rather than sorted


def top_k(data: te.Tensor, count: int, *, largest: bool, index_dtype: str) -> list[te.Tensor]:
    """The first `count` elements of each row in sorted order; equal elements keep their order.

    A few are selected with a heap of the best so far; many are taken from the sorted row.

    Args:
        data: [rows, n].
        count: how many elements of each row to give, at most n.
        largest: from the largest downwards; else from the smallest upwards.
        index_dtype: element type of the positions.

    Returns:
        The elements, their positions, both [rows, count], and maybe scratch memory.
    """
    rows, size = (int(dim) for dim in data.shape)
    selects = 0 < count * _SELECTED <= size
    out = [
        tirx.decl_buffer((rows, count), data.dtype, "values", layout=None),
        tirx.decl_buffer((rows, count), index_dtype, "positions", layout=None),
    ]
    if not selects:
        out.append(tirx.decl_buffer((rows, 2, size), "int32", "order", layout=None))

    def is_better(x: Any, y: Any) -> Any:
        return x > y if largest else x < y

    def write(ins: Sequence[Any], outs: Sequence[Any]) -> tirx.Stmt:
        loop = T.parallel if rows * size >= PARALLEL_WORK else T.serial
        with IRBuilder() as builder, loop(0, rows) as row:
            if selects:
                Heap(outs[0], outs[1], row, is_better).select(ins[0])
            else:
                _sort(row, ins[0], outs, is_better)
        statement: tirx.Stmt = builder.get()
        return statement

    result = te.extern(
        [buffer.shape for buffer in out],
        [data],
        write,
        dtype=[buffer.dtype for buffer in out],
        out_buffers=out,
        name="top_k",
    )
    return list(result)


def merge_sort(
    size: int,
    get: Callable[[int, Any], Any],
    put: Callable[[int, Any, Any], None],
    before: Callable[[Any, Any], Any],
) -> int:
    """Emits a stable sort of the positions below `size`: merges runs, at first of one element.

    Args:
        size: how many.
        get: reads one of two halves of memory for positions, int32.
        put: writes it.
        before: emits the comparison of two positions, the second of which came first until now.

    Returns:
        The half with the result.
    """
    passes = math.ceil(math.log2(size)) if size > 1 else 0
    with T.serial(0, size) as i:
        put(0, i, tirx.Cast("int32", i))
    left = T.alloc_buffer((1,), "int32", scope="local")
    right = T.alloc_buffer((1,), "int32", scope="local")
    for step in range(passes):
        source, target, width = step % 2, 1 - step % 2, 1 << step
        with T.serial(0, size) as i:
            middle = (i // (2 * width)) * (2 * width) + width
            end = tirx.min(middle + width, size)
            with T.If(i % (2 * width) == 0), T.Then():
                T.buffer_store(left, i, [0])
                T.buffer_store(right, tirx.min(middle, size), [0])
            # Both sides are read, so that what lies beyond a run is replaced by its last.
            first = get(source, tirx.min(left[0], tirx.min(middle, size) - 1))
            second = get(source, tirx.min(right[0], size - 1))
            use_right = tirx.all(
                right[0] < end,
                tirx.any(left[0] >= tirx.min(middle, size), before(second, first)),
            )
            with T.If(use_right):
                with T.Then():
                    put(target, i, second)
                    T.buffer_store(right, right[0] + 1, [0])
                with T.Else():
                    put(target, i, first)
                    T.buffer_store(left, left[0] + 1, [0])
    return passes % 2


def _sort(row: Any, data: Any, outs: Sequence[Any], is_better: Callable[[Any, Any], Any]) -> None:
    """Emits the first elements of a row's sorted positions."""
    values, positions, order = outs
    half = merge_sort(
        int(data.shape[1]),
        lambda half, i: order[row, half, i],
        lambda half, i, value: T.buffer_store(order, value, [row, half, i]),
        lambda second, first: is_better(data[row, second], data[row, first]),
    )
    with T.serial(0, int(values.shape[1])) as i:
        place = order[row, half, i]
        T.buffer_store(values, data[row, place], [row, i])
        T.buffer_store(positions, tirx.Cast(str(positions.dtype), place), [row, i])
