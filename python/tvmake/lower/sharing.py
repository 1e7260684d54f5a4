"""What only moves data needs no kernel where results can lie in the memory of operands.

A part of a tensor (split, slice) is read where it is. What is concatenated is written where the
result is, so that the pieces are joined already: DenseNet's blocks, the branches of Inception and
the long connections of a U-Net. An alias keeps memory alive longer, so it is made only where that
takes little more than is alive without any.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tvmake.lower.graph import BIND, JOIN, PART, Call, all_homes, whole_of
from tvmake.lower.lifetimes import lifetimes
from tvmake.lower.memory import live_bytes

if TYPE_CHECKING:
    from tvmake.lower.graph import Graph

MOST_MORE = 1 / 8  # of the bytes alive without aliases, that these may take


def share_memory(graph: Graph, alignment: int) -> Graph:
    """Replace kernels by PART and JOIN where that takes little more memory.

    Args:
        graph: a graph; one with dynamic shapes or control flow is returned as it is.
        alignment: of each tensor, in bytes.
    """
    movers = [time for time, call in enumerate(graph.calls) if call.movement]
    if not movers or not _is_straight(graph):
        return graph
    sharing = _Sharing(graph, alignment)
    for time in movers:
        sharing.add_parts(time)
    # From the last on: what several results begin with is then in the largest of them.
    for time in reversed(movers):
        sharing.add_join(time)
    shared = sharing.result()
    return shared if live_bytes(shared) <= (1 + MOST_MORE) * live_bytes(graph) else graph


def _is_straight(graph: Graph) -> bool:
    """Whether every call is made once and all sizes are known."""
    return not any(tensor.dims for tensor in graph.tensors) and not any(
        call.guards or call.loop or call.kernel == BIND or call.overwrites is not None
        for call in graph.calls
    )


class _Sharing:
    """Homes of tensors, and how many bytes are alive at each call with them."""

    def __init__(self, graph: Graph, alignment: int) -> None:
        self.graph = graph
        self.alignment = alignment
        self.homes = all_homes(graph)
        self.new_homes: dict[int, tuple[int, int]] = {}
        self.aliased: dict[int, tuple[Call, ...]] = {}  # by the time of the kernel's call
        roots = [self.whole(tensor)[0] for tensor in range(len(graph.tensors))]
        self.weights = {roots[tensor] for tensor in graph.weights}
        self.outputs = {roots[tensor] for tensor in graph.outputs}
        end = len(graph.calls)
        self.alive = lifetimes(graph, roots)
        for tensor in graph.inputs:
            self.alive[roots[tensor]] = 0, end
        for root in self.outputs:
            self.alive[root] = self.alive[root][0], end
        self.fixed = {*(roots[tensor] for tensor in graph.inputs), *self.weights, *self.outputs}
        self.live = np.zeros(end + 1, np.int64)
        for root in self.alive:
            self._count(root, 1)
        self.most = (1 + MOST_MORE) * int(self.live.max())

    def whole(self, tensor: int) -> tuple[int, int]:
        """What holds a tensor, and where in it the tensor begins."""
        return whole_of(self.homes, tensor)

    def result(self) -> Graph:
        """The graph with the aliases."""
        calls = tuple(
            alias
            for time, call in enumerate(self.graph.calls)
            for alias in self.aliased.get(time, (call,))
        )
        used = {call.kernel for call in calls}
        kernels = {name: k for name, k in self.graph.kernels.items() if name in used}
        return replace(self.graph, calls=calls, kernels=kernels, homes=self.new_homes)

    def add_parts(self, time: int) -> None:
        """Results that are parts of the operand."""
        call = self.graph.calls[time]
        if call.movement is None or call.movement.is_join:
            return
        (source,) = call.inputs
        holder, _ = self.whole(source)
        if holder in self.weights or self.fixed & set(call.outputs):
            return
        moved = {
            result: (source, offset)
            for result, offset in zip(call.outputs, call.movement.offsets, strict=True)
        }
        if self._move(holder, moved):
            self.aliased[time] = tuple(
                Call(f"{call.name}.{i}" if i else call.name, PART, call.inputs, (result,))
                for i, result in enumerate(call.outputs)
            )

    def add_join(self, time: int) -> None:
        """Operands that are the result, one after the other."""
        call = self.graph.calls[time]
        if call.movement is None or not call.movement.is_join:
            return
        moved = self._moved_by_join(call)
        if moved is None:
            return
        holder, _ = self.whole(next((home for home, _ in moved.values()), call.outputs[0]))
        if self._move(holder, moved):
            order = np.argsort(call.movement.offsets, kind="stable")
            inputs = tuple(call.inputs[index] for index in order)
            self.aliased[time] = (replace(call, kernel=JOIN, inputs=inputs, movement=None),)

    def _moved_by_join(self, call: Call) -> dict[int, tuple[int, int]] | None:
        """What must move where; None if something cannot."""
        assert call.movement is not None
        (result,) = call.outputs
        target, begin = self.whole(result)
        moved: dict[int, tuple[int, int]] = {}
        covered: Counter[int] = Counter()
        for operand, offset in zip(call.inputs, call.movement.offsets, strict=True):
            holder, within = self.whole(operand)
            home = target, begin + offset - within
            if holder == target and home[1]:
                return None
            if holder != target and moved.setdefault(holder, home) != home:
                return None
            covered[holder] += self._bytes(operand)
        if self.fixed & {target, *moved}:
            return None
        if len(moved) == 1 and target == result:
            ((holder, (_, place)),) = moved.items()
            if place <= 0 and self._bytes(result) <= place + self._bytes(holder):
                # The operands are neighbours already, within something larger.
                return {result: (holder, -place)}
        # Nothing else of a holder may come to lie in the result.
        return moved if all(covered[h] == self._bytes(h) for h in moved) else None

    def _move(self, holder: int, moved: dict[int, tuple[int, int]]) -> bool:
        """Give tensors homes within one, if it may be and not too many bytes are alive then."""
        if any(offset % self.alignment for _, offset in moved.values()):
            return False
        before = {tensor: self.alive[tensor] for tensor in (*moved, holder)}
        first = min(times[0] for times in before.values())
        last = max(times[1] for times in before.values())
        for tensor in before:
            self._count(tensor, -1)
        self.alive[holder] = first, last
        self._count(holder, 1)
        if int(self.live.max()) <= self.most:
            self.homes |= moved
            self.new_homes |= moved
            return True
        self._count(holder, -1)
        self.alive |= before
        for tensor in before:
            self._count(tensor, 1)
        return False

    def _bytes(self, tensor: int) -> int:
        return self.graph.tensors[tensor].bytes

    def _count(self, root: int, sign: int) -> None:
        if root not in self.weights:
            first, last = self.alive[root]
            self.live[first : last + 1] += sign * self._bytes(root)
