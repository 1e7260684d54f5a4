"""Keeps a kernel's small scratch buffers on the stack, where LLVM makes registers of them.

TVM takes every buffer of more than 1 KiB from the heap, at each call. The accumulators of a tile
are larger than that where vectors have 512 bits: they would be memory instead of registers.
"""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import tirx

from tvmake.emit.statements import statement_pass

_MOST_BYTES = 16 << 10  # of a thread's stack, the smallest of which has 128 KiB (musl's)
_KEPT = {"disable_lower_builtin": tirx.IntImm("bool", 1)}


def keep_scratch_on_stack() -> Any:
    """A pass for functions with flat buffers, to run before `LowerTVMBuiltin`."""
    return statement_pass("tvmake.KeepScratchOnStack", _keep)


def _keep(statement: Any) -> Any:
    if isinstance(statement, tirx.AllocBuffer) and _is_small(statement.buffer):
        return tirx.AllocBuffer(statement.buffer, _KEPT)
    return statement


def _is_small(buffer: Any) -> bool:
    if not all(isinstance(extent, tirx.IntImm) for extent in buffer.shape):
        return False
    dtype = tvm.DataType(buffer.dtype)
    elements = math.prod(int(extent) for extent in buffer.shape)
    return bool(0 < elements * dtype.bits * dtype.lanes // 8 <= _MOST_BYTES)
