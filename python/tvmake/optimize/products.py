"""Products of two operands that are both computed, with the transpositions before them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tvm import relax, te

from tvmake.op_patterns import OUT_ELEMENTWISE_FUSABLE, PATTERN
from tvmake.optimize.main_function import (
    MainFunction,
    Replacement,
    dtype,
    replace_values,
    shape,
)
from tvmake.schedule.product import ANNOTATION, PRODUCT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import tvm

    from tvmake.schedule.cpu import CpuModel

_FEWEST_ROWS = 8  # for which packing pays
_SMALLEST_DEPTH = 8


@dataclass(frozen=True)
class _Operand:
    """What an operand is a transposition of: `axes` of `source`."""

    source: relax.Expr
    axes: tuple[int, ...]

    @staticmethod
    def of(value: relax.Expr, main: MainFunction) -> _Operand:
        """An operand as it is used."""
        rank = len(shape(value))
        call = main.call(value, "relax.permute_dims")
        if call is None:
            return _Operand(value, tuple(range(rank)))
        given = call.attrs.axes
        order = range(rank)[::-1] if given is None else [int(axis) % rank for axis in given]
        return _Operand(call.args[0], tuple(order))

    @property
    def shape(self) -> tuple[Any, ...]:
        """Extents of the operand."""
        return tuple(shape(self.source)[axis] for axis in self.axes)


def write_products(module: tvm.IRModule, cpu: CpuModel) -> tvm.IRModule:
    """Replace float32 products of computed matrices by kernels of their own, where they pay."""

    def rule(variable: relax.Var, main: MainFunction) -> Replacement | None:
        call = main.call(variable, "relax.matmul")
        if call is None or any(dtype(value) != "float32" for value in (*call.args, variable)):
            return None
        left, right = (_Operand.of(argument, main) for argument in call.args)
        pays = _pays(left.shape, right.shape, shape(variable), cpu)
        return _replacement(left, right) if pays else None

    return replace_values(module, rule)


def _pays(left: Sequence[Any], right: Sequence[Any], result: Sequence[Any], cpu: CpuModel) -> bool:
    extents = (*left, *right, *result)
    if min(len(left), len(right)) < 2 or not all(isinstance(size, int) for size in extents):
        return False
    rows, depth, columns, lanes = left[-2], left[-1], right[-1], cpu.lanes(32)
    return (
        0 not in extents
        and rows >= _FEWEST_ROWS
        and depth >= _SMALLEST_DEPTH
        and columns >= lanes > 1
    )


def _replacement(left: _Operand, right: _Operand) -> Replacement:
    def emit(
        builder: relax.BlockBuilder, new: Callable[[relax.Expr], relax.Expr], name: str
    ) -> relax.Expr:
        call = builder.call_te(
            partial(_product, axes=(left.axes, right.axes)),
            new(left.source),
            new(right.source),
            primfunc_name_hint="product",
            primfunc_attrs={PATTERN: OUT_ELEMENTWISE_FUSABLE},
        )
        return builder.emit(call, name_hint=name)

    return emit


def _product(
    left: te.Tensor, right: te.Tensor, axes: tuple[tuple[int, ...], tuple[int, ...]]
) -> te.Tensor:
    """Of […, M, K] and […, K, N], with the axes of each in the order that is given."""
    (*outer_left, rows, depth), (*outer_right, _, columns) = (
        [int(tensor.shape[axis]) for axis in order]
        for tensor, order in zip((left, right), axes, strict=True)
    )
    rank = max(len(outer_left), len(outer_right))
    padded = [[1] * (rank - len(outer)) + outer for outer in (outer_left, outer_right)]
    batch = [max(sizes) for sizes in zip(*padded, strict=True)]
    k = te.reduce_axis((0, depth), name="k")

    def load(tensor: te.Tensor, order: Sequence[int], outer: Sequence[Any], *inner: Any) -> Any:
        used = outer[rank - (len(order) - 2) :]
        sizes = [int(tensor.shape[axis]) for axis in order[:-2]]
        places = [0 if size == 1 else at for size, at in zip(sizes, used, strict=True)]
        indices: list[Any] = [None] * len(order)
        for axis, index in zip(order, (*places, *inner), strict=True):
            indices[axis] = index
        return tensor(*indices)

    def element(*place: Any) -> Any:
        *outer, i, j = place
        return te.sum(load(left, axes[0], outer, i, k) * load(right, axes[1], outer, k, j), axis=k)

    return te.compute(
        (*batch, rows, columns), element, name=PRODUCT, attrs={ANNOTATION: [*axes[0], *axes[1]]}
    )
