"""Kernels that compute each element by itself: inlined where that is cheap, else in vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tvmake.schedule.primitives import (
    PARALLEL_WORK,
    element_bits,
    fuse_outer,
    is_copy,
    is_spatial,
    vector_divisor,
)

if TYPE_CHECKING:
    from tvm import s_tir

    from tvmake.schedule.cpu import CpuModel

_LONGEST_UNROLLED_VECTOR = 4


def inline(schedule: s_tir.Schedule, name: str) -> None:
    """Compute an elementwise block where its result is used, if that repeats no real work."""
    block = schedule.get_sblock(name)
    consumers = schedule.get_consumers(block)
    if not consumers or not is_spatial(schedule, block):
        return
    feeds_sum = any(not is_spatial(schedule, consumer) for consumer in consumers)
    if is_copy(schedule, block) or (len(consumers) == 1 and not feeds_sum):
        schedule.compute_inline(block)


def map_elements(schedule: s_tir.Schedule, name: str, cpu: CpuModel) -> None:
    """An elementwise block: the last loop in vectors, the others in parallel."""
    block = schedule.get_sblock(name)
    loops = schedule.get_loops(block)
    if not is_spatial(schedule, block) or len(loops) != len(schedule.get(block).iter_vars):
        return
    if not loops:  # one number
        return
    extents = [int(schedule.get(loop).extent) for loop in loops]
    lanes = cpu.lanes(element_bits(schedule, block))
    factor = vector_divisor(extents[-1], lanes, _LONGEST_UNROLLED_VECTOR)
    outer, inner = schedule.split(loops[-1], [None, factor])
    tasks, *_ = fuse_outer(schedule, [*loops[:-1], outer])
    if math.prod(extents) >= PARALLEL_WORK:
        schedule.parallel(tasks)
    if factor > 1:
        schedule.vectorize(inner)
