"""Local response normalization on blocked layout, written out.

The squares of some positions are put side by side in memory of their own, channel by channel, with
zeros before and after them. Sums over nearby channels then read vectors from there, at any place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm import tirx

from tvmake.kernels.lrn import ANNOTATION, LRN, SUMS, Lrn
from tvmake.schedule import loops
from tvmake.schedule.fused import Fused, take_apart
from tvmake.schedule.primitives import PARALLEL_WORK
from tvmake.schedule.tiles import parts

if TYPE_CHECKING:
    from tvmake.schedule.cpu import CpuModel

_MOST_UNROLLED = 16  # channels of a sum


@dataclass(frozen=True)
class _Shapes:
    """Of the value that is normalized; all lanes up to `channels` have one."""

    batch: int
    blocks: int
    height: int
    width: int
    lanes: int
    channels: int


def local_response_normalization(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The rule for a local response normalization and what follows it element by element."""
    fused = take_apart(function, LRN, (SUMS,))
    if fused is None or ANNOTATION not in fused.annotations:
        return None  # that of plain layout
    *numbers, channels = fused.annotations[ANNOTATION]
    batch, blocks, height, width, lanes = (int(extent) for extent in fused.output.shape)
    shapes = _Shapes(batch, blocks, height, width, lanes, int(channels))
    body = _Nest(shapes, Lrn.read(numbers), fused, cpu).build()
    return loops.rewrite(function, body, [], fused.overwritable)


class _Nest:
    """The loops over rows and the two steps for some of a row's positions."""

    def __init__(self, shapes: _Shapes, lrn: Lrn, fused: Fused, cpu: CpuModel) -> None:
        self.shapes, self.lrn, self.fused = shapes, lrn, fused
        lanes = shapes.lanes
        self.start = -(-lrn.before // lanes) * lanes
        self.end = self.start + shapes.blocks * lanes
        self.length = self.end + -(-lrn.after // lanes) * lanes
        most = max(1, cpu.l1_bytes // 2 // (4 * self.length))
        self.parts = parts(shapes.width, min(most, shapes.width))
        self.squares = loops.scratch("squares", max(p.step for p in self.parts), self.length)

    def build(self) -> tirx.Stmt:
        shapes = self.shapes
        rows = shapes.batch * shapes.height

        def row(index: Any) -> tirx.Stmt:
            statements = self._zeros()
            for part in self.parts:

                def piece(step: Any, first: int = part.start, count: int = part.step) -> tirx.Stmt:
                    place = (index // shapes.height, index % shapes.height, first + step * count)
                    return loops.sequence([self._square(place, count), self._sum(place, count)])

                statements.append(loops.loop(part.count, piece, name="piece"))
            return loops.using([self.squares], statements)

        work = rows * shapes.width * shapes.blocks * shapes.lanes * self.lrn.size
        return loops.loop(rows, row) if work < PARALLEL_WORK else loops.parallel(rows, row)

    def _zeros(self) -> list[tirx.Stmt]:
        """Zeros before and after the channels."""
        count, lanes = int(self.squares.shape[0]), self.shapes.lanes

        def fill(first: int, vectors: int) -> tirx.Stmt:
            def zero(column: Any, vector: Any) -> tirx.Stmt:
                return loops.vector(
                    lanes,
                    lambda lane: loops.store(
                        self.squares, loops.zero(), column, first + vector * lanes + lane
                    ),
                )

            return loops.loop(count, lambda c: loops.loop(vectors, lambda v: zero(c, v)))

        gaps = ((0, self.start), (self.end, self.length))
        return [fill(first, (end - first) // lanes) for first, end in gaps if end > first]

    def _each(self, count: int, body: Any) -> tirx.Stmt:
        """Something for every block of channels of some positions."""
        return loops.loop(
            self.shapes.blocks,
            lambda block: loops.loop(count, lambda column: body(block, column), name="column"),
            name="block",
        )

    def _square(self, place: tuple[Any, Any, Any], count: int) -> tirx.Stmt:
        batch, row, first = place
        shapes, data = self.shapes, self.fused.params[0]

        def square(block: Any, column: Any, lane: Any) -> tirx.Stmt:
            channel = block * shapes.lanes + lane
            x = loops.load(data, batch, block, row, first + column, lane)
            value = x * x
            if shapes.channels % shapes.lanes:  # lanes without a channel hold anything
                value = tirx.Select(channel < shapes.channels, value, loops.zero())
            return loops.store(self.squares, value, column, self.start + channel)

        return self._each(
            count, lambda b, c: loops.vector(shapes.lanes, lambda lane: square(b, c, lane))
        )

    def _sum(self, place: tuple[Any, Any, Any], count: int) -> tirx.Stmt:
        batch, row, first = place
        lanes, lrn, data = self.shapes.lanes, self.lrn, self.fused.params[0]
        near = loops.unrolled if lrn.size <= _MOST_UNROLLED else loops.loop

        def vector(block: Any, column: Any) -> tirx.Stmt:
            sums = loops.scratch("sums", lanes)
            begin = self.start - lrn.before + block * lanes

            def start(lane: Any) -> tirx.Stmt:
                return loops.store(sums, loops.zero(), lane)

            def add(k: Any, lane: Any) -> tirx.Stmt:
                square = loops.load(self.squares, column, begin + k + lane)
                return loops.store(sums, loops.load(sums, lane) + square, lane)

            def finish(lane: Any) -> tirx.Stmt:
                indices = (batch, block, row, first + column, lane)
                value = lrn.scaled(loops.load(data, *indices), loops.load(sums, lane))
                return loops.store(self.fused.output, self.fused.finish(value, *indices), *indices)

            total = near(lrn.size, lambda k: loops.vector(lanes, lambda lane: add(k, lane)))
            return loops.using(
                [sums], [loops.vector(lanes, start), total, loops.vector(lanes, finish)]
            )

        return self._each(count, vector)
