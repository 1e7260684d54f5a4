"""Arithmetic on integers, on two types, and at the edges of a type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from python.onnx_models import node, random, save
from tvmake import backend

if TYPE_CHECKING:
    from pathlib import Path

    Array = np.ndarray[Any, Any]

OPSET = 22


def _expected(operator: onnx.NodeProto, inputs: list[Array]) -> Any:
    names = [name for name in operator.input if name]
    evaluator = ReferenceEvaluator(operator, opsets={"": OPSET})
    return evaluator.run(None, dict(zip(names, inputs, strict=True)))


def _check(operator: onnx.NodeProto, *inputs: Array) -> None:
    results = backend.run_node(operator, list(inputs), opset_version=OPSET)
    for result, expected in zip(results, _expected(operator, list(inputs)), strict=True):
        np.testing.assert_array_equal(result, expected, strict=True)
        np.testing.assert_array_equal(np.signbit(result), np.signbit(expected))


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64", "uint64"])
def test_shifts_by_any_amount(direction: str, dtype: str) -> None:
    info = np.iinfo(dtype)
    values = np.array([info.min, info.min // 2, 1, 5, info.max], dtype)[:, None]
    least = max(info.min, -2 * info.bits)
    amounts = np.array([least, 0, 1, info.bits - 1, info.bits, 100], dtype)
    _check(node("BitShift", "x y", "z", direction=direction), values, amounts)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_remainder_has_the_sign_of_the_divisor(dtype: str) -> None:
    edges = [0.0, -0.0, 1.5, -1.5, 3, -3, np.inf, -np.inf, np.nan]
    x, y = np.array(edges, dtype)[:, None], np.array(edges, dtype)
    with np.errstate(all="ignore"):
        expected = np.mod(x, y)
    (result,) = backend.run_node(node("Mod", "x y", "z"), [x, y], opset_version=OPSET)
    np.testing.assert_array_equal(result, expected, strict=True)
    is_number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(result)[is_number], np.signbit(expected)[is_number])


@pytest.mark.parametrize("types", ["int32 int32", "int64 int64", "int64 int32", "int32 int64"])
def test_powers_of_integers_are_exact(types: str) -> None:
    base, exponent = types.split()
    x = np.array([-3, -2, -1, 0, 1, 2, 3, 7], base)[:, None]
    _check(node("Pow", "x y", "z"), x, np.array([0, 1, 2, 3, 8, 11], exponent))
    most = 8 * np.dtype(base).itemsize - 2
    _check(node("Pow", "x y", "z"), np.array([2, -2], base), np.array([most, most], exponent))
    _check(node("Pow", "x y", "z"), np.array([0, 1, -1, -1], base), np.array([200, 201, 200, 201]))


def test_negative_powers_of_integers_are_cut() -> None:
    x = np.array([1, -1, -1, 2, -5], "int32")
    y = np.array([-3, -3, -2, -1, -2], "int32")
    (result,) = backend.run_node(node("Pow", "x y", "z"), [x, y], opset_version=OPSET)
    np.testing.assert_array_equal(result, [1, -1, 1, 0, 0])


@pytest.mark.parametrize(
    "types", ["float32 int64", "float32 uint32", "int32 float32", "int64 float32"]
)
def test_powers_of_two_types(types: str) -> None:
    base, exponent = types.split()
    x, y = np.array([1, 2, 3, -3], base), np.array([4, 5, 6, 3], exponent)
    _check(node("Pow", "x y", "z"), x, y)


def test_slopes_of_channels_before_they_were_broadcast(tmp_path: Path) -> None:
    x, slope = random(2, 3, 3, 4), random(3, seed=1)
    operator = node("PRelu", "x s", "y")
    path = save(tmp_path / "m.onnx", [operator], {"x": x.shape}, ["y"], {"s": slope}, opset=6)
    (result,) = backend.prepare(onnx.load(path)).run([x])
    expected = np.where(x < 0, x * slope[:, None, None], x)
    np.testing.assert_array_equal(result, expected)


def test_parts_without_elements() -> None:
    x = random(3, 5)
    sizes = np.array([0, 2, 0, 3])
    operator = node("Split", "x s", "a b c d", axis=1)
    _check(operator, x, sizes)


def test_the_first_rows_are_not_a_reshape() -> None:
    x = random(20, 10, 5)
    bounds = [np.array(value) for value in ([0, 0], [3, 10], [0, 1])]
    _check(node("Slice", "x s e a", "y"), x, *bounds)


@pytest.mark.parametrize(
    ("start", "end", "step"), [(0, 3, -1), (2, 2, -1), (-1, 9, -2), (4, -9, -3), (-9, -9, -1)]
)
def test_slices_backwards(start: int, end: int, step: int) -> None:
    x = random(3, 5)
    values = [np.array(value) for value in ([1, start], [3, end], [0, 1], [1, step])]
    _check(node("Slice", "x s e a t", "y"), x, *values)


def test_slice_of_no_axis() -> None:
    nothing = [np.array([], np.int64)] * 4
    _check(node("Slice", "x s e a t", "y"), random(3, 5), *nothing)


@pytest.mark.parametrize("shape", [(), (2,), (2, 2)])
def test_rows_from_the_end(shape: tuple[int, ...]) -> None:
    table = random(4, 3)
    indices = np.resize(np.array([-1, 2, -4, 0]), shape)
    _check(node("Gather", "x i", "y"), table, indices)
