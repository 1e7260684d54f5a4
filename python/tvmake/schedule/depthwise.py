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
    """Shapes of what slides over an image: of the result, the input and the kernel."""

    batch: int
    blocks: int
    height: int
    width: int
    lanes: int
    data: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    corner: tuple[int, int]  # padding at the top and at the left

    @staticmethod
    def of(fused: Fused, kernel: tuple[int, ...], numbers: Sequence[Any]) -> _Sliding:
        """Read the shapes off the prim func, of which the first parameter is the input."""
        sh, sw, dh, dw, top, left = map(int, numbers)
        batch, blocks, height, width, lanes = _shape(fused.output)
        return _Sliding(
            *(batch, blocks, height, width, lanes),
            data=_shape(fused.params[0])[2:4],
            kernel=kernel,
            strides=(sh, sw),
            dilation=(dh, dw),
            corner=(top, left),
        )

    def row(self, output: Any, tap: Any) -> Any:
        """The input's row that is multiplied with a row of the kernel."""
        return output * self.strides[0] + tap * self.dilation[0] - self.corner[0]

    def column(self, output: int, tap: int) -> int:
        """The input's column that is multiplied with a column of the kernel."""
        return output * self.strides[1] + tap * self.dilation[1] - self.corner[1]

    def taps(self, output: Any) -> tuple[Any, Any]:
        """The first of the kernel's rows that lie within the image, and one more than the last."""
        height, rows, dilation = self.data[0], self.kernel[0], self.dilation[0]
        above = -self.row(output, 0) + (dilation - 1)  # so that divisions round up
        first, end = 0, rows
        if self.corner[0]:
            first = tirx.max(above, 0) // dilation
        if self.row(self.height - 1, rows - 1) >= height:
            end = tirx.min(tirx.max(above + height, 0) // dilation, rows)
        return first, end

    def is_inside(self, left: int, count: int) -> bool:
        """Whether the sums of some columns take nothing from beyond the image's sides."""
        right = self.column(left + count - 1, self.kernel[1] - 1)
        return self.column(left, 0) >= 0 and right < self.data[1]

    def products(self, columns: range) -> list[tuple[int, int, int]]:
        """For some columns of the result: columns of the input, of the kernel, of the result."""
        taps = range(self.kernel[1])
        found = sorted((self.column(column, kw), kw, column) for column in columns for kw in taps)
        return [product for product in found if 0 <= product[0] < self.data[1]]

    @property
    def work(self) -> int:
        """How many products there are."""
        positions = self.batch * self.blocks * self.height * self.width * self.lanes
        return positions * self.kernel[0] * self.kernel[1]


def depthwise_convolution(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The rule for a depthwise convolution and what follows it element by element."""
    fused = take_apart(function, DEPTHWISE, ("padded",))
    if fused is None or len(fused.output.shape) > 5:  # one with a depth
        return None
    weight = fused.params[1]
    shapes = _Sliding.of(fused, _shape(weight)[1:3], fused.annotations[DEPTHWISE_ANNOTATION])

    def add(total: Any, x: Any, block: Any, kh: Any, kw: Any, lane: Any) -> Any:
        return total + x * loops.load(weight, block, kh, kw, lane)

    free = cpu.vector_registers - shapes.kernel[1] - 1  # beside a row of weights and the input
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
    tiles = list(_tiles(shapes, min(_WIDEST, max(_NARROWEST, free))))
    if len(tiles) > _MOST_TILES or tiles[0].step * shapes.kernel[1] > _MOST_PRODUCTS:
        return None
    return loops.rewrite(function, _Nest(shapes, fused, tiles, start, add).build(), [])


def _tiles(shapes: _Sliding, widest: int) -> list[Part]:
    """The columns in tiles: those within the image in loops, those at its borders one by one."""
    found = []
    for part in parts(shapes.width, widest):
        lefts = [part.start + index * part.step for index in range(part.count)]
        inside = [left for left in lefts if shapes.is_inside(left, part.step)]
        borders = [Part(left, part.step, 1) for left in lefts if left not in inside]
        found += borders + ([Part(inside[0], part.step, len(inside))] if inside else [])
    return sorted(found, key=lambda part: part.start)


class _Nest:
    """The loops around the tiles, and the tiles."""

    def __init__(
        self, shapes: _Sliding, fused: Fused, tiles: list[Part], start: Any, add: _Add
    ) -> None:
        self.shapes, self.fused, self.tiles = shapes, fused, tiles
        self.start, self.add = start, add
        self.images = shapes.batch * shapes.blocks
        self.is_small = shapes.work < PARALLEL_WORK
        self.groups = 1 if self.is_small else min(shapes.height, -(-_TASKS // self.images))

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

        return share(Part(0, 1, self.shapes.height), group, self.groups, row, "row")

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
            across = moved * shapes.strides[1] + source
            x = loops.load(data, batch, block, shapes.row(row, tap), across, lane)
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

        first, end = shapes.taps(row)
        taps = [loops.loop(end - first, products, start=first, name="kh")]
        reaches = bool(shapes.products(columns))
        return loops.using([sums], [*each(start), *(taps if reaches else []), *each(finish)])


def _shape(buffer: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in buffer.shape)
