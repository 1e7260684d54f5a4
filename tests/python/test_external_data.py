"""Tensors in files beside the model: mapped, checked; nothing is read outside its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from python.arena_runner import run
from python.onnx_models import spec
from tvmake.compiler import compile_model
from tvmake.errors import ModelError
from tvmake.frontend import onnx_external, onnx_file

LARGE = (600, 512)  # more than a mebibyte of float32


def save(folder: Path, location: str = "weights.bin", **entries: Any) -> Path:
    """A model with one large and one small external tensor."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    large = rng.standard_normal(LARGE, dtype=np.float32)
    small = rng.standard_normal(LARGE[1], dtype=np.float32)
    (folder / "weights.bin").write_bytes(large.tobytes() + small.tobytes())
    tensors = []
    for name, array, offset in (("large", large, 0), ("small", small, large.nbytes)):
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=array.shape)
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": location, "offset": offset, "length": array.nbytes, **entries}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        tensors.append(tensor)
    nodes = [
        helper.make_node("MatMul", ["x", "large"], ["h"]),
        helper.make_node("Add", ["h", "small"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, LARGE[0]])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, LARGE[1]])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], tensors),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_large_tensors_are_mapped_and_small_ones_read(tmp_path: Path) -> None:
    path = save(tmp_path)
    model, files = onnx_file.read(path)
    assert files == (str(path), str(tmp_path / "weights.bin"))
    large, small = model.graph.initializer
    assert onnx_external.is_mapped(large)
    assert not onnx_external.is_mapped(small)
    data = np.fromfile(tmp_path / "weights.bin", np.float32)
    np.testing.assert_array_equal(onnx_external.mapped(large).reshape(-1), data[: -LARGE[1]])
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(small), data[-LARGE[1] :])


def test_the_result_is_that_of_the_mapped_values(tmp_path: Path) -> None:
    path = save(tmp_path)
    x = np.random.default_rng(1).standard_normal((1, LARGE[0]), dtype=np.float32)
    data = np.fromfile(tmp_path / "weights.bin", np.float32).astype(np.float64)
    large, small = data[: -LARGE[1]].reshape(LARGE), data[-LARGE[1] :]
    result = run(compile_model(spec(path)), {"x": x})["y"]
    np.testing.assert_allclose(result, x @ large + small, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "sub/../../secret", "link", ""])
def test_nothing_is_read_outside_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 4_000_000)
    path = save(tmp_path / "model", location)
    (tmp_path / "model/link").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="outside the model's folder"):
        onnx_file.read(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": 4_000_000}, "truncated: it has"),
        ({"offset": -4}, "truncated: it has"),
        ({"length": 1 << 62}, "truncated: it has"),
        ({"length": 4}, "are 4 bytes"),
        ({"offset": "twelve"}, "is no number"),
    ],
)
def test_wrong_places(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        onnx_file.read(save(tmp_path, **entries))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"file 'other\.bin' is missing"):
        onnx_file.read(save(tmp_path, "other.bin"))
