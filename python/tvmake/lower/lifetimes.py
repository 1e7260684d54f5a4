"""From which call to which call a graph's tensors are alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvmake.lower.graph import Graph


def lifetimes(graph: Graph, roots: Sequence[int]) -> dict[int, tuple[int, int]]:
    """By root, the first and the last call that use it; the time before and after a run left out.

    What a loop's body shares with the calls around it is alive in every turn.

    Args:
        graph: the calls.
        roots: for each tensor, the one whose memory it is.
    """
    alive: dict[int, tuple[int, int]] = {}
    for time, call in enumerate(graph.calls):
        for index in (*call.inputs, *call.outputs, *(tensor for tensor, _ in call.guards)):
            first, _ = alive.get(roots[index], (time, time))
            alive[roots[index]] = first, time
    # Inner loops end before those around them.
    for end, call in enumerate(graph.calls):
        if call.loop is None:
            continue
        begin = call.loop.first
        kept = {roots[index] for index in (*call.loop.states, *call.loop.collected)}
        for root, (first, last) in alive.items():
            is_inside = first <= end and last >= begin
            if is_inside and (root in kept or first < begin or last > end):
                alive[root] = min(first, begin), max(last, end)
    return alive
