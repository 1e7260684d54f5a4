"""Deals the iterations of parallel loops out evenly.

TVM's code divides a loop's iterations by the number of tasks and rounds up, so that the last tasks
may get none: of 33 iterations, 17 of 32 tasks get all. The pool gives each thread as many tasks
that follow one another, so the last threads would begin with nothing, and take from the others one
by one. Here a parallel loop goes over a fixed number of shares instead, each of which has its part
of the iterations.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx

from tvmake.emit.statements import statement_pass

# As many as the pool has tasks for few threads, and for many (cpp/src/thread_pool.cc).
_FEW_SHARES = 32
_SHARES = 64


def share_parallel_loops() -> Any:
    """A pass for functions whose parallel loops are still loops."""
    return statement_pass("tvmake.ShareParallelLoops", _share)


def _share(statement: Any) -> Any:
    if not isinstance(statement, tirx.For) or statement.kind != tirx.ForKind.PARALLEL:
        return statement
    is_short = isinstance(statement.extent, tirx.IntImm) and int(statement.extent) < _SHARES
    count = _FEW_SHARES if is_short else _SHARES
    index, extent = tirx.Var("share", "int64"), statement.extent.astype("int64")

    def first(share: Any) -> Any:
        """The first iteration of a share. Of few iterations, the first share of all has one."""
        return tirx.floordiv(share * extent + (count - 1), count)

    dtype = str(statement.loop_var.ty.dtype)
    start, end = first(index).astype(dtype), first(index + 1).astype(dtype)
    iterations = tirx.For(
        statement.loop_var, statement.min + start, end - start, tirx.ForKind.SERIAL, statement.body
    )
    zero, shares = tirx.IntImm("int64", 0), tirx.IntImm("int64", count)
    return tirx.For(index, zero, shares, tirx.ForKind.PARALLEL, iterations)
