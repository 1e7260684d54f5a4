"""Small ONNX models that compile in about a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path


def dense(path: Path, *, seed: int = 0, outputs: int = 4, rows: int | str = 1) -> Path:
    """`y = softmax(hidden)`, `hidden = relu(x w + b)`, `x` of shape [rows, 8]."""
    random = np.random.default_rng(seed)
    weight = random.standard_normal((8, outputs), np.float32)
    bias = random.standard_normal(outputs).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["sum"], name="dense"),
            helper.make_node("Relu", ["sum"], ["hidden"], name="relu"),
            helper.make_node("Softmax", ["hidden"], ["y"], name="softmax"),
        ],
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, outputs])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    return _save(path, graph)


def single_kernel(path: Path) -> Path:
    """`y = relu(x)`: one kernel, no weights."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="relu")],
        "single",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
    )
    return _save(path, graph)


def _save(path: Path, graph: onnx.GraphProto) -> Path:
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="tests")
    onnx.save(model, path)
    return path
