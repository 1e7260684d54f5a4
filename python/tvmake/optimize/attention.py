"""Attention, as exporters write it out, becomes one kernel per layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tvm import relax

from tvmake.kernels.attention import Attention, Strides, attention
from tvmake.optimize.main_function import (
    MainFunction,
    Replacement,
    call_kernel,
    dtype,
    identity,
    reshaped,
    scalar,
    shape,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import tvm

    from tvmake.schedule.cpu import CpuModel


def fuse_attention(module: tvm.IRModule, cpu: CpuModel) -> tvm.IRModule:
    """Replace softmax(scale · Q·Kᵀ + mask) · V, with the transpositions around it."""
    main = MainFunction(module)
    if not main.is_straight:
        return module
    replacements: dict[Any, Replacement] = {}
    for binding in main.bindings:
        found = _match(binding.var, main)
        if found:
            replacements[identity(found.last)] = _replacement(found, cpu)
    return main.rebuild(replacements)


@dataclass(frozen=True)
class _View:
    """A value as a part of another one's memory, times a factor."""

    base: relax.Expr
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    factor: float = 1.0


@dataclass(frozen=True)
class _Match:
    spec: Attention
    operands: tuple[relax.Expr, ...]
    last: relax.Var


@dataclass(frozen=True)
class _Scores:
    """factor · Q·Kᵀ + mask."""

    product: relax.Call
    factor: float
    mask: relax.Expr | None


def _match(variable: relax.Var, main: MainFunction) -> _Match | None:
    product = main.call(variable, "relax.matmul")
    if product is None or dtype(variable) != "float32":
        return None
    weights, zero_empty = _without_nan_guard(product.args[0], main)
    softmax = main.call(weights, "relax.nn.softmax")
    rank = len(shape(variable))
    if softmax is None or int(softmax.attrs.axis) not in (-1, rank - 1) or rank not in (3, 4):
        return None
    scores = _scores(softmax.args[0], main)
    if scores is None:
        return None
    queries, keys = (_view(a, main) for a in scores.product.args)
    values = _view(product.args[1], main)
    return _describe(variable, queries, keys, values, scores, zero_empty, main)


def _describe(
    variable: relax.Var,
    queries: _View,
    keys: _View,
    values: _View,
    scores: _Scores,
    zero_empty: bool,
    main: MainFunction,
) -> _Match | None:
    lead = shape(variable)[:-2]
    if any(view.shape[:-2] != lead for view in (queries, keys, values)):
        return None  # broadcast, as with fewer heads of keys than of queries
    keys = replace(
        keys,
        shape=(*lead, keys.shape[-1], keys.shape[-2]),
        strides=(*keys.strides[:-2], keys.strides[-1], keys.strides[-2]),
    )
    batch, heads = (1, *lead)[-2:]
    rows, columns = shape(variable)[-2:]
    mask = (
        None
        if scores.mask is None
        else _mask_strides(scores.mask, (batch, heads, rows, keys.shape[-2]))
    )
    unfit = (scores.mask is not None and mask is None) or values.strides[-1] != 1
    if unfit:
        return None
    last, result = _result(variable, main)
    spec = Attention(
        batch,
        heads,
        rows,
        keys.shape[-2],
        queries.shape[-1],
        columns,
        q=_strides(queries),
        k=_strides(keys),
        v=_strides(values),
        result=result,
        scale=scores.factor * queries.factor * keys.factor,
        mask=mask,
        zero_empty=zero_empty,
    )
    if values.factor != 1.0:
        return None
    operands = (queries.base, keys.base, values.base)
    return _Match(spec, operands if mask is None else (*operands, scores.mask), last)


def _result(variable: relax.Var, main: MainFunction) -> tuple[relax.Var, Strides]:
    """What the kernel writes: with the heads side by side, if they are put so next."""
    batch, heads, rows, columns = (1, *shape(variable))[-4:]
    size = batch * heads * rows * columns
    user = main.only_user(variable)
    moved = main.call(user, "relax.permute_dims") if user is not None else None
    axes = [int(axis) for axis in moved.attrs.axes or ()] if moved is not None else []
    if axes == [0, 2, 1, 3]:
        return user, Strides(size, heads * rows * columns, columns, heads * columns, 1)
    return variable, Strides(size, heads * rows * columns, rows * columns, columns, 1)


def _replacement(found: _Match, cpu: CpuModel) -> Replacement:
    def emit(
        builder: relax.BlockBuilder, new: Callable[[relax.Expr], relax.Expr], name: str
    ) -> relax.Expr:
        operands = [
            reshaped(builder, new(operand), (math.prod(shape(operand)),))
            for operand in found.operands
        ]
        kernel, size = attention(found.spec, cpu), (found.spec.result.size,)
        result = shape(found.last)
        return call_kernel(builder, kernel, "attention", operands, size, result, name)

    return emit


def _without_nan_guard(value: relax.Expr, main: MainFunction) -> tuple[relax.Expr, bool]:
    """PyTorch puts zeros where the softmax of a row that is masked as a whole is NaN."""
    where = main.call(value, "relax.where")
    if where is None:
        return value, False
    condition, zero, kept = where.args
    guard = main.call(condition, "relax.isnan")
    fits = guard is not None and guard.args[0].same_as(kept) and scalar(zero) == 0.0
    return (kept, True) if fits else (value, False)


def _scores(value: relax.Expr, main: MainFunction) -> _Scores | None:
    factor, mask = 1.0, None
    while (call := main.call(value)) is not None:
        if call.op.name == "relax.matmul":
            return _Scores(call, factor, mask)
        scaled = _scaled(call)
        if scaled is not None:
            value, factor = scaled[0], factor * scaled[1]
        elif call.op.name == "relax.add" and mask is None and factor == 1.0:
            value, mask = call.args
            if main.call(value, "relax.matmul", "relax.multiply", "relax.divide") is None:
                value, mask = mask, value
        else:
            return None
    return None


def _scaled(call: relax.Call) -> tuple[relax.Expr, float] | None:
    """What a call multiplies with a constant, and the constant."""
    if call.op.name not in ("relax.multiply", "relax.divide"):
        return None
    left, right = call.args
    number = scalar(right)
    if number is not None:
        return left, number if call.op.name == "relax.multiply" else 1.0 / number
    number = scalar(left)
    return (right, number) if number is not None and call.op.name == "relax.multiply" else None


def _mask_strides(mask: relax.Expr, wanted: Sequence[int]) -> Strides | None:
    """How a mask is read; None if it does not broadcast to the scores, or not along rows."""
    given = shape(mask)
    padded = (1,) * (4 - len(given)) + given
    fits = len(given) <= 4 and dtype(mask) == "float32" and padded[-1] == wanted[-1]
    if not fits or any(a not in (1, b) for a, b in zip(padded, wanted, strict=True)):
        return None
    dense = _dense_strides(padded)
    strides = [s if extent > 1 else 0 for s, extent in zip(dense, padded, strict=True)]
    return Strides(math.prod(given), strides[0], strides[1], strides[2], 1)


def _view(value: relax.Expr, main: MainFunction) -> _View:
    """A value traced back through reshapes, transpositions and constant factors."""
    dense = _View(value, shape(value), _dense_strides(shape(value)))
    call = main.call(value)
    if call is None:
        return dense
    scaled = _scaled(call)
    if scaled is not None and shape(scaled[0]) == shape(value):
        source = _view(scaled[0], main)
        return replace(source, factor=source.factor * scaled[1])
    if call.op.name == "relax.permute_dims":
        source = _view(call.args[0], main)
        axes = [int(a) for a in call.attrs.axes or range(len(source.shape))[::-1]]
        return replace(
            source,
            shape=tuple(source.shape[a] for a in axes),
            strides=tuple(source.strides[a] for a in axes),
        )
    if call.op.name == "relax.reshape":
        source = _view(call.args[0], main)
        strides = _reshaped_strides(source, shape(value))
        if strides is not None:
            return replace(source, shape=shape(value), strides=strides)
    return dense


def _reshaped_strides(view: _View, wanted: tuple[int, ...]) -> tuple[int, ...] | None:
    """The strides of a view under another shape, if it has any: the rule of NumPy's reshape."""
    old = [(n, s) for n, s in zip(view.shape, view.strides, strict=True) if n != 1]
    strides: list[int] = []
    remaining, stride = 1, 1
    for extent in reversed(wanted):
        if extent == 1:
            strides.append(0)
            continue
        if remaining == 1:
            remaining, stride = old.pop()
        while remaining % extent and old and old[-1][1] == remaining * stride:
            remaining *= old.pop()[0]
        if remaining % extent:
            return None
        strides.append(stride)
        remaining, stride = remaining // extent, stride * extent
    return tuple(reversed(strides))


def _strides(view: _View) -> Strides:
    batch, head, row, column = (0, *view.strides)[-4:]
    return Strides(math.prod(shape(view.base)), batch, head, row, column)


def _dense_strides(extents: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.prod(extents[axis + 1 :]) for axis in range(len(extents)))
