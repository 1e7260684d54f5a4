"""Memory for tensors without an upper bound: buffers that grow, each used by several tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvmake.lower.extents import variables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvmake.lower.graph import Graph


def assign_pools(graph: Graph, roots: Sequence[int]) -> dict[int, int]:
    """For each unbounded root, the root whose buffer it uses, perhaps its own.

    Tensors share a buffer when they are not alive at the same time and their sizes become known at
    the same point: a buffer must not move while something in it is alive.
    """
    unbounded = {root for root in roots if graph.tensors[root].is_unbounded} - set(graph.weights)
    if not unbounded:
        return {}
    first, last = _lifetimes(graph, roots)
    stage_of = _stages(graph)
    kept = {roots[index] for index in (*graph.inputs, *graph.outputs)}
    pools: dict[int, int] = {root: root for root in unbounded & kept}
    free: dict[int, list[tuple[int, int]]] = {}  # by stage: (last use, owner) of each buffer
    for root in sorted(unbounded - kept, key=lambda r: (first.get(r, 0), r)):
        dims = graph.tensors[root].dims
        stage = max((stage_of[v.name] for dim in dims for v in variables(dim)), default=0)
        buffers = free.setdefault(stage, [])
        match = next((i for i, (end, _) in enumerate(buffers) if end < first.get(root, 0)), None)
        owner = root if match is None else buffers.pop(match)[1]
        buffers.append((last.get(root, 0), owner))
        pools[root] = owner
    return pools


def _lifetimes(graph: Graph, roots: Sequence[int]) -> tuple[dict[int, int], dict[int, int]]:
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for time, call in enumerate(graph.calls):
        for index in (*call.inputs, *call.outputs, *(tensor for tensor, _ in call.guards)):
            first.setdefault(roots[index], time)
            last[roots[index]] = time
    return first, last


def _stages(graph: Graph) -> dict[str, int]:
    """When each symbol becomes known: 0 before the run, k by the k-th BIND call."""
    stages = {symbol.name: 0 for symbol in graph.symbols}
    binds = (call for call in graph.calls if call.binds)
    for stage, call in enumerate(binds, start=1):
        stages |= dict.fromkeys(call.binds, stage)
    return stages
