"""onnxruntime's attention operators (domain com.microsoft) as matrix products and a softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from tvm import relax

from .operator import Converter, Operator, static_shape

_DOMAIN = "com.microsoft."


def attend(
    operator: Operator,
    query: relax.Expr,
    key: relax.Expr,
    value: relax.Expr,
    biases: Sequence[relax.Expr | None],
    scale: float = 0.0,
) -> relax.Expr:
    """softmax(query · keyᵀ · scale + biases) · value.

    Query, key and value are [batch, heads, length, size]; the biases broadcast to [batch, heads,
    length of query, length of key]; a scale of 0 stands for 1/√size.
    """
    emit = operator.emit
    size = static_shape(query)[-1]
    factor = relax.const(scale or 1 / math.sqrt(size), str(query.ty.dtype))
    turned = emit(relax.op.permute_dims(key, [0, 1, 3, 2]))
    scores = emit(relax.op.matmul(emit(relax.op.multiply(query, factor)), turned))
    for bias in biases:
        if bias is not None:
            fitting = emit(relax.op.astype(bias, str(scores.ty.dtype)))
            scores = emit(relax.op.add(scores, fitting))
    return emit(relax.op.matmul(emit(relax.op.nn.softmax(scores, -1)), value))


def _attention(operator: Operator) -> relax.Expr:
    """Attention: input, weights, bias, mask, past, attention bias."""
    _refuse(operator, "do_rotary", "past_present_share_buffer")
    emit = operator.emit
    heads = int(operator.attributes["num_heads"])
    width = operator.shape(1)[1]
    sizes = list(operator.attributes.get("qkv_hidden_sizes", ())) or [width // 3] * 3
    product = emit(relax.op.matmul(operator.operand(0), operator.operand(1)))
    bias = operator.optional(2)
    product = product if bias is None else emit(relax.op.add(product, bias))
    ends = [int(end) for end in np.cumsum(sizes)]
    starts = [0, *ends[:-1]]
    parts = [
        _split_heads(operator, _columns(operator, product, start, end), heads)
        for start, end in zip(starts, ends, strict=True)
    ]
    past = operator.optional(4)
    if past is not None:
        parts[1:] = [
            emit(relax.op.concat([_item(operator, past, index), part], 2))
            for index, part in enumerate(parts[1:])
        ]
    length, total = static_shape(parts[0])[2], static_shape(parts[1])[2]
    low = float(operator.attributes.get("mask_filter_value", -10000.0))
    causal = bool(operator.attributes.get("unidirectional", 0))
    biases = [
        _mask(operator, operator.optional(3), total, low),
        operator.optional(5),
        _causal(length, total) if causal else None,
    ]
    scale = float(operator.attributes.get("scale", 0.0))
    result = _join_heads(operator, attend(operator, parts[0], parts[1], parts[2], biases, scale))
    if operator.num_outputs == 1:
        return result
    shape = [1, *static_shape(parts[1])]
    present = [emit(relax.op.reshape(part, shape)) for part in parts[1:]]
    return relax.Tuple([result, emit(relax.op.concat(present, 0))])


def _multi_head_attention(operator: Operator) -> relax.Expr:
    """MultiHeadAttention: query, key, value, bias, mask, attention bias, past key, past value."""
    emit = operator.emit
    heads = int(operator.attributes["num_heads"])
    given = [operator.optional(index) for index in range(3)]
    if given[1] is None or given[2] is None or len(operator.shape(0)) != 3:
        raise ValueError("MultiHeadAttention with packed operands; separate ones are possible")
    parts, start = [], 0
    bias = operator.optional(3)
    for part in given:
        if len(static_shape(part)) == 4:  # split into heads already
            parts.append(part)
            continue
        end = start + static_shape(part)[-1]
        share = None if bias is None else _columns(operator, bias, start, end)
        start = end
        biased = part if share is None else emit(relax.op.add(part, share))
        parts.append(_split_heads(operator, biased, heads))
    for index in (1, 2):
        past = operator.optional(5 + index)
        if past is not None:
            parts[index] = emit(relax.op.concat([past, parts[index]], 2))
    length, total = static_shape(parts[0])[2], static_shape(parts[1])[2]
    low = float(operator.attributes.get("mask_filter_value", -10000.0))
    causal = bool(operator.attributes.get("unidirectional", 0))
    biases = [
        _mask(operator, operator.optional(4), total, low),
        operator.optional(5),
        _causal(length, total) if causal else None,
    ]
    scale = float(operator.attributes.get("scale", 0.0))
    result = _join_heads(operator, attend(operator, parts[0], parts[1], parts[2], biases, scale))
    return result if operator.num_outputs == 1 else relax.Tuple([result, *parts[1:]])


def _group_query_attention(operator: Operator) -> relax.Expr:
    """GroupQueryAttention: query, key, value, past key and value, lengths, total, cos, sin.

    Without a shared buffer for past and present; the past, if any, is full in every sequence.
    """
    _refuse(operator, "softcap", "smooth_softmax")
    emit = operator.emit
    heads = int(operator.attributes["num_heads"])
    groups = int(operator.attributes["kv_num_heads"])
    if operator.optional(1) is None or int(operator.attributes.get("local_window_size", -1)) != -1:
        raise ValueError("GroupQueryAttention with packed operands or a window")
    parts = [
        _split_heads(operator, operator.operand(index), heads if index == 0 else groups)
        for index in range(3)
    ]
    past = [operator.optional(index) for index in (3, 4)]
    length = static_shape(parts[0])[2]
    before = 0 if past[0] is None else static_shape(past[0])[2]
    if operator.attributes.get("do_rotary", 0):
        places = relax.const(np.arange(before, before + length).reshape(1, -1), "int64")
        interleaved = bool(operator.attributes.get("rotary_interleaved", 0))
        tables = operator.operand(7), operator.operand(8)
        parts[:2] = [_rotated(operator, p, places, *tables, interleaved) for p in parts[:2]]
    if before:
        parts[1:] = [
            emit(relax.op.concat([old, new], 2)) for old, new in zip(past, parts[1:], strict=True)
        ]
    total = before + length
    last = emit(relax.op.add(_column(operator, operator.operand(5)), relax.const(1, "int32")))
    biases = [_causal(length, total), _mask(operator, last, total, -1e9)]
    wide = [_repeated(operator, part, heads // groups) for part in parts[1:]]
    scale = float(operator.attributes.get("scale", 0.0))
    result = _join_heads(operator, attend(operator, parts[0], wide[0], wide[1], biases, scale))
    return result if operator.num_outputs == 1 else relax.Tuple([result, *parts[1:]])


def _rotary_embedding(operator: Operator) -> relax.Expr:
    """RotaryEmbedding: input, positions, cos, sin."""
    emit = operator.emit
    value, places = operator.operand(0), operator.operand(1)
    shape = static_shape(value)
    tables = operator.operand(2), operator.operand(3)
    rotary = int(operator.attributes.get("rotary_embedding_dim", 0))
    heads = int(operator.attributes.get("num_heads", 0))
    flat = len(shape) == 3
    if flat:
        size = shape[2] // heads if heads else 2 * static_shape(tables[0])[1]
        value = _split_heads(operator, value, shape[2] // size)
    length = static_shape(value)[2]
    if math.prod(static_shape(places)) == 1 and (length > 1 or shape[0] > 1):
        steps = relax.const(np.arange(length).reshape(1, -1), "int64")
        first = emit(relax.op.reshape(places, [1, 1]))
        places = emit(relax.op.add(steps, emit(relax.op.astype(first, "int64"))))
    interleaved = bool(operator.attributes.get("interleaved", 0))
    width = static_shape(value)[3]
    if rotary and rotary < width:
        turned = _rotated(
            operator, _columns(operator, value, 0, rotary), places, *tables, interleaved
        )
        kept = _columns(operator, value, rotary, width)
        result = emit(relax.op.concat([turned, kept], 3))
    else:
        result = _rotated(operator, value, places, *tables, interleaved)
    return _join_heads(operator, result) if flat else result


def _rotated(
    operator: Operator,
    value: relax.Expr,
    places: relax.Expr,
    cos: relax.Expr,
    sin: relax.Expr,
    interleaved: bool,
) -> relax.Expr:
    """Pairs of elements turned by the angle of their place. Su et al., "RoFormer" (2021), 3.2.2."""
    emit = operator.emit
    batch, heads, length, size = static_shape(value)
    rows = static_shape(places)[0]
    half = [batch, heads, length, size // 2]

    def angles(table: relax.Expr) -> relax.Expr:
        chosen = emit(relax.op.take(table, places, axis=0, mode="clip"))
        return emit(relax.op.reshape(chosen, [rows, 1, *half[2:]]))

    if interleaved:
        pairs = emit(relax.op.reshape(value, [*half, 2]))
        halves = [emit(relax.op.reshape(_columns(operator, pairs, i, i + 1), half)) for i in (0, 1)]
    else:
        halves = [
            _columns(operator, value, 0, size // 2),
            _columns(operator, value, size // 2, size),
        ]
    a, b = halves
    cosine, sine = angles(cos), angles(sin)

    def product(x: relax.Expr, y: relax.Expr) -> relax.Expr:
        return emit(relax.op.multiply(x, y))

    turned = [
        emit(relax.op.subtract(product(a, cosine), product(b, sine))),
        emit(relax.op.add(product(b, cosine), product(a, sine))),
    ]
    if not interleaved:
        return emit(relax.op.concat(turned, 3))
    columns = [emit(relax.op.expand_dims(part, 4)) for part in turned]
    joined = emit(relax.op.concat(columns, 4))
    return emit(relax.op.reshape(joined, [batch, heads, length, size]))


def _mask(operator: Operator, mask: relax.Expr | None, total: int, low: float) -> relax.Expr | None:
    """A key mask as something to add: lengths [batch], or 0 and 1 in two or three dimensions."""
    if mask is None:
        return None
    emit = operator.emit
    shape = static_shape(mask)
    if len(shape) == 1:
        if operator.name.endswith("Attention") and shape[0] != operator.shape(0)[0]:
            raise ValueError(
                f"{operator.name} has a mask of {shape[0]} numbers, not one a sequence"
            )
        places = relax.const(np.arange(total, dtype="int32").reshape(1, 1, 1, -1))
        ends = emit(relax.op.reshape(emit(relax.op.astype(mask, "int32")), [-1, 1, 1, 1]))
        keep = emit(relax.op.less(places, ends))
    else:
        middle = [1, 1] if len(shape) == 2 else [1, shape[1]]
        keep = emit(relax.op.reshape(mask, [shape[0], *middle, shape[-1]]))
        keep = emit(relax.op.not_equal(keep, relax.const(0, str(mask.ty.dtype))))
    zero, masked = relax.const(0.0, "float32"), relax.const(low, "float32")
    return emit(relax.op.where(keep, zero, masked))


def _causal(length: int, total: int) -> relax.Expr:
    """Every query sees the keys up to its own place; the queries are the last ones."""
    ahead = np.arange(total)[None, :] > np.arange(total - length, total)[:, None]
    lowest = float(np.finfo("float32").min) / 2
    return relax.const(np.where(ahead, lowest, 0.0).astype("float32")[None, None])


def _split_heads(operator: Operator, value: relax.Expr, heads: int) -> relax.Expr:
    batch, length, width = static_shape(value)
    split = operator.emit(relax.op.reshape(value, [batch, length, heads, width // heads]))
    return operator.emit(relax.op.permute_dims(split, [0, 2, 1, 3]))


def _join_heads(operator: Operator, value: relax.Expr) -> relax.Expr:
    batch, heads, length, size = static_shape(value)
    order = operator.emit(relax.op.permute_dims(value, [0, 2, 1, 3]))
    return operator.emit(relax.op.reshape(order, [batch, length, heads * size]))


def _repeated(operator: Operator, value: relax.Expr, times: int) -> relax.Expr:
    """Each head as often as there are query heads for it."""
    return value if times == 1 else operator.emit(relax.op.repeat(value, times, axis=1))


def _columns(operator: Operator, value: relax.Expr, start: int, end: int) -> relax.Expr:
    axis = len(static_shape(value)) - 1
    return operator.emit(relax.op.strided_slice(value, [axis], [start], [end]))


def _column(operator: Operator, value: relax.Expr) -> relax.Expr:
    flat = operator.emit(relax.op.reshape(value, [-1]))
    return operator.emit(relax.op.astype(flat, "int32"))


def _item(operator: Operator, value: relax.Expr, index: int) -> relax.Expr:
    part = operator.emit(relax.op.strided_slice(value, [0], [index], [index + 1]))
    return operator.emit(relax.op.reshape(part, static_shape(value)[1:]))


def _refuse(operator: Operator, *names: str) -> None:
    for name in names:
        if operator.attributes.get(name, 0) not in (0, -1):
            raise ValueError(f"{operator.name} has {name} = {operator.attributes[name]}")


CONVERTERS: dict[str, Converter] = {
    _DOMAIN + "Attention": _attention,
    _DOMAIN + "GroupQueryAttention": _group_query_attention,
    _DOMAIN + "MultiHeadAttention": _multi_head_attention,
    _DOMAIN + "RotaryEmbedding": _rotary_embedding,
}
