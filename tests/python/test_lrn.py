"""Local response normalization of any rank and type, and on blocked layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kernels.float64 import local_response_normalization
from python.arena_runner import run
from python.onnx_models import node, random, save, spec
from python.test_dynamic import opened
from tvmake.compiler import compile_model
from tvmake.errors import TvmakeError
from tvmake.spec import TargetSpec

if TYPE_CHECKING:
    from pathlib import Path

_PARAMETERS: dict[str, Any] = {"size": 4, "alpha": 0.5, "beta": 0.625, "bias": 1.5}


@pytest.mark.parametrize("shape", [(2, 7), (2, 7, 5), (1, 9, 3, 2, 4)])
@pytest.mark.parametrize(("number", "dtype"), [(1, "float32"), (10, "float16"), (11, "float64")])
def test_any_rank_and_type(shape: tuple[int, ...], number: int, dtype: str, tmp_path: Path) -> None:
    nodes = [node("LRN", "x", "y", **_PARAMETERS)]
    types = {"x": number, "y": number}
    path = save(tmp_path / "m.onnx", nodes, {"x": shape}, ["y"], types=types)
    x = (3 * random(*shape)).astype(dtype)
    got = run(compile_model(spec(path)), {"x": x})["y"]
    expected = local_response_normalization(x.astype("float64"), **_PARAMETERS)
    assert got.dtype == dtype
    error = {"float16": 1e-3, "float32": 1e-6, "float64": 1e-14}[dtype]
    np.testing.assert_allclose(got, expected, rtol=0, atol=error * np.abs(expected).max())


def test_blocked_layout_stays(tmp_path: Path) -> None:
    """Between convolutions there is one kernel, with no transpose around it."""
    nodes = [
        node("Conv", "x w", "c"),
        node("LRN", "c", "n", size=5),
        node("MaxPool", "n", "p", kernel_shape=[2, 2]),
        node("Conv", "p v", "y"),
    ]
    weights: dict[str, Any] = {"w": random(16, 8, 1, 1), "v": random(8, 16, 1, 1)}
    path = save(tmp_path / "m.onnx", nodes, {"x": (1, 8, 6, 5)}, ["y"], weights)
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", "x86-64-v3")))
    words = ("transpose", "conv2d", "lrn", "pool")
    kinds = [word for call in model.graph.calls for word in words if word in call.kernel]
    assert kinds == ["transpose", "conv2d", "lrn", "pool", "conv2d", "transpose"]
    (call,) = (call for call in model.graph.calls if "lrn" in call.kernel)
    assert call.provenance
    assert [source.name for source in call.provenance.sources] == ["node_n"]


def test_after_a_convolution_of_volumes(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("LRN", "c", "y", **_PARAMETERS)]
    weight, x = random(16, 8, 1, 1, 1), random(1, 8, 3, 4, 5)
    path = save(tmp_path / "m.onnx", nodes, {"x": x.shape}, ["y"], {"w": weight})
    got = run(compile_model(spec(path)), {"x": x})["y"]
    convolved = np.einsum("ncdhw,oc->nodhw", x.astype("float64"), weight[:, :, 0, 0, 0])
    expected = local_response_normalization(convolved, **_PARAMETERS)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_batch_known_at_run_time(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("LRN", "c", "y", size=5, alpha=0.3)]
    weights = {"w": random(16, 8, 1, 1)}
    path = save(tmp_path / "m.onnx", nodes, {"x": ("N", 8, 6, 5)}, ["y"], weights)
    model = opened(tmp_path, path, "x=float32[N,8,6,5]")
    for batch in (1, 3):
        model.check(x=random(batch, 8, 6, 5))


def test_size_of_no_channel(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [node("LRN", "x", "y", size=0)], {"x": (1, 3, 2, 2)}, ["y"])
    with pytest.raises(TvmakeError, match="LRN's size"):
        compile_model(spec(path))
