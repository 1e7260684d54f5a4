"""ATen operators that we convert ourselves, because TVM's converter is wasteful, unsafe or wrong.

A converter gets the builder, the operator's arguments in order (tensors as Relax expressions, all
else as Python values) and its keywords.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tvm import relax, tirx, topi

from .sorting import emit_top_k
from .symbolic import Shapes, product, scalar

if TYPE_CHECKING:
    from .symbolic import Dim

Converter = Callable[..., relax.Expr]


def _embedding(
    builder: relax.BlockBuilder, table: relax.Expr, indices: relax.Expr, *_: Any, **__: Any
) -> relax.Expr:
    return _take(builder, table, indices, 0)


def _index_select(
    builder: relax.BlockBuilder, data: relax.Expr, axis: int, indices: relax.Expr
) -> relax.Expr:
    return _take(builder, data, indices, axis % len(_shape(data)))


def _select(builder: relax.BlockBuilder, data: relax.Expr, axis: int, index: int) -> relax.Expr:
    """One slice along an axis: a copy of memory, or none at all; TVM's is a look-up."""
    shape = _shape(data)
    axis %= len(shape)
    index %= shape[axis]
    part = builder.emit(relax.op.strided_slice(data, [axis], [index], [index + 1]))
    return builder.emit(relax.op.reshape(part, [*shape[:axis], *shape[axis + 1 :]]))


def _gather(
    builder: relax.BlockBuilder,
    data: relax.Expr,
    axis: int,
    indices: relax.Expr,
    **_: Any,
) -> relax.Expr:
    axis %= len(_shape(data))
    bounded = _bounded(builder, indices, _shape(data)[axis])
    return builder.emit(relax.op.gather_elements(data, bounded, axis=axis))


def _index(
    builder: relax.BlockBuilder, data: relax.Expr, indices: Sequence[relax.Expr | None]
) -> relax.Expr:
    """NumPy's indexing by integer arrays, which are broadcast against each other.

    The indexed axes become one leading axis, and the arrays one array of positions along it.
    """
    shape = _shape(data)
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    others = [axis for axis in range(len(shape)) if axis not in axes]
    first = _permuted(builder, data, [*axes, *others])
    table = builder.emit(
        relax.op.reshape(
            first, [product([shape[axis] for axis in axes]), *(shape[axis] for axis in others)]
        )
    )
    position: relax.Expr | None = None
    for axis in axes:
        index = _bounded(builder, _integers(indices[axis]), shape[axis])
        if position is None:
            position = index
        else:
            size = _number(builder, shape[axis])
            position = builder.emit(
                relax.op.add(builder.emit(relax.op.multiply(position, size)), index)
            )
    result = builder.emit(relax.op.take(table, position, axis=0, mode="clip"))
    if axes != list(range(axes[0], axes[0] + len(axes))) or axes[0] == 0:
        return result
    # Neighbouring axes: what comes of them stands where they stood.
    rank, before = len(_shape(position)), axes[0]
    order = [*range(rank, rank + before), *range(rank), *range(rank + before, len(_shape(result)))]
    return _permuted(builder, result, order)


def _any(
    builder: relax.BlockBuilder,
    data: relax.Expr,
    axes: int | Sequence[int] | None = None,
    keep: bool = False,
) -> relax.Expr:
    dtype = str(data.ty.dtype)
    if dtype != "bool":
        data = builder.emit(relax.op.not_equal(data, relax.const(0, dtype)))
    numbers = builder.emit(relax.op.astype(data, "int8"))
    found = builder.emit(relax.op.max(numbers, axis=axes, keepdims=keep))
    return builder.emit(relax.op.astype(found, "bool"))


def _prod(
    builder: relax.BlockBuilder, data: relax.Expr, axis: int | None = None, keep: bool = False
) -> relax.Expr:
    return builder.emit(relax.op.prod(data, axis=axis, keepdims=keep))


def _top_k(
    builder: relax.BlockBuilder,
    data: relax.Expr,
    count: int,
    axis: int = -1,
    largest: bool = True,
    *_: Any,
) -> relax.Expr:
    values, positions = emit_top_k(builder, data, count, axis=axis, largest=largest)
    return relax.Tuple([values, positions])


def _sort(
    builder: relax.BlockBuilder, data: relax.Expr, axis: int = -1, descending: bool = False
) -> relax.Expr:
    count = _shape(data)[axis]
    values, positions = emit_top_k(builder, data, count, axis=axis, largest=descending)
    return relax.Tuple([values, positions])


def _argsort(
    builder: relax.BlockBuilder, data: relax.Expr, axis: int = -1, descending: bool = False
) -> relax.Expr:
    return _sort(builder, data, axis, descending).fields[1]


def _extreme(reduce: Callable[..., relax.Expr], position: Callable[..., relax.Expr]) -> Converter:
    def convert(
        builder: relax.BlockBuilder, data: relax.Expr, axis: int, keep: bool = False
    ) -> relax.Expr:
        values = builder.emit(reduce(data, axis=axis, keepdims=keep))
        positions = builder.emit(position(data, axis=axis, keepdims=keep))
        return relax.Tuple([values, positions])

    return convert


def _extremes(reduce: Callable[..., relax.Expr]) -> Converter:
    def convert(
        builder: relax.BlockBuilder,
        data: relax.Expr,
        axes: Sequence[int] = (),
        keep: bool = False,
    ) -> relax.Expr:
        return builder.emit(reduce(data, axis=list(axes) or None, keepdims=keep))

    return convert


def _cumsum(
    builder: relax.BlockBuilder, data: relax.Expr, axis: int, dtype: object = None
) -> relax.Expr:
    own = str(data.ty.dtype)
    wanted = str(dtype or (own if "float" in own else "int64"))
    data = builder.emit(relax.op.astype(data, wanted.removeprefix("torch.")))
    call = builder.call_te(topi.cumsum, data, axis % len(_shape(data)))
    return builder.emit(call)


def _clamp(
    builder: relax.BlockBuilder, data: relax.Expr, low: Any = None, high: Any = None
) -> relax.Expr:
    """Bounds by themselves: TVM's passes infinity for a missing one, which integers lack."""
    dtype = str(data.ty.dtype)
    for bound, limit in ((relax.op.maximum, low), (relax.op.minimum, high)):
        if limit is not None:
            value = limit if isinstance(limit, relax.Expr) else relax.const(limit, dtype)
            data = builder.emit(bound(data, value))
    return data


def _integers(index: relax.Expr | None) -> relax.Expr:
    assert index is not None
    if str(index.ty.dtype) == "bool":
        raise ValueError("a mask picks a number of elements that depends on data")
    return index


def _take(
    builder: relax.BlockBuilder, data: relax.Expr, indices: relax.Expr, axis: int
) -> relax.Expr:
    bounded = _bounded(builder, indices, _shape(data)[axis])
    return builder.emit(relax.op.take(data, bounded, axis=axis, mode="clip"))


def _bounded(builder: relax.BlockBuilder, indices: relax.Expr, size: Dim) -> relax.Expr:
    """Indices made positive, and all within the axis: TVM reads wherever they point."""
    indices = builder.emit(relax.op.astype(indices, "int64"))
    negative = builder.emit(relax.op.less(indices, relax.const(0, "int64")))
    from_end = builder.emit(relax.op.add(indices, _number(builder, size)))
    wrapped = builder.emit(relax.op.where(negative, from_end, indices))
    if isinstance(size, int):
        return builder.emit(relax.op.clip(wrapped, 0, size - 1))
    positive = builder.emit(relax.op.maximum(wrapped, relax.const(0, "int64")))
    return builder.emit(relax.op.minimum(positive, _number(builder, size - 1)))


def _number(builder: relax.BlockBuilder, value: Dim) -> relax.Expr:
    """An extent as a tensor."""
    return Shapes(builder).tensor(scalar(value), "int64")


def _permuted(builder: relax.BlockBuilder, data: relax.Expr, order: list[int]) -> relax.Expr:
    if order == list(range(len(order))):
        return data
    return builder.emit(relax.op.permute_dims(data, order))


def _shape(value: relax.Expr) -> list[Dim]:
    return [int(dim) if isinstance(dim, tirx.IntImm) else dim for dim in value.ty.shape]


CONVERTERS: dict[str, Converter] = {
    "amax.default": _extremes(relax.op.max),
    "amin.default": _extremes(relax.op.min),
    "any.default": _any,
    "any.dim": _any,
    "any.dims": _any,
    "clamp.Tensor": _clamp,
    "clamp.default": _clamp,
    "cumsum.default": _cumsum,
    "embedding.default": _embedding,
    "gather.default": _gather,
    "index.Tensor": _index,
    "index_select.default": _index_select,
    "max.dim": _extreme(relax.op.max, relax.op.argmax),
    "min.dim": _extreme(relax.op.min, relax.op.argmin),
    "prod.default": _prod,
    "prod.dim_int": _prod,
    "argsort.default": _argsort,
    "select.int": _select,
    "sort.default": _sort,
    "topk.default": _top_k,
}
