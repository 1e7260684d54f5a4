"""The operators of `ai.onnx.ml` over numbers: linear models and what prepares their features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm import relax

from .ml_scores import constant, labels, largest, pick, text, transform
from .operator import Converter, Operator


def _floats(operator: Operator, index: int = 0) -> relax.Expr:
    """An operand as float32, a row of features as a matrix."""
    value = operator.operand(index)
    if len(value.ty.shape) == 1:
        value = operator.builder.emit(relax.op.reshape(value, [1, -1]))
    return _cast(operator, value, "float32")


def _cast(operator: Operator, value: relax.Expr, dtype: str) -> relax.Expr:
    same = str(value.ty.dtype) == dtype
    return value if same else operator.builder.emit(relax.op.astype(value, dtype))


def _linear(operator: Operator, rows: int) -> relax.Expr:
    """X · coefficientsᵀ + intercepts, for `rows` targets."""
    emit, data = operator.builder.emit, _floats(operator)
    weights = np.asarray(operator.attributes["coefficients"], "float32").reshape(rows, -1)
    result = emit(relax.op.matmul(data, constant(weights.T, "float32")))
    intercepts = operator.attributes.get("intercepts")
    return emit(relax.op.add(result, constant(intercepts, "float32"))) if intercepts else result


def _linear_regressor(operator: Operator) -> relax.Expr:
    result = _linear(operator, int(operator.attributes.get("targets", 1)))
    name = text(operator.attributes, "post_transform", "NONE")
    return transform(operator.builder, result, name)


def _linear_classifier(operator: Operator) -> relax.Expr:
    emit, names = operator.builder.emit, labels(operator, "classlabels_ints")
    rows = len(operator.attributes.get("intercepts", names))
    name = text(operator.attributes, "post_transform", "NONE")
    scores = _linear(operator, rows)
    if rows > 1:
        label = pick(names, largest(operator.builder, scores))
        return relax.Tuple([emit(label), transform(operator.builder, scores, name)])
    if len(names) != 2 or name not in ("NONE", "LOGISTIC"):
        raise ValueError(f"one score for {len(names)} classes with post_transform {name}")
    positive = emit(relax.op.greater(scores, relax.const(0, "float32")))
    index = emit(relax.op.astype(emit(relax.op.squeeze(positive, [1])), "int64"))
    second = transform(operator.builder, scores, name)
    first = emit(relax.op.subtract(relax.const(1, "float32"), second))
    both = emit(relax.op.concat([first, second], axis=1))
    return relax.Tuple([emit(pick(names, index)), both])


def _scaler(operator: Operator) -> relax.Expr:
    data = _floats(operator)
    offset = constant(operator.attributes.get("offset", (0.0,)), "float32")
    scale = constant(operator.attributes.get("scale", (1.0,)), "float32")
    return relax.op.multiply(operator.builder.emit(relax.op.subtract(data, offset)), scale)


def _normalizer(operator: Operator) -> relax.Expr:
    """Each row divided by its norm; a row of zeros stays."""
    emit, data = operator.builder.emit, _floats(operator)
    norm = text(operator.attributes, "norm", "MAX")
    if norm == "MAX":
        size = emit(relax.op.max(data, axis=1, keepdims=True))
    elif norm == "L1":
        size = emit(relax.op.sum(emit(relax.op.abs(data)), axis=1, keepdims=True))
    elif norm == "L2":
        squares = emit(relax.op.multiply(data, data))
        size = emit(relax.op.sqrt(emit(relax.op.sum(squares, axis=1, keepdims=True))))
    else:
        raise ValueError(f"norm is {norm}")
    zero, one = relax.const(0, "float32"), relax.const(1, "float32")
    divisor = emit(relax.op.where(emit(relax.op.equal(size, zero)), one, size))
    return relax.op.divide(data, divisor)


def _binarizer(operator: Operator) -> relax.Expr:
    data = operator.operand(0)
    dtype = str(data.ty.dtype)
    threshold = relax.const(float(operator.attributes.get("threshold", 0.0)), dtype)
    return relax.op.astype(operator.builder.emit(relax.op.greater(data, threshold)), dtype)


def _array_feature_extractor(operator: Operator) -> relax.Expr:
    """Columns of the last axis by their numbers; a vector becomes one row."""
    emit, data = operator.builder.emit, operator.operand(0)
    shape = operator.shape(0)
    columns = emit(relax.op.reshape(operator.operand(1), [-1]))
    picked = emit(relax.op.take(data, columns, axis=len(shape) - 1, mode="clip"))
    return relax.op.reshape(picked, [1, -1]) if len(shape) == 1 else picked


def _imputer(operator: Operator) -> relax.Expr:
    data = operator.operand(0)
    dtype = str(data.ty.dtype)
    attributes = operator.attributes
    if dtype.startswith("int"):
        replaced: Any = int(attributes.get("replaced_value_int64", 0))
        values = attributes["imputed_value_int64s"]
    else:
        replaced = float(attributes.get("replaced_value_float", 0.0))
        values = attributes["imputed_value_floats"]
    if isinstance(replaced, float) and math.isnan(replaced):
        missing = operator.builder.emit(relax.op.isnan(data))
    else:
        missing = operator.builder.emit(relax.op.equal(data, relax.const(replaced, dtype)))
    return relax.op.where(missing, constant(values, dtype), data)


def _feature_vectorizer(operator: Operator) -> relax.Expr:
    parts = [_floats(operator, index) for index in range(len(operator.inputs))]
    return relax.op.concat(parts, axis=1)


def _one_hot_encoder(operator: Operator) -> relax.Expr:
    """A new last axis with a one where the category is; a row of zeros for an unknown one."""
    if "cats_int64s" not in operator.attributes:
        raise ValueError("its categories are text")
    if not int(operator.attributes.get("zeros", 1)):
        raise ValueError("zeros is 0: an unknown category is an error there")
    emit, data = operator.builder.emit, _cast(operator, operator.operand(0), "int64")
    categories = constant(operator.attributes["cats_int64s"], "int64")
    expanded = emit(relax.op.expand_dims(data, [-1]))
    return relax.op.astype(emit(relax.op.equal(expanded, categories)), "float32")


_ENCODED = {
    "int64s": ("int64", "default_int64", -1),
    "floats": ("float32", "default_float", -0.0),
}


def _label_encoder(operator: Operator) -> relax.Expr:
    """Numbers for numbers, by a table; another number for all that is not in it."""
    keys, values = _table(operator, "keys"), _table(operator, "values")
    if keys is None or values is None:
        raise ValueError("its keys or values are text")
    emit = operator.builder.emit
    (key_array, _), (value_array, default) = keys, values
    dtype = str(value_array.dtype)
    data = _cast(operator, operator.operand(0), str(key_array.dtype))
    result = relax.const(default, dtype)
    # From the last to the first: of equal keys the first counts.
    table = constant(key_array, str(key_array.dtype))
    expanded = emit(relax.op.expand_dims(data, [-1]))
    hits = emit(relax.op.equal(expanded, table))
    if key_array.dtype.kind == "f" and np.isnan(key_array).any():
        nan = constant(np.isnan(key_array), "bool")
        both = emit(relax.op.logical_and(emit(relax.op.isnan(expanded)), nan))
        hits = emit(relax.op.logical_or(hits, both))
    numbers = emit(relax.op.astype(hits, "int8"))
    place = emit(relax.op.argmax(numbers, axis=-1))
    found = emit(relax.op.astype(emit(relax.op.max(numbers, axis=-1)), "bool"))
    picked = emit(relax.op.take(constant(value_array, dtype), place, axis=0, mode="clip"))
    return relax.op.where(found, picked, result)


def _table(operator: Operator, name: str) -> tuple[np.ndarray[Any, Any], Any] | None:
    """The keys or values of a LabelEncoder and the value for what is unknown; None for text."""
    from onnx import numpy_helper

    attributes = operator.attributes
    if f"{name}_tensor" in attributes:
        array = numpy_helper.to_array(attributes[f"{name}_tensor"])
        if array.dtype.kind not in "fiu":
            return None
        if "default_tensor" in attributes and name == "values":
            return array, numpy_helper.to_array(attributes["default_tensor"]).item()
        return array, -1 if array.dtype.kind in "iu" else -0.0
    for suffix, (dtype, default, missing) in _ENCODED.items():
        if f"{name}_{suffix}" in attributes:
            array = np.asarray(attributes[f"{name}_{suffix}"], dtype)
            return array, attributes.get(default, missing)
    return None


_DOMAIN = "ai.onnx.ml"
CONVERTERS: dict[str, Converter] = {
    f"{_DOMAIN}.ArrayFeatureExtractor": _array_feature_extractor,
    f"{_DOMAIN}.Binarizer": _binarizer,
    f"{_DOMAIN}.FeatureVectorizer": _feature_vectorizer,
    f"{_DOMAIN}.Imputer": _imputer,
    f"{_DOMAIN}.LabelEncoder": _label_encoder,
    f"{_DOMAIN}.LinearClassifier": _linear_classifier,
    f"{_DOMAIN}.LinearRegressor": _linear_regressor,
    f"{_DOMAIN}.Normalizer": _normalizer,
    f"{_DOMAIN}.OneHotEncoder": _one_hot_encoder,
    f"{_DOMAIN}.Scaler": _scaler,
}
