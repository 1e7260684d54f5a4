"""Small ONNX models, made on the spot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tvmake.spec import ModelSpec, TargetSpec, parse_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

HOST = TargetSpec("x86_64-linux-gnu", "x86-64-v3")
OPSET = 17


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node; inputs and outputs separated by spaces, `_` for an absent input."""
    operands = ["" if name == "_" else name for name in inputs.split()]
    names = outputs.split()
    return helper.make_node(op_type, operands, names, name=f"node_{names[0]}", **attributes)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    weights: Mapping[str, np.ndarray[Any, Any]] | None = None,
    types: Mapping[str, int] | None = None,
    opset: int = OPSET,
) -> Path:
    """Write a model; inputs and outputs are float32 unless `types` says otherwise."""
    types = types or {}
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [
            helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), list(shape))
            for name, shape in inputs.items()
        ],
        [
            helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), None)
            for name in outputs
        ],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def spec(path: Path, *inputs: str, outputs: Sequence[str] = (), **options: Any) -> ModelSpec:
    """A request for the test's CPU, with INPUTS entries as text."""
    options.setdefault("target", HOST)
    return ModelSpec(
        name="model",
        model=path,
        inputs=parse_inputs(inputs)[0],
        bounds=parse_inputs(inputs)[1],
        outputs=tuple(outputs),
        **options,
    )


def random(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Seeded normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def small_cnn(path: Path) -> Path:
    """Convolution, batch norm, residual add, pool, dense: a bit of everything."""
    nodes = [
        node("Conv", "x w1", "c1", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c1 gamma beta mean var", "b1"),
        node("Relu", "b1", "r1"),
        node("Conv", "r1 w2", "c2", pads=[1, 1, 1, 1]),
        node("Add", "c2 r1", "s"),
        node("Relu", "s", "r2"),
        node("GlobalAveragePool", "r2", "p"),
        node("Flatten", "p", "f"),
        node("Gemm", "f w3 b3", "y", transB=1),
    ]
    weights = {
        "w1": random(8, 3, 3, 3, seed=1) / 5,
        "gamma": 1 + random(8, seed=2) / 4,
        "beta": random(8, seed=3),
        "mean": random(8, seed=4) / 4,
        "var": 1 + np.abs(random(8, seed=5)),
        "w2": random(8, 8, 3, 3, seed=6) / 8,
        "w3": random(5, 8, seed=7),
        "b3": random(5, seed=8),
    }
    return save(path, nodes, {"x": (1, 3, 12, 12)}, ["y"], weights)
