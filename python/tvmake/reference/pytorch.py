"""PyTorch's .pt2 programs in PyTorch itself, operator by operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx

from tvmake.errors import ModelError
from tvmake.frontend import pt2_program
from tvmake.spec import InputSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tvmake.manifest import TensorSpec

    Array = np.ndarray[Any, Any]

_LOOK_UPS = ("embedding.default", "index_select.default", "index.Tensor")


def outputs(
    path: Path, inputs: Mapping[str, Array], names: Sequence[str], is_dynamic: bool
) -> dict[str, Array]:
    """What PyTorch computes for the named outputs and nodes.

    Nodes have the names of the program as it is compiled: with its open dimensions, or exported
    again for the shapes of the inputs.

    Raises:
        ModelError: when PyTorch cannot run the program.
    """
    specs = [InputSpec(name, str(a.dtype), tuple(a.shape)) for name, a in inputs.items()]
    program = pt2_program.read(path, () if is_dynamic else specs, static=not is_dynamic)
    recorder = _Recorder(program.exported.graph_module)
    try:
        with torch.no_grad():
            recorder.run(*_arguments(program, inputs))
    except Exception as error:  # torch's operators raise every kind
        raise ModelError(
            f"PyTorch cannot run the model for reference: {error}", where=str(path)
        ) from error
    values = recorder.values | {
        name: recorder.values[node.name]
        for name, node in program.outputs
        if node.name in recorder.values
    }
    return {name: values[name] for name in names if name in values}


def index_limits(path: Path, inputs: Sequence[TensorSpec]) -> dict[str, int]:
    """For each input that indexes a table: how many rows the smallest such table has."""
    specs = [InputSpec(tensor.name, tensor.dtype, tensor.shape) for tensor in inputs]
    limits: dict[str, int] = {}
    for node in pt2_program.read(path, specs).exported.graph.nodes:
        if node.op == "call_function" and node.target.__name__ in _LOOK_UPS:
            table, *rest = node.all_input_nodes
            rows = int(table.meta["val"].shape[0])
            for index in rest:
                limits[index.name] = min(rows, limits.get(index.name, rows))
    return limits


class _Recorder(fx.Interpreter):
    """Runs a program and keeps every tensor."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, Array] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.values[n.name] = result.detach().numpy().copy()
        return result


def _arguments(
    program: pt2_program.Program, inputs: Mapping[str, Array]
) -> list[torch.Tensor | Any]:
    """What the graph takes: parameters and constants by the signature, and the inputs."""
    exported = program.exported
    constants = (
        dict(exported.named_buffers()) | exported.constants | dict(exported.named_parameters())
    )
    return [
        torch.from_numpy(np.ascontiguousarray(inputs[spec.arg.name]))
        if spec.kind is torch.export.graph_signature.InputKind.USER_INPUT
        else constants[str(spec.target)]
        for spec in exported.graph_signature.input_specs
    ]
