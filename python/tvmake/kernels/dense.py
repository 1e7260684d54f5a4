"""Matrix products with constant weights, and what follows them, in registers.

The weights are packed in blocks as wide as a tile, so that a tile reads them front to back. A tile
of sums stays in registers while it runs down the depth (Goto and van de Geijn, "Anatomy of
High-Performance Matrix Multiplication", 2008, section 4); bias, activation and residual are applied
before it is stored. Where the data does not fit into the second cache, sums are made in pieces: all
of the result for one piece of the depth after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import tirx

from tvmake.kernels.builder import Builder, Expr, Register, load, splat
from tvmake.schedule.microkernel import read_ahead
from tvmake.schedule.primitives import PARALLEL_WORK

if TYPE_CHECKING:
    from tvmake.schedule.cpu import CpuModel

    Sums = list[list[Register]]
    Fetch = Callable[[Expr], tirx.Stmt]
    Array = np.ndarray[Any, Any]

_LATENCY = 8  # independent sums that keep the multipliers busy
_MOST_VECTORS = 8  # in a row of a tile
_WIDTHS = (2, 3, 4)  # vectors of a block for many rows; of equally good ones the first
_MOST_ROWS = 160  # of a block whose operand stays in the cache
_STEPS = 8  # of a sum, for which weights are fetched at once
_ACTIVATED = 2  # vectors that go through an activation side by side
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


def block_vectors(rows: int, columns: int, depth: int, cpu: CpuModel) -> int:
    """How many vectors wide the weights' blocks should be.

    Few rows want wide blocks, so that there are enough independent sums. Many want what holds the
    most sums, which is narrow unless the cache keeps too few rows at once.
    """
    if rows * 2 < _LATENCY:
        wanted = min(_MOST_VECTORS, -(-_LATENCY // rows))
    else:
        wanted = max(_WIDTHS, key=lambda vectors: vectors * _tile_rows(vectors, depth, cpu))
    return min(wanted, -(-columns // cpu.lanes(32)))


def pack_weights(weights: Array, width: int) -> Array:
    """Weights [K, N] as [ceil(N / width), K, width], filled up with zeros."""
    depth, columns = weights.shape
    blocks = -(-columns // width)
    padded = np.pad(weights, ((0, 0), (0, blocks * width - columns)))
    return np.ascontiguousarray(padded.reshape(depth, blocks, width).transpose(1, 0, 2))


def dense(spec: Dense, cpu: CpuModel) -> tirx.PrimFunc:
    """The kernel: data, packed weights, bias [blocks · width]?, residual? -> result."""
    return _Writer(spec, cpu).function()


def row_tiles(rows: int, largest: int) -> list[tuple[int, int]]:
    """Rows cut into tiles of at most two sizes: pairs (number of tiles, rows of each)."""
    tiles = -(-rows // largest)
    small = rows // tiles
    large_tiles = rows - small * tiles
    parts = [(large_tiles, small + 1), (tiles - large_tiles, small)]
    return [part for part in parts if part[0]]


class _Writer:
    """Writes one kernel."""

    def __init__(self, spec: Dense, cpu: CpuModel) -> None:
        self.spec = spec
        self.lanes = cpu.lanes(32)
        self.width = spec.vectors * self.lanes
        self.tile_rows = _tile_rows(spec.vectors, spec.depth, cpu)
        self.build = Builder()
        blocks = -(-spec.columns // self.width)
        self.data = self.build.parameter("data", (spec.rows, spec.depth))
        self.weights = self.build.parameter("weights", (blocks, spec.depth, self.width))
        self.bias = self.build.parameter("bias", (blocks * self.width,)) if spec.bias else None
        shape = (spec.rows, spec.columns)
        self.residual = self.build.parameter("residual", shape) if spec.residual else None
        self.result = self.build.parameter("result", shape)
        self.pieces = _pieces(spec.rows // _row_blocks(spec.rows, spec.depth), spec.depth, cpu)
        self.depth = spec.depth // self.pieces
        self.loops = bool(spec.activation) and spec.activation not in _SHORT
        self.piece: Expr = 0
        if self.pieces > 1:
            self.kept = self.build.scratch("sums", (blocks, spec.rows, self.width))

    def function(self) -> tirx.PrimFunc:
        spec = self.spec
        full, rest = divmod(spec.columns, self.width)
        row_blocks = _row_blocks(spec.rows, spec.depth)
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
        in_place = [(0, 2 + spec.bias)] if spec.residual else []
        return self.build.function(in_place)

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
        size, steps = self.depth * self.width, max(1, self.depth // _STEPS)
        start = (block + 1, self.piece * self.depth)
        return read_ahead(self.weights, start, size, (first, rows, count), steps)

    def tile(
        self, block: Expr, row: Expr, rows: int, columns: int, fetch: Fetch | None = None
    ) -> None:
        build, lanes = self.build, self.lanes
        vectors = -(-columns // lanes)
        sums = [[build.register(lanes) for _ in range(vectors)] for _ in range(rows)]
        self.start(sums, block, row)
        begin = self.piece * self.depth
        together, rest = divmod(self.depth, _STEPS)
        with build.loop(together, "steps") as steps:
            if fetch:
                build.emit(fetch(steps))
            with build.loop(_STEPS, "k") as k:
                self.step(sums, block, row, begin + steps * _STEPS + k)
        with build.loop(rest, "k") as k:
            self.step(sums, block, row, begin + together * _STEPS + k)
        self.end(sums, block, row, columns)

    def start(self, sums: Sums, block: Expr, row: Expr) -> None:
        """Zeros, or what the pieces before have summed."""
        for _, _, value in _each(sums):
            value.set(splat(0.0, self.lanes))
        if self.pieces > 1:
            with self.build.when(self.piece > 0):
                for r, v, value in _each(sums):
                    place = (block, row + r, v * self.lanes)
                    value.set(load(self.kept, *place, lanes=self.lanes))

    def end(self, sums: Sums, block: Expr, row: Expr, columns: int) -> None:
        """Keep the sums for the next piece, or finish them."""
        if self.pieces == 1:
            self.finish_all(sums, block, row, columns)
            return
        with self.build.when(self.piece < self.pieces - 1):
            for r, v, value in _each(sums):
                self.build.store(self.kept, value.get(), block, row + r, v * self.lanes)
        with self.build.when(self.piece == self.pieces - 1):
            self.finish_all(sums, block, row, columns)

    def finish_all(self, sums: Sums, block: Expr, row: Expr, columns: int) -> None:
        """The epilogue of a tile."""
        if self.loops:
            self.activate(sums, block)
        for r, v, value in _each(sums):
            self.finish(value, block, row + r, v, min(self.lanes, columns - v * self.lanes))

    def activate(self, sums: Sums, block: Expr) -> None:
        """Bias and activation, as a loop: written out for every vector, it would be long code.

        Vectors that are side by side in it share its constants, and hide each other's latency.
        """
        build, lanes, vectors = self.build, self.lanes, len(sums[0])
        together = math.gcd(vectors, _ACTIVATED) * lanes
        width = vectors * lanes
        tile = build.stack("tile", (len(sums) * width,))
        for r, v, value in _each(sums):
            build.store(tile, self.biased(value, block, v), r * width + v * lanes)
        with build.loop(len(sums) * width // together, "part") as part:
            values = build.bind(load(tile, part * together, lanes=together))
            result = ACTIVATIONS[self.spec.activation](values, together)
            build.store(tile, result, part * together)
        for r, v, value in _each(sums):
            value.set(load(tile, r * width + v * lanes, lanes=lanes))

    def biased(self, sums: Register, block: Expr, vector: int) -> Expr:
        """A vector of sums with its bias."""
        if self.bias is None:
            return sums.get()
        column = block * self.width + vector * self.lanes
        return sums.get() + load(self.bias, column, lanes=self.lanes)

    def step(self, sums: Sums, block: Expr, row: Expr, k: Expr) -> None:
        """One element of each row times one row of weights."""
        build, lanes = self.build, self.lanes
        weights = [
            build.bind(load(self.weights, block, k, v * lanes, lanes=lanes))
            for v in range(len(sums[0]))
        ]
        for r, row_sums in enumerate(sums):
            value = build.bind(splat(load(self.data, row + r, k), lanes))
            for v, weight in enumerate(weights):
                row_sums[v].set(row_sums[v].get() + value * weight)

    def finish(self, sums: Register, block: Expr, row: Expr, vector: int, valid: int) -> None:
        """The epilogue of one vector of sums, of which `valid` lanes are of the result."""
        build, lanes = self.build, self.lanes
        column = block * self.width + vector * lanes
        if not self.loops:
            sums.set(self.biased(sums, block, vector))
            if self.spec.activation:
                sums.set(ACTIVATIONS[self.spec.activation](sums.get(), lanes))
        if self.residual is not None:
            sums.set(sums.get() + self.partial(self.residual, row, column, valid))
        if valid == lanes:
            build.store(self.result, sums.get(), row, column)
        else:
            for lane in range(valid):
                build.store(self.result, sums.lane(lane), row, column + lane)

    def partial(self, buffer: Any, row: Expr, column: Expr, valid: int) -> Expr:
        """A vector of which only some lanes may be read."""
        if valid == self.lanes:
            return load(buffer, row, column, lanes=self.lanes)
        vector = self.build.register(self.lanes)
        vector.set(splat(0.0, self.lanes))
        for lane in range(valid):
            vector.set_lane(lane, load(buffer, row, column + lane))
        return vector.get()


def _each(sums: Sums) -> Iterator[tuple[int, int, Register]]:
    """Row, vector and register of every sum of a tile."""
    for r, of_row in enumerate(sums):
        for v, value in enumerate(of_row):
            yield r, v, value


def _tile_rows(vectors: int, depth: int, cpu: CpuModel) -> int:
    """How many rows of sums fit into the registers, and lines of their data into the first cache.

    A tile reads one column of its rows after the other. Where these are a multiple of a large
    power of two apart, their lines are in few of the cache's sets, beside one of the weights.
    """
    registers = (cpu.vector_registers - vectors - 1) // vectors
    return max(1, min(registers, cpu.lines_apart(4 * depth) - 1))


def _row_blocks(rows: int, depth: int) -> int:
    """Into how many equal parts rows are cut, so that a part of the data stays in the cache."""
    if rows * depth <= _CACHED:
        return 1
    fitting = (n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= _MOST_ROWS)
    blocks = next(fitting)
    return blocks if rows // blocks >= _MOST_ROWS // 4 else 1


def _pieces(rows: int, depth: int, cpu: CpuModel) -> int:
    """Into how many pieces to cut the sums, for the data of one to stay in the second cache."""
    wanted = -(-4 * rows * depth // cpu.l2_bytes)
    return next((n for n in range(wanted, 2 * wanted) if depth % n == 0), 1)


def _gelu(x: Expr, lanes: int) -> Expr:
    half = splat(0.5, lanes)
    return x * (half + half * tirx.erf(x * splat(math.sqrt(0.5), lanes)))


def _gelu_tanh(x: Expr, lanes: int) -> Expr:
    half = splat(0.5, lanes)
    cubic = x * (splat(1.0, lanes) + splat(0.044715, lanes) * x * x)
    return x * (half + half * tirx.tanh(splat(math.sqrt(2 / math.pi), lanes) * cubic))


def _relu(x: Expr, lanes: int) -> Expr:
    return tirx.Max(x, splat(0.0, lanes))


def _silu(x: Expr, _: int) -> Expr:
    return x * tirx.sigmoid(x)


def _sigmoid(x: Expr, _: int) -> Expr:
    return tirx.sigmoid(x)


def _tanh(x: Expr, _: int) -> Expr:
    return tirx.tanh(x)


_SHORT = ("relax.nn.relu",)  # activations that are one instruction

ACTIVATIONS: dict[str, Callable[[Expr, int], Expr]] = {
    "relax.nn.gelu": _gelu,
    "relax.nn.gelu_tanh": _gelu_tanh,
    "relax.nn.relu": _relu,
    "relax.nn.silu": _silu,
    "relax.sigmoid": _sigmoid,
    "relax.tanh": _tanh,
}
