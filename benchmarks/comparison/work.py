"""How much each node of a model has to calculate, and each kernel call therefore."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class CallWork:
    """One kernel call of a compiled model.

    Attributes:
        multiplications: of the convolutions and matrix products that it stands for, counted as the
            definitions have them: a faster algorithm needs fewer.
        bytes: of its operands and results, weights among them.
    """

    name: str
    kernel: str
    sources: tuple[str, ...]
    multiplications: int
    bytes: int


def call_work(artifacts: Path, model: Path, nanoseconds: Sequence[float]) -> list[CallWork]:
    """The kernel calls of a compiled model, in run order.

    Of several calls that stand for one node (a transpose before a convolution), the one that takes
    longest has its multiplications.
    """
    manifest = json.loads((artifacts / "manifest.json").read_text(encoding="utf-8"))
    graph = json.loads((artifacts / "graph.json").read_text(encoding="utf-8"))
    calls = manifest["calls"]
    names = [tuple(source["name"] for source in call["sources"]) for call in calls]
    work = [0] * len(calls)
    for node, count in multiplications(onnx.load(model)).items():
        users = [index for index, sources in enumerate(names) if node in sources]
        if users:
            work[max(users, key=lambda index: nanoseconds[index])] += count
    sizes = _call_bytes(graph)
    return [
        CallWork(call["name"], call["kernel"], sources, count, sizes[call["name"]])
        for call, sources, count in zip(calls, names, work, strict=True)
    ]


def multiplications(model: onnx.ModelProto) -> dict[str, int]:
    """Node name -> multiplications, for the operators that have many."""
    shapes = value_shapes(model)
    result: dict[str, int] = {}
    for node in model.graph.node:
        count = _COUNTERS.get(node.op_type)
        operands = [shapes.get(name) for name in (*node.input[:2], node.output[0])]
        if count and all(operands):
            result[node.name] = count(*operands)
    return result


def _convolution(_: Sequence[int], weight: Sequence[int], output: Sequence[int]) -> int:
    return math.prod(output) * math.prod(weight[1:])


def _transposed(data: Sequence[int], weight: Sequence[int], _: Sequence[int]) -> int:
    return math.prod(data) * math.prod(weight[1:])


def _product(left: Sequence[int], _: Sequence[int], output: Sequence[int]) -> int:
    return math.prod(output) * left[-1]


_COUNTERS: dict[str, Any] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "MatMul": _product,
    "Gemm": lambda left, weight, output: (
        math.prod(left) * math.prod(output) // output[0]
        if left[0] == output[0]
        else math.prod(weight) * output[0]
    ),
}


def value_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shape of every value and constant, by name."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = inferred.graph
    shapes = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return shapes | {i.name: tuple(numpy_helper.to_array(i).shape) for i in graph.initializer}


def _call_bytes(graph: dict[str, Any]) -> dict[str, int]:
    """Call name -> bytes of operands and results."""
    rows = graph["node_row_ptr"]
    shapes, dtypes = graph["attrs"]["shape"][1], graph["attrs"]["dltype"][1]

    def size(entry: int) -> int:
        bits = "".join(c for c in dtypes[entry] if c.isdigit())
        elements: int = math.prod(shapes[entry])
        return elements * int(bits or 8) // 8

    result = {}
    for index, node in enumerate(graph["nodes"]):
        if node["op"] == "tvm_op":
            read = [rows[source] + position for source, position, _ in node["inputs"]]
            written = range(rows[index], rows[index + 1])
            result[node["name"]] = sum(map(size, (*read, *written)))
    return result
