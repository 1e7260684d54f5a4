"""Kernels that sum: a tile of sums in registers, the reduction loops around it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tvm import s_tir, tirx

from tvmake.schedule.primitives import (
    PARALLEL_WORK,
    divisor,
    divisors,
    element_bits,
    fuse,
    fuse_outer,
    is_spatial,
    split,
    unroll_and_vectorize,
    vector_divisor,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvmake.schedule.cpu import CpuModel

_ACCUMULATOR_VECTORS = 2
_SUM_VECTORS = 8  # enough independent sums to hide the latency of an addition
_MOST_CHANNEL_BLOCKS = 4  # each needs a register for its weights


def accumulate(schedule: s_tir.Schedule, name: str, cpu: CpuModel, *, fuse_epilogue: bool) -> None:
    """A reduction: a tile of sums in registers, the reduction loops around it.

    With `fuse_epilogue`, what follows element by element runs on the tile before it is stored.
    """
    block = schedule.get_sblock(name)
    if is_spatial(schedule, block):
        return
    loops = schedule.get_loops(block)
    kinds = [var.iter_type for var in schedule.get(block).iter_vars]
    if len(loops) != len(kinds):
        return  # scheduled already, or not a plain loop nest
    extents = [int(schedule.get(loop).extent) for loop in loops]
    spatial = [i for i, kind in enumerate(kinds) if kind == tirx.IterVar.DataPar]
    reduction = [loops[i] for i, kind in enumerate(kinds) if kind != tirx.IterVar.DataPar]
    factors = tile_factors([extents[i] for i in spatial], cpu, element_bits(schedule, block))
    outer, inner = split(schedule, [loops[i] for i in spatial], factors)
    schedule.reorder(*outer, *reduction, *inner)
    outer = fuse_outer(schedule, outer)
    if math.prod(extents) >= PARALLEL_WORK:
        schedule.parallel(outer[0])
    if inner:
        tail = (
            epilogue(schedule, block) if fuse_epilogue else schedule.cache_write(block, 0, "global")
        )
        schedule.reverse_compute_at(tail, outer[-1])
        unroll_and_vectorize(schedule, schedule.get_loops(tail)[len(outer) :])
        unroll_and_vectorize(schedule, inner)
    start = schedule.decompose_reduction(block, reduction[0])
    if inner:
        unroll_and_vectorize(schedule, schedule.get_loops(start)[len(outer) :])


def accumulate_lanes(schedule: s_tir.Schedule, name: str, cpu: CpuModel) -> None:
    """A reduction along the axis that is contiguous in memory: each lane has a part of it.

    That is faster than one sum after the other, and rounds less.
    """
    block = schedule.get_sblock(name)
    if not _reduces_neighbours(schedule, block):
        raise ValueError("not along the last axis")
    loops = schedule.get_loops(block)
    extents = [int(schedule.get(loop).extent) for loop in loops]
    kinds = [var.iter_type for var in schedule.get(block).iter_vars]
    spatial = sum(kind == tirx.IterVar.DataPar for kind in kinds)
    lanes = vector_divisor(extents[-1], cpu.lanes(element_bits(schedule, block)), _SUM_VECTORS)
    if lanes in (1, math.prod(extents[spatial:])):
        raise ValueError("no sum of several vectors")
    _, lane = schedule.split(loops[-1], [None, lanes])
    rank = len(schedule.get(block).writes[0].region)
    lanewise = schedule.rfactor(lane, rank)
    rows = schedule.get_loops(block)[:spatial]
    *steps, lane = schedule.get_loops(lanewise)
    if rows:
        row = fuse(schedule, rows)
        schedule.compute_at(lanewise, row)
        if math.prod(extents) >= PARALLEL_WORK:
            schedule.parallel(row)
        _, lane, *steps = schedule.get_loops(lanewise)
        schedule.reorder(*steps, lane)
    schedule.vectorize(lane)
    start = schedule.decompose_reduction(lanewise, steps[0])
    schedule.vectorize(schedule.get_loops(start)[-1])


def _reduces_neighbours(schedule: s_tir.Schedule, block: Any) -> bool:
    """Whether the innermost loop of a plain nest reduces what is side by side in memory."""
    statement = schedule.get(block)
    variables = list(statement.iter_vars)
    if not variables or len(schedule.get_loops(block)) != len(variables):
        return False
    last = variables[-1]
    if last.iter_type != tirx.IterVar.CommReduce:
        return False
    ends = [read.region[-1].min for read in statement.reads if len(read.region)]
    return bool(ends) and all(end.same_as(last.var) for end in ends)


def epilogue(schedule: s_tir.Schedule, block: Any) -> Any:
    """The one elementwise block that reads a reduction's result.

    Raises:
        ValueError: when there is none.
    """
    consumers = schedule.get_consumers(block)
    if len(consumers) != 1 or not is_spatial(schedule, consumers[0]):
        raise ValueError("no epilogue")
    if "if_then_else" in str(schedule.get(consumers[0]).body):  # TVM has no visitor for Python
        # As padding does: what reads no sum would be left out of the tiles, and never be written.
        raise ValueError("elements that depend on no sum")
    return consumers[0]


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
    factors[vector] = divisor(extents[vector], lanes * vectors_wanted)
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
        return (divisor(extents[0], budget),)
    candidates = [
        (a, b)
        for a in divisors(extents[0], budget)
        for b in divisors(extents[1], min(budget // a, _MOST_CHANNEL_BLOCKS))
    ]
    # Of tiles of one size, the squarer one loads less for each multiply-add.
    return max(candidates, key=lambda tile: (tile[0] * tile[1], -(tile[0] + tile[1])))
