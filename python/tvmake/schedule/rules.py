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
_ACCUMULATOR_VECTORS = 2
_ENOUGH_TASKS = 64  # to keep a few cores evenly busy
_MOST_CHANNEL_BLOCKS = 4  # each needs a register for its weights
_LONGEST_UNROLLED_VECTOR = 4


def schedule_kernel(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc:
    """Schedule one fused prim func for a CPU. What it computes stays the same."""
    for name in _block_names(function):
        function = _attempt(function, name, _inline)
    for name in _block_names(function):
        function = _attempt(
            function,
            name,
            lambda sch, block: _sum(sch, block, cpu, fuse_epilogue=True),
            lambda sch, block: _sum(sch, block, cpu, fuse_epilogue=False),
        )
    for name in _block_names(function):
        function = _attempt(function, name, lambda sch, block: _map(sch, block, cpu))
    return function


def _attempt(function: tirx.PrimFunc, name: str, *rules: _Rule) -> tirx.PrimFunc:
    """Apply the first rule that fits, if any does."""
    for rule in rules:
        schedule = s_tir.Schedule(tvm.IRModule({"main": function}))
        try:
            rule(schedule, name)
        except (RuntimeError, ValueError):  # ScheduleError and TVM's internal errors
            continue
        return schedule.mod["main"]
    return function


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


def _sum(schedule: s_tir.Schedule, name: str, cpu: CpuModel, *, fuse_epilogue: bool) -> None:
    """A reduction: a tile of sums in registers, the reduction loops around it.

    With `fuse_epilogue`, what follows element by element runs on the tile before it is stored.
    """
    block = schedule.get_sblock(name)
    if _is_spatial(schedule, block):
        return
    loops = schedule.get_loops(block)
    kinds = [var.iter_type for var in schedule.get(block).iter_vars]
    if len(loops) != len(kinds):
        return  # scheduled already, or not a plain loop nest
    extents = [int(schedule.get(loop).extent) for loop in loops]
    spatial = [i for i, kind in enumerate(kinds) if kind == tirx.IterVar.DataPar]
    reduction = [loops[i] for i, kind in enumerate(kinds) if kind != tirx.IterVar.DataPar]
    factors = tile_factors([extents[i] for i in spatial], cpu, _bits(schedule, block))
    outer, inner = _split(schedule, [loops[i] for i in spatial], factors)
    schedule.reorder(*outer, *reduction, *inner)
    outer = _fuse_outer(schedule, outer)
    if math.prod(extents) >= _PARALLEL_WORK:
        schedule.parallel(outer[0])
    if inner:
        tail = (
            _epilogue(schedule, block)
            if fuse_epilogue
            else schedule.cache_write(block, 0, "global")
        )
        schedule.reverse_compute_at(tail, outer[-1])
        _unroll_and_vectorize(schedule, schedule.get_loops(tail)[len(outer) :])
        _unroll_and_vectorize(schedule, inner)
    start = schedule.decompose_reduction(block, reduction[0])
    if inner:
        _unroll_and_vectorize(schedule, schedule.get_loops(start)[len(outer) :])


def _fuse_outer(schedule: s_tir.Schedule, loops: Sequence[Any]) -> list[Any]:
    """One loop to run in parallel, and inside it, if enough is left, one over neighbouring tiles.

    The inner one stays on a core: its tiles share the weights.
    """
    extents = [int(schedule.get(loop).extent) for loop in loops]
    if len(loops) > 1 and math.prod(extents[:-1]) >= _ENOUGH_TASKS:
        return [_fuse(schedule, loops[:-1]), loops[-1]]
    return [_fuse(schedule, loops)]


def _epilogue(schedule: s_tir.Schedule, block: Any) -> Any:
    """The one elementwise block that reads a reduction's result.

    Raises:
        ValueError: when there is none.
    """
    consumers = schedule.get_consumers(block)
    if len(consumers) != 1 or not _is_spatial(schedule, consumers[0]):
        raise ValueError("no epilogue")
    return consumers[0]


def _split(
    schedule: s_tir.Schedule, loops: Sequence[Any], factors: Sequence[int]
) -> tuple[list[Any], list[Any]]:
    """Split loops; the inner ones are those of a tile."""
    outer, inner = [], []
    for loop, factor in zip(loops, factors, strict=True):
        if factor == 1:
            outer.append(loop)
        elif factor == int(schedule.get(loop).extent) and outer:
            inner.append(loop)
        else:
            around, within = schedule.split(loop, [None, factor])
            outer.append(around)
            inner.append(within)
    return outer, inner


def tile_factors(extents: Sequence[int], cpu: CpuModel, bits: int) -> list[int]:
    """How much of each spatial loop of a reduction goes into one tile of sums.

    The innermost loop that is not trivial is cut into vectors; up to two loops before it give rows,
    of which there are as many as registers hold: each row reuses the vector's operand, and enough
    independent sums hide the latency of a multiply-add.

    Args:
        extents: of the spatial loops, outermost first.
        cpu: the machine.
        bits: of an element.
    """
    factors = [1] * len(extents)
    wide = [i for i, extent in enumerate(extents) if extent > 1]
    if not wide:
        return factors
    vector = wide[-1]
    lanes = cpu.lanes(bits)
    row_loops = _row_loops(extents, wide)
    vectors_wanted = 1 if len(extents) == 5 else _ACCUMULATOR_VECTORS
    factors[vector] = _divisor(extents[vector], lanes * vectors_wanted)
    vectors = -(-factors[vector] // lanes)
    budget = max(1, cpu.accumulators // vectors)
    for loop, factor in zip(row_loops, _rows([extents[i] for i in row_loops], budget), strict=True):
        factors[loop] = factor
    return factors


def _row_loops(extents: Sequence[int], wide: Sequence[int]) -> list[int]:
    """Loops that give rows: of [N, C/b, H, W, b] W and C/b, else channels or matrix rows."""
    if len(extents) == 5:
        return [i for i in (3, 1) if extents[i] > 1]
    before = [i for i in wide[:-1] if i == 1 or len(extents) == 2]
    return before[:1]


def _rows(extents: Sequence[int], budget: int) -> tuple[int, ...]:
    """Divisors of up to two loops whose product comes closest to a budget from below."""
    if not extents:
        return ()
    if len(extents) == 1:
        return (_divisor(extents[0], budget),)
    candidates = [
        (a, b)
        for a in _divisors(extents[0], budget)
        for b in _divisors(extents[1], min(budget // a, _MOST_CHANNEL_BLOCKS))
    ]
    # Of tiles of one size, the squarer one loads less for each multiply-add.
    return max(candidates, key=lambda tile: (tile[0] * tile[1], -(tile[0] + tile[1])))


def _divisors(extent: int, limit: int) -> list[int]:
    return [d for d in range(1, min(extent, limit) + 1) if extent % d == 0]


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
    *rows, vector = loops
    for loop in rows:
        schedule.unroll(loop)
    schedule.vectorize(vector)


def _divisor(extent: int, limit: int) -> int:
    """The largest divisor of a loop's extent up to a limit: no remainder loop, no predicate."""
    return _divisors(extent, limit)[-1]


def _bits(schedule: s_tir.Schedule, block: Any) -> int:
    dtype = str(schedule.get(block).writes[0].source.dtype)
    return 8 if dtype == "bool" else int("".join(c for c in dtype if c.isdigit()))


def _is_spatial(schedule: s_tir.Schedule, block: Any) -> bool:
    return all(v.iter_type == tirx.IterVar.DataPar for v in schedule.get(block).iter_vars)


def _is_copy(schedule: s_tir.Schedule, block: Any) -> bool:
    body = schedule.get(block).body
    return isinstance(body, tirx.BufferStore) and isinstance(body.value, tvm.ir.expr.TensorLoad)
