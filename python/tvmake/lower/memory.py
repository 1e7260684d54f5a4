"""Memory planning: byte offsets in one arena, by lifetime.

Finding the smallest arena is the NP-hard dynamic storage allocation problem. Greedy placement by
size is close to the bound on most networks (Pisarchyk & Lee, "Efficient Memory Management for Deep
Neural Net Inference", 2020, section 5.3); where it is not, a few other orders and a short,
deterministic local search over orders are tried, and the best is kept.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvmake.lower.graph import POOLED, WEIGHT, MemoryPlan, all_homes, memory_roots, whole_of
from tvmake.lower.lifetimes import lifetimes
from tvmake.lower.pools import assign_pools

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tvmake.lower.graph import Graph

_SEARCH_STEPS = 300
_GOOD_ENOUGH = 1.001  # of the lower bound: alignment alone costs more


@dataclass(frozen=True)
class _Block:
    """Memory that is alive from the call `first` to the call `last`, both included."""

    id: int
    bytes: int
    first: int
    last: int

    def overlaps(self, other: _Block) -> bool:
        return self.first <= other.last and other.first <= self.last


def plan_memory(graph: Graph, alignment: int) -> MemoryPlan:
    """Give every tensor but the weights a place in one arena.

    Inputs and outputs keep their memory for the whole run, so that they can be set before and
    read after it. A result takes the place of an input that dies at the same call where the kernel
    allows that.

    Args:
        graph: the graph to plan.
        alignment: of each tensor, in bytes; a power of two.
    """
    storages = memory_roots(len(graph.tensors), graph.calls)
    homes = all_homes(graph)
    places = [whole_of(homes, tensor) for tensor in range(len(graph.tensors))]
    roots = [root for root, _ in places]
    block_of = _merge_in_place(graph, roots)
    blocks = _lifetimes(graph, roots, block_of)
    padded = [_Block(b.id, _align(b.bytes, alignment), b.first, b.last) for b in blocks]
    offsets = _best_offsets(padded, _peak(padded))
    weights = set(graph.weights)
    pools = assign_pools(graph, roots)

    def place(root: int, within: int) -> int:
        if root in weights:
            return WEIGHT
        return POOLED if root in pools else offsets[block_of[root]] + within

    return MemoryPlan(
        offsets=tuple(place(*entry) for entry in places),
        storages=_compact([pools.get(root, root) for root in storages]),
        arena_bytes=_extent(padded, offsets),
        live_bytes=_peak(blocks),
        tensors_bytes=sum(
            graph.tensors[root].bytes for root in set(storages) if root not in weights
        ),
        alignment=alignment,
    )


def live_bytes(graph: Graph) -> int:
    """What the arena has at least, alignment left out."""
    homes = all_homes(graph)
    roots = [whole_of(homes, tensor)[0] for tensor in range(len(graph.tensors))]
    return _peak(_lifetimes(graph, roots, _merge_in_place(graph, roots)))


def _merge_in_place(graph: Graph, roots: list[int]) -> list[int]:
    """For each root, the root whose block of memory it takes over."""
    alive = lifetimes(graph, roots)
    fixed = {roots[index] for index in (*graph.inputs, *graph.weights, *graph.outputs)}
    block_of = list(range(len(graph.tensors)))

    def is_whole(tensor: int) -> bool:
        """Whether there is nothing else in its memory."""
        return graph.tensors[roots[tensor]].bytes == graph.tensors[tensor].bytes

    for time, call in enumerate(graph.calls):
        used = [roots[index] for index in call.inputs]
        for output, position in call.in_place:
            source, result = used[position], call.outputs[output]
            if graph.tensors[source].is_unbounded or graph.tensors[result].dims:
                continue
            if not (is_whole(call.inputs[position]) and is_whole(result)):
                continue
            dies_here = alive[source][1] == time and source not in fixed
            if dies_here and used.count(source) == 1:
                block_of[roots[result]] = block_of[source]
    return block_of


def _lifetimes(graph: Graph, roots: list[int], block_of: list[int]) -> list[_Block]:
    end = len(graph.calls)
    elsewhere = {*graph.weights, *assign_pools(graph, roots)}
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    size: dict[int, int] = {}

    def touch(root: int, *times: int) -> None:
        if root not in elsewhere:
            block = block_of[root]
            first[block] = min(*times, first.get(block, end))
            last[block] = max(*times, last.get(block, -1))
            size[block] = max(size.get(block, 0), graph.tensors[root].bytes)

    for root, times in lifetimes(graph, roots).items():
        touch(root, *times)
    for index in graph.inputs:
        touch(roots[index], -1, end)
    for index in graph.outputs:
        touch(roots[index], end, end)
    return [_Block(block, size[block], first[block], last[block]) for block in sorted(first)]


def _best_offsets(blocks: list[_Block], bound: int) -> dict[int, int]:
    keys: tuple[Callable[[_Block], tuple[int, ...]], ...] = (
        lambda b: (-b.bytes, b.first, b.id),
        lambda b: (-b.bytes * (b.last - b.first + 1), b.first, b.id),
        lambda b: (b.first - b.last, -b.bytes, b.id),
        lambda b: (b.first, -b.bytes, b.id),
    )
    candidates = [sorted(blocks, key=key) for key in keys]
    placed = [(_place(order), order) for order in candidates]
    best, order = min(placed, key=lambda entry: _extent(blocks, entry[0]))
    return _search(blocks, order, best, bound)


def _search(
    blocks: list[_Block], order: list[_Block], best: dict[int, int], bound: int
) -> dict[int, int]:
    """Move the block that sticks out most to the front, or a random one; keep what helps."""
    chooser = random.Random(0)
    size = _extent(blocks, best)
    for _ in range(_SEARCH_STEPS):
        if size <= bound * _GOOD_ENOUGH:
            break
        top = max(order, key=lambda b: best[b.id] + b.bytes)
        moved = top if chooser.random() < 0.5 else chooser.choice(order)
        trial = [b for b in order if b is not moved]
        trial.insert(chooser.randrange(max(1, len(trial) // 2)), moved)
        offsets = _place(trial)
        extent = _extent(blocks, offsets)
        if extent <= size:
            best, order, size = offsets, trial, extent
    return best


def _place(order: Sequence[_Block]) -> dict[int, int]:
    """Put each block into the tightest gap between those placed that are alive with it."""
    offsets: dict[int, int] = {}
    placed: list[_Block] = []
    for block in order:
        neighbours = sorted(
            (offsets[other.id], offsets[other.id] + other.bytes)
            for other in placed
            if other.overlaps(block)
        )
        position, best, tightest = 0, -1, 0
        for start, stop in neighbours:
            gap = start - position
            if gap >= block.bytes and (best < 0 or gap < tightest):
                best, tightest = position, gap
            position = max(position, stop)
        offsets[block.id] = position if best < 0 else best
        placed.append(block)
    return offsets


def _peak(blocks: list[_Block]) -> int:
    """The largest sum of blocks alive at one time."""
    events = sorted(
        [(block.first, 1, block.bytes) for block in blocks]
        + [(block.last + 1, 0, -block.bytes) for block in blocks]
    )
    live = peak = 0
    for _, _, change in events:
        live += change
        peak = max(peak, live)
    return peak


def _extent(blocks: list[_Block], offsets: dict[int, int]) -> int:
    return max((offsets[block.id] + block.bytes for block in blocks), default=0)


def _align(size: int, alignment: int) -> int:
    return max(1, -(-size // alignment)) * alignment


def _compact(roots: list[int]) -> tuple[int, ...]:
    ids: dict[int, int] = {}
    return tuple(ids.setdefault(root, len(ids)) for root in roots)
