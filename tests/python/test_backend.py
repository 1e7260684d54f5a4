"""ONNX's backend interface: a model is compiled, linked and run in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from python.onnx_models import node, random, save, small_cnn
from tvmake import backend
from tvmake.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def test_outputs_are_those_of_onnxruntime(tmp_path: Path) -> None:
    import onnxruntime

    path = small_cnn(tmp_path / "m.onnx")
    x = random(1, 3, 12, 12)
    (y,) = backend.prepare(onnx.load(path)).run([x])
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_a_shape_is_bound_at_the_first_run_and_anew_when_it_changes(tmp_path: Path) -> None:
    types: dict[str, int] = {"shape": onnx.TensorProto.INT64}
    inputs: dict[str, Sequence[int | str]] = {"x": ("n", "m"), "shape": ("k",)}
    path = save(tmp_path / "m.onnx", [node("Reshape", "x shape", "y")], inputs, ["y"], None, types)
    model = backend.prepare(onnx.load(path))
    for shape in ([4, 3], [2, 6], [12]):
        x = random(3, 4)
        (y,) = model.run({"x": x, "shape": np.array(shape)})
        np.testing.assert_array_equal(y, x.reshape(shape))


def test_one_node() -> None:
    x = random(2, 3)
    (y,) = backend.run_node(onnx.helper.make_node("Relu", ["x"], ["y"]), [x])
    np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_wrong_calls_are_told(tmp_path: Path) -> None:
    model = onnx.load(small_cnn(tmp_path / "m.onnx"))
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    with pytest.raises(SpecError, match="device is 'CUDA'"):
        backend.prepare(model, "CUDA")
    with pytest.raises(SpecError, match="unknown options: speed"):
        backend.prepare(model, speed=1)
    with pytest.raises(SpecError, match="got 0 inputs"):
        backend.prepare(model).run([])
    with pytest.raises(SpecError, match=r"contradicts(.|\n)*x=float32\[1,3,12,12\]"):
        backend.prepare(model).run([random(1, 3, 8, 8)])
