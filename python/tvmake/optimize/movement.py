"""Kernels that only move data: a result that is a part of an operand, or operands in a row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tvm
from tvm import s_tir, tirx

from tvmake.elements import stored_bits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True)
class Movement:
    """What a kernel could be spared for, if its results lay where its operands are.

    Attributes:
        offsets: of a join (a concatenation of what is contiguous): for each operand, the byte of
            the result where it begins. Of parts: for each result, the byte of the only operand.
    """

    is_join: bool
    offsets: tuple[int, ...]


def movement(function: tirx.PrimFunc) -> Movement | None:
    """What a prim func as it was made, not yet scheduled, moves; None if it does anything else.

    A load is within its operand wherever it is selected. So when each operand is loaded once, at a
    constant distance from the element that is written, and the operands fill the result, it does
    not matter how the conditions between them look.
    """
    blocks = _blocks(function)
    if blocks is None:
        return None
    operands = list(function.params)[: len(function.params) - len(blocks)]
    results = list(function.params)[len(operands) :]
    if any(_extents(buffer) is None for buffer in function.params):
        return None
    if any(stored_bits(str(buffer.dtype)) % 8 for buffer in function.params):
        return None  # a part might begin within a byte
    loads = [_moved(block, result) for block, result in zip(blocks, results, strict=True)]
    if len(operands) == 1:
        return _parts(operands[0], results, loads)
    return _join(operands, results[0], loads[0]) if len(results) == 1 else None


def _parts(
    operand: Any, results: Sequence[Any], loads: Sequence[list[tuple[Any, int]] | None]
) -> Movement | None:
    offsets = []
    for result, loaded in zip(results, loads, strict=True):
        if loaded is None or len(loaded) != 1 or not loaded[0][0].same_as(operand):
            return None
        distance = loaded[0][1]
        if not 0 <= distance <= elements(operand) - elements(result):
            return None
        offsets.append(_bytes(operand, distance))
    return Movement(False, tuple(offsets))


def _join(
    operands: Sequence[Any], result: Any, loads: list[tuple[Any, int]] | None
) -> Movement | None:
    if loads is None or len(loads) != len(operands):
        return None
    begins = {}
    for index, operand in enumerate(operands):
        found = [-distance for buffer, distance in loads if buffer.same_as(operand)]
        if len(found) != 1:
            return None
        begins[index] = found[0]
    end = 0
    for index in sorted(begins, key=lambda index: begins[index]):
        if begins[index] != end:
            return None
        end += elements(operands[index])
    if end != elements(result):
        return None
    return Movement(True, tuple(_bytes(result, begins[index]) for index in range(len(operands))))


def _blocks(function: tirx.PrimFunc) -> list[s_tir.SBlock] | None:
    """The blocks that write the results, one each and in their order; None if there are others."""
    body = function.body
    if not isinstance(body, s_tir.SBlockRealize) or body.block.alloc_buffers:
        return None
    body = body.block.body
    nests = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    blocks = []
    for nest in nests:
        variables, inner = [], nest
        while isinstance(inner, tirx.For):
            variables.append(inner.loop_var)
            inner = inner.body
        if not isinstance(inner, s_tir.SBlockRealize):
            return None
        given = list(inner.iter_values)
        plain = len(given) == len(variables) and all(
            value.same_as(variable) for value, variable in zip(given, variables, strict=True)
        )
        if not plain:
            return None
        blocks.append(inner.block)
    results = list(function.params)[len(function.params) - len(blocks) :]
    written = [block.body.buffer for block in blocks if isinstance(block.body, tirx.BufferStore)]
    same = len(written) == len(results) < len(function.params) and all(
        buffer.same_as(result) for buffer, result in zip(written, results, strict=True)
    )
    return blocks if same else None


def _moved(block: s_tir.SBlock, result: Any) -> list[tuple[Any, int]] | None:
    """What is loaded for an element, and how much farther it is than the element."""
    store = block.body
    axes = [axis.var for axis in block.iter_vars]
    whole = [axis.dom.extent for axis in block.iter_vars]
    if not all(index.same_as(axis) for index, axis in zip(store.indices, axes, strict=False)):
        return None
    if len(axes) != len(store.indices) or list(map(int, whole)) != _extents(result):
        return None
    analyzer = tvm.sym.Analyzer()
    for axis in block.iter_vars:
        analyzer.bind(axis.var, axis.dom)
    target = _flat(result, store.indices)
    moved = []
    for value in _alternatives(store.value):
        if not isinstance(value, tvm.ir.expr.TensorLoad) or value.source.dtype != result.dtype:
            return None
        distance = analyzer.simplify(_flat(value.source, value.indices) - target)
        if not isinstance(distance, tirx.IntImm):
            return None
        moved.append((value.source, int(distance)))
    return moved


def _alternatives(value: Any) -> Iterator[Any]:
    if isinstance(value, tvm.ir.Call) and value.op.name == "prim.if_then_else":
        yield from _alternatives(value.args[1])
        yield from _alternatives(value.args[2])
    else:
        yield value


def _flat(buffer: Any, indices: Sequence[Any]) -> Any:
    position = tirx.const(0, "int64")
    for extent, index in zip(buffer.shape, indices, strict=True):
        position = position * extent + index
    return position


def _extents(buffer: Any) -> list[int] | None:
    if tvm.ir.is_prim_expr(buffer):
        return None
    shape = [int(dim) if isinstance(dim, tirx.IntImm) else None for dim in buffer.shape]
    return None if None in shape else [dim for dim in shape if dim is not None]


def elements(buffer: Any) -> int:
    """How many elements a buffer has; one whose extents are not known counts as a single one."""
    return math.prod(_extents(buffer) or [])


def _bytes(buffer: Any, count: int) -> int:
    return count * stored_bits(str(buffer.dtype)) // 8
