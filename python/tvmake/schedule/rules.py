"""Schedules by rule: inline what is cheap, keep sums in registers, vectorize, run in parallel.

Each rule works on a copy and is dropped where it does not fit: the schedule primitives check
themselves that the result is equivalent, and refuse otherwise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import tvm
from tvm import s_tir, tirx

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tvmake.schedule.cpu import CpuModel

    _Rule = Callable[[s_tir.Schedule, str], None]

# Below this many loop iterations, waking another thread costs more than it saves.
_PARALLEL_WORK = 32768
# Independent sums per vector: enough to hide the latency of a fused multiply-add.
_ACCUMULATOR_ROWS = 6
_ACCUMULATOR_VECTORS = 2
_LONGEST_UNROLLED_VECTOR = 4


def schedule_kernel(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc:
    """Schedule one fused prim func for a CPU. What it computes stays the same."""
    for name in _block_names(function):
        function = _attempt(function, _inline, name)
    for name in _block_names(function):
        function = _attempt(function, lambda sch, block: _sum(sch, block, cpu), name)
    for name in _block_names(function):
        function = _attempt(function, lambda sch, block: _map(sch, block, cpu), name)
    return function


def _attempt(function: tirx.PrimFunc, rule: _Rule, name: str) -> tirx.PrimFunc:
    schedule = s_tir.Schedule(tvm.IRModule({"main": function}))
    try:
        rule(schedule, name)
    except (RuntimeError, ValueError):  # ScheduleError and TVM's internal errors
        return function
    return schedule.mod["main"]


def _block_names(function: tirx.PrimFunc) -> list[str]:
    schedule = s_tir.Schedule(tvm.IRModule({"main": function}))
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    return [str(schedule.get(block).name_hint) for block in blocks]


def _inline(schedule: s_tir.Schedule, name: str) -> None:
    """Compute an elementwise block where its result is used, if that repeats no real work."""
    block = schedule.get_sblock(name)
    consumers = schedule.get_consumers(block)
    if not consumers or not _is_spatial(schedule, block):
        return
    feeds_sum = any(not _is_spatial(schedule, consumer) for consumer in consumers)
    if _is_copy(schedule, block) or (len(consumers) == 1 and not feeds_sum):
        schedule.compute_inline(block)


def _sum(schedule: s_tir.Schedule, name: str, cpu: CpuModel) -> None:
    """A reduction: a tile of sums in registers, the reduction loops around it."""
    block = schedule.get_sblock(name)
    if _is_spatial(schedule, block):
        return
    loops = schedule.get_loops(block)
    kinds = [var.iter_type for var in schedule.get(block).iter_vars]
    if len(loops) != len(kinds):
        return  # scheduled already, or not a plain loop nest
    extents = [int(schedule.get(loop).extent) for loop in loops]
    spatial = [i for i, kind in enumerate(kinds) if kind == tirx.IterVar.DataPar]
    reduced = [i for i, kind in enumerate(kinds) if kind != tirx.IterVar.DataPar]
    tiled = _tile(schedule, loops, extents, spatial, cpu.lanes(_bits(schedule, block)))
    reduction = [loops[i] for i in reduced]
    schedule.reorder(*tiled.outer, *reduction, *tiled.inner)
    if tiled.inner:
        registers = schedule.cache_write(block, 0, "global")
        outer = _fuse(schedule, tiled.outer)
        schedule.reverse_compute_at(registers, outer)
        _unroll_and_vectorize(schedule, schedule.get_loops(registers)[1:])
    else:
        outer = _fuse(schedule, tiled.outer)
    if math.prod(extents) >= _PARALLEL_WORK:
        schedule.parallel(outer)
    if tiled.inner:
        _unroll_and_vectorize(schedule, tiled.inner)
    start = schedule.decompose_reduction(block, reduction[0])
    if tiled.inner:
        _unroll_and_vectorize(schedule, schedule.get_loops(start)[1:])


class _Tile:
    """Loops around the reduction, and loops over the sums that are kept in registers."""

    def __init__(self) -> None:
        self.outer: list[Any] = []
        self.inner: list[Any] = []


def _tile(
    schedule: s_tir.Schedule,
    loops: Sequence[Any],
    extents: Sequence[int],
    spatial: Sequence[int],
    lanes: int,
) -> _Tile:
    """Split the innermost spatial loop by vectors and one other by accumulator rows."""
    tile = _Tile()
    wide = [i for i in spatial if extents[i] > 1]
    vector = wide[-1] if wide else None
    # The loop whose iterations share the vector's operand: channels (second) or matrix rows.
    rows = next((i for i in wide if i != vector and (i == 1 or len(spatial) == 2)), None)
    for i in spatial:
        limit = (
            lanes * _ACCUMULATOR_VECTORS if i == vector else _ACCUMULATOR_ROWS if i == rows else 1
        )
        factor = _divisor(extents[i], limit)
        if factor == 1:
            tile.outer.append(loops[i])
            continue
        outer, inner = schedule.split(loops[i], [None, factor])
        tile.outer.append(outer)
        tile.inner.append(inner)
    return tile


def _map(schedule: s_tir.Schedule, name: str, cpu: CpuModel) -> None:
    """An elementwise block: the last loop in vectors, the others in parallel."""
    block = schedule.get_sblock(name)
    loops = schedule.get_loops(block)
    if not _is_spatial(schedule, block) or len(loops) != len(schedule.get(block).iter_vars):
        return
    extents = [int(schedule.get(loop).extent) for loop in loops]
    factor = _divisor(extents[-1], cpu.lanes(_bits(schedule, block)) * _LONGEST_UNROLLED_VECTOR)
    outer, inner = schedule.split(loops[-1], [None, factor])
    fused = _fuse(schedule, [*loops[:-1], outer])
    if math.prod(extents) >= _PARALLEL_WORK:
        schedule.parallel(fused)
    if factor > 1:
        schedule.vectorize(inner)


def _fuse(schedule: s_tir.Schedule, loops: Sequence[Any]) -> Any:
    return schedule.fuse(*loops) if len(loops) > 1 else loops[0]


def _unroll_and_vectorize(schedule: s_tir.Schedule, loops: Sequence[Any]) -> None:
    for loop in loops[:-1]:
        schedule.unroll(loop)
    schedule.vectorize(loops[-1])


def _divisor(extent: int, limit: int) -> int:
    """The largest divisor of a loop's extent up to a limit: no remainder loop, no predicate."""
    return max(d for d in range(1, min(extent, limit) + 1) if extent % d == 0)


def _bits(schedule: s_tir.Schedule, block: Any) -> int:
    dtype = str(schedule.get(block).writes[0].source.dtype)
    return 8 if dtype == "bool" else int("".join(c for c in dtype if c.isdigit()))


def _is_spatial(schedule: s_tir.Schedule, block: Any) -> bool:
    return all(v.iter_type == tirx.IterVar.DataPar for v in schedule.get(block).iter_vars)


def _is_copy(schedule: s_tir.Schedule, block: Any) -> bool:
    body = schedule.get(block).body
    return isinstance(body, tirx.BufferStore) and isinstance(body.value, tvm.ir.expr.TensorLoad)
