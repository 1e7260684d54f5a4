"""How a kernel moves over an image, and how much of it lies within."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm import tirx

from tvmake.schedule.tiles import Part

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Span:
    """Neighbouring elements of a row of the kernel, and for which columns they lie in the image.

    Attributes:
        taps: the elements.
        columns: counted from a tile's first one.
    """

    taps: range
    columns: range


@dataclass(frozen=True)
class Axis:
    """One axis of an image, of its result and of the kernel that moves along it.

    Attributes:
        size: of the image.
        output: of the result.
        kernel: how many elements the kernel has.
        stride: of the kernel's steps.
        dilation: from one element to the next.
        before: padding before the image.
    """

    size: int
    output: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0

    def source(self, place: Any, tap: Any) -> Any:
        """Where in the image an element of the kernel lies, for a place in the result."""
        return place * self.stride + tap * self.dilation - self.before

    def taps(self, place: Any) -> tuple[Any, Any]:
        """The first element of the kernel within the image, and one more than the last."""
        above = -self.source(place, 0) + (self.dilation - 1)  # so that divisions round up
        first, end = 0, self.kernel
        if self.before:
            first = tirx.min(tirx.max(above, 0) // self.dilation, self.kernel)
        if self.source(self.output - 1, self.kernel - 1) >= self.size:
            end = tirx.min(tirx.max(above + self.size, 0) // self.dilation, self.kernel)
        return first, end

    def is_inside(self, first: int, count: int) -> bool:
        """Whether the kernel lies in the image at so many places."""
        last = self.source(first + count - 1, self.kernel - 1)
        return bool(self.source(first, 0) >= 0 and last < self.size)

    @property
    def inside(self) -> range:
        """The places at which the kernel lies in the image."""
        found = [place for place in range(self.output) if self.is_inside(place, 1)]
        return range(found[0], found[-1] + 1) if found else range(0)

    def spans(self, first: int, count: int) -> list[Span]:
        """What is to be summed at so many places: elements of the same places together."""

        def columns(tap: int) -> range:
            found = [c for c in range(count) if 0 <= self.source(first + c, tap) < self.size]
            return range(found[0], found[-1] + 1) if found else range(0)

        groups = itertools.groupby(range(self.kernel), columns)
        taps = [(list(taps), columns) for columns, taps in groups if columns]
        return [Span(range(taps[0], taps[-1] + 1), columns) for taps, columns in taps]

    def tiles(self, parts: Iterable[Part]) -> list[Part]:
        """Parts of the result with those steps one by one at which the kernel leaves the image."""
        found = []
        for part in parts:
            firsts = [part.start + index * part.step for index in range(part.count)]
            inside = [first for first in firsts if self.is_inside(first, part.step)]
            found += [Part(first, part.step, 1) for first in firsts if first not in inside]
            found += [Part(inside[0], part.step, len(inside))] if inside else []
        return sorted(found, key=lambda part: part.start)
