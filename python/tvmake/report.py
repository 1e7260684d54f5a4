"""What the command line shows of a model, as text."""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from tvmake.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from tvmake.compiler import CompiledModel


def compile_summary(model: CompiledModel) -> str:
    """A few lines on a compiled model: what it is, for which CPU, and its memory."""
    graph, plan, target = model.graph, model.plan, model.target
    kernel_calls = sum(not call.is_view for call in graph.calls)
    weights = sum(value.nbytes for value in graph.values)
    saved = 1 - plan.arena_bytes / max(plan.tensors_bytes, 1)
    planning = f" ({saved:.0%} less than without planning)" if saved > 0 else ""
    return "\n".join(
        (
            f"tvmake: {model.spec.name} for {target.triple}, CPU {target.cpu}",
            f"  kernels  {len(graph.kernels)}, called {kernel_calls} times",
            f"  weights  {_size(weights)} in {len(graph.values)} tensors",
            f"  arena    {_size(plan.arena_bytes)}{planning}",
            f"  live     {_size(plan.live_bytes)} at most, the least that an arena can have",
        )
    )


def inspect_model(path: Path, *, as_json: bool) -> str:
    """A model's inputs, outputs, size and operators, and which of them cannot be compiled.

    Raises:
        ModelError: when the file cannot be read.
    """
    facts = _facts(path)
    return json.dumps(facts, indent=1, ensure_ascii=False) if as_json else _as_text(facts)


def _facts(path: Path) -> dict[str, Any]:
    from tvmake.frontend import onnx_file
    from tvmake.frontend.onnx_import import unsupported_operators

    if not path.is_file():
        raise ModelError("the model file does not exist", where=str(path))
    model, _ = onnx_file.read(path)
    unsupported = unsupported_operators(model)
    counts = Counter(
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        for node in onnx_file.walk_nodes(model.graph)
    )
    initializers = model.graph.initializer
    return {
        "file": str(path),
        "format": "onnx",
        "opset": onnx_file.opset(model),
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "inputs": [onnx_file.show(value) for value in onnx_file.graph_inputs(model.graph)],
        "outputs": [onnx_file.show(value) for value in model.graph.output],
        "parameters": sum(onnx_file.element_count(tensor) for tensor in initializers),
        "operators": [
            {"name": name, "count": count, "unsupported_nodes": unsupported.get(name, [])}
            for name, count in sorted(counts.items())
        ],
    }


def _as_text(facts: dict[str, Any]) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("operator")
    table.add_column("nodes", justify="right")
    table.add_column("supported")
    for operator in facts["operators"]:
        nodes = operator["unsupported_nodes"]
        verdict = f"no: {', '.join(nodes)}" if nodes else "yes"
        table.add_row(operator["name"], str(operator["count"]), verdict)
    text = io.StringIO()
    console = Console(file=text, width=100, highlight=False)
    head = (
        ("model", f"{facts['file']} ({facts['format']}, opset {facts['opset']})"),
        ("producer", facts["producer"] or "unknown"),
        *(("input", value) for value in facts["inputs"]),
        *(("output", value) for value in facts["outputs"]),
        ("parameters", f"{facts['parameters']:,}"),
    )
    for label, value in head:
        console.print(f"{label:<11}{value}", markup=False)
    console.print(table)
    return text.getvalue().rstrip()


def _size(count: int) -> str:
    if count < 10_000:
        return f"{count} bytes"
    return f"{count / 1e3:.1f} kB" if count < 10_000_000 else f"{count / 1e6:.1f} MB"
