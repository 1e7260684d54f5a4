"""Pooling on plain layout: first over the windows' rows, in vectors, then over their columns.

What the rows of a window come to, column by column, is put into memory of its own, which has what
lies left and right of the image too. Windows that move by two or three columns take every second
or third element of neighbouring vectors from there.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from tvm import tirx
from tvm.ir import Call
from tvm.ir.expr import TensorLoad
from tvm.ir.prim import expr as prim
from tvm.sym import detect_linear_equation

from tvmake.schedule import loops
from tvmake.schedule.fused import Fused, take_apart
from tvmake.schedule.primitives import PARALLEL_WORK, block_names, element_bits, new_schedule
from tvmake.schedule.sliding import Axis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tvmake.schedule.cpu import CpuModel

_POOLS = ("pool_max", "pool_sum")
_PADDED = "pad_temp"
_VECTORS = 4  # of a row that are reduced side by side
_WIDEST_STRIDE = 4
_MOST_BYTES = 16 << 10  # of a row


def plain_pooling(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The rule for a maximum or a sum of windows, and what follows it element by element."""
    name = next((name for name in _POOLS if name in block_names(function)), None)
    fused = take_apart(function, name, (_PADDED,)) if name else None
    if name is None or fused is None:
        return None
    try:
        pool = _Pool(function, name, fused, cpu)
    except ValueError:  # of another form
        return None
    return loops.rewrite(function, pool.build(), [], fused.overwritable)


class _Pool:
    """A pooling, and the loops that do it."""

    def __init__(self, function: tirx.PrimFunc, name: str, fused: Fused, cpu: CpuModel) -> None:
        schedule = new_schedule(function)
        block = schedule.get_sblock(name)
        statement = schedule.get(block)
        value, self.start = statement.body.value, statement.init.value
        if type(value) not in (prim.Max, prim.Add) or not isinstance(value.b, TensorLoad):
            raise ValueError("another pooling")
        self.combine = type(value)
        self.fused, self.dtype = fused, str(statement.body.buffer.dtype)
        self.lanes = cpu.lanes(element_bits(schedule, block))
        self.data, before = value.b.source, [0] * len(value.b.indices)
        if _PADDED in block_names(function):
            padding = schedule.get(schedule.get_sblock(_PADDED))
            self.data, before = _padding(padding, self.start)
        *self.outer, self.columns = _axes(statement, self.data, before)
        self.width = min(self.lanes, self.columns.output)
        last = self.columns
        self.length = max(
            last.before + last.size,
            last.stride * last.output + (last.kernel - 1) * last.dilation,
        )
        size = self.length * element_bits(schedule, block) // 8
        if last.kernel == 1 or last.stride > _WIDEST_STRIDE or size > _MOST_BYTES:
            raise ValueError("windows of one column, or far from one another")
        if not any(self.data.same_as(parameter) for parameter in fused.params):
            raise ValueError("the image is computed")

    def build(self) -> tirx.Stmt:
        """The loops over the rows of the result."""
        counts = [axis.output for axis in self.outer]
        windows = math.prod(axis.kernel for axis in (*self.outer, self.columns))
        rows = math.prod(counts)

        def one(index: Any) -> tirx.Stmt:
            return self._row(loops.places(index, counts))

        if rows * self.columns.output * windows < PARALLEL_WORK:
            return loops.loop(rows, one, name="row")
        return loops.parallel(rows, one)

    def _row(self, places: Sequence[Any]) -> tirx.Stmt:
        row = loops.scratch("row", self.length, dtype=self.dtype)
        before, size = self.columns.before, self.columns.size

        def gap(first: int, end: int) -> list[tirx.Stmt]:
            fill = loops.loop(end - first, lambda i: loops.store(row, self.start, first + i))
            return [fill] if end > first else []

        gaps = [*gap(0, before), *gap(before + size, self.length)]
        return loops.using([row], [*gaps, *self._rows(places, row), *self._columns(places, row)])

    # Over the rows of windows.

    def _rows(self, places: Sequence[Any], row: tirx.Buffer) -> list[tirx.Stmt]:
        """What all rows of a window come to, for every column of the image."""
        whole, rest = divmod(self.columns.size, self.lanes)
        rounds, single = divmod(whole, _VECTORS)
        step = _VECTORS * self.lanes
        reduce = functools.partial(self._reduce, places, row)
        statements = [loops.loop(rounds, lambda at: reduce(at * step, _VECTORS, self.lanes))]
        statements = statements if rounds else []
        if single:
            statements.append(reduce(rounds * step, single, self.lanes))
        if rest:
            statements.append(reduce(whole * self.lanes, 1, rest))
        return statements

    def _reduce(
        self, places: Sequence[Any], row: tirx.Buffer, first: Any, vectors: int, lanes: int
    ) -> tirx.Stmt:
        """The rows of some columns of the image."""
        sums = loops.scratch("sums", vectors * lanes, dtype=self.dtype)

        def each(body: Callable[[Any], tirx.Stmt]) -> tirx.Stmt:
            return loops.unrolled(
                vectors, lambda v: loops.vector(lanes, lambda lane: body(v * lanes + lane))
            )

        def add(taps: Sequence[Any], at: Any) -> tirx.Stmt:
            rows = [
                axis.source(place, tap)
                for axis, place, tap in zip(self.outer, places, taps, strict=True)
            ]
            x = loops.load(self.data, *rows, first + at)
            return loops.store(sums, self.combine(loops.load(sums, at), x), at)

        def walk(taps: Sequence[Any]) -> tirx.Stmt:
            if len(taps) == len(self.outer):
                return each(functools.partial(add, taps))
            axis = self.outer[len(taps)]
            begin, end = axis.taps(places[len(taps)])
            return loops.loop(end - begin, lambda tap: walk([*taps, tap]), start=begin, name="tap")

        def keep(at: Any) -> tirx.Stmt:
            return loops.store(row, loops.load(sums, at), self.columns.before + first + at)

        start = each(lambda at: loops.store(sums, self.start, at))
        return loops.using([sums], [start, walk([]), each(keep)])

    # Over the columns of windows.

    def _columns(self, places: Sequence[Any], row: tirx.Buffer) -> list[tirx.Stmt]:
        """The result; a vector that would reach beyond its end computes some elements anew."""
        count, width = self.columns.output, self.width
        vector = functools.partial(self._windows, places, row)
        statements = [loops.loop(count // width, lambda at: vector(at * width), name="column")]
        if count % width:
            statements.append(vector(loops.integer(count - width)))
        return statements

    def _windows(self, places: Sequence[Any], row: tirx.Buffer, first: Any) -> tirx.Stmt:
        """What some neighbouring windows come to."""
        columns, width = self.columns, self.width
        sums = loops.scratch("sums", width, dtype=self.dtype)

        def taken(tap: int) -> Any:
            return loops.every(
                row, first * columns.stride + tap * columns.dilation, columns.stride, width
            )

        total = functools.reduce(self.combine, map(taken, range(columns.kernel)))

        def finish(lane: Any) -> tirx.Stmt:
            indices = (*places, first + lane)
            value = self.fused.finish(loops.load(sums, lane), *indices)
            return loops.store(self.fused.output, value, *indices)

        return loops.using(
            [sums], [loops.store_vector(sums, total, width, 0), loops.vector(width, finish)]
        )


def _axes(statement: Any, data: Any, before: Sequence[int]) -> list[Axis]:
    """The axes of the image.

    Raises:
        ValueError: if a window has another form.
    """
    store = statement.body
    kept = [axis for axis in statement.iter_vars if axis.iter_type == tirx.IterVar.DataPar]
    taps = [axis for axis in statement.iter_vars if axis.iter_type != tirx.IterVar.DataPar]
    if not all(at.same_as(axis.var) for at, axis in zip(store.indices, kept, strict=True)):
        raise ValueError("another order of axes")
    found = []
    for index, axis, size, first in zip(
        store.value.b.indices, kept, data.shape, before, strict=True
    ):
        coefficients = detect_linear_equation(index, [a.var for a in (axis, *taps)])
        stride, *dilations, offset = [int(number) for number in coefficients or [0]]
        used = [(tap, step) for tap, step in zip(taps, dilations, strict=False) if step]
        if stride < 1 or offset or len(used) > 1 or any(step < 0 for _, step in used):
            raise ValueError("another window")
        tap, dilation = used[0] if used else (None, 1)
        window = int(tap.dom.extent) if tap is not None else 1
        count = int(axis.dom.extent)
        found.append(Axis(int(size), count, window, stride, dilation, first))
    if math.prod(a.kernel for a in found) != math.prod(int(tap.dom.extent) for tap in taps):
        raise ValueError("taps that move nothing")
    return found


def _padding(statement: Any, start: Any) -> tuple[Any, list[int]]:
    """What is padded, and how much before each axis.

    Raises:
        ValueError: if that is something else, or with other values than windows start from.
    """
    value = statement.body.value
    if not isinstance(value, Call) or value.op.name != "prim.if_then_else":
        raise ValueError("another padding")
    _, inside, outside = value.args
    if not isinstance(inside, TensorLoad) or getattr(outside, "value", None) != start.value:
        raise ValueError("another padding")
    before = []
    for index, axis in zip(inside.indices, statement.iter_vars, strict=True):
        stride, offset = detect_linear_equation(index, [axis.var]) or (0, 0)
        if int(stride) != 1:
            raise ValueError("another padding")
        before.append(-int(offset))
    return inside.source, before
