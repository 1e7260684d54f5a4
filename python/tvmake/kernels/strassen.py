"""Matrix products with constant weights by Strassen's algorithm.

Rows, depth and columns are cut in halves, and seven products of blocks are made one after the other
in place of eight; `schedule/strassen.py` has which, and in what order. Between two products, sums
that go into several blocks of the result are kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvm import tirx

from tvmake.kernels.builder import Builder, Expr, load, splat
from tvmake.kernels.dense import Dense, declare, row_blocks, tile_rows
from tvmake.kernels.tile import Tile, fetch_steps, row_tiles
from tvmake.schedule.microkernel import read_ahead
from tvmake.schedule.strassen import IMAGE, PARTS, SUMS, operands

if TYPE_CHECKING:
    from tvmake.schedule.cpu import CpuModel

    Fetch = Callable[[Expr], tirx.Stmt]

_TASKS = 16  # to keep a few cores evenly busy
_FEWEST_ROWS = 24  # of a part, which reads all weights of its columns


@dataclass(frozen=True)
class _Step:
    """What is done with one of the products.

    Attributes:
        begin: which kept sum the product is added to, if it is to one.
        keep: as which one the sum is kept.
        add: which kept sum, as it was before, is then added to it.
        result: the block of the result that it then is, rows by columns.
    """

    begin: int | None = None
    keep: int | None = None
    add: int | None = None
    result: tuple[int, int] | None = None


# With P the products, the blocks of the result are P0 + P1, then P0 + P2 + P3 + P4, P0 + P2 + P3 +
# P5, and P0 + P2 + P5 + P6.
_STEPS = (
    _Step(keep=0),
    _Step(begin=0, result=(0, 0)),
    _Step(begin=0, keep=0),
    _Step(begin=0, keep=1),
    _Step(begin=1, result=(1, 0)),
    _Step(keep=1, add=1, result=(1, 1)),
    _Step(begin=0, add=1, result=(0, 1)),
)
_KEPT = 2


def fits(spec: Dense, lanes: int) -> bool:
    """Whether a product can be cut so: rows may be odd, blocks of columns and depth may not."""
    return spec.columns % (2 * spec.vectors * lanes) == 0 and spec.depth % (2 * lanes) == 0


@functools.lru_cache(maxsize=64)  # networks have many alike
def strassen_dense(spec: Dense, cpu: CpuModel) -> tirx.PrimFunc:
    """The kernel: data, packed weights, bias [columns]?, residual? -> result.

    Weights are [7, columns / 2 / width, depth / 2, width].
    """
    return _Writer(spec, cpu).function()


class _Writer:
    """Writes one kernel."""

    def __init__(self, spec: Dense, cpu: CpuModel) -> None:
        self.spec, self.build, self.lanes = spec, Builder(), cpu.lanes(32)
        self.width = spec.vectors * self.lanes
        self.tile_rows = tile_rows(spec.vectors, spec.depth, cpu)
        self.lower = spec.rows // 2
        self.upper = spec.rows - self.lower
        self.depth = spec.depth // 2
        self.blocks = spec.columns // self.width // 2
        packed = (len(IMAGE), self.blocks, self.depth, self.width)
        self.data, self.weights, self.epilogue = declare(spec, self.build, packed, self.width)
        # Of an odd number of rows the lower half has one less: there it is as if it were zero.
        self.moves = {**SUMS} if self.upper == self.lower else {**SUMS, 4: len(SUMS)}
        self.moved = self.build.scratch("moved", (len(self.moves), self.upper, self.depth))
        self.kept = self.build.scratch("kept", (_KEPT, self.blocks, self.upper, self.width))

    def function(self) -> tirx.PrimFunc:
        self.move()
        parts = self.row_parts()
        with self.build.loop(parts * self.blocks, "task", "parallel") as task:
            block, part = tirx.indexmod(task, self.blocks), tirx.indexdiv(task, self.blocks)
            for product in range(len(_STEPS)):
                self.product(product, block, part * (self.upper // parts), self.upper // parts)
        return self.build.function(self.spec.in_place)

    def row_parts(self) -> int:
        """Into how many equal parts rows are cut."""
        for_cores = min(-(-_TASKS // self.blocks), self.upper // _FEWEST_ROWS)
        fewest = max(row_blocks(self.upper, self.depth), for_cores)
        fitting = (n for n in range(fewest, 2 * fewest) if self.upper % n == 0)
        return next(fitting, row_blocks(self.upper, self.depth))

    def move(self) -> None:
        """The sums of blocks of the data."""
        with self.build.loop(self.upper, "row", "parallel") as row:
            if self.upper == self.lower:
                self.move_row(row, lower=True)
                return
            with self.build.when(row < self.lower):
                self.move_row(row, lower=True)
            with self.build.when(row == self.lower):
                self.move_row(row, lower=False)

    def move_row(self, row: Expr, *, lower: bool) -> None:
        """One row of each, with one of the lower half or with zeros."""
        build, lanes = self.build, self.lanes

        def block(half: int, side: int, column: Expr) -> Expr:
            if half and not lower:
                return splat(0.0, lanes)
            return build.bind(load(self.data, *self.place(half, side, row, column), lanes=lanes))

        with build.loop(self.depth // lanes, "column") as vector:
            column = vector * lanes
            a11, a12, a21, a22 = (block(h, s, column) for h in range(2) for s in range(2))
            values = operands(a11, a12, a21, a22)
            for product, number in self.moves.items():
                build.store(self.moved, values[product], number, row, column)

    def place(self, half: int, side: int, row: Expr, column: Expr) -> tuple[Expr, Expr]:
        """Where in the data an element of a block is."""
        return row + half * self.upper, column + side * self.depth

    def product(self, product: int, block: Expr, start: Expr, count: int) -> None:
        """All tiles of one block of columns of a product, for some rows."""
        done = 0
        for tiles, rows in row_tiles(count, self.tile_rows):
            with self.build.loop(tiles, "tile") as tile:
                first = done + tile * rows
                fetch = self.fetch(product, block, first, rows, count) if rows < count else None
                self.tile(product, block, start + first, rows, fetch)
            done += tiles * rows

    def fetch(self, product: int, block: Expr, first: Expr, rows: int, count: int) -> Fetch:
        """What a tile reads ahead: its part of the weights that come next."""
        after = product + 1
        start = (after, block, 0) if after < len(_STEPS) else (0, block + 1, 0)
        size, steps = self.depth * self.width, fetch_steps(self.depth)
        return read_ahead(self.weights, start, size, (first, rows, count), steps)

    def tile(self, product: int, block: Expr, row: Expr, rows: int, fetch: Fetch | None) -> None:
        build, step = self.build, _STEPS[product]
        tile = Tile(build, rows, self.spec.vectors, self.lanes)

        def element(r: int, k: Expr) -> Expr:
            if product in self.moves:
                return load(self.moved, self.moves[product], row + r, k)
            return load(self.data, *self.place(*PARTS[product], row + r, k))

        def weight(k: Expr, v: int) -> Expr:
            return load(self.weights, product, block, k, v * self.lanes, lanes=self.lanes)

        def kept(number: int, r: int, v: int) -> Expr:
            return load(self.kept, number, block, row + r, v * self.lanes, lanes=self.lanes)

        if step.begin is None:
            tile.clear()
        else:
            tile.set(functools.partial(kept, step.begin))
        tile.add_products(self.depth, element, weight, fetch)
        for r, v, value in tile.each():
            added = None if step.add is None else build.bind(kept(step.add, r, v))
            if step.keep is not None:
                build.store(self.kept, value.get(), step.keep, block, row + r, v * self.lanes)
            if added is not None:
                value.set(value.get() + added)
        if step.result is not None:
            self.finish(tile, step.result, block, row)

    def finish(self, tile: Tile, which: tuple[int, int], block: Expr, row: Expr) -> None:
        """Finish sums that are of one of the blocks of the result."""
        half, side = which
        stop = self.spec.rows if half and self.lower < self.upper else None
        place = (block + side * self.blocks, row + half * self.upper)
        self.epilogue.store(tile, *place, self.width, stop)
