"""graph.json: the graph in TVM's GraphExecutor form, with the memory plan beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tvmake.lower.extents import UNBOUNDED, ProgramBuilder

if TYPE_CHECKING:
    from tvmake.frontend.imported import Symbol
    from tvmake.lower import Graph, MemoryPlan

SCHEMA = 1
_CPU = 1  # DLPack's kDLCPU


def graph_json(graph: Graph, plan: MemoryPlan, weights_id: str) -> str:
    """Serialize a graph.

    A node's outputs are entries; all lists under `attrs` have one value for each entry. What the
    form does not know (offsets in the arena, scratch outputs) stands under names of our own, which
    viewers of the form ignore.
    """
    entry: dict[int, tuple[int, int]] = {}  # tensor -> (node, output)
    order: list[int] = []  # tensor of each entry
    row_ptr = [0]
    nodes: list[dict[str, Any]] = []

    def add_node(node: dict[str, Any], outputs: tuple[int, ...]) -> None:
        for position, tensor in enumerate(outputs):
            entry[tensor] = (len(nodes), position)
            order.append(tensor)
        nodes.append(node)
        row_ptr.append(len(order))

    for tensor in (*graph.inputs, *graph.weights):
        add_node({"op": "null", "name": graph.tensors[tensor].name, "inputs": []}, (tensor,))
    for call in graph.calls:
        attrs = {
            "func_name": call.kernel,
            "num_inputs": str(len(call.inputs)),
            "num_outputs": str(len(call.outputs)),
            "flatten_data": "0",
        }
        if call.num_workspaces:
            attrs["num_workspaces"] = str(call.num_workspaces)
        inputs = [[*entry[tensor], 0] for tensor in call.inputs]
        node = {"op": "tvm_op", "name": call.name, "attrs": attrs, "inputs": inputs}
        add_node(node, call.outputs)

    tensors = [graph.tensors[tensor] for tensor in order]
    document = {
        "nodes": nodes,
        "arg_nodes": list(range(len(graph.inputs) + len(graph.weights))),
        "heads": [[*entry[tensor], 0] for tensor in graph.outputs],
        "node_row_ptr": row_ptr,
        "attrs": {
            "dltype": ["list_str", [tensor.dtype for tensor in tensors]],
            "shape": ["list_shape", [list(tensor.shape) for tensor in tensors]],
            "storage_id": ["list_int", [plan.storages[tensor] for tensor in order]],
            "device_index": ["list_int", [_CPU] * len(order)],
            "byte_offset": ["list_int", [plan.offsets[tensor] for tensor in order]],
        },
        "tvmake": {
            "schema": SCHEMA,
            "arena_bytes": plan.arena_bytes,
            "alignment": plan.alignment,
            "weights_id": weights_id,
            "inputs": [entry[tensor][0] for tensor in graph.inputs],
            "outputs": list(graph.output_names),
            "params": [entry[tensor][0] for tensor in graph.weights],
            **_dynamic(graph, order),
        },
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n"


def _dynamic(graph: Graph, order: list[int]) -> dict[str, Any]:
    """What is known at run time only, and how it is computed. Nothing for a static graph."""
    if not graph.symbols and not any(call.guards or call.loop for call in graph.calls):
        return {}
    builder = ProgramBuilder([symbol.name for symbol in graph.symbols])
    entries = {tensor: position for position, tensor in enumerate(order)}
    first = len(graph.inputs) + len(graph.weights)
    dims = [
        [position, axis, builder.add(dim)]
        for position, tensor in enumerate(order)
        for axis, dim in enumerate(graph.tensors[tensor].dims)
        if not isinstance(dim, int)
    ]
    numbered = list(enumerate(graph.calls, start=first))
    scalars = [[node, builder.add(value)] for node, call in numbered for value in call.scalars]
    position = {symbol.name: index for index, symbol in enumerate(graph.symbols)}
    document = {
        "symbols": [_symbol(symbol) for symbol in graph.symbols],
        "dims": dims,
        "scalars": scalars,
        "binds": [[node, position[n]] for node, call in numbered for n in call.binds],
        "guards": [
            [node, entries[tensor], int(value)]
            for node, call in numbered
            for tensor, value in call.guards
        ],
        "loops": [
            [node, first + _first_call(graph, call.loop.first)]
            for node, call in numbered
            if call.loop
        ],
        "steps": [list(step) for step in builder.finish().steps],
    }
    return {"dynamic": document}


def _first_call(graph: Graph, index: int) -> int:
    """The first call from an index on that is not a view, which is made once for all."""
    while graph.calls[index].is_view:
        index += 1
    return index


def _symbol(symbol: Symbol) -> dict[str, Any]:
    entry = {"name": symbol.name, "max": UNBOUNDED if symbol.most is None else symbol.most}
    return entry if symbol.least == 1 else {**entry, "min": symbol.least}
