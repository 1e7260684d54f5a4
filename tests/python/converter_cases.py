"""Own converters against onnxruntime: many operators in one model, so that it is compiled once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from python.arena_runner import run
from python.onnx_models import spec
from tvmake.compiler import compile_model

if TYPE_CHECKING:
    from pathlib import Path

    Array = np.ndarray[Any, Any]


@dataclass
class Cases:
    """A model under way.

    Attributes:
        tolerances: relative to the largest value, by output; 0 where it is left out.
    """

    opset: int = 19
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inputs: dict[str, Array] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)
    tolerances: dict[str, float] = field(default_factory=dict)

    def input(self, value: Any, dtype: str = "float32") -> str:
        """An input of the model, with its value for the test."""
        name = f"x{len(self.inputs)}"
        self.inputs[name] = np.asarray(value, dtype)
        return name

    def weight(self, value: Any, dtype: str = "float32") -> str:
        """A constant of the model."""
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(value, dtype)
        return name

    def add(
        self,
        op_type: str,
        inputs: str,
        *,
        results: int = 1,
        tolerance: float = 0.0,
        **attributes: Any,
    ) -> list[str]:
        """An operator, whose results become outputs. `_` in the inputs is an absent one."""
        operands = ["" if name == "_" else name for name in inputs.split()]
        names = [f"y{len(self.nodes)}_{index}" for index in range(results)]
        domain, _, name = op_type.rpartition(".")
        self.nodes.append(helper.make_node(name, operands, names, domain=domain, **attributes))
        self.tolerances |= dict.fromkeys(names, tolerance)
        return names

    def check(self, folder: Path) -> None:
        """Compile, run and compare."""
        names, path = list(self.tolerances), folder / "model.onnx"
        self._save(path, {})
        session = onnxruntime.InferenceSession(str(path))
        expected = dict(zip(names, session.run(names, self.inputs), strict=True))
        self._save(path, expected)  # now the types of outputs are known
        results = run(compile_model(spec(path)), self.inputs)
        for name, wanted in expected.items():
            got = results[name]
            assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape), name
            limit = self.tolerances[name] * max(float(np.abs(wanted).max(initial=0)), 1e-3)
            np.testing.assert_allclose(
                got.astype("float64"), wanted.astype("float64"), rtol=0, atol=limit, err_msg=name
            )

    def _save(self, path: Path, results: dict[str, Array]) -> None:
        def value(name: str, array: Array) -> onnx.ValueInfoProto:
            number = helper.np_dtype_to_tensor_dtype(array.dtype)
            return helper.make_tensor_value_info(name, number, array.shape)

        graph = helper.make_graph(
            self.nodes,
            "graph",
            [value(name, array) for name, array in self.inputs.items()],
            [
                value(name, results[name]) if results else onnx.ValueInfoProto(name=name)
                for name in self.tolerances
            ],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        path.write_bytes(model.SerializeToString())


def random(*shape: int, seed: int = 0) -> Array:
    """Seeded normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def integers(*shape: int, seed: int = 0, dtype: str = "uint8") -> Array:
    """Seeded integers over the whole range of the type."""
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(dtype)
