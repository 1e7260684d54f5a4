"""Chains of reshapes and transpositions become one, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tvm import relax

from tvmake.optimize.main_function import (
    MainFunction,
    Replacement,
    call_name,
    identity,
    reshaped,
    shape,
)

if TYPE_CHECKING:
    import tvm


def simplify_shapes(module: tvm.IRModule) -> tvm.IRModule:
    """Join reshapes of reshapes and transpositions of transpositions; drop what changes nothing."""
    main = MainFunction(module)
    if not main.is_straight:
        return module
    replacements: dict[Any, Replacement] = {}
    for binding in main.bindings:
        name = call_name(binding.value)
        if name == "relax.reshape":
            source = _source(binding.var, main)
            if source.same_as(binding.value.args[0]) and shape(source) != shape(binding.var):
                continue
            replacements[identity(binding.var)] = _reshape(source, shape(binding.var))
        elif name == "relax.permute_dims":
            source, axes = _permutation(binding.var, main)
            if not source.same_as(binding.value.args[0]) or axes == sorted(axes):
                replacements[identity(binding.var)] = _permute(source, axes)
    return main.rebuild(replacements)


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
