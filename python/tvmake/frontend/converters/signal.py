"""Fourier transforms, as products with the matrix of the transform.

The matrix holds the transform's cosines and sines for one axis, real and imaginary parts side by
side; sums are in double precision, as those of a fast transform would be about as exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import relax

from .operator import Converter, Operator, static_shape

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

_AXIS_IS_OPERAND = 20  # opset from which DFT has its axis as an operand


def _dft(operator: Operator) -> relax.Expr:
    data, shape = operator.operand(0), operator.shape(0)
    length = _scalar(operator.constant(1))
    if operator.opset >= _AXIS_IS_OPERAND:
        given = _scalar(operator.constant(2)) if len(operator.inputs) > 2 else None
        axis = -2 if given is None else given
    else:
        axis = int(operator.attributes.get("axis", 1))
    axis %= len(shape)
    inverse = bool(operator.attributes.get("inverse", 0))
    onesided = bool(operator.attributes.get("onesided", 0))
    rank, parts, present = len(shape), shape[-1], shape[axis]
    if length is None:
        length = 2 * (present - 1) if inverse and onesided else present
    matrix = _inverse_real(length, present) if inverse and onesided else None
    if matrix is None:
        matrix = _matrix(length, present, parts, inverse=inverse, onesided=onesided)
    order = [i for i in range(rank - 1) if i != axis] + [axis, rank - 1]
    moved = operator.emit(relax.op.permute_dims(data, order))
    outer = [shape[i] for i in order[:-2]]
    result = _multiply(operator, moved, outer, matrix)
    back = [order.index(i) for i in range(rank)]
    return operator.emit(relax.op.permute_dims(result, back))


def _stft(operator: Operator) -> relax.Expr:
    signal, shape = operator.operand(0), operator.shape(0)
    step = _scalar(operator.constant(1))
    window = operator.optional(2)
    length = _scalar(operator.constant(3)) if len(operator.inputs) > 3 else None
    if length is None:
        length = static_shape(window)[0] if window is not None else shape[1]
    if step is None or step < 1:
        raise ValueError(f"STFT has the frame step {step}")
    if len(shape) == 2:
        shape = [*shape, 1]
        signal = operator.emit(relax.op.reshape(signal, shape))
    batch, samples, parts = shape
    frames = (samples - length) // step + 1
    starts = step * np.arange(frames)[:, None] + np.arange(length)
    positions = relax.const(starts.reshape(-1), "int64")
    taken = operator.emit(relax.op.take(signal, positions, axis=1))
    cut = operator.emit(relax.op.reshape(taken, [batch, frames, length, parts]))
    if window is not None:
        column = operator.emit(relax.op.reshape(window, [length, 1]))
        cut = operator.emit(relax.op.multiply(cut, column))
    onesided = bool(operator.attributes.get("onesided", 1))
    matrix = _matrix(length, length, parts, inverse=False, onesided=onesided)
    return _multiply(operator, cut, [batch, frames], matrix)


def _multiply(operator: Operator, data: relax.Expr, outer: list[int], matrix: Array) -> relax.Expr:
    """`data` of shape (*outer, n, parts) times a matrix (n, parts, m, parts')."""
    n, parts, m, results = matrix.shape
    rows = operator.emit(relax.op.reshape(data, [*outer, n * parts]))
    dtype = str(data.ty.dtype)
    rows = operator.emit(relax.op.astype(rows, "float64"))
    weights = relax.const(matrix.reshape(n * parts, m * results), "float64")
    product = operator.emit(relax.op.matmul(rows, weights))
    rounded = operator.emit(relax.op.astype(product, dtype))
    return operator.emit(relax.op.reshape(rounded, [*outer, m, results]))


def _matrix(length: int, present: int, parts: int, *, inverse: bool, onesided: bool) -> Array:
    """The transform of `length` points of which `present` are given: cut, or filled with zeros."""
    bins = length // 2 + 1 if onesided else length
    used = min(length, present)
    angle = -2 * np.pi * np.outer(np.arange(used), np.arange(bins)) % (2 * np.pi * length) / length
    if inverse:
        angle = -angle
    factor = 1 / length if inverse else 1.0
    cosine, sine = factor * np.cos(angle), factor * np.sin(angle)
    matrix = np.zeros((present, parts, bins, 2))
    matrix[:used, 0, :, 0], matrix[:used, 0, :, 1] = cosine, sine
    if parts == 2:
        matrix[:used, 1, :, 0], matrix[:used, 1, :, 1] = -sine, cosine
    return matrix


def _inverse_real(length: int, present: int) -> Array:
    """From the first half of a spectrum, whose rest is its conjugate, to a real signal."""
    bins = min(length // 2 + 1, present)
    angle = 2 * np.pi * np.outer(np.arange(bins), np.arange(length)) / length
    weight = np.full((bins, 1), 2 / length)
    weight[0] = 1 / length
    if length % 2 == 0 and bins == length // 2 + 1:
        weight[-1] = 1 / length
    matrix = np.zeros((present, 2, length, 1))
    matrix[:bins, 0, :, 0], matrix[:bins, 1, :, 0] = weight * np.cos(angle), -weight * np.sin(angle)
    return matrix


def _scalar(value: Array | None) -> int | None:
    return None if value is None else int(value.reshape(-1)[0])


CONVERTERS: dict[str, Converter] = {"DFT": _dft, "STFT": _stft}
