"""Kernels that move elements: transposes, and results that are several in a row.

A concatenation decides for each element which operand it comes from. Here each piece has loops of
its own, so that nothing is left to decide. What is contiguous in an operand often is not so in the
result; so a tile of a few rows and a vector of columns is moved at once: what it reads is near.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import tvm
from tvm import tirx
from tvm.ir.prim import expr as prim

from tvmake.schedule import loops
from tvmake.schedule.expressions import replace
from tvmake.schedule.microkernel import share
from tvmake.schedule.primitives import PARALLEL_WORK, element_bits, element_block
from tvmake.schedule.tiles import Part, parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tvmake.schedule.cpu import CpuModel

_MOST_ROWS = 16
_TASKS = 16  # to keep a few cores evenly busy
_Bounds = tuple[tuple[int, int], ...]  # of each axis: first index, and the one after the last


def move_pieces(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The rule for one block that transposes, or selects by position what it computes."""
    found = element_block(function)
    if found is None:
        return None
    schedule, block = found
    store = schedule.get(block).body
    variables = [axis.var for axis in schedule.get(block).iter_vars]
    if len(variables) < 2:
        return None
    whole = tuple((0, int(extent)) for extent in store.buffer.shape)
    pieces = list(_pieces(store.value, variables, whole))
    contiguous = _contiguous(schedule.get(block))
    if len(pieces) == 1 and not contiguous:
        return None
    rows = max(contiguous, default=len(variables) - 2)
    size = cpu.lanes(element_bits(schedule, block))
    try:
        nests = [_nest(store.buffer, variables, *piece, rows, size) for piece in pieces]
    except ValueError:  # an expression of another kind
        return None
    return loops.rewrite(function, loops.sequence(nests), [])


def _pieces(value: Any, variables: Sequence[Any], bounds: _Bounds) -> Iterator[tuple[Any, _Bounds]]:
    """What is computed within which bounds."""
    cut = _cut(value, variables)
    if cut is None:
        yield value, bounds
        return
    axis, at = cut
    first, end = bounds[axis]
    _, above, below = value.args
    for side, start, stop in ((below, first, min(at, end)), (above, max(at, first), end)):
        if start < stop:
            yield from _pieces(
                side, variables, (*bounds[:axis], (start, stop), *bounds[axis + 1 :])
            )


def _cut(value: Any, variables: Sequence[Any]) -> tuple[int, int] | None:
    """Along which axis, and where, one value ends and the next begins."""
    if not isinstance(value, tvm.ir.Call) or value.op.name != "prim.if_then_else":
        return None
    condition = value.args[0]
    if not isinstance(condition, prim.LE) or not isinstance(condition.a, prim.IntImm):
        return None
    axes = [axis for axis, variable in enumerate(variables) if condition.b.same_as(variable)]
    return (axes[0], int(condition.a)) if axes else None


def _contiguous(block: Any) -> set[int]:
    """The axes of the result, but for its last one, that are the last ones of what is read."""
    *axes, _ = (axis.var for axis in block.iter_vars)
    last = [read.region[-1].min for read in block.reads if len(read.region)]
    return {i for i, axis in enumerate(axes) for index in last if index.same_as(axis)}


def _nest(
    target: tirx.Buffer, variables: Sequence[Any], value: Any, bounds: _Bounds, axis: int, size: int
) -> tirx.Stmt:
    """The loops of a piece: tiles of a few rows, along an axis, and a vector of `size` columns."""
    extents = [end - start for start, end in bounds]
    height, width = extents[axis], extents[-1]
    outer = [*extents[:axis], *extents[axis + 1 : -1]]

    def store(before: Sequence[Any], row: Any, column: Any) -> tirx.Stmt:
        places = [*before[:axis], row, *before[axis:], column]
        indices = [
            (place + start).astype(str(variable.ty.dtype))
            for place, (start, _), variable in zip(places, bounds, variables, strict=True)
        ]
        new = replace(value, dict(zip(variables, indices, strict=True)))
        return loops.store(target, new, *indices)

    def tiles(rows: Part, columns: Part) -> tirx.Stmt:
        count = math.prod(outer) * rows.count
        groups = min(columns.count, -(-_TASKS // count))

        def task(index: Any) -> tirx.Stmt:
            *before, row, group = loops.places(index, (*outer, rows.count, groups))
            top = rows.start + row * rows.step

            def tile(step: Any) -> tirx.Stmt:
                left = columns.start + step * columns.step
                return loops.unrolled(
                    rows.step,
                    lambda r: loops.vector(
                        columns.step, lambda lane: store(before, top + r, left + lane)
                    ),
                )

            return share(columns, group, groups, tile, "column")

        work = count * rows.step * columns.count * columns.step
        loop = loops.parallel if work >= PARALLEL_WORK else loops.loop
        return loop(count * groups, task)

    whole, rest = divmod(width, size)
    columns = [Part(0, size, whole)] if whole else []
    columns += [Part(whole * size, rest, 1)] if rest else []
    rows = parts(height, min(size, _MOST_ROWS))
    return loops.sequence([tiles(*part) for part in itertools.product(rows, columns)])
