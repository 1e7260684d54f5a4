"""Matrix products with constant weights, against float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from python.arena_runner import run
from python.onnx_models import node, save, spec
from tvmake.compiler import compile_model
from tvmake.spec import TargetSpec

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3"])
@pytest.mark.parametrize(
    ("rows", "depth", "columns", "by_strassen"),
    [
        *((1, 30, 7, False), (4, 64, 40, False), (13, 5, 16, False), (14, 8, 17, False)),
        *((130, 3072, 35, False), (700, 1024, 24, False)),
        *((128, 384, 384, True), (131, 512, 416, True), (96, 2048, 768, True)),
        (600, 1024, 512, True),
    ],
)
@pytest.mark.parametrize(
    ("activation", "function"),
    [("Relu", lambda x: np.maximum(x, 0)), ("Sigmoid", lambda x: 1 / (1 + np.exp(-x)))],
    ids=["relu", "sigmoid"],
)
def test_product_with_its_epilogue(
    rows: int,
    depth: int,
    columns: int,
    by_strassen: bool,
    activation: str,
    function: Any,
    cpu: str,
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(rows)
    data, residual = (
        random.standard_normal((rows, width)).astype("float32") for width in (depth, columns)
    )
    weight = random.standard_normal((depth, columns)).astype("float32")
    bias = random.standard_normal(columns).astype("float32")
    nodes = [
        node("MatMul", "x w", "p"),
        node("Add", "p b", "s"),
        node(activation, "s", "a"),
        node("Add", "a r", "y"),
    ]
    shapes = {"x": data.shape, "r": residual.shape}
    path = save(tmp_path / "m.onnx", nodes, shapes, ["y"], {"w": weight, "b": bias})
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", cpu)))
    assert any("strassen" in name for name in model.graph.kernels) == by_strassen
    got = run(model, {"x": data, "r": residual})["y"]
    product = data.astype("float64") @ weight + bias
    expected = function(product) + residual
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(product).max())
