"""If, made part of the graph that it stands in: both branches, and an operator that selects.

The executor skips the operators that only the other branch needs; so this changes nothing but the
form, and what follows sees one straight graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from .dynamic import SELECT

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

    from .flatten.flattener import FlatGraph


def inline_branches(graph: GraphProto | FlatGraph) -> None:
    """Replace every If, in place."""
    kept: list[NodeProto] = []
    for node in graph.node:
        kept += _inlined(node, graph) if node.op_type == "If" else [node]
    del graph.node[:]
    graph.node.extend(kept)


def _inlined(node: NodeProto, graph: GraphProto | FlatGraph) -> list[NodeProto]:
    nodes: list[NodeProto] = []
    results = []
    for label in ("then_branch", "else_branch"):
        branch = next(a.g for a in node.attribute if a.name == label)
        prefix = f"{node.name or node.output[0]}/{label}/"
        nodes += _renamed(branch, prefix, graph)
        results.append([prefix + output.name for output in branch.output])
    selects = [
        onnx.helper.make_node(
            SELECT.split(".")[1],
            [node.input[0], then, other],
            [output],
            name=node.name or node.output[0],
            domain=SELECT.split(".")[0],
        )
        for output, then, other in zip(node.output, *results, strict=True)
        if output
    ]
    return [*nodes, *selects]


def _renamed(branch: GraphProto, prefix: str, graph: GraphProto | FlatGraph) -> list[NodeProto]:
    """The nodes of a branch, whose names differ from all others; its weights go to `graph`."""
    inline_branches(branch)
    own = {tensor.name for tensor in branch.initializer}
    own |= {name for node in branch.node for name in node.output if name}
    for tensor in branch.initializer:
        renamed_tensor = onnx.TensorProto()
        renamed_tensor.CopyFrom(tensor)
        renamed_tensor.name = prefix + tensor.name
        graph.initializer.append(renamed_tensor)
    nodes = []
    for node in branch.node:
        renamed = onnx.NodeProto()
        renamed.CopyFrom(node)
        for names in (renamed.input, renamed.output):
            for index, name in enumerate(names):
                names[index] = prefix + name if name in own else name
        nodes.append(renamed)
    outer = [output.name for output in branch.output if output.name not in own]
    nodes += [  # a branch may hand on a value from outside
        onnx.helper.make_node("Identity", [name], [prefix + name]) for name in outer
    ]
    return nodes
