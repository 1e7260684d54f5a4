"""What the classifiers of `ai.onnx.ml` do with their scores. Strings cannot be labels here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from tvm import relax

from .operator import Operator

_NEGLIGIBLE = 1e-7  # below it, SOFTMAX_ZERO takes a score for no score
_WINITZKI = 0.147  # of the approximation of the inverse error function that PROBIT is defined by


def labels(operator: Operator, numbers: str) -> list[int]:
    """The class labels; for text, their indices: what has strings as a type is no output here."""
    attributes = operator.attributes
    if attributes.get(numbers):
        return [int(label) for label in attributes[numbers]]
    texts = attributes.get("classlabels_strings", ())
    if not texts:
        raise ValueError("it has no class labels")
    return list(range(len(texts)))


def text(attributes: Mapping[str, Any], name: str, default: str) -> str:
    """A string attribute."""
    value = attributes.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def constant(values: Any, dtype: str) -> relax.Expr:
    """A constant tensor."""
    return relax.const(np.asarray(values).astype(dtype), dtype)


def pick(names: list[int], index: relax.Expr) -> relax.Expr:
    """The label of each row's class."""
    if names == list(range(len(names))):
        return relax.op.astype(index, "int64")
    return relax.op.take(constant(names, "int64"), index, axis=0, mode="clip")


def largest(builder: relax.BlockBuilder, scores: relax.Expr) -> relax.Expr:
    """The class with the largest score of each row, the first of equal ones."""
    return builder.emit(relax.op.argmax(scores, axis=1))


def transform(builder: relax.BlockBuilder, scores: relax.Expr, name: str) -> relax.Expr:
    """`post_transform` of scores, [rows, classes].

    Raises:
        ValueError: when the transform is unknown.
    """
    emit, dtype = builder.emit, str(scores.ty.dtype)
    if name == "NONE":
        return scores
    if name == "LOGISTIC":
        return emit(relax.op.sigmoid(scores))
    if name == "SOFTMAX":
        return emit(relax.op.nn.softmax(scores, axis=1))
    if name == "SOFTMAX_ZERO":
        some = emit(relax.op.greater(emit(relax.op.abs(scores)), relax.const(_NEGLIGIBLE, dtype)))
        top = emit(relax.op.max(scores, axis=1, keepdims=True))
        powers = emit(relax.op.exp(emit(relax.op.subtract(scores, top))))
        kept = emit(relax.op.where(some, powers, relax.const(0, dtype)))
        total = emit(relax.op.sum(kept, axis=1, keepdims=True))
        return emit(relax.op.divide(kept, total))
    if name == "PROBIT":
        return _probit(builder, scores)
    raise ValueError(f"post_transform is {name}")


def _probit(builder: relax.BlockBuilder, scores: relax.Expr) -> relax.Expr:
    """sqrt(2) · erfinv(2x - 1), by Winitzki's formula, as runtimes of ONNX have it."""
    emit, dtype = builder.emit, str(scores.ty.dtype)

    def number(value: float) -> relax.Expr:
        return relax.const(value, dtype)

    x = emit(relax.op.subtract(emit(relax.op.multiply(scores, number(2))), number(1)))
    square = emit(relax.op.multiply(x, x))
    log = emit(relax.op.log(emit(relax.op.subtract(number(1), square))))
    half = emit(relax.op.multiply(log, number(0.5)))
    v = emit(relax.op.add(half, number(2 / (math.pi * _WINITZKI))))
    v2 = emit(relax.op.multiply(log, number(1 / _WINITZKI)))
    root = emit(relax.op.sqrt(emit(relax.op.subtract(emit(relax.op.multiply(v, v)), v2))))
    size = emit(relax.op.sqrt(emit(relax.op.subtract(root, v))))
    signed = emit(relax.op.multiply(emit(relax.op.sign(x)), size))
    return emit(relax.op.multiply(signed, number(math.sqrt(2))))
