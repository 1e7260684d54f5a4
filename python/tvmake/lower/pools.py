"""Memory for tensors without an upper bound: buffers that grow, each used by several tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvmake.lower.extents import variables
from tvmake.lower.lifetimes import lifetimes

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
    alive = lifetimes(graph, roots)
    first = {root: times[0] for root, times in alive.items()}
    last = {root: times[1] for root, times in alive.items()}
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


def _stages(graph: Graph) -> dict[str, int]:
    """When each symbol becomes known: 0 before the run, k by the k-th BIND call."""
    stages = {symbol.name: 0 for symbol in graph.symbols}
    binds = (call for call in graph.calls if call.binds)
    for stage, call in enumerate(binds, start=1):
        stages |= dict.fromkeys(call.binds, stage)
    return stages
