"""What the rules have in common: questions about blocks, and changes of loops."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import tvm
from tvm import s_tir, tirx

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Rule = Callable[[s_tir.Schedule, str], None]

# Below this many loop iterations, waking another thread costs more than it saves.
PARALLEL_WORK = 32768
_ENOUGH_TASKS = 64  # to keep a few cores evenly busy
_MOST_UNROLLED = 64  # vectors: more than there are registers on any machine


class _Schedule(s_tir.Schedule):  # type: ignore[misc] # TVM has no types
    """TVM's, without its checks of argument types, which take longer than the primitives."""


for _name, _method in vars(s_tir.Schedule).items():
    if hasattr(_method, "__wrapped__"):
        setattr(_Schedule, _name, _method.__wrapped__)


def new_schedule(function: tirx.PrimFunc) -> s_tir.Schedule:
    """A schedule of one prim func, `main`. Its errors say little: they only tell what fits not."""
    return _Schedule(tvm.IRModule({"main": function}), error_render_level="none")


def element_block(function: tirx.PrimFunc) -> tuple[s_tir.Schedule, Any] | None:
    """A schedule and its block, if that is the only one, and stores an element for its axes."""
    names = block_names(function)
    if len(names) != 1:
        return None
    schedule = new_schedule(function)
    block = schedule.get_sblock(names[0])
    store, axes = schedule.get(block).body, list(schedule.get(block).iter_vars)
    if not isinstance(store, tirx.BufferStore) or not is_spatial(schedule, block) or not axes:
        return None
    if len(store.indices) != len(axes):
        return None
    in_order = all(at.same_as(axis.var) for at, axis in zip(store.indices, axes, strict=True))
    return (schedule, block) if in_order else None


def attempt(function: tirx.PrimFunc, name: str, *rules: Rule) -> tirx.PrimFunc:
    """Apply the first rule that fits, if any does."""
    for rule in rules:
        schedule = new_schedule(function)
        try:
            rule(schedule, name)
        except (RuntimeError, ValueError):  # ScheduleError and TVM's internal errors
            continue
        return schedule.mod["main"]
    return function


def block_names(function: tirx.PrimFunc) -> list[str]:
    """The blocks of an unscheduled prim func, in order; none if it is one loop nest."""
    if str(function.body.block.name_hint) != "root":
        return []
    schedule = new_schedule(function)
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    return [str(schedule.get(block).name_hint) for block in blocks]


def is_spatial(schedule: s_tir.Schedule, block: Any) -> bool:
    """Whether a block computes each element by itself, without sums."""
    return all(v.iter_type == tirx.IterVar.DataPar for v in schedule.get(block).iter_vars)


def is_copy(schedule: s_tir.Schedule, block: Any) -> bool:
    """Whether a block does nothing but move elements."""
    body = schedule.get(block).body
    return isinstance(body, tirx.BufferStore) and isinstance(body.value, tvm.ir.expr.TensorLoad)


def element_bits(schedule: s_tir.Schedule, block: Any) -> int:
    """The size of what a block writes."""
    dtype = str(schedule.get(block).writes[0].source.dtype)
    return 8 if dtype == "bool" else int("".join(c for c in dtype if c.isdigit()))


def split(
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


def fuse_outer(schedule: s_tir.Schedule, loops: Sequence[Any]) -> list[Any]:
    """One loop to run in parallel, and inside it, if enough is left, one over neighbouring tiles.

    The inner one stays on a core: its tiles share the weights.
    """
    extents = [int(schedule.get(loop).extent) for loop in loops]
    if len(loops) > 1 and math.prod(extents[:-1]) >= _ENOUGH_TASKS:
        return [fuse(schedule, loops[:-1]), loops[-1]]
    return [fuse(schedule, loops)]


def fuse(schedule: s_tir.Schedule, loops: Sequence[Any]) -> Any:
    """One loop in place of several."""
    if not loops:
        raise ValueError("there is no loop")
    return schedule.fuse(*loops) if len(loops) > 1 else loops[0]


def unroll_and_vectorize(schedule: s_tir.Schedule, loops: Sequence[Any]) -> None:
    """The innermost loop in vectors, those around it, which must not be many, unrolled."""
    *rows, vector = loops
    steps = math.prod(int(schedule.get(loop).extent) for loop in rows)
    if steps > _MOST_UNROLLED:
        raise ValueError(f"{steps} steps are too many to unroll")
    for loop in rows:
        schedule.unroll(loop)
    schedule.vectorize(vector)


def divisors(extent: int, limit: int) -> list[int]:
    """The divisors of a loop's extent up to a limit."""
    return [d for d in range(1, min(extent, limit) + 1) if extent % d == 0]


def divisor(extent: int, limit: int) -> int:
    """The largest divisor of a loop's extent up to a limit: no remainder loop, no predicate."""
    if not extent:
        raise ValueError("the loop is empty")
    return divisors(extent, limit)[-1]


def vector_divisor(extent: int, lanes: int, most: int) -> int:
    """The divisor of a loop's extent, up to so many vectors, that leaves the fewest lanes empty."""
    if not extent:
        raise ValueError("the loop is empty")
    return max(divisors(extent, most * lanes), key=lambda n: (n / -(-n // lanes), n))
