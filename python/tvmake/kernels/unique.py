"""Distinct rows of a matrix, as a tensor expression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T  # noqa: N812 - TVM's own name for it

from tvmake.kernels.sorting import merge_sort


def unique_rows(data: te.Tensor, *, ascending: bool) -> list[te.Tensor]:
    """The distinct rows of a matrix.

    NaN equals NaN, and comes after all numbers, as in NumPy.

    Args:
        data: [rows, columns].
        ascending: rows in lexicographic order; else in the order in which they first occur.

    Returns:
        int64 [rows, 2] with each distinct row's first place and how often it occurs; int64 [rows],
        for each row which of the distinct ones it is; int64 [1] with their number; scratch memory.
    """
    rows, _ = (int(extent) for extent in data.shape)
    result = te.extern(
        [(rows, 2), (rows,), (1,), (2, rows), (rows, 3)],
        [data],
        lambda ins, outs: _unique(ins[0], outs, ascending=ascending),
        dtype=["int64", "int64", "int64", "int32", "int64"],
        name="unique_rows",
    )
    return list(result)


def _unique(data: Any, outs: Sequence[Any], *, ascending: bool) -> tirx.Stmt:
    rows, columns = (int(extent) for extent in data.shape)
    with IRBuilder() as builder, T.seq_scope():
        values = T.buffer_proxy(data)
        found, which, number, order, groups = map(T.buffer_proxy, outs)
        sign = T.buffer_proxy(T.alloc_buffer((1,), "int32", scope="local"))

        def compare(a: Any, b: Any) -> Any:
            """Emits the comparison of two rows: negative, zero or positive."""
            sign[0] = tirx.const(0, "int32")
            with T.serial(0, columns) as k:  # noqa: SIM117 - T.If follows T.serial
                with T.If(sign[0] == 0), T.Then():
                    x, y = _comparable(values[a, k]), _comparable(values[b, k])
                    sign[0] = tirx.Select(
                        _less(x, y), tirx.const(-1, "int32"), tirx.Cast("int32", _less(y, x))
                    )
            return sign[0]

        sorted_at = merge_sort(
            rows,
            lambda half, i: order[half, i],
            lambda half, i, value: T.buffer_store(outs[3], value, [half, i]),
            lambda second, first: compare(second, first) < 0,
        )
        number[0] = _int(0)
        with T.serial(0, rows) as i:
            row = order[sorted_at, i]
            sign[0] = tirx.const(1, "int32")
            with T.If(i > 0), T.Then():
                compare(row, order[sorted_at, tirx.max(i - 1, 0)])
            with T.If(sign[0] != 0), T.Then():
                groups[number[0], 0] = tirx.Cast("int64", row)
                groups[number[0], 1] = _int(0)
                groups[number[0], 2] = number[0]
                number[0] = number[0] + _int(1)
            groups[number[0] - 1, 1] = groups[number[0] - 1, 1] + _int(1)
            which[row] = number[0] - 1
        if not ascending:
            number[0] = _int(0)
            with T.serial(0, rows) as i:  # noqa: SIM117 - T.If follows T.serial
                with T.If(groups[which[i], 0] == tirx.Cast("int64", i)), T.Then():
                    groups[which[i], 2] = number[0]
                    number[0] = number[0] + _int(1)
        with T.serial(0, number[0]) as i:
            for column in range(2):
                found[groups[i, 2], column] = groups[i, column]
        with T.serial(0, rows) as i:
            which[i] = groups[which[i], 2]
    statement: tirx.Stmt = builder.get()
    return statement


def _comparable(value: Any) -> Any:
    """A value of a type that every machine compares."""
    dtype = str(value.ty.dtype)
    if dtype in ("float16", "bfloat16"):
        return tirx.Cast("float32", value)
    return tirx.Cast("int32", value) if dtype == "bool" else value


def _less(x: Any, y: Any) -> Any:
    if "float" not in str(x.ty.dtype):
        return x < y
    return tirx.any(x < y, tirx.all(y != y, x == x))  # NaN comes last


def _int(value: int) -> Any:
    return tirx.const(value, "int64")
