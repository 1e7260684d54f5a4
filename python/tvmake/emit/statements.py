"""Changes to the statements of prim funcs with flat buffers, just before code is generated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import tirx


def statement_pass(name: str, change: Callable[[Any], Any]) -> Any:
    """A pass that puts what `change` gives in the place of each statement, innermost first.

    Args:
        name: of the pass.
        change: is given a statement whose parts have been changed; gives it back as it is if there
            is nothing to do.
    """

    @tirx.transform.prim_func_pass(opt_level=0, name=name)  # type: ignore[untyped-decorator] # TVM has no types
    def run(function: tirx.PrimFunc, _module: tvm.IRModule, _context: Any) -> tirx.PrimFunc:
        return function.with_body(_changed(function.body, change))

    return run


def _changed(statement: Any, change: Callable[[Any], Any]) -> Any:
    match statement:
        case tirx.SeqStmt():
            parts = list(statement.seq)
        case tirx.IfThenElse():
            parts = [statement.then_case, statement.else_case]
        case tirx.For() | tirx.While() | tirx.AttrStmt():
            parts = [statement.body]
        case _:
            return change(statement)
    new = [part and _changed(part, change) for part in parts]
    if any(after is not before for after, before in zip(new, parts, strict=True)):
        statement = _with_parts(statement, new)
    return change(statement)


def _with_parts(statement: Any, parts: list[Any]) -> Any:
    """The same kind of statement, of other parts."""
    match statement:
        case tirx.SeqStmt():
            return tirx.SeqStmt(parts)
        case tirx.IfThenElse():
            return tirx.IfThenElse(statement.condition, *parts)
        case tirx.While():
            return tirx.While(statement.condition, *parts)
        case tirx.AttrStmt():
            return tirx.AttrStmt(statement.node, statement.attr_key, statement.value, *parts)
    return tirx.For(
        statement.loop_var,
        statement.min,
        statement.extent,
        statement.kind,
        *parts,
        statement.thread_binding,
        statement.annotations,
        statement.step,
    )
