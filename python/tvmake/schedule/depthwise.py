"""Depthwise convolution and pooling on blocked layout, written out: neighbours' sums in registers.

Every vector of a row of the image is loaded once for all the columns of the kernel that it is
multiplied with. Nothing is padded: what lies outside of the image is left out of the sums, above
and below it by shorter loops over the kernel's rows, left and right by tiles of their own. Pooling
takes maxima in the place of sums, or sums without weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm import tirx

from tvmake.schedule import loops
from tvmake.schedule.fused import Fused, take_apart
from tvmake.schedule.microkernel import share
from tvmake.schedule.primitives import PARALLEL_WORK
from tvmake.schedule.sliding import Axis
from tvmake.schedule.tiles import Part, parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvmake.schedule.cpu import CpuModel

# The blocks that the rules look for, and where these have their windows.
DEPTHWISE = "depthwise_blocked"
DEPTHWISE_ANNOTATION = "tvmake.depthwise"
POOL = "pool_blocked"
POOL_ANNOTATION = "tvmake.pool"
_TASKS = 8  # to keep a few cores evenly busy
_WIDEST = 16  # wider tiles are more code, and no faster
_NARROWEST = 4
_MOST_TILES = 12  # that are written out
_MOST_PRODUCTS = 256  # of a tile with a row of the kernel


# (sum, element, block, row and column of the kernel, lane) -> sum
_Add = Callable[[Any, Any, Any, Any, Any, Any], Any]


@dataclass(frozen=True)
class _Sliding:
    """Shapes of what slides over an image: of the result, and along its two axes."""

    batch: int
    blocks: int
    lanes: int
    rows: Axis
    columns: Axis

    @staticmethod
    def of(fused: Fused, kernel: tuple[int, ...], numbers: Sequence[Any]) -> _Sliding:
        """Read the shapes off the prim func, of which the first parameter is the input."""
        batch, blocks, *size, lanes = _shape(fused.output)
        steps = list(map(int, numbers))
        of_axes = zip(
            *(_shape(fused.params[0])[2:4], size, kernel, steps[:2], steps[2:4], steps[4:]),
            strict=True,
        )
        rows, columns = (Axis(*numbers) for numbers in of_axes)
        return _Sliding(batch, blocks, lanes, rows, columns)

    def products(self, columns: range) -> list[tuple[int, int, int]]:
        """For some columns of the result: columns of the input, of the kernel, of the result."""
        across, taps = self.columns, range(self.columns.kernel)
        found = sorted((across.source(c, kw), kw, c) for c in columns for kw in taps)
        return [product for product in found if 0 <= product[0] < across.size]

    @property
    def work(self) -> int:
        """How many products there are."""
        positions = self.batch * self.blocks * self.rows.output * self.columns.output * self.lanes
        return positions * self.rows.kernel * self.columns.kernel


def depthwise_convolution(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The rule for a depthwise convolution and what follows it element by element."""
    fused = take_apart(function, DEPTHWISE, ("padded",))
    if fused is None or len(fused.output.shape) > 5:  # one with a depth
        return None
    weight = fused.params[1]
    shapes = _Sliding.of(fused, _shape(weight)[1:3], fused.annotations[DEPTHWISE_ANNOTATION])

    def add(total: Any, x: Any, block: Any, kh: Any, kw: Any, lane: Any) -> Any:
        return total + x * loops.load(weight, block, kh, kw, lane)

    free = cpu.vector_registers - shapes.columns.kernel - 1  # beside a row of weights and the input
    return _written(function, shapes, fused, free, loops.zero(), add)


def pooling(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The rule for a maximum or a sum of windows and what follows it element by element."""
    fused = take_apart(function, POOL, ())
    if fused is None:
        return None
    is_max, kernel_h, kernel_w, *numbers = fused.annotations[POOL_ANNOTATION]
    shapes = _Sliding.of(fused, (int(kernel_h), int(kernel_w)), numbers)

    def add(total: Any, x: Any, *_: Any) -> Any:
        return tirx.max(total, x) if int(is_max) else total + x

    start = tirx.min_value("float32") if int(is_max) else loops.zero()
    return _written(function, shapes, fused, cpu.vector_registers - 1, start, add)


def _written(
    function: tirx.PrimFunc, shapes: _Sliding, fused: Fused, free: int, start: Any, add: _Add
) -> tirx.PrimFunc | None:
    """The kernel whose sums are made of `start` and `add` in so many free registers."""
    widest = min(_WIDEST, max(_NARROWEST, free))
    tiles = shapes.columns.tiles(parts(shapes.columns.output, widest))
    if len(tiles) > _MOST_TILES or tiles[0].step * shapes.columns.kernel > _MOST_PRODUCTS:
        return None
    body = _Nest(shapes, fused, tiles, start, add).build()
    return loops.rewrite(function, body, [], fused.overwritable)


class _Nest:
    """The loops around the tiles, and the tiles."""

    def __init__(
        self, shapes: _Sliding, fused: Fused, tiles: list[Part], start: Any, add: _Add
    ) -> None:
        self.shapes, self.fused, self.tiles = shapes, fused, tiles
        self.start, self.add = start, add
        self.images = shapes.batch * shapes.blocks
        self.is_small = shapes.work < PARALLEL_WORK
        self.groups = 1 if self.is_small else min(shapes.rows.output, -(-_TASKS // self.images))

    def build(self) -> tirx.Stmt:
        tasks = self.images * self.groups
        return (
            loops.loop(tasks, self._task, name="image")
            if self.is_small
            else loops.parallel(tasks, self._task)
        )

    def _task(self, index: Any) -> tirx.Stmt:
        image, group = index // self.groups, index % self.groups
        batch, block = image // self.shapes.blocks, image % self.shapes.blocks

        def row(at: Any) -> tirx.Stmt:
            return loops.sequence([self._columns((batch, block, at), part) for part in self.tiles])

        return share(Part(0, 1, self.shapes.rows.output), group, self.groups, row, "row")

    def _columns(self, place: tuple[Any, Any, Any], part: Part) -> tirx.Stmt:
        def tile(step: Any) -> tirx.Stmt:
            return self._tile(place, range(part.start, part.start + part.step), step * part.step)

        return loops.loop(part.count, tile, name="column")

    def _tile(self, place: tuple[Any, Any, Any], columns: range, moved: Any) -> tirx.Stmt:
        """The sums of some columns, all moved as far as keeps them from the image's borders."""
        shapes, lanes, data = self.shapes, self.shapes.lanes, self.fused.params[0]
        batch, block, row = place
        sums = loops.scratch("sums", len(columns) * lanes)

        def each(value: Callable[[int, Any], tirx.Stmt]) -> list[tirx.Stmt]:
            return [loops.vector(lanes, functools.partial(value, c)) for c in columns]

        def place_of(column: int, lane: Any) -> Any:
            return (column - columns.start) * lanes + lane

        def start(column: int, lane: Any) -> tirx.Stmt:
            return loops.store(sums, self.start, place_of(column, lane))

        def add(tap: Any, source: int, kw: int, column: int, lane: Any) -> tirx.Stmt:
            at = place_of(column, lane)
            across = moved * shapes.columns.stride + source
            x = loops.load(data, batch, block, shapes.rows.source(row, tap), across, lane)
            return loops.store(sums, self.add(loops.load(sums, at), x, block, tap, kw, lane), at)

        def products(tap: Any) -> tirx.Stmt:
            return loops.sequence(
                [
                    loops.vector(lanes, functools.partial(add, tap, *product))
                    for product in shapes.products(columns)
                ]
            )

        def finish(column: int, lane: Any) -> tirx.Stmt:
            indices = (batch, block, row, moved + column, lane)
            value = loops.load(sums, place_of(column, lane))
            return loops.store(self.fused.output, self.fused.finish(value, *indices), *indices)

        first, end = shapes.rows.taps(row)
        taps = [loops.loop(end - first, products, start=first, name="kh")]
        reaches = bool(shapes.products(columns))
        return loops.using([sums], [*each(start), *(taps if reaches else []), *each(finish)])


def _shape(buffer: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in buffer.shape)
