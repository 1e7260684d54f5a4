"""A tile of a matrix product: sums that stay in registers while they run down the depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tvmake.kernels.builder import Builder, Expr, Register, splat

if TYPE_CHECKING:
    from tvm import tirx

_STEPS = 8  # of a sum, for which weights are fetched at once


def row_tiles(rows: int, largest: int) -> list[tuple[int, int]]:
    """Rows cut into tiles of at most two sizes: pairs (number of tiles, rows of each)."""
    tiles = -(-rows // largest)
    small = rows // tiles
    large_tiles = rows - small * tiles
    parts = [(large_tiles, small + 1), (tiles - large_tiles, small)]
    return [part for part in parts if part[0]]


def fetch_steps(depth: int) -> int:
    """In how many steps of `Tile.add_products` something is fetched."""
    return max(1, depth // _STEPS)


class Tile:
    """Sums of some rows, in vectors."""

    def __init__(self, build: Builder, rows: int, vectors: int, lanes: int) -> None:
        self.build, self.rows, self.vectors, self.lanes = build, rows, vectors, lanes
        self._sums = [[build.register(lanes) for _ in range(vectors)] for _ in range(rows)]

    def each(self) -> Iterator[tuple[int, int, Register]]:
        """Row, vector and register of every sum."""
        for r, of_row in enumerate(self._sums):
            for v, value in enumerate(of_row):
                yield r, v, value

    def set(self, value: Callable[[int, int], Expr]) -> None:
        """Give each sum a value, by its row and vector."""
        for r, v, register in self.each():
            register.set(value(r, v))

    def clear(self) -> None:
        """Make all sums zero."""
        self.set(lambda *_: splat(0.0, self.lanes))

    def add_products(
        self,
        depth: int,
        data: Callable[[int, Expr], Expr],
        weights: Callable[[Expr, int], Expr],
        fetch: Callable[[Expr], tirx.Stmt] | None = None,
    ) -> None:
        """Add products of the data's elements with vectors of weights.

        Args:
            depth: how many for each sum.
            data: (row, step) -> element.
            weights: (step, vector) -> vector.
            fetch: what is read ahead, in each of `fetch_steps`.
        """

        def step(k: Expr) -> None:
            row = [self.build.bind(weights(k, v)) for v in range(self.vectors)]
            for r, of_row in enumerate(self._sums):
                value = self.build.bind(splat(data(r, k), self.lanes))
                for v, weight in enumerate(row):
                    of_row[v].set(of_row[v].get() + value * weight)

        together, rest = divmod(depth, _STEPS)
        with self.build.loop(together, "steps") as steps:
            if fetch:
                self.build.emit(fetch(steps))
            with self.build.loop(_STEPS, "k") as k:
                step(steps * _STEPS + k)
        with self.build.loop(rest, "k") as k:
            step(together * _STEPS + k)
