"""Fused operators of onnxruntime (domain com.microsoft), as optimizers and exporters emit them."""

from __future__ import annotations

import math
from typing import Any

from tvm import relax, te, tirx

from .operator import Converter, Operator, static_shape
from .windows import window

_DOMAIN = "com.microsoft."


def _gelu(operator: Operator) -> relax.Expr:
    return operator.emit(relax.op.nn.gelu(_with_bias(operator, operator.operand(0), 1)))


def _fast_gelu(operator: Operator) -> relax.Expr:
    return operator.emit(relax.op.nn.gelu_tanh(_with_bias(operator, operator.operand(0), 1)))


def _quick_gelu(operator: Operator) -> relax.Expr:
    value = operator.operand(0)
    alpha = relax.const(float(operator.attributes.get("alpha", 1.702)), str(value.ty.dtype))
    gate = operator.emit(relax.op.sigmoid(operator.emit(relax.op.multiply(value, alpha))))
    return operator.emit(relax.op.multiply(value, gate))


def _with_bias(operator: Operator, value: relax.Expr, index: int) -> relax.Expr:
    bias = operator.optional(index)
    return value if bias is None else operator.emit(relax.op.add(value, bias))


def _layer_norm(operator: Operator, value: relax.Expr, gamma: int, beta: int) -> relax.Expr:
    weight, shift = operator.operand(gamma), operator.optional(beta)
    if shift is None:
        shift = operator.emit(relax.op.zeros(static_shape(weight), str(weight.ty.dtype)))
    epsilon = float(operator.attributes.get("epsilon", 1e-12))
    return operator.emit(relax.op.nn.layer_norm(value, weight, shift, [-1], epsilon))


def _rms_norm(operator: Operator, value: relax.Expr, gamma: int) -> relax.Expr:
    epsilon = float(operator.attributes.get("epsilon", 1e-5))
    return operator.emit(relax.op.nn.rms_norm(value, operator.operand(gamma), [-1], epsilon))


def _statistics(operator: Operator, value: relax.Expr) -> list[relax.Expr]:
    """Mean and inverse standard deviation of each row."""
    emit = operator.emit
    number = emit(relax.op.astype(value, "float32"))
    epsilon = relax.const(float(operator.attributes.get("epsilon", 1e-12)), "float32")
    variance = emit(relax.op.variance(number, [-1], keepdims=True))
    mean = emit(relax.op.mean(number, [-1], keepdims=True))
    return [mean, emit(relax.op.rsqrt(emit(relax.op.add(variance, epsilon))))]


def _results(operator: Operator, *values: relax.Expr) -> relax.Expr:
    return values[0] if operator.num_outputs == 1 else relax.Tuple(list(values))


def _skip_layer_norm(operator: Operator) -> relax.Expr:
    total = operator.emit(relax.op.add(operator.operand(0), operator.operand(1)))
    total = _with_bias(operator, total, 4)
    normed = _layer_norm(operator, total, 2, 3)
    if operator.num_outputs == 1:
        return normed
    return relax.Tuple([normed, *_statistics(operator, total), total])


def _skip_rms_norm(operator: Operator) -> relax.Expr:
    total = operator.emit(relax.op.add(operator.operand(0), operator.operand(1)))
    total = _with_bias(operator, total, 3)
    normed = _rms_norm(operator, total, 2)
    if operator.num_outputs == 1:
        return normed
    return relax.Tuple([normed, *_statistics(operator, total), total])


def _simplified_layer_norm(operator: Operator) -> relax.Expr:
    normed = _rms_norm(operator, operator.operand(0), 1)
    if operator.num_outputs == 1:
        return normed
    return relax.Tuple([normed, _statistics(operator, operator.operand(0))[1]])


def _embed_layer_norm(operator: Operator) -> relax.Expr:
    emit = operator.emit
    batch, length = operator.shape(0)
    total = _rows(operator, 2, operator.operand(0))
    places = operator.optional(8)
    if places is None:
        steps = relax.op.arange(0, length, 1, dtype="int64")
        places = emit(relax.op.reshape(emit(steps), [1, length]))
    total = emit(relax.op.add(total, _rows(operator, 3, places)))
    segments = operator.optional(1)
    if segments is not None and operator.optional(4) is not None:
        total = emit(relax.op.add(total, _rows(operator, 4, segments)))
    mask = operator.optional(7)
    if mask is None:
        count = emit(relax.op.zeros([batch], "int32"))
    else:
        count = emit(relax.op.sum(emit(relax.op.astype(mask, "int32")), [1]))
    return _results(operator, _layer_norm(operator, total, 5, 6), count, total)


def _rows(operator: Operator, table: int, indices: relax.Expr) -> relax.Expr:
    """Rows of a table; indices beyond it are clipped to it."""
    return operator.emit(relax.op.take(operator.operand(table), indices, axis=0, mode="clip"))


def _fused_matmul(operator: Operator) -> relax.Expr:
    for name in ("transBatchA", "transBatchB"):
        if operator.attributes.get(name, 0):
            raise ValueError(f"FusedMatMul has {name} = 1")
    operands = []
    for index, name in enumerate(("transA", "transB")):
        value = operator.operand(index)
        if operator.attributes.get(name, 0):
            order = list(range(len(static_shape(value))))
            order[-2:] = order[-1], order[-2]
            value = operator.emit(relax.op.permute_dims(value, order))
        operands.append(value)
    product = operator.emit(relax.op.matmul(*operands))
    return _times(operator, product, float(operator.attributes.get("alpha", 1.0)))


def _times(operator: Operator, value: relax.Expr, factor: float) -> relax.Expr:
    if factor == 1.0:
        return value
    return operator.emit(relax.op.multiply(value, relax.const(factor, str(value.ty.dtype))))


def _fused_conv(operator: Operator) -> relax.Expr:
    shape, kernel = operator.shape(0), operator.shape(1)[2:]
    rank = len(kernel)
    functions = {1: relax.op.nn.conv1d, 2: relax.op.nn.conv2d, 3: relax.op.nn.conv3d}
    if rank not in functions:
        raise ValueError(f"FusedConv over {rank} spatial axes; 1 to 3 are possible")
    win = window(operator, shape[2:], kernel)
    value = operator.emit(
        functions[rank](
            operator.operand(0),
            operator.operand(1),
            strides=list(win.strides),
            padding=win.pads,
            dilation=list(win.dilations),
            groups=int(operator.attributes.get("group", 1)),
        )
    )
    bias = operator.optional(2)
    if bias is not None:
        spread = operator.emit(relax.op.reshape(bias, [1, -1, *[1] * rank]))
        value = operator.emit(relax.op.add(value, spread))
    return operator.emit(_activated(operator, _with_bias(operator, value, 3)))


def _activated(operator: Operator, value: relax.Expr) -> relax.Expr:
    name = operator.text("activation", "")
    given = [float(number) for number in operator.attributes.get("activation_params", ())]
    dtype = str(value.ty.dtype)
    if name == "LeakyRelu":
        return relax.op.nn.leakyrelu(value, *given[:1])
    if name == "Clip":
        return relax.op.clip(value, *given[:2])
    if name == "HardSigmoid":
        alpha, beta = (relax.const(number, dtype) for number in given[:2])
        line = operator.emit(relax.op.multiply(value, alpha))
        return relax.op.clip(operator.emit(relax.op.add(line, beta)), 0.0, 1.0)
    plain = {
        "": lambda x: x,
        "Relu": relax.op.nn.relu,
        "Sigmoid": relax.op.sigmoid,
        "Tanh": relax.op.tanh,
    }
    if name not in plain:
        raise ValueError(f"FusedConv has activation = {name}")
    return plain[name](value)


def _matmul_nbits(operator: Operator) -> relax.Expr:
    """A product with weights of few bits, which stay packed: the kernel unpacks what it reads."""
    attributes = operator.attributes
    bits, block = int(attributes.get("bits", 4)), int(attributes["block_size"])
    rows, inner = int(attributes["N"]), int(attributes["K"])
    if bits not in (2, 4, 8) or operator.optional(4) is not None:
        raise ValueError("MatMulNBits with 2, 4 or 8 bits and without g_idx is possible")
    blocks, each = -(-inner // block), 8 // bits
    shape = operator.shape(0)
    emit = operator.emit
    value = emit(relax.op.reshape(operator.operand(0), [math.prod(shape[:-1]), inner]))
    packed = emit(relax.op.reshape(operator.operand(1), [rows, blocks, -1]))
    scales = emit(relax.op.reshape(operator.operand(2), [rows, blocks]))
    zeros = operator.optional(3)
    operands = [value, packed, scales]
    if zeros is not None:
        operands.append(emit(relax.op.reshape(zeros, [rows, -1])))
    is_packed = zeros is not None and str(zeros.ty.dtype) == "uint8"
    dtype = str(value.ty.dtype)

    def unpack(byte: Any, position: Any) -> Any:
        shift = tirx.floormod(position, each) * bits
        number = tirx.bitwise_and(
            byte.astype("int32") >> shift, tirx.const((1 << bits) - 1, "int32")
        )
        return number.astype("float32")

    def compute(a: te.Tensor, b: te.Tensor, s: te.Tensor, *z: te.Tensor) -> te.Tensor:
        k = te.reduce_axis((0, inner), name="k")

        def element(i: Any, n: Any) -> Any:
            group, place = tirx.floordiv(k, block), tirx.floormod(k, block)
            number = unpack(b(n, group, tirx.floordiv(place, each)), place)
            offset: Any = tirx.const(float(1 << (bits - 1)), "float32")
            if z:
                offset = (
                    unpack(z[0](n, tirx.floordiv(group, each)), group)
                    if is_packed
                    else z[0](n, group).astype("float32")
                )
            weight = (number - offset) * s(n, group).astype("float32")
            return te.sum(a(i, k).astype("float32") * weight, axis=[k])

        return te.compute((math.prod(shape[:-1]), rows), element, name="matmul_nbits")

    product = emit(relax.op.astype(operator.call_te(compute, *operands), dtype))
    product = emit(relax.op.reshape(product, [*shape[:-1], rows]))
    return _with_bias(operator, product, 5)


CONVERTERS: dict[str, Converter] = {
    _DOMAIN + "BiasGelu": _gelu,
    _DOMAIN + "EmbedLayerNormalization": _embed_layer_norm,
    _DOMAIN + "FastGelu": _fast_gelu,
    _DOMAIN + "FusedConv": _fused_conv,
    _DOMAIN + "FusedMatMul": _fused_matmul,
    _DOMAIN + "Gelu": _gelu,
    _DOMAIN + "MatMulNBits": _matmul_nbits,
    _DOMAIN + "QuickGelu": _quick_gelu,
    _DOMAIN + "SimplifiedLayerNormalization": _simplified_layer_norm,
    _DOMAIN + "SkipLayerNormalization": _skip_layer_norm,
    _DOMAIN + "SkipSimplifiedLayerNormalization": _skip_rms_norm,
}
