"""Expressions of kernels: what they read, and how they are rewritten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tvm
from tvm import tirx
from tvm.ir import Call
from tvm.ir.expr import TensorLoad
from tvm.ir.prim import expr as prim

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Read = Callable[[TensorLoad], Any]


def identity(expression: Any) -> Any:
    """What tells one variable from another."""
    return expression.__chandle__()


def loads(expression: Any) -> list[TensorLoad]:
    """The elements that an expression reads, those in indices included.

    Raises:
        ValueError: for a kind of expression that kernels rarely have.
    """
    inner = [load for operand in _operands(expression) for load in loads(operand)]
    return [expression, *inner] if isinstance(expression, TensorLoad) else inner


def variables_of(expression: Any) -> list[Any]:
    """The variables in an expression, each as often as it is there.

    Raises:
        ValueError: for a kind of expression that kernels rarely have.
    """
    if isinstance(expression, tvm.ir.Var):
        return [expression]
    return [v for operand in _operands(expression) for v in variables_of(operand)]


def contains(expression: Any, matches: Callable[[Any], bool]) -> bool:
    """Whether an expression, or one within it, is what is looked for.

    Raises:
        ValueError: for a kind of expression that kernels rarely have.
    """
    inner = any(contains(operand, matches) for operand in _operands(expression))
    return inner or matches(expression)


def replace(expression: Any, known: Mapping[Any, Any], read: Read = lambda _: None) -> Any:
    """An expression with others in the place of variables, and of what it reads.

    Args:
        expression: what is rewritten.
        known: for each variable what it becomes.
        read: tells what an element that is read becomes; None if it stays one.

    Raises:
        ValueError: for a kind of expression that kernels rarely have.
    """
    return _replace(expression, {identity(v): e for v, e in known.items()}, read)


def _replace(expression: Any, known: Mapping[Any, Any], read: Read) -> Any:
    if isinstance(expression, tvm.ir.Var):
        return known.get(identity(expression), expression)
    if isinstance(expression, TensorLoad) and (value := read(expression)) is not None:
        return value
    operands = _operands(expression)
    if not operands:
        return expression
    new = [_replace(operand, known, read) for operand in operands]
    if not isinstance(expression, TensorLoad):  # whose indices may be of any type
        new = [_of_type(operand, old) for operand, old in zip(new, operands, strict=True)]
    return _rebuilder(expression)(new)


def _operands(expression: Any) -> tuple[Any, ...]:
    """The operands of an expression.

    Raises:
        ValueError: for a kind of expression that kernels rarely have.
    """
    if isinstance(expression, prim.BinaryOpExpr | prim.CmpExpr | prim.And | prim.Or):
        return (expression.a, expression.b)
    if isinstance(expression, prim.Not):
        return (expression.a,)
    if isinstance(expression, prim.Cast):
        return (expression.value,)
    if isinstance(expression, prim.Select):
        return (expression.condition, expression.true_value, expression.false_value)
    if isinstance(expression, Call):
        return tuple(expression.args)
    if isinstance(expression, TensorLoad):
        return tuple(expression.indices)
    if isinstance(expression, prim.IntImm | prim.FloatImm | tvm.ir.Var | tvm.ir.StringImm):
        return ()
    raise ValueError(f"an expression with {type(expression).__name__}")


def _of_type(expression: Any, replaced: Any) -> Any:
    """What an index is replaced with, of the index's type."""
    if not isinstance(replaced, tvm.ir.Var):
        return expression
    return expression.astype(str(replaced.ty.dtype))


def _rebuilder(expression: Any) -> Callable[[list[Any]], Any]:
    if isinstance(expression, TensorLoad):
        return lambda new: tirx.BufferLoad(expression.source, new)
    if isinstance(expression, Call):
        return lambda new: Call(
            expression.op, new, expression.attrs, expression.ty_args, ret_ty=expression.ty
        )
    if isinstance(expression, prim.Cast):
        return lambda new: prim.Cast(str(expression.ty.dtype), *new)
    return lambda new: type(expression)(*new)
