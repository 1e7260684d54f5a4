"""Kernels with extents that are known at run time only.

The static extents give the tiles; loops of dynamic extent stay around them. Where the innermost
loop is dynamic, it is cut into vectors all the same, and LLVM gets a remainder loop.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import tvm
from tvm import tirx

from tvmake.schedule.primitives import attempt, block_names, divisor, element_bits, fuse, is_spatial
from tvmake.schedule.reduction import epilogue, tile_factors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvm import s_tir

    from tvmake.schedule.cpu import CpuModel

_TYPICAL = 32  # of a dynamic extent: to decide whether threads pay
_PARALLEL_WORK = 32768
_VECTORS = 4


def is_dynamic(function: tirx.PrimFunc) -> bool:
    """Whether a kernel has extents that are not numbers."""
    return any(
        tvm.ir.is_prim_expr(parameter)
        or any(not isinstance(dim, tirx.IntImm) for dim in parameter.shape)
        for parameter in function.params
    )


def schedule_dynamic(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc:
    """Schedule one kernel with dynamic extents. What it computes stays the same."""
    for name in block_names(function):
        function = attempt(
            function,
            name,
            lambda sch, block: _accumulate(sch, block, cpu, fuse_epilogue=True),
            lambda sch, block: _accumulate(sch, block, cpu, fuse_epilogue=False),
        )
    for name in block_names(function):
        function = attempt(function, name, lambda sch, block: _map(sch, block, cpu))
    return function


def _accumulate(schedule: s_tir.Schedule, name: str, cpu: CpuModel, *, fuse_epilogue: bool) -> None:
    """A reduction: a tile of sums over the static loops, dynamic loops around it."""
    block = schedule.get_sblock(name)
    if is_spatial(schedule, block):
        return
    loops = schedule.get_loops(block)
    kinds = [var.iter_type for var in schedule.get(block).iter_vars]
    if len(loops) != len(kinds):
        return
    extents = [_extent(schedule, loop) for loop in loops]
    spatial = [i for i, kind in enumerate(kinds) if kind == tirx.IterVar.DataPar]
    reduction = [loops[i] for i, kind in enumerate(kinds) if kind != tirx.IterVar.DataPar]
    # A tile does not reach into a dynamic loop: as if that had the extent 1.
    static = [extents[i] or 1 for i in spatial]
    factors = [1] * len(spatial)
    if spatial and extents[spatial[-1]] is not None:
        factors = tile_factors(static, cpu, element_bits(schedule, block))
    outer, inner = [], []
    for i, factor in zip(spatial, factors, strict=True):
        if factor == 1:
            outer.append(loops[i])
        else:
            around, within = schedule.split(loops[i], [None, factor])
            outer.append(around)
            inner.append(within)
    schedule.reorder(*outer, *reduction, *inner)
    parallel = fuse(schedule, outer) if outer else None
    if parallel is not None and _work(extents) >= _PARALLEL_WORK:
        schedule.parallel(parallel)
    if inner and parallel is not None:
        tail = (
            epilogue(schedule, block) if fuse_epilogue else schedule.cache_write(block, 0, "global")
        )
        schedule.reverse_compute_at(tail, parallel)
        _tile(schedule, schedule.get_loops(tail)[1:])
        _tile(schedule, inner)
    start = schedule.decompose_reduction(block, reduction[0])
    if inner and parallel is not None:
        _tile(schedule, schedule.get_loops(start)[1:])


def _tile(schedule: s_tir.Schedule, loops: Sequence[Any]) -> None:
    *rows, vector = loops
    if any(_extent(schedule, loop) is None for loop in loops):
        raise ValueError("a tile is static")
    for loop in rows:
        schedule.unroll(loop)
    schedule.vectorize(vector)


def _map(schedule: s_tir.Schedule, name: str, cpu: CpuModel) -> None:
    """An elementwise block: the last loop in vectors, the others in parallel."""
    block = schedule.get_sblock(name)
    loops = schedule.get_loops(block)
    if not loops:
        return  # one element
    if not is_spatial(schedule, block) or len(loops) != len(schedule.get(block).iter_vars):
        return
    extents = [_extent(schedule, loop) for loop in loops]
    lanes = cpu.lanes(element_bits(schedule, block))
    last = extents[-1]
    factor = lanes if last is None else divisor(last, lanes * _VECTORS)
    if last is None and "Select" in str(schedule.get(block).body):
        factor = 1  # gathers: nothing to win, and no remainder
    outer, inner = schedule.split(loops[-1], [None, factor])
    fused = fuse(schedule, [*loops[:-1], outer])
    if _work(extents) >= _PARALLEL_WORK:
        schedule.parallel(fused)
    if factor > 1:
        schedule.vectorize(inner)


def _extent(schedule: s_tir.Schedule, loop: Any) -> int | None:
    value = schedule.get(loop).extent
    return int(value) if isinstance(value, tirx.IntImm) else None


def _work(extents: Sequence[int | None]) -> int:
    return math.prod(_TYPICAL if extent is None else extent for extent in extents)
