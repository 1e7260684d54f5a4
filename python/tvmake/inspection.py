"""What `tvmake inspect` tells of a model file, before anything is compiled."""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from tvmake.errors import ModelError, TvmakeError
from tvmake.report import size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onnx import ModelProto

    from tvmake.spec import InputSpec


def inspect_model(path: Path, inputs: Sequence[InputSpec], *, as_json: bool) -> str:
    """A model's inputs, outputs, cost and operators, and which of these cannot be compiled.

    Args:
        path: the model file.
        inputs: shapes for inputs that the file leaves open; without them the cost is unknown.
        as_json: as JSON, else as a table.

    Raises:
        ModelError: when the file cannot be read.
        SpecError: when `inputs` contradicts the model.
    """
    facts = _facts(path, inputs)
    return json.dumps(facts, indent=1, ensure_ascii=False) if as_json else _as_text(facts)


def _facts(path: Path, inputs: Sequence[InputSpec]) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError("the model file does not exist", where=str(path))
    if path.suffix.lower() == ".onnx":
        return _onnx_facts(path, inputs)
    return _imported_facts(path, inputs)


def _imported_facts(path: Path, inputs: Sequence[InputSpec]) -> dict[str, Any]:
    """Of a format that has no shape inference of its own: told by the compiler's first stages."""
    from tvmake.compiler import compile_model
    from tvmake.frontend.relax_cost import multiplications
    from tvmake.lower.extents import readable
    from tvmake.lower.graph import POOLED
    from tvmake.spec import ModelSpec, TargetSpec
    from tvmake.target import host_triple

    spec = ModelSpec("model", path.absolute(), TargetSpec(host_triple()), tuple(inputs))
    model = compile_model(spec)
    graph, imported = model.graph, model.imported
    counts = Counter(node.op_type for node in imported.nodes)

    def show(indices: Sequence[int], names: Sequence[str]) -> list[str]:
        shown = []
        for index, name in zip(indices, names, strict=True):
            tensor = graph.tensors[index]
            dims = ",".join(str(readable(dim)) for dim in tensor.dims or tensor.shape)
            shown.append(f"{name}={tensor.dtype}[{dims}]")
        return shown

    return {
        "file": str(path),
        "external_data": list(imported.files[1:]),
        "format": imported.details["format"],
        "opset": None,
        "producer": imported.details["producer"],
        "inputs": show(graph.inputs, imported.inputs),
        "outputs": show(graph.outputs, graph.output_names),
        "parameters": sum(value.size for value in graph.values),
        "multiplications": multiplications(imported.module),
        "weight_bytes": sum(value.nbytes for value in graph.values),
        "activation_bytes": None if POOLED in model.plan.offsets else model.plan.arena_bytes,
        "operators": [
            {
                "name": name,
                "count": count,
                "support": "direct",
                "unsupported_nodes": [],
                "advice": "",
            }
            for name, count in sorted(counts.items())
        ],
    }


def _onnx_facts(path: Path, inputs: Sequence[InputSpec]) -> dict[str, Any]:
    from tvmake.frontend import onnx_cost, onnx_file

    model, files = onnx_file.read(path)
    model = _with_shapes(model, inputs, path)
    cost = onnx_cost.estimate(model.graph)
    return {
        "file": str(path),
        "external_data": list(files[1:]),
        "format": "onnx",
        "opset": onnx_file.opset(model),
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "inputs": [onnx_file.show(value) for value in onnx_file.graph_inputs(model.graph)],
        "outputs": [onnx_file.show(value) for value in model.graph.output],
        "parameters": cost.parameters,
        "multiplications": cost.multiplications,
        "weight_bytes": cost.weight_bytes,
        "activation_bytes": cost.activation_bytes,
        "operators": _operators(model),
    }


def _with_shapes(model: ModelProto, inputs: Sequence[InputSpec], path: Path) -> ModelProto:
    """The model with every shape that can be told."""
    from tvmake.frontend import onnx_file

    if inputs:
        onnx_file.fix_inputs(model, inputs, path)
    try:
        return onnx_file.infer_shapes(model, path)
    except TvmakeError:
        return model  # for example operators that ONNX does not know: they are shown below


def _operators(model: ModelProto) -> list[dict[str, Any]]:
    from tvmake.frontend import onnx_file
    from tvmake.frontend.converters import qualified_name
    from tvmake.frontend.onnx_import import advice, is_rewritten, unsupported_operators

    unsupported = unsupported_operators(model)
    nodes = onnx_file.walk_nodes(model.graph)
    counts = Counter(qualified_name(node.domain, node.op_type) for node in nodes)
    return [
        {
            "name": name,
            "count": count,
            "support": (
                "none" if name in unsupported else "rewritten" if is_rewritten(name) else "direct"
            ),
            "unsupported_nodes": unsupported.get(name, []),
            "advice": advice(name, model) if name in unsupported else "",
        }
        for name, count in sorted(counts.items())
    ]


def _as_text(facts: dict[str, Any]) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("operator")
    table.add_column("nodes", justify="right")
    table.add_column("supported")
    for operator in facts["operators"]:
        nodes = operator["unsupported_nodes"]
        verdict = f"no: {', '.join(nodes)}\n{operator['advice']}" if nodes else "yes"
        if operator["support"] == "rewritten":
            verdict = "yes, rewritten"
        table.add_row(operator["name"], str(operator["count"]), verdict)
    text = io.StringIO()
    console = Console(file=text, width=100, highlight=False)
    for label, value in _head(facts):
        console.print(f"{label:<17}{value}", markup=False)
    console.print(table)
    return text.getvalue().rstrip()


def _head(facts: dict[str, Any]) -> list[tuple[str, str]]:
    opset = f", opset {facts['opset']}" if facts["opset"] else ""
    unknown = "unknown: fix the open shapes with --input"
    parameters, weights = facts["parameters"], facts["weight_bytes"]
    multiplications, activations = facts["multiplications"], facts["activation_bytes"]
    return [
        ("model", f"{facts['file']} ({facts['format']}{opset})"),
        ("producer", facts["producer"] or "unknown"),
        *(("external data", value) for value in facts["external_data"]),
        *(("input", value) for value in facts["inputs"]),
        *(("output", value) for value in facts["outputs"]),
        ("parameters", unknown if parameters is None else f"{parameters:,} ({size(weights)})"),
        ("multiplications", unknown if multiplications is None else f"{multiplications:,}"),
        ("activations", unknown if activations is None else f"about {size(activations)}"),
    ]
