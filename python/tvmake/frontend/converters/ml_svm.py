"""The support vector machines of `ai.onnx.ml`, without Platt's probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from .ml_scores import constant, labels, pick, text, transform
from .operator import Converter, Operator

Array = np.ndarray[Any, Any]


def _features(operator: Operator) -> relax.Expr:
    data = operator.operand(0)
    if len(data.ty.shape) == 1:
        data = operator.builder.emit(relax.op.reshape(data, [1, -1]))
    same = str(data.ty.dtype) == "float32"
    return data if same else operator.builder.emit(relax.op.astype(data, "float32"))


def _kernel(operator: Operator, data: relax.Expr, vectors: Array) -> relax.Expr:
    """The kernel function of each row with each vector, [rows, vectors]."""
    emit = operator.builder.emit
    name = text(operator.attributes, "kernel_type", "LINEAR")
    gamma, offset, degree = operator.attributes.get("kernel_params", (0.0, 0.0, 0.0))
    if name == "RBF":
        # One difference at a time: |x|² - 2xy + |y|² cancels.
        apart = emit(
            relax.op.subtract(emit(relax.op.expand_dims(data, [1])), constant(vectors, "float32"))
        )
        square = emit(relax.op.sum(emit(relax.op.multiply(apart, apart)), axis=2))
        scaled = emit(relax.op.multiply(square, relax.const(-gamma, "float32")))
        return emit(relax.op.exp(scaled))
    product = emit(relax.op.matmul(data, constant(vectors.T, "float32")))
    if name == "LINEAR":
        return product
    scaled = emit(relax.op.multiply(product, relax.const(gamma, "float32")))
    shifted = emit(relax.op.add(scaled, relax.const(offset, "float32")))
    if name == "SIGMOID":
        return emit(relax.op.tanh(shifted))
    if name == "POLY":
        if degree in range(1, 9):  # a power of what may be negative: exact as products
            power = shifted
            for _ in range(int(degree) - 1):
                power = emit(relax.op.multiply(power, shifted))
            return power
        return emit(relax.op.power(shifted, relax.const(degree, "float32")))
    raise ValueError(f"kernel_type is {name}")


def _numbers(operator: Operator, name: str) -> Array:
    return np.asarray(operator.attributes.get(name, ()), "float32")


def _regressor(operator: Operator) -> relax.Expr:
    emit, data = operator.builder.emit, _features(operator)
    count = int(operator.attributes.get("n_supports", 0))
    if text(operator.attributes, "post_transform", "NONE") != "NONE":
        raise ValueError("it has a post_transform")
    weights = _numbers(operator, "coefficients")
    if count:
        vectors = _numbers(operator, "support_vectors").reshape(count, -1)
        values = _kernel(operator, data, vectors)
    else:
        values = data
    sums = emit(relax.op.matmul(values, constant(weights.reshape(-1, 1), "float32")))
    result = emit(relax.op.add(sums, constant(_numbers(operator, "rho")[:1], "float32")))
    if not int(operator.attributes.get("one_class", 0)):
        return result
    inside = emit(relax.op.greater(result, relax.const(0, "float32")))
    return relax.op.where(inside, relax.const(1, "float32"), relax.const(-1, "float32"))


def _classifier(operator: Operator) -> relax.Expr:
    """One against one: each pair of classes has a score and a vote; most votes win."""
    emit, names = operator.builder.emit, labels(operator, "classlabels_ints")
    sizes = [int(size) for size in operator.attributes.get("vectors_per_class", ())]
    if not sizes:
        raise ValueError("it has no support vectors; a linear one is a LinearClassifier")
    if operator.attributes.get("prob_a"):
        raise ValueError(
            "it has Platt's probabilities, found by iteration; train it with probability=False"
        )
    count, classes = sum(sizes), len(names)
    vectors = _numbers(operator, "support_vectors").reshape(count, -1)
    values = _kernel(operator, _features(operator), vectors)
    pairs = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
    matrix = _pair_weights(_numbers(operator, "coefficients").reshape(-1, count), sizes, pairs)
    rho = constant(_numbers(operator, "rho")[: len(pairs)], "float32")
    sums = emit(relax.op.matmul(values, constant(matrix, "float32")))
    scores = emit(relax.op.add(sums, rho))
    label = emit(pick(names, _winner(operator, scores, pairs, classes)))
    name = text(operator.attributes, "post_transform", "NONE")
    if classes > 2:
        return relax.Tuple([label, transform(operator.builder, scores, name)])
    if name != "NONE":
        raise ValueError(f"two classes with post_transform {name}")
    both = emit(relax.op.concat([emit(relax.op.negative(scores)), scores], axis=1))
    return relax.Tuple([label, both])


def _pair_weights(coefficients: Array, sizes: list[int], pairs: list[tuple[int, int]]) -> Array:
    """[vectors, pairs]: of a class's vectors, row j - 1 is for j, and row i for an earlier i."""
    starts = np.cumsum([0, *sizes])
    matrix = np.zeros((sum(sizes), len(pairs)), "float32")
    for column, (i, j) in enumerate(pairs):
        first, second = slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1])
        matrix[first, column] = coefficients[j - 1, first]
        matrix[second, column] = coefficients[i, second]
    return matrix


def _winner(
    operator: Operator, scores: relax.Expr, pairs: list[tuple[int, int]], classes: int
) -> relax.Expr:
    """The class with most votes, the first of equal ones."""
    emit = operator.builder.emit
    for_first = np.zeros((len(pairs), classes), "float32")
    for_second = np.zeros((len(pairs), classes), "float32")
    for row, (i, j) in enumerate(pairs):
        for_first[row, i] = for_second[row, j] = 1
    positive = emit(relax.op.greater(scores, relax.const(0, "float32")))
    won = emit(relax.op.astype(positive, "float32"))
    change = emit(relax.op.matmul(won, constant(for_first - for_second, "float32")))
    votes = emit(relax.op.add(change, constant(for_second.sum(0), "float32")))
    return emit(relax.op.argmax(votes, axis=1))


CONVERTERS: dict[str, Converter] = {
    "ai.onnx.ml.SVMClassifier": _classifier,
    "ai.onnx.ml.SVMRegressor": _regressor,
}
