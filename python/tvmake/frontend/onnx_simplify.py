"""What an ONNX graph can lose before it is imported, without a change of its outputs."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto, NodeProto

from .onnx_file import walk_nodes

# At inference these hand on their first input.
_PASS_THROUGH = {"Identity", "Dropout"}


def simplify(graph: GraphProto) -> None:
    """Bypass identities and inference-time dropout, in place."""
    outputs = {output.name for output in graph.output}
    used = {name for node in walk_nodes(graph) for name in node.input} | outputs
    alias: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for user in (node, *_inner_nodes(node)):
            for index, name in enumerate(user.input):
                user.input[index] = alias.get(name, name)
        mask_used = any(name in used for name in node.output[1:] if name)
        training = len(node.input) > 2 and bool(node.input[2])
        removable = node.op_type in _PASS_THROUGH and not mask_used and not training
        if removable and node.output[0] not in outputs:
            alias[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _inner_nodes(node: NodeProto) -> Iterator[NodeProto]:
    for attribute in node.attribute:
        yield from walk_nodes(attribute.g)
