"""Shuffles of channels, written as a reshape, a transposition and a reshape."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import relax

from tvmake.optimize.main_function import MainFunction, Replacement, replace_values, shape

if TYPE_CHECKING:
    import tvm

    Array = np.ndarray[Any, Any]


def recognize_shuffles(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrite what only changes the order of the channels of [N, C, H, W] into `take`."""
    return replace_values(module, _shuffle)


def _shuffle(variable: relax.Var, main: MainFunction) -> Replacement | None:
    joined = main.call(variable, "relax.reshape")
    found = _match(joined.args[0], shape(variable), main) if joined is not None else None
    return _take(*found) if found else None


def _match(
    joined: relax.Expr, result: tuple[int, ...], main: MainFunction
) -> tuple[relax.Expr, Array] | None:
    """What a reshape is a shuffle of, and the channel there for each of its own."""
    moved = main.call(joined, "relax.permute_dims")
    if moved is None or moved.attrs.axes is None:
        return None
    split = main.call(moved.args[0], "relax.reshape")
    if split is None:
        return None
    source, between = split.args[0], shape(moved.args[0])
    if len(result) != 4 or shape(source) != result or len(between) < 5:
        return None
    factors, axes = between[1:-2], [int(axis) for axis in moved.attrs.axes]
    fixed = (0, len(axes) - 2, len(axes) - 1)
    whole = (between[0], prod(factors), *between[-2:]) == result
    if not whole or tuple(axes[axis] for axis in fixed) != fixed:
        return None
    order = np.arange(result[1]).reshape(factors).transpose([axis - 1 for axis in axes[1:-2]])
    return source, order.reshape(-1)


def _take(source: relax.Expr, order: Array) -> Replacement:
    def emit(
        builder: relax.BlockBuilder, new: Callable[[relax.Expr], relax.Expr], name: str
    ) -> relax.Expr:
        indices = relax.const(order.astype("int32"))
        return builder.emit(relax.op.take(new(source), indices, axis=1), name_hint=name)

    return emit
