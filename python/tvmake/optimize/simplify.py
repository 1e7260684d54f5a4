"""Chains of reshapes and transpositions become one, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tvm import relax

from tvmake.optimize.main_function import (
    MainFunction,
    Replacement,
    operator,
    replace_values,
    reshaped,
    shape,
)

if TYPE_CHECKING:
    import tvm


def simplify_shapes(module: tvm.IRModule) -> tvm.IRModule:
    """Join reshapes of reshapes and transpositions of transpositions; drop what changes nothing."""
    return replace_values(module, _simplified)


def _simplified(variable: relax.Var, main: MainFunction) -> Replacement | None:
    call = main.call(variable, "relax.reshape", "relax.permute_dims")
    if call is None:
        return None
    if operator(call) == "relax.reshape":
        source = _source(variable, main)
        is_one = source.same_as(call.args[0]) and shape(source) != shape(variable)
        return None if is_one else _reshape(source, shape(variable))
    source, axes = _permutation(variable, main)
    is_one = source.same_as(call.args[0]) and axes != sorted(axes)
    return None if is_one else _permute(source, axes)


def _source(variable: relax.Expr, main: MainFunction) -> relax.Expr:
    """What a value is a reshape of."""
    while (call := main.call(variable, "relax.reshape")) is not None:
        variable = call.args[0]
    return variable


def _reshape(source: relax.Expr, result: tuple[int, ...]) -> Replacement:
    def emit(
        builder: relax.BlockBuilder, new: Callable[[relax.Expr], relax.Expr], _: str
    ) -> relax.Expr:
        return reshaped(builder, new(source), result)

    return emit


def _permutation(variable: relax.Expr, main: MainFunction) -> tuple[relax.Expr, list[int]]:
    """What a value is a transposition of, and where its axes are there."""
    axes = list(range(len(shape(variable))))
    while (call := main.call(variable, "relax.permute_dims")) is not None:
        rank = len(axes)
        given = call.attrs.axes
        order = range(rank)[::-1] if given is None else [int(axis) % rank for axis in given]
        axes = [order[axis] for axis in axes]
        variable = call.args[0]
    return variable, axes


def _permute(source: relax.Expr, axes: list[int]) -> Replacement:
    def emit(
        builder: relax.BlockBuilder, new: Callable[[relax.Expr], relax.Expr], name: str
    ) -> relax.Expr:
        if axes == sorted(axes):
            return new(source)
        return builder.emit(relax.op.permute_dims(new(source), axes), name_hint=name)

    return emit
