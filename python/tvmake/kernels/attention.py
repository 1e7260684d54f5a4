"""Attention in one kernel: softmax(scale · Q·Kᵀ + mask) · V, a few rows of scores at a time.

The scores of a tile of queries are made, normalized and used while they are in the cache, so that
the matrix of all scores is never written (after Dao et al., "FlashAttention", 2022; with whole rows
there is nothing to rescale). Operands are read where they lie, through strides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm import tirx

from tvmake.kernels.builder import Builder, Expr, Register, fold, load, splat
from tvmake.kernels.tile import row_tiles
from tvmake.schedule.primitives import PARALLEL_WORK

if TYPE_CHECKING:
    from tvmake.schedule.cpu import CpuModel

_VECTORS = 2  # in a row of a tile


@dataclass(frozen=True)
class Strides:
    """Where the elements [batch, head, row, column] of an operand lie in flat memory."""

    size: int
    batch: int
    head: int
    row: int
    column: int


@dataclass(frozen=True)
class Attention:
    """Shapes and places of one attention.

    Attributes:
        width, value_width: columns of queries and keys, and of values.
        mask: of the additive mask, whose columns lie side by side; None without one.
        zero_empty: whether rows whose scores are all -infinity give zero in place of NaN.
    """

    batch: int
    heads: int
    queries: int
    keys: int
    width: int
    value_width: int
    q: Strides
    k: Strides
    v: Strides
    result: Strides
    scale: float = 1.0
    mask: Strides | None = None
    zero_empty: bool = False


def attention(spec: Attention, cpu: CpuModel) -> tirx.PrimFunc:
    """The kernel: queries, keys, values, mask? -> result, all flat."""
    return _Writer(spec, cpu).function()


class _Writer:
    """Writes one kernel."""

    def __init__(self, spec: Attention, cpu: CpuModel) -> None:
        self.spec = spec
        self.lanes = cpu.lanes(32)
        self.block = _VECTORS * self.lanes
        self.tile_rows = max(1, (cpu.vector_registers - _VECTORS - 1) // _VECTORS)
        self.build = Builder()
        self.q = self.build.parameter("q", (spec.q.size,))
        self.k = self.build.parameter("k", (spec.k.size,))
        self.v = self.build.parameter("v", (spec.v.size,))
        self.mask = self.build.parameter("mask", (spec.mask.size,)) if spec.mask else None
        self.result = self.build.parameter("result", (spec.result.size,))
        tasks, self.blocks = spec.batch * spec.heads, -(-spec.keys // self.block)
        self.packed = self.build.scratch("packed", (tasks, self.blocks, spec.width, self.block))
        self.scores = self.build.scratch(
            "scores", (tasks, self.tile_rows, self.blocks * self.block)
        )
        self.value_blocks = -(-spec.value_width // self.block)
        self.packed_values = None
        if spec.queries > self.tile_rows:  # else each is read once
            shape = (tasks, self.value_blocks, spec.keys, self.block)
            self.packed_values = self.build.scratch("packed_values", shape)

    def function(self) -> tirx.PrimFunc:
        spec = self.spec
        tasks = spec.batch * spec.heads
        work = tasks * spec.queries * spec.keys * (spec.width + spec.value_width)
        kind = "parallel" if work >= PARALLEL_WORK else "serial"
        with self.build.loop(tasks, "task", kind) as task:
            self.task = task
            self.batch, self.head = tirx.indexdiv(task, spec.heads), tirx.indexmod(task, spec.heads)
            self.pack_keys()
            if self.packed_values is not None:
                self.pack_values()
            done = 0
            for tiles, rows in row_tiles(spec.queries, self.tile_rows):
                with self.build.loop(tiles, "tile") as tile:
                    self.tile(done + tile * rows, rows)
                done += tiles * rows
        return self.build.function()

    def at(self, strides: Strides, row: Expr, column: Expr) -> Expr:
        """The place of an element of this task's head."""
        start = self.batch * strides.batch + self.head * strides.head
        return start + row * strides.row + column * strides.column

    def pack_keys(self) -> None:
        """The head's keys with one key per lane; lanes without one hold zero."""
        spec, build = self.spec, self.build
        full, rest = divmod(spec.keys, self.block)
        if full:
            with build.loop(full, "block") as block:
                for lane in range(self.block):
                    self.pack_key(block, lane, block * self.block + lane)
        for lane in range(self.block if rest else 0):
            self.pack_key(full, lane, full * self.block + lane if lane < rest else None)

    def pack_key(self, block: Expr, lane: int, key: Expr | None) -> None:
        with self.build.loop(self.spec.width, "d") as d:
            value = tirx.const(0.0, "float32")
            if key is not None:
                scale = tirx.const(self.spec.scale, "float32")
                value = load(self.k, self.at(self.spec.k, key, d)) * scale
            self.build.store(self.packed, value, self.task, block, d, lane)

    def pack_values(self) -> None:
        """The head's values with the columns of a tile side by side.

        Where they lie, rows may be as far apart as makes them displace each other in the cache.
        """
        with self.build.loop(self.spec.keys, "key") as key:
            for column in range(0, self.value_blocks * self.block, self.lanes):
                place = self.task, column // self.block, key, column % self.block
                self.build.store(self.packed_values, self.value(key, column), *place)

    def value(self, key: Expr, column: int) -> Expr:
        """A vector of values where they lie; columns that there are not hold zero."""
        valid = min(self.lanes, self.spec.value_width - column)
        if valid <= 0:
            return splat(0.0, self.lanes)
        return self.partial(self.v, self.at(self.spec.v, key, column), valid)

    def tile(self, row: Expr, rows: int) -> None:
        """Scores of some queries, their softmax, and its product with the values."""
        best = [self.build.register(self.lanes, name="best") for _ in range(rows)]
        for vector in best:
            vector.set(splat(-math.inf, self.lanes))
        full, rest = divmod(self.spec.keys, self.block)
        if full:
            with self.build.loop(full, "block") as block:
                self.score(row, best, block, self.block)
        if rest:
            self.score(row, best, full, rest)
        factors = [self.normalize(r, vector) for r, vector in enumerate(best)]
        full, rest = divmod(self.spec.value_width, self.block)
        if self.packed_values is None:
            for column in range(0, self.spec.value_width, self.block):
                self.apply(row, factors, column // self.block, self.spec.value_width - column)
            return
        if full:
            with self.build.loop(full, "columns") as columns:
                self.apply(row, factors, columns, self.block)
        if rest:
            self.apply(row, factors, full, rest)

    def score(self, row: Expr, best: list[Register], block: Expr, valid: int) -> None:
        """Scores of a tile of queries with a block of keys, of which some are valid."""
        build, lanes, spec = self.build, self.lanes, self.spec
        sums = [[build.register(lanes) for _ in range(_VECTORS)] for _ in best]
        for vector in (vector for line in sums for vector in line):
            vector.set(splat(0.0, lanes))
        with build.loop(spec.width, "d") as d:
            keys = [
                build.bind(load(self.packed, self.task, block, d, v * lanes, lanes=lanes))
                for v in range(_VECTORS)
            ]
            for r, line in enumerate(sums):
                query = build.bind(splat(load(self.q, self.at(spec.q, row + r, d)), lanes))
                for v in range(_VECTORS):
                    line[v].set(line[v].get() + query * keys[v])
        for r, line in enumerate(sums):
            for v, vector in enumerate(line):
                key = block * self.block + v * lanes
                self.finish_score(vector, row + r, key, valid - v * lanes)
                best[r].set(tirx.Max(best[r].get(), vector.get()))
                build.store(self.scores, vector.get(), self.task, r, key)

    def finish_score(self, sums: Register, row: Expr, key: Expr, valid: int) -> None:
        """Mask; what is no key gets the weight zero."""
        lanes = self.lanes
        if self.spec.mask is not None and valid > 0:
            place = self.at(self.spec.mask, row, key)
            sums.set(sums.get() + self.partial(self.mask, place, min(valid, lanes)))
        for lane in range(max(valid, 0), lanes):
            sums.set_lane(lane, tirx.const(-math.inf, "float32"))

    def normalize(self, r: int, best: Register) -> Register:
        """Make exponentials of a row's scores; what to multiply them with comes back."""
        build, lanes = self.build, self.lanes
        total = build.register(lanes)
        total.set(splat(0.0, lanes))
        top = build.register(1)
        top.set(fold(best, tirx.Max))
        if self.spec.zero_empty:
            empty = top.get() == tirx.const(-math.inf, "float32")
            top.set(tirx.Select(empty, tirx.const(0.0, "float32"), top.get()))
        with build.loop(self.blocks * _VECTORS, "j") as j:
            score = build.register(lanes)
            score.set(load(self.scores, self.task, r, j * lanes, lanes=lanes))
            score.set(tirx.exp(score.get() - splat(top.get(), lanes)))
            total.set(total.get() + score.get())
            build.store(self.scores, score.get(), self.task, r, j * lanes)
        factor = build.register(1)
        factor.set(fold(total, lambda a, b: a + b))
        one = tirx.const(1.0, "float32")
        if self.spec.zero_empty:
            zero = tirx.const(0.0, "float32")
            factor.set(tirx.Select(factor.get() > zero, one / factor.get(), zero))
        else:
            factor.set(one / factor.get())
        return factor

    def apply(self, row: Expr, factors: list[Register], block: Expr, columns: int) -> None:
        """A tile of the result: the weights of a tile of queries times some columns of values."""
        build, lanes, spec = self.build, self.lanes, self.spec
        widths = [min(lanes, columns - v * lanes) for v in range(_VECTORS) if columns > v * lanes]
        sums = [[build.register(lanes) for _ in widths] for _ in factors]
        for vector in (vector for line in sums for vector in line):
            vector.set(splat(0.0, lanes))
        with build.loop(spec.keys, "key") as key:
            values = [build.bind(self.operand(key, block, v)) for v in range(len(widths))]
            for r, line in enumerate(sums):
                weight = build.bind(splat(load(self.scores, self.task, r, key), lanes))
                for v, value in enumerate(values):
                    line[v].set(line[v].get() + weight * value)
        for r, factor in enumerate(factors):
            for v, width in enumerate(widths):
                total = sums[r][v]
                total.set(total.get() * splat(factor.get(), lanes))
                place = self.at(spec.result, row + r, block * self.block + v * lanes)
                if width == lanes:
                    build.store(self.result, total.get(), place)
                else:
                    for lane in range(width):
                        build.store(self.result, total.lane(lane), place + lane)

    def operand(self, key: Expr, block: Expr, vector: int) -> Expr:
        """A vector of values that a tile of the result is made of."""
        place = vector * self.lanes
        if self.packed_values is None:
            return self.value(key, int(block) * self.block + place)
        return load(self.packed_values, self.task, block, key, place, lanes=self.lanes)

    def partial(self, buffer: Any, place: Expr, valid: int) -> Expr:
        """A vector of which only some lanes may be read."""
        if valid == self.lanes:
            return load(buffer, place, lanes=self.lanes)
        vector = self.build.register(self.lanes)
        vector.set(splat(0.0, self.lanes))
        for lane in range(valid):
            vector.set_lane(lane, load(buffer, place + lane))
        return vector.get()
