"""Quantized operators: integers (or small floats) with a scale and a zero point.

A real number is (q - zero_point) * scale. Sums of products are exact, in 32-bit integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx

from tvmake.elements import ELEMENTS, storage
from tvmake.frontend.onnx_file import dtype_name

from . import elements
from .elements import FORMATS, INTEGER_BITS
from .operator import Converter, Operator, static_shape
from .windows import window

_BITS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, **INTEGER_BITS}


def quantize(
    operator: Operator,
    value: relax.Expr,
    scale: relax.Expr,
    zero_point: relax.Expr | None,
    dtype: str,
    *,
    scale_type: str = "float32",
    precision: str | None = None,
    axis: int = 1,
    block: int = 0,
    saturate: bool = True,
) -> relax.Expr:
    """Real numbers to elements of the model's type `dtype`, rounded to nearest even.

    `scale` is a scalar, has one value for each index of `axis`, or one for each block along it; so
    has `zero_point`. The division is done in `precision`, or else in the model's type of `scale`.
    """
    operands = [value, scale, *([] if zero_point is None else [zero_point])]
    wanted = precision or scale_type
    divided = wanted if wanted in ("float16", "float32", "float64") else "float32"

    def compute(x: te.Tensor, s: te.Tensor, z: te.Tensor | None = None) -> te.Tensor:
        def element(*index: Any) -> Any:
            divisor = _number(_at(s, index, axis, block), scale_type).astype(divided)
            number = (x(*index).astype(divided) / divisor).astype("float32")
            offset = None if z is None else _number(_at(z, index, axis, block), dtype)
            return _quantized(number, offset, dtype, saturate)

        return te.compute(x.shape, element, name="quantize")

    return operator.call_te(compute, *operands, name="quantize")


def dequantize(
    operator: Operator,
    value: relax.Expr,
    dtype: str,
    scale: relax.Expr,
    zero_point: relax.Expr | None,
    *,
    scale_type: str = "float32",
    result_type: str = "float32",
    axis: int = 1,
    block: int = 0,
) -> relax.Expr:
    """Elements of the model's type `dtype` to real numbers of the type `result_type`."""
    operands = [value, scale, *([] if zero_point is None else [zero_point])]

    def compute(x: te.Tensor, s: te.Tensor, z: te.Tensor | None = None) -> te.Tensor:
        def element(*index: Any) -> Any:
            number = _number(x(*index), dtype)
            if z is not None:
                number = number - _number(_at(z, index, axis, block), dtype)
            number = number * _number(_at(s, index, axis, block), scale_type)
            if result_type in ELEMENTS:
                return elements.encode(number, result_type, saturate=False)
            return number.astype(result_type)

        return te.compute(x.shape, element, name="dequantize")

    return operator.call_te(compute, *operands, name="dequantize")


def _at(values: te.Tensor, index: Sequence[Any], axis: int, block: int) -> Any:
    """The scale or zero point of an element."""
    shape = [int(dim) for dim in values.shape]
    if all(dim == 1 for dim in shape):
        return values(*[0] * len(shape))
    axis %= len(index)
    if not block:
        return values(index[axis])
    return values(*[i // block if a == axis else i for a, i in enumerate(index)])


def _number(value: Any, dtype: str) -> Any:
    """A stored element as a float32 number."""
    if dtype in FORMATS or dtype == "float8_e8m0fnu":
        return elements.decode(value, dtype)
    return value.astype("float32")


def _quantized(number: Any, zero_point: Any, dtype: str, saturate: bool) -> Any:
    if dtype in FORMATS:
        is_small = ELEMENTS[dtype].interface != dtype
        shifted = number + zero_point if is_small and zero_point is not None else number
        return elements.encode(shifted, dtype, saturate=saturate)
    rounded = tirx.nearbyint(number)
    if zero_point is not None:
        rounded = rounded + zero_point
    bits, signed = _BITS[dtype], dtype[0] != "u"
    low = -(1 << (bits - 1)) if signed else 0
    high = low + (1 << bits) - 1
    limited = tirx.min(tirx.max(rounded, tirx.const(low, "float32")), tirx.const(high, "float32"))
    return limited.astype("int32").astype(storage(dtype))


def _quantize_linear(operator: Operator) -> relax.Expr:
    chosen = int(operator.attributes.get("output_dtype", 0))
    zero_point = operator.optional(2)
    dtype = (
        operator.dtype(2) if zero_point is not None else dtype_name(chosen) if chosen else "uint8"
    )
    precision = int(operator.attributes.get("precision", 0))
    value = operator.operand(0)
    if operator.dtype(0) in ELEMENTS:
        value = _as_number(operator, value, operator.dtype(0))
    return quantize(
        operator,
        value,
        operator.operand(1),
        zero_point,
        dtype,
        scale_type=operator.dtype(1),
        precision=dtype_name(precision) if precision else None,
        axis=int(operator.attributes.get("axis", 1)),
        block=int(operator.attributes.get("block_size", 0)),
        saturate=bool(operator.attributes.get("saturate", 1)),
    )


def _dequantize_linear(operator: Operator) -> relax.Expr:
    chosen = int(operator.attributes.get("output_dtype", 0))
    return dequantize(
        operator,
        operator.operand(0),
        operator.dtype(0),
        operator.operand(1),
        operator.optional(2),
        scale_type=operator.dtype(1),
        result_type=dtype_name(chosen) if chosen else operator.dtype(1),
        axis=int(operator.attributes.get("axis", 1)),
        block=int(operator.attributes.get("block_size", 0)),
    )


def _as_number(operator: Operator, value: relax.Expr, dtype: str) -> relax.Expr:
    function = elements.elementwise(lambda x: _number(x, dtype), "decode")
    return operator.call_te(function, value, name="decode")


def _dynamic_quantize(operator: Operator) -> relax.Expr:
    return relax.Tuple(dynamic_quantize(operator, operator.operand(0)))


def dynamic_quantize(operator: Operator, value: relax.Expr) -> list[relax.Expr]:
    """The uint8 elements, scale and zero point that fit the range of the values themselves."""
    emit = operator.emit
    zero, top = relax.const(0.0, "float32"), relax.const(255.0, "float32")
    high = emit(relax.op.maximum(emit(relax.op.max(value)), zero))
    low = emit(relax.op.minimum(emit(relax.op.min(value)), zero))
    span = emit(relax.op.divide(emit(relax.op.subtract(high, low)), top))
    flat = emit(relax.op.equal(high, low))
    scale = emit(
        relax.op.where(flat, emit(relax.op.divide(relax.const(1.0, "float32"), top)), span)
    )
    start = emit(relax.op.negative(emit(relax.op.divide(low, scale))))
    clipped = emit(relax.op.minimum(emit(relax.op.maximum(start, zero)), top))
    offset = operator.call_te(
        elements.elementwise(lambda x: tirx.nearbyint(x).astype("int32").astype("uint8"), "offset"),
        clipped,
        name="zero_point",
    )
    return [quantize(operator, value, scale, offset, "uint8"), scale, offset]


def _whole(operator: Operator, index: int, zero_index: int, axis: int | None = None) -> relax.Expr:
    """An operand less its zero point, of which there may be one per index of axis, in int32."""
    value = operator.emit(relax.op.astype(operator.operand(index), "int32"))
    offset = operator.optional(zero_index)
    if offset is None:
        return value
    return _less(operator, value, offset, axis)


def _less(
    operator: Operator, value: relax.Expr, offset: relax.Expr, axis: int | None
) -> relax.Expr:
    offset = _spread(operator, operator.emit(relax.op.astype(offset, "int32")), value, axis)
    return operator.emit(relax.op.subtract(value, offset))


def _spread(
    operator: Operator, parameter: relax.Expr, value: relax.Expr, axis: int | None
) -> relax.Expr:
    """A scale or zero point in a shape that broadcasts to the value's."""
    shape = static_shape(parameter)
    if all(dim == 1 for dim in shape):
        return operator.emit(relax.op.reshape(parameter, []))
    if len(shape) > 1 or axis is None:
        return parameter
    rank = len(static_shape(value))
    target = [1] * rank
    target[axis] = shape[0]
    return operator.emit(relax.op.reshape(parameter, target))


def _scaled(
    operator: Operator, total: relax.Expr, *factors: tuple[relax.Expr, int | None]
) -> relax.Expr:
    """An int32 sum as a real number: times all factors, each along its axis."""
    value = operator.emit(relax.op.astype(total, "float32"))
    for factor, axis in factors:
        number = operator.emit(relax.op.astype(factor, "float32"))
        value = operator.emit(relax.op.multiply(value, _spread(operator, number, value, axis)))
    return value


def _integer_matmul(operator: Operator, a: relax.Expr, b: relax.Expr) -> relax.Expr:
    return operator.emit(relax.op.matmul(a, b, out_dtype="int32"))


def _matmul_integer(operator: Operator) -> relax.Expr:
    a, b = _whole(operator, 0, 2, -2), _whole(operator, 1, 3, -1)
    return _integer_matmul(operator, a, b)


def _convolve(operator: Operator, data: relax.Expr, weight: relax.Expr) -> relax.Expr:
    shape, kernel = static_shape(data), static_shape(weight)
    rank = len(shape) - 2
    functions = {1: relax.op.nn.conv1d, 2: relax.op.nn.conv2d, 3: relax.op.nn.conv3d}
    if rank not in functions:
        raise ValueError(f"{operator.name} over {rank} spatial axes; 1 to 3 are possible")
    win = window(operator, shape[2:], kernel[2:])
    return operator.emit(
        functions[rank](
            data,
            weight,
            strides=list(win.strides),
            padding=win.pads,
            dilation=list(win.dilations),
            groups=int(operator.attributes.get("group", 1)),
            out_dtype="int32",
        )
    )


def _conv_integer(operator: Operator) -> relax.Expr:
    return _convolve(operator, _whole(operator, 0, 2), _whole(operator, 1, 3, 0))


def _qlinear_conv(operator: Operator) -> relax.Expr:
    total = _convolve(operator, _whole(operator, 0, 2), _whole(operator, 3, 5, 0))
    bias = operator.optional(8)
    if bias is not None:
        total = operator.emit(relax.op.add(total, _spread(operator, bias, total, 1)))
    real = _scaled(operator, total, (operator.operand(1), None), (operator.operand(4), 1))
    return quantize(operator, real, operator.operand(6), operator.optional(7), operator.dtype(7))


def _qlinear_matmul(operator: Operator) -> relax.Expr:
    scales = (operator.operand(1), -2), (operator.operand(4), -1)
    if operator.dtype(0) in ELEMENTS:
        real = [
            dequantize(operator, operator.operand(i), operator.dtype(i), relax.const(1.0), None)
            for i in (0, 3)
        ]
        total = operator.emit(relax.op.matmul(*real))
    else:
        total = _integer_matmul(operator, _whole(operator, 0, 2, -2), _whole(operator, 3, 5, -1))
    return _requantize(operator, _scaled(operator, total, *scales), 6)


def _requantize(operator: Operator, real: relax.Expr, index: int) -> relax.Expr:
    """Quantize with the scale at `index` and the zero point behind it."""
    return quantize(
        operator,
        real,
        operator.operand(index),
        operator.optional(index + 1),
        operator.dtype(index + 1)
        if operator.optional(index + 1) is not None
        else operator.dtype(0),
        scale_type=operator.dtype(index),
        precision="float32",
        axis=-2,
    )


def _real(operator: Operator, index: int) -> relax.Expr:
    """The operand at `index` with the scale and zero point behind it, as a real number."""
    return dequantize(
        operator,
        operator.operand(index),
        operator.dtype(index),
        operator.operand(index + 1),
        operator.optional(index + 2),
    )


def _qlinear_binary(function: Any) -> Converter:
    def convert(operator: Operator) -> relax.Expr:
        value = operator.emit(function(_real(operator, 0), _real(operator, 3)))
        return _requantize(operator, value, 6)

    return convert


def _qlinear_unary(function: Any) -> Converter:
    def convert(operator: Operator) -> relax.Expr:
        return _requantize(operator, operator.emit(function(operator, _real(operator, 0))), 3)

    return convert


def _average(operator: Operator, value: relax.Expr) -> relax.Expr:
    rank = len(static_shape(value))
    last = bool(operator.attributes.get("channels_last", 0))
    axes = range(1, rank - 1) if last else range(2, rank)
    return relax.op.mean(value, list(axes), keepdims=True)


def _qlinear_concat(operator: Operator) -> relax.Expr:
    parts = [_real(operator, index) for index in range(2, len(operator.inputs), 3)]
    joined = operator.emit(relax.op.concat(parts, int(operator.attributes["axis"])))
    zero_point = operator.operand(1)
    return quantize(operator, joined, operator.operand(0), zero_point, operator.dtype(1))


def _matmul_to_float(operator: Operator) -> relax.Expr:
    """com.microsoft.MatMulIntegerToFloat: A, B, scales, zero points, bias."""
    total = _integer_matmul(operator, _whole(operator, 0, 4, -2), _whole(operator, 1, 5, -1))
    real = _scaled(operator, total, (operator.operand(2), -2), (operator.operand(3), -1))
    return _biased(operator, real, 6)


def _dynamic_matmul(operator: Operator) -> relax.Expr:
    """com.microsoft.DynamicQuantizeMatMul: A, B, scale and zero point of B, bias."""
    a, scale, offset = dynamic_quantize(operator, operator.operand(0))
    left = operator.emit(relax.op.astype(a, "int32"))
    left = _less(operator, left, offset, None)
    total = _integer_matmul(operator, left, _whole(operator, 1, 3, -1))
    return _biased(operator, _scaled(operator, total, (scale, None), (operator.operand(2), -1)), 4)


def _biased(operator: Operator, value: relax.Expr, index: int) -> relax.Expr:
    bias = operator.optional(index)
    return value if bias is None else operator.emit(relax.op.add(value, bias))


def _gemm(operator: Operator) -> relax.Expr:
    """com.microsoft.QGemm: A and B with scale and zero point, C in int32, scale and zero of Y."""
    a, b = _whole(operator, 0, 2), _whole(operator, 3, 5, 0 if _flag(operator, "transB") else 1)
    a = operator.emit(relax.op.permute_dims(a)) if _flag(operator, "transA") else a
    b = operator.emit(relax.op.permute_dims(b)) if _flag(operator, "transB") else b
    total = _integer_matmul(operator, a, b)
    bias = operator.optional(6)
    total = total if bias is None else operator.emit(relax.op.add(total, bias))
    alpha = relax.const(float(operator.attributes.get("alpha", 1.0)), "float32")
    factors = (operator.operand(1), None), (operator.operand(4), 1), (alpha, None)
    real = _scaled(operator, total, *factors)
    return real if operator.optional(7) is None else _requantize(operator, real, 7)


def _flag(operator: Operator, name: str) -> bool:
    return bool(operator.attributes.get(name, 0))


def _leaky_relu(operator: Operator, value: relax.Expr) -> relax.Expr:
    return relax.op.nn.leakyrelu(value, float(operator.attributes.get("alpha", 0.01)))


def _softmax(operator: Operator, value: relax.Expr) -> relax.Expr:
    return relax.op.nn.softmax(value, int(operator.attributes.get("axis", -1)))


CONVERTERS: dict[str, Converter] = {
    "ConvInteger": _conv_integer,
    "DequantizeLinear": _dequantize_linear,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "MatMulInteger": _matmul_integer,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "QuantizeLinear": _quantize_linear,
    "com.microsoft.DequantizeLinear": _dequantize_linear,
    "com.microsoft.DynamicQuantizeMatMul": _dynamic_matmul,
    "com.microsoft.MatMulIntegerToFloat": _matmul_to_float,
    "com.microsoft.QGemm": _gemm,
    "com.microsoft.QLinearAdd": _qlinear_binary(relax.op.add),
    "com.microsoft.QLinearConcat": _qlinear_concat,
    "com.microsoft.QLinearGlobalAveragePool": _qlinear_unary(_average),
    "com.microsoft.QLinearLeakyRelu": _qlinear_unary(_leaky_relu),
    "com.microsoft.QLinearMul": _qlinear_binary(relax.op.multiply),
    "com.microsoft.QLinearSigmoid": _qlinear_unary(lambda _, value: relax.op.sigmoid(value)),
    "com.microsoft.QLinearSoftmax": _qlinear_unary(_softmax),
    "com.microsoft.QuantizeLinear": _quantize_linear,
}
