"""The best few of a row, with a heap of the best so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T  # noqa: N812 - TVM's own name for it

Element = tuple[Any, Any]  # value, position


@dataclass(frozen=True)
class Heap:
    """A heap of elements with the worst on top, in one row of two buffers.

    Attributes:
        values, positions: [rows, capacity].
        row: of the buffers.
        is_better: compares two values. Of equal values the one that comes first is better.
    """

    values: Any
    positions: Any
    row: Any
    is_better: Callable[[Any, Any], Any]

    @property
    def capacity(self) -> int:
        """How many elements there may be."""
        return int(self.values.shape[1])

    def get(self, place: Any) -> Element:
        """The element at a place."""
        return self.values[self.row, place], self.positions[self.row, place]

    def put(self, place: Any, element: Element) -> None:
        """Emits a change of the element at a place."""
        for buffer, part in zip((self.values, self.positions), element, strict=True):
            T.buffer_store(buffer, part, [self.row, place])

    def select(self, data: Any) -> None:
        """Emits the best elements of the same row of `data`, the best first."""
        size, dtype = self.capacity, str(self.positions.dtype)

        def element(i: Any) -> Element:
            return data[self.row, i], tirx.Cast(dtype, i)

        with T.serial(0, size) as i:
            self.put(i, element(i))
        with T.serial(0, size // 2) as i:
            self._sink(size // 2 - 1 - i, size, self.get(size // 2 - 1 - i))
        with T.serial(0, int(data.shape[1]) - size) as i:
            value, position = element(i + size)
            with T.If(self.is_better(value, self.values[self.row, 0])), T.Then():
                self._sink(0, size, (value, position))
        with T.serial(0, size - 1) as i:
            last = size - 1 - i
            worst, moved = ([T.bind(part) for part in self.get(p)] for p in (0, last))
            self.put(last, (worst[0], worst[1]))
            self._sink(0, last, (moved[0], moved[1]))

    def _sink(self, start: Any, size: Any, element: Element) -> None:
        """Emits what puts an element at a place, or below it: each is worse than those below."""
        hole, child = (T.alloc_buffer((1,), "int32", scope="local") for _ in range(2))
        element = (T.bind(element[0]), T.bind(element[1]))

        def worse_child() -> Any:
            """The worse one of two; where there is none, `size` or more."""
            first = 2 * hole[0] + 1
            second = tirx.min(first + 1, size - 1)
            is_second = tirx.all(
                first + 1 < size,
                self._is_worse(self.get(second), self.get(tirx.min(first, size - 1))),
            )
            return first + tirx.Cast("int32", is_second)

        def descend(place: Any) -> None:
            T.buffer_store(hole, place, [0])
            T.buffer_store(child, worse_child(), [0])

        descend(start)
        below = self.get(tirx.min(child[0], size - 1))
        with T.While(tirx.all(child[0] < size, self._is_worse(below, element))):
            self.put(hole[0], self.get(child[0]))
            descend(child[0])
        self.put(hole[0], element)

    def _is_worse(self, one: Element, other: Element) -> Any:
        return tirx.any(
            self.is_better(other[0], one[0]),
            tirx.all(one[0] == other[0], one[1] > other[1]),
        )
