"""Reductions along the last axis: infinities, other types of elements, and one kernel of many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from python.arena_runner import run
from python.onnx_models import node, random, save, spec
from tvmake.compiler import compile_model
from tvmake.spec import TargetSpec

if TYPE_CHECKING:
    from pathlib import Path

_LENGTHS = (8, 37, 200)
_CPUS = ("x86-64", "x86-64-v3")


def _run(folder: Path, nodes: list[Any], x: Any, cpu: str, number: int = 1, **weights: Any) -> Any:
    types = {"x": number, "y": number}
    path = save(folder / "m.onnx", nodes, {"x": x.shape}, ["y"], weights, types)
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", cpu)))
    return run(model, {"x": x})["y"]


@pytest.mark.parametrize("cpu", _CPUS)
@pytest.mark.parametrize("length", _LENGTHS)
def test_extremes_of_infinities(length: int, cpu: str, tmp_path: Path) -> None:
    x = random(12, length)
    x[0], x[1], x[2, length // 2], x[3, -1] = -np.inf, np.inf, -np.inf, np.inf
    for name, expected in (("ReduceMax", x.max(axis=1)), ("ReduceMin", x.min(axis=1))):
        got = _run(tmp_path, [node(name, "x", "y", axes=[1], keepdims=0)], x, cpu)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("cpu", _CPUS)
@pytest.mark.parametrize("length", _LENGTHS)
def test_softmax_of_infinities(length: int, cpu: str, tmp_path: Path) -> None:
    """Masked elements are zeros, rows without others NaN, as those with infinity are."""
    x = 30 * random(12, length)
    x[0], x[1, 1::2], x[2, -1] = -np.inf, -np.inf, np.inf
    got = _run(tmp_path, [node("Softmax", "x", "y", axis=-1)], x, cpu)
    with np.errstate(invalid="ignore"):
        powers = np.exp(x.astype("float64") - x.max(axis=1, keepdims=True))
        expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(got[[1, *range(3, 12)]], expected[[1, *range(3, 12)]], atol=1e-6)
    assert not got[1, 1::2].any()
    assert np.isnan(got[0]).all()
    assert np.isnan(got[2, -1])


@pytest.mark.parametrize(
    ("number", "dtype"), [(10, "float16"), (11, "float64"), (6, "int32"), (3, "int8"), (7, "int64")]
)
@pytest.mark.parametrize("name", ["ReduceMax", "ReduceMin", "ReduceProd"])
def test_other_types(name: str, number: int, dtype: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(-3, 3, (9, 70)).astype(dtype)
    x[0] = np.where(np.arange(70) % 30, 1, -2)
    function: Any = {"ReduceMax": np.max, "ReduceMin": np.min, "ReduceProd": np.prod}[name]
    got = _run(tmp_path, [node(name, "x", "y", axes=[1], keepdims=1)], x, _CPUS[1], number)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, function(x, axis=1, keepdims=True).astype(dtype))


def test_what_reads_other_places(tmp_path: Path) -> None:
    """A row's results that are read in another order, or by other rows."""
    nodes = [
        node("Softmax", "x", "s", axis=-1),
        node("Slice", "s starts ends axes steps", "r"),
        node("ReduceMax", "r", "m", axes=[1], keepdims=1),
        node("Transpose", "m", "t", perm=[1, 0]),
        node("Add", "m t", "u"),
        node("Add", "u r", "y"),
    ]
    x = random(40, 40)
    slices = {"starts": [-1], "ends": [-41], "axes": [1], "steps": [-1]}
    weights: dict[str, Any] = {name: np.array(value, np.int64) for name, value in slices.items()}
    got = _run(tmp_path, nodes, x, _CPUS[1], **weights)
    powers = np.exp(x.astype("float64"))
    turned = (powers / powers.sum(axis=1, keepdims=True))[:, ::-1]
    most = turned.max(axis=1, keepdims=True)
    np.testing.assert_allclose(got, most + most.T + turned, rtol=1e-5)
