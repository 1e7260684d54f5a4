"""Keeps a kernel's small scratch buffers on the stack, where LLVM makes registers of them.

TVM takes every buffer of more than 1 KiB from the heap, at each call. The accumulators of a tile
are larger than that where vectors have 512 bits: they would be memory instead of registers.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import tirx

_MOST_BYTES = 16 << 10  # of a thread's stack, the smallest of which has 128 KiB (musl's)
_KEPT = {"disable_lower_builtin": tirx.IntImm("bool", 1)}


def keep_scratch_on_stack() -> Any:
    """A pass for functions with flat buffers, to run before `LowerTVMBuiltin`."""

    @tirx.transform.prim_func_pass(opt_level=0, name="tvmake.KeepScratchOnStack")  # type: ignore[untyped-decorator] # TVM has no types
    def keep(function: tirx.PrimFunc, _module: tvm.IRModule, _context: Any) -> tirx.PrimFunc:
        return function.with_body(_kept(function.body))

    return keep


def _kept(statement: Any) -> Any:
    """The statement with its small allocations marked; itself where it has none."""
    match statement:
        case tirx.AllocBuffer() if _is_small(statement.buffer):
            return tirx.AllocBuffer(statement.buffer, _KEPT)
        case tirx.SeqStmt():
            parts = list(statement.seq)
        case tirx.IfThenElse():
            parts = [statement.then_case, statement.else_case]
        case tirx.For() | tirx.While() | tirx.AttrStmt():
            parts = [statement.body]
        case _:
            return statement
    kept = [part and _kept(part) for part in parts]
    if all(new is old for new, old in zip(kept, parts, strict=True)):
        return statement
    match statement:
        case tirx.SeqStmt():
            return tirx.SeqStmt(kept)
        case tirx.IfThenElse():
            return tirx.IfThenElse(statement.condition, *kept)
        case tirx.While():
            return tirx.While(statement.condition, *kept)
        case tirx.AttrStmt():
            return tirx.AttrStmt(statement.node, statement.attr_key, statement.value, *kept)
    return tirx.For(
        statement.loop_var,
        statement.min,
        statement.extent,
        statement.kind,
        *kept,
        statement.thread_binding,
        statement.annotations,
        statement.step,
    )


def _is_small(buffer: Any) -> bool:
    if not all(isinstance(extent, tirx.IntImm) for extent in buffer.shape):
        return False
    dtype = tvm.DataType(buffer.dtype)
    elements = math.prod(int(extent) for extent in buffer.shape)
    return bool(0 < elements * dtype.bits * dtype.lanes // 8 <= _MOST_BYTES)
