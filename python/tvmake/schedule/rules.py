"""Schedules by rule: inline what is cheap, keep sums in registers, vectorize, run in parallel.

Each rule works on a copy and is dropped where it does not fit: the schedule primitives check
themselves that the result is equivalent, and refuse otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvmake.kernels.builder import HAND_WRITTEN
from tvmake.schedule.columns import gather_columns
from tvmake.schedule.convolution import direct_convolution
from tvmake.schedule.depthwise import depthwise_convolution, pooling
from tvmake.schedule.dynamic import is_dynamic, schedule_dynamic
from tvmake.schedule.elementwise import inline, map_elements
from tvmake.schedule.lrn import local_response_normalization
from tvmake.schedule.movement import move_pieces
from tvmake.schedule.pooling import plain_pooling
from tvmake.schedule.primitives import attempt, block_names
from tvmake.schedule.product import matrix_product
from tvmake.schedule.reduction import accumulate, accumulate_lanes
from tvmake.schedule.rows import reduce_rows
from tvmake.schedule.strassen import strassen_convolution
from tvmake.schedule.winograd import winograd_convolution

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tvm import tirx

    from tvmake.schedule.cpu import CpuModel

    Rule = Callable[[tirx.PrimFunc, CpuModel], tirx.PrimFunc | None]

# Rules that write a kernel as a whole, tried in this order; None where one does not fit. What none
# of them takes is scheduled block by block.
WHOLE_KERNELS: tuple[Rule, ...] = (
    direct_convolution,
    depthwise_convolution,
    pooling,
    plain_pooling,
    winograd_convolution,
    strassen_convolution,
    local_response_normalization,
    matrix_product,
)
# Of kernels in which what is cheap to compute has been inlined.
INLINED_KERNELS: tuple[Rule, ...] = (move_pieces, gather_columns, reduce_rows)


def schedule_kernel(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc:
    """Schedule one fused prim func for a CPU. What it computes stays the same."""
    if function.attrs and HAND_WRITTEN in function.attrs:
        return function
    if is_dynamic(function):
        return schedule_dynamic(_inlined(function), cpu)
    if _is_empty(function):
        return function
    written = _written(WHOLE_KERNELS, function, cpu)
    if written is not None:
        return written
    function = _inlined(function)
    written = _written(INLINED_KERNELS, function, cpu)
    return written if written is not None else _scheduled(function, cpu)


def _is_empty(function: tirx.PrimFunc) -> bool:
    """Whether the result has no elements, so that there is nothing to compute."""
    return any(int(extent) == 0 for extent in function.params[-1].shape)


def _inlined(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """A prim func in which what is cheap to compute is so where it is used."""
    for name in block_names(function):
        function = attempt(function, name, inline)
    return function


def _written(rules: Sequence[Rule], function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The kernel as the first rule that fits writes it."""
    return next((w for rule in rules if (w := rule(function, cpu)) is not None), None)


def _scheduled(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc:
    """The kernel with a schedule for each block."""
    for name in block_names(function):
        function = attempt(
            function,
            name,
            lambda sch, block: accumulate_lanes(sch, block, cpu),
            lambda sch, block: accumulate(sch, block, cpu, fuse_epilogue=True),
            lambda sch, block: accumulate(sch, block, cpu, fuse_epilogue=False),
        )
    for name in block_names(function):
        function = attempt(function, name, lambda sch, block: map_elements(sch, block, cpu))
    return function
