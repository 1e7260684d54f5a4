"""Operators on element types that are stored as integers: computed in float32 instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onnx import TensorProto
from tvm import relax

from tvmake.elements import ELEMENTS
from tvmake.frontend.onnx_elements import STORED

from .casts import cast
from .elements import INTEGER_BITS
from .operator import Operator

# These hand elements on as they are, or look at the model's types themselves.
_AS_STORED_WORDS = (
    "BatchToSpace BitCast Cast CastLike CenterCropPad Compress Concat Constant ConstantOfShape "
    "DepthToSpace DequantizeLinear DynamicQuantizeLinear Dropout Expand Flatten Gather "
    "GatherElements GatherND Identity If Loop NonZero Optional OptionalGetElement "
    "OptionalHasElement Pad QLinearConv QLinearMatMul QuantizeLinear Reshape "
    "ReverseSequence Scan ScatterElements ScatterND SequenceAt SequenceConstruct Shape Size "
    "Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze Where "
    "com.microsoft.QuantizeLinear com.microsoft.DequantizeLinear"
)
_AS_STORED = frozenset(_AS_STORED_WORDS.split())


# Operators that add up many elements: in half precision their sums would lose most of it.
_SUMS_WORDS = (
    "Attention AveragePool BatchNormalization Conv ConvTranspose CumSum Einsum Gemm "
    "GlobalAveragePool GroupNormalization InstanceNormalization LRN LayerNormalization LogSoftmax "
    "MatMul Mean MeanVarianceNormalization RMSNormalization ReduceL1 ReduceL2 ReduceLogSum "
    "ReduceLogSumExp ReduceMean ReduceSum ReduceSumSquare Softmax Sum"
)
_SUMS = frozenset(_SUMS_WORDS.split())


def convert(operator: Operator, converter: Callable[[Operator], relax.Expr]) -> relax.Expr:
    """Convert an operator whose operands or results may be stored as integers."""
    floats = [_widened(operator.name, number) for number in operator.input_types]
    results = [_widened(operator.name, number) for number in operator.output_types]
    if operator.name in _AS_STORED or not any((*floats, *results)):
        return converter(operator)
    inputs = [
        cast(operator, operator.emit(value), name, "float32")
        if value is not None and name
        else value
        for value, name in zip(operator.inputs, floats, strict=True)
    ]
    value = operator.builder.normalize(converter(replace(operator, inputs=inputs, input_types=())))
    if not any(results):
        return value
    if isinstance(value.ty, relax.TensorType):
        return _encode(operator, value, results[0])
    fields = [
        operator.builder.emit(relax.TupleGetItem(value, index))
        for index in range(len(value.ty.fields))
    ]
    names = results + [None] * (len(fields) - len(results))
    return relax.Tuple([_encode(operator, f, n) for f, n in zip(fields, names, strict=True)])


def _encode(operator: Operator, value: relax.Expr, name: str | None) -> relax.Expr:
    return cast(operator, value, str(value.ty.dtype), name) if name else value


def _widened(operator: str, number: int) -> str | None:
    """The name of the type, if the operator computes with float32 in its place."""
    if number == TensorProto.FLOAT16 and operator in _SUMS:
        return "float16"
    name = STORED.get(number)
    return name if name in ELEMENTS and name not in INTEGER_BITS else None
