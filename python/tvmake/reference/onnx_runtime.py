"""ONNX models in onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from tvmake.errors import ModelError
from tvmake.frontend import onnx_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tvmake.manifest import TensorSpec

    Array = np.ndarray[Any, Any]


def outputs(
    path: Path, inputs: Mapping[str, Array], names: Sequence[str], is_dynamic: bool
) -> dict[str, Array]:
    """What onnxruntime computes for the named tensors, which may be intermediate ones.

    Raises:
        ModelError: when onnxruntime cannot run the model.
    """
    import onnxruntime

    del is_dynamic
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(_with_outputs(path, names), options)
        values = session.run(list(names), dict(inputs))
    except Exception as error:  # onnxruntime's errors have no common base
        raise ModelError(
            f"onnxruntime cannot run the model for reference: {error}", where=str(path)
        ) from error
    return dict(zip(names, values, strict=True))


def index_limits(path: Path, inputs: Sequence[TensorSpec]) -> dict[str, int]:
    """For each tensor that indexes a constant table: how many rows the smallest table has."""
    del inputs
    model = onnx.load(str(path), load_external_data=False)
    sizes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    limits: dict[str, int] = {}
    for node in onnx_file.walk_nodes(model.graph):
        if node.op_type == "Gather" and node.input[0] in sizes:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            rows = int(sizes[node.input[0]][axis])
            limits[node.input[1]] = min(rows, limits.get(node.input[1], rows))
    return limits


def _with_outputs(path: Path, names: Sequence[str]) -> str | bytes:
    model = onnx.load(str(path), load_external_data=False)
    known = {output.name for output in model.graph.output}
    missing = [name for name in names if name not in known]
    if not missing:
        return str(path)
    model = onnx.load(str(path))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in missing)
    return bytes(model.SerializeToString())
