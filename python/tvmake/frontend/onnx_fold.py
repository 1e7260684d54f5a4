"""Operators of an ONNX graph that depend on no input, computed here by ONNX's own reference.

TVM would compile a kernel for each of them only to call it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from . import onnx_external

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto

_RANDOM = {"Bernoulli", "Multinomial"}
_LARGEST_RESULT = 1 << 30  # bytes; a larger constant is cheaper to compute than to ship


def fold_constants(graph: GraphProto, opset: int) -> None:
    """Replace operators whose operands are all constant by initializers, in place."""
    values = {tensor.name: tensor for tensor in graph.initializer}
    inputs = {value.name for value in graph.input}
    kept, folded = [], set[str]()
    for node in graph.node:
        results = _evaluate(node, values, opset)
        if results is None:
            kept.append(node)
            continue
        for name, value in results.items():
            values[name] = numpy_helper.from_array(value, name)
            folded.add(name)
    used = {name for node in kept for name in _operands(node)}
    used |= {output.name for output in graph.output}
    graph.initializer.extend(values[name] for name in values if name in folded & used)
    for index in reversed(range(len(graph.initializer))):
        name = graph.initializer[index].name
        if name not in used and name not in inputs:
            del graph.initializer[index]
    del graph.node[:]
    graph.node.extend(kept)


def _evaluate(node: NodeProto, values: dict[str, Any], opset: int) -> dict[str, Any] | None:
    operands = [name for name in node.input if name]
    is_constant = all(name in values for name in operands)
    has_graph = any(attribute.HasField("g") for attribute in node.attribute)
    if not is_constant or has_graph or node.op_type in _RANDOM or node.op_type[:6] == "Random":
        return None
    if node.domain not in ("", "ai.onnx"):
        return None
    arrays = {name: _array(values[name]) for name in operands}
    try:
        results = ReferenceEvaluator(node, opsets={"": opset}).run(None, arrays)
    except Exception:  # noqa: BLE001 - what the reference cannot do stays for the compiler
        return None
    named = {name: np.asarray(r) for name, r in zip(node.output, results, strict=False) if name}
    plain = all(value.dtype.kind in "fiub" for value in named.values())
    small = sum(value.nbytes for value in named.values()) <= _LARGEST_RESULT
    return named if plain and small else None


def _array(tensor: TensorProto) -> Any:
    is_mapped = onnx_external.is_mapped(tensor)
    return onnx_external.mapped(tensor) if is_mapped else numpy_helper.to_array(tensor)


def _operands(node: NodeProto) -> set[str]:
    from tvmake.frontend.onnx_file import walk_nodes

    inner = {n for a in node.attribute for user in walk_nodes(a.g) for n in user.input}
    return set(node.input) | inner
