"""Matrix products with constant weights, and what follows them, in registers.

The weights are packed in blocks as wide as a tile, so that a tile reads them front to back. A tile
of sums stays in registers while it runs down the depth (Goto and van de Geijn, "Anatomy of
High-Performance Matrix Multiplication", 2008, section 4); bias, activation and residual are applied
before it is stored. Where the data does not fit into the second cache, sums are made in pieces: all
of the result for one piece of the depth after the other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import tirx

from tvmake.kernels.builder import Builder, Expr, load
from tvmake.kernels.epilogue import Epilogue
from tvmake.kernels.tile import Tile, fetch_steps, row_tiles
from tvmake.schedule.microkernel import read_ahead
from tvmake.schedule.primitives import PARALLEL_WORK

if TYPE_CHECKING:
    from tvmake.schedule.cpu import CpuModel

    Fetch = Callable[[Expr], tirx.Stmt]
    Array = np.ndarray[Any, Any]

_LATENCY = 8  # independent sums that keep the multipliers busy
_MOST_VECTORS = 8  # in a row of a tile
_WIDTHS = (2, 3, 4)  # vectors of a block for many rows; of equally good ones the first
_MOST_ROWS = 160  # of a block whose operand stays in the cache
_CACHED = 1 << 18  # elements of an operand that stay in the cache as a whole


@dataclass(frozen=True)
class Dense:
    """A product of [rows, depth] with weights [depth, columns], and its epilogue.

    The result is activation(product + bias) + residual.

    Attributes:
        vectors: how many vector registers the weights' blocks are wide.
        activation: a key of `ACTIVATIONS`, or empty.
    """

    rows: int
    columns: int
    depth: int
    vectors: int
    bias: bool = False
    activation: str = ""
    residual: bool = False

    @property
    def in_place(self) -> list[tuple[int, int]]:
        """Which parameters the result may overwrite: the residual."""
        return [(0, 2 + self.bias)] if self.residual else []


def block_vectors(rows: int, columns: int, depth: int, cpu: CpuModel) -> int:
    """How many vectors wide the weights' blocks should be.

    Few rows want wide blocks, so that there are enough independent sums. Many want what holds the
    most sums, which is narrow unless the cache keeps too few rows at once.
    """
    if rows * 2 < _LATENCY:
        wanted = min(_MOST_VECTORS, -(-_LATENCY // rows))
    else:
        wanted = max(_WIDTHS, key=lambda vectors: vectors * tile_rows(vectors, depth, cpu))
    return min(wanted, -(-columns // cpu.lanes(32)))


def tile_rows(vectors: int, depth: int, cpu: CpuModel) -> int:
    """How many rows of sums fit into the registers, and lines of their data into the first cache.

    A tile reads one column of its rows after the other. Where these are a multiple of a large
    power of two apart, their lines are in few of the cache's sets, beside one of the weights.
    """
    registers = (cpu.vector_registers - vectors - 1) // vectors
    return max(1, min(registers, cpu.lines_apart(4 * depth) - 1))


def row_blocks(rows: int, depth: int) -> int:
    """Into how many equal parts rows are cut, so that a part of the data stays in the cache."""
    if rows * depth <= _CACHED:
        return 1
    fitting = (n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= _MOST_ROWS)
    blocks = next(fitting)
    return blocks if rows // blocks >= _MOST_ROWS // 4 else 1


def pack_weights(weights: Array, width: int) -> Array:
    """Weights [K, N] as [ceil(N / width), K, width], filled up with zeros."""
    depth, columns = weights.shape
    blocks = -(-columns // width)
    padded = np.pad(weights, ((0, 0), (0, blocks * width - columns)))
    return np.ascontiguousarray(padded.reshape(depth, blocks, width).transpose(1, 0, 2))


def declare(spec: Dense, build: Builder, weights: tuple[int, ...], width: int) -> tuple[Any, ...]:
    """The parameters of a kernel: data, packed weights, bias [blocks · width]?, residual?, result.

    Args:
        spec: what it is.
        build: of the kernel.
        weights: extents of the packed weights.
        width: of a block of columns.

    Returns:
        Data, weights, and what stores the result.
    """
    blocks = -(-spec.columns // width)
    shape = (spec.rows, spec.columns)
    data = build.parameter("data", (spec.rows, spec.depth))
    packed = build.parameter("weights", weights)
    bias = build.parameter("bias", (blocks * width,)) if spec.bias else None
    residual = build.parameter("residual", shape) if spec.residual else None
    result = build.parameter("result", shape)
    return data, packed, Epilogue(build, width, result, bias, spec.activation, residual)


@functools.lru_cache(maxsize=64)  # networks have many alike
def dense(spec: Dense, cpu: CpuModel) -> tirx.PrimFunc:
    """The kernel: data, packed weights, bias [blocks · width]?, residual? -> result."""
    return _Writer(spec, cpu).function()


class _Writer:
    """Writes one kernel."""

    def __init__(self, spec: Dense, cpu: CpuModel) -> None:
        self.spec = spec
        self.lanes = cpu.lanes(32)
        self.width = spec.vectors * self.lanes
        self.tile_rows = tile_rows(spec.vectors, spec.depth, cpu)
        self.build = Builder()
        blocks = -(-spec.columns // self.width)
        packed = (blocks, spec.depth, self.width)
        self.data, self.weights, self.epilogue = declare(spec, self.build, packed, self.width)
        self.row_blocks = row_blocks(spec.rows, spec.depth)
        self.pieces = _pieces(spec.rows // self.row_blocks, spec.depth, cpu)
        self.depth = spec.depth // self.pieces
        self.piece: Expr = 0
        if self.pieces > 1:
            self.kept = self.build.scratch("sums", (blocks, spec.rows, self.width))

    def function(self) -> tirx.PrimFunc:
        spec, row_blocks = self.spec, self.row_blocks
        full, rest = divmod(spec.columns, self.width)
        block_rows = spec.rows // row_blocks
        work = spec.rows * spec.columns * spec.depth
        kind = "parallel" if work >= PARALLEL_WORK else "serial"
        with self.build.loop(self.pieces, "piece") as self.piece:
            if full:
                with self.build.loop(row_blocks * full, "task", kind) as task:
                    block = tirx.indexmod(task, full) if row_blocks > 1 else task
                    start = tirx.indexdiv(task, full) * block_rows if row_blocks > 1 else 0
                    self.rows(block, start, block_rows, self.width)
            if rest:
                with self.build.loop(row_blocks, "task") as task:
                    self.rows(full, task * block_rows, block_rows, rest)
        return self.build.function(spec.in_place)

    def rows(self, block: Expr, start: Expr, count: int, columns: int) -> None:
        """All tiles of one block of columns."""
        done = 0
        for tiles, rows in row_tiles(count, self.tile_rows):
            with self.build.loop(tiles, "tile") as tile:
                first = done + tile * rows
                self.tile(
                    block, start + first, rows, columns, self.fetch(block, first, rows, count)
                )
            done += tiles * rows

    def fetch(self, block: Expr, first: Expr, rows: int, count: int) -> Fetch | None:
        """What a tile reads ahead: its part of the next block of weights."""
        if rows == count:
            return None
        size, steps = self.depth * self.width, fetch_steps(self.depth)
        start = (block + 1, self.piece * self.depth)
        return read_ahead(self.weights, start, size, (first, rows, count), steps)

    def tile(self, block: Expr, row: Expr, rows: int, columns: int, fetch: Fetch | None) -> None:
        tile = Tile(self.build, rows, -(-columns // self.lanes), self.lanes)
        begin = self.piece * self.depth

        def element(r: int, k: Expr) -> Expr:
            return load(self.data, row + r, begin + k)

        def weight(k: Expr, v: int) -> Expr:
            return load(self.weights, block, begin + k, v * self.lanes, lanes=self.lanes)

        self.start(tile, block, row)
        tile.add_products(self.depth, element, weight, fetch)
        self.end(tile, block, row, columns)

    def start(self, tile: Tile, block: Expr, row: Expr) -> None:
        """Zeros, or what the pieces before have summed."""
        tile.clear()
        if self.pieces > 1:
            with self.build.when(self.piece > 0):
                tile.set(
                    lambda r, v: load(self.kept, block, row + r, v * self.lanes, lanes=self.lanes)
                )

    def end(self, tile: Tile, block: Expr, row: Expr, columns: int) -> None:
        """Keep the sums for the next piece, or finish them."""
        if self.pieces == 1:
            self.epilogue.store(tile, block, row, columns)
            return
        with self.build.when(self.piece < self.pieces - 1):
            for r, v, value in tile.each():
                self.build.store(self.kept, value.get(), block, row + r, v * self.lanes)
        with self.build.when(self.piece == self.pieces - 1):
            self.epilogue.store(tile, block, row, columns)


def _pieces(rows: int, depth: int, cpu: CpuModel) -> int:
    """Into how many pieces to cut the sums, for the data of one to stay in the second cache."""
    wanted = -(-4 * rows * depth // cpu.l2_bytes)
    return next((n for n in range(wanted, 2 * wanted) if depth % n == 0), 1)
