"""Products of two matrices that are both computed at run time, written out.

The second operand is packed, panels of a vector's width front to back, into scratch memory; then
tiles of sums stay in registers while they run down the depth (Goto and van de Geijn, "Anatomy of
High-Performance Matrix Multiplication", 2008, section 4). Both operands are read where they are,
with their axes in any order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvmake.schedule import loops
from tvmake.schedule.fused import Fused, take_apart
from tvmake.schedule.microkernel import Partial, share, sum_tile
from tvmake.schedule.primitives import PARALLEL_WORK
from tvmake.schedule.tiles import Part, Tile, choose_tile, extents, parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvm import tirx

    from tvmake.schedule.cpu import CpuModel

PRODUCT = "product_of_matrices"
ANNOTATION = "tvmake.product"
_TASKS = 8  # to keep a few cores evenly busy
_MANY_ROWS = 8  # of a tile; with so much to do for a vector, it may come from the second cache


@dataclass(frozen=True)
class _Operand:
    """A stack of matrices in a buffer whose axes are in another order.

    Attributes:
        buffer: where it lies.
        axes: of the buffer, for each axis of the operand.
    """

    buffer: tirx.Buffer
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the operand."""
        return tuple(int(self.buffer.shape[axis]) for axis in self.axes)

    @property
    def count(self) -> int:
        """How many matrices there are."""
        return math.prod(self.shape[:-2])

    @property
    def is_transposed(self) -> bool:
        """Whether the elements of a column lie one after the other."""
        return self.axes[-2] == len(self.axes) - 1

    @property
    def row_bytes(self) -> int:
        """How far two rows are apart, whose elements lie one after the other or not."""
        return 4 * math.prod(int(extent) for extent in self.buffer.shape[self.axes[-2] + 1 :])

    def load(self, batch: Sequence[Any], row: Any, column: Any) -> Any:
        """An element; where there is one matrix for all of an axis, that one."""
        return loops.load(self.buffer, *self._indices(batch, row, column))

    def load_column(self, lanes: int, batch: Sequence[Any], row: Any, column: Any) -> Any:
        """A vector of elements of a column that lie one after the other."""
        return loops.load_vector(self.buffer, lanes, *self._indices(batch, row, column))

    def _indices(self, batch: Sequence[Any], row: Any, column: Any) -> list[Any]:
        indices: list[Any] = [None] * len(self.axes)
        for axis, index in zip(self.axes, (*self.place(batch), row, column), strict=True):
            indices[axis] = index
        return indices

    def place(self, batch: Sequence[Any]) -> list[Any]:
        """Indices of the batch, of which the first axes may lack and others have an extent of 1."""
        outer = self.shape[:-2]
        used = batch[len(batch) - len(outer) :]
        return [0 if size == 1 else index for size, index in zip(outer, used, strict=True)]

    def number(self, batch: Sequence[Any]) -> Any:
        """Which of the matrices it is."""
        result: Any = loops.integer(0)
        for size, index in zip(self.shape[:-2], self.place(batch), strict=True):
            result = result * size + index
        return result


def matrix_product(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The rule for a product of two operands and what follows it element by element."""
    fused = take_apart(function, PRODUCT, ())
    if fused is None:
        return None
    axes = [int(axis) for axis in fused.annotations[ANNOTATION]]
    buffers = (fused.reads[0], fused.reads[-1])  # one, if a matrix is multiplied with itself
    ranks = [len(buffer.shape) for buffer in buffers]
    left = _Operand(buffers[0], tuple(axes[: ranks[0]]))
    right = _Operand(buffers[1], tuple(axes[ranks[0] :]))
    nest = _Nest(fused, left, right, cpu)
    body = loops.sequence([nest.pack(), nest.build()])
    return loops.rewrite(function, body, [nest.packed], fused.overwritable)


class _Nest:
    """Packing, the loops around the tiles, and the tiles."""

    def __init__(self, fused: Fused, left: _Operand, right: _Operand, cpu: CpuModel) -> None:
        self.fused, self.left, self.right = fused, left, right
        *batch, self.rows, self.columns = (int(extent) for extent in fused.output.shape)
        self.batch = tuple(batch)
        self.depth, self.lanes = left.shape[-1], cpu.lanes(32)
        self.whole, self.rest = divmod(self.columns, self.lanes)
        vectors = self.whole + (self.rest > 0)
        self.packed = loops.scratch("packed", right.count, vectors, self.depth, self.lanes)
        most = cpu.lines_apart(left.row_bytes) - 1
        wanted = (1, self.rows, max(1, self.whole))
        self.tile = choose_tile(wanted, self.lanes, cpu, most)
        panel = 4 * self.depth * self.tile.vectors * self.lanes
        near = cpu.l1_bytes if self.tile.columns < _MANY_ROWS else cpu.l2_bytes
        self.pieces = _pieces(panel, self.depth, near)
        self.is_small = math.prod(batch) * self.rows * self.columns * self.depth < PARALLEL_WORK
        blocks = -(-4 * self.rows * self.depth // (cpu.l2_bytes // 2))
        self.row_parts = parts(self.rows, -(-self.rows // blocks))
        self.column_parts = parts(self.whole, self.tile.vectors) if self.whole else ()

    def pack(self) -> tirx.Stmt:
        """The second operand, [batch, vectors, depth, lanes], filled up with zeros."""
        vectors = int(self.packed.shape[1])

        def panel(index: Any) -> tirx.Stmt:
            number, vector = index // vectors, index % vectors
            whole = self._pack_whole(number, vector)
            if not self.rest:
                return whole
            partial = self._pack_rows(number, vector, self.rest)
            return loops.when(vector < self.whole, whole, partial) if self.whole else partial

        return self._tasks(self.right.count * vectors, panel)

    def _pack_whole(self, number: Any, vector: Any) -> tirx.Stmt:
        """A panel of which all lanes are columns."""
        blocks = self.depth // self.lanes if self.right.is_transposed else 0
        done = blocks * self.lanes
        statements = []
        if blocks:
            pack = loops.loop(blocks, lambda k: self._pack_block(number, vector, k), name="block")
            statements.append(pack)
        if done < self.depth:
            statements.append(self._pack_rows(number, vector, self.lanes, done))
        return loops.sequence(statements)

    def _pack_block(self, number: Any, vector: Any, block: Any) -> tirx.Stmt:
        """A square of a panel, read by columns."""
        lanes, first = self.lanes, block * self.lanes
        batch = loops.places(number, self.right.shape[:-2])
        columns = [
            self.right.load_column(lanes, batch, first, vector * lanes + lane)
            for lane in range(lanes)
        ]
        return loops.sequence(
            [
                loops.store_vector(self.packed, row, lanes, number, vector, first + k, 0)
                for k, row in enumerate(loops.transposed(columns))
            ]
        )

    def _pack_rows(self, number: Any, vector: Any, count: int, start: int = 0) -> tirx.Stmt:
        """The rows of a panel from one on, of which only some lanes may be columns."""
        batch = loops.places(number, self.right.shape[:-2])

        def row(k: Any) -> tirx.Stmt:
            def copy(lane: Any) -> tirx.Stmt:
                value = self.right.load(batch, k, vector * self.lanes + lane)
                return loops.store(self.packed, value, number, vector, k, lane)

            if count == self.lanes:
                return loops.vector(count, copy)
            zeros = loops.vector(
                self.lanes,
                lambda lane: loops.store(self.packed, loops.zero(), number, vector, k, lane),
            )
            return loops.sequence([zeros, loops.unrolled(count, copy)])

        return loops.loop(self.depth - start, row, start=start, name="k")

    def build(self) -> tirx.Stmt:
        """All sums."""
        blocks, tiles = extents(self.row_parts), max(1, extents(self.column_parts))
        matrices = math.prod(self.batch)
        groups = min(tiles, -(-_TASKS // (matrices * blocks))) if not self.is_small else 1

        def task(index: Any) -> tirx.Stmt:
            batch = loops.places(index // (blocks * groups), self.batch)
            block, group = index // groups % blocks, index % groups
            return self._block(batch, block, group, groups)

        return self._tasks(matrices * blocks * groups, task)

    def _tasks(self, count: int, body: loops.Body) -> tirx.Stmt:
        return loops.loop(count, body) if self.is_small else loops.parallel(count, body)

    def _block(self, batch: list[Any], block: Any, group: Any, groups: int) -> tirx.Stmt:
        """A share of the columns, for one of the blocks of rows."""
        first, *others = self.row_parts
        statement = self._columns(batch, first, block, group, groups)
        for part in others:
            later = self._columns(batch, part, block - first.count, group, groups)
            statement = loops.when(block < first.count, statement, later)
        return statement

    def _columns(
        self, batch: list[Any], rows: Part, block: Any, group: Any, groups: int
    ) -> tirx.Stmt:
        top = rows.start + block * rows.step
        statements = []
        for part in self.column_parts:

            def panel(step: Any, part: Part = part) -> tirx.Stmt:
                first = part.start + step * part.step
                return self._panel(_Panel(batch, top, rows.step, first, part.step))

            statements.append(share(part, group, groups, panel, "column"))
        if self.rest:
            last = self._panel(_Panel(batch, top, rows.step, self.whole, 1, self.rest))
            statements.append(loops.when(group == groups - 1, last) if groups > 1 else last)
        return loops.sequence(statements)

    def _panel(self, at: _Panel) -> tirx.Stmt:
        """A block of rows by a tile's columns, one piece of the sums after the other."""
        if self.pieces == 1:
            return self._rows(at)
        partial = loops.scratch("partial", at.rows * at.vectors * self.lanes)

        def piece(index: Any) -> tirx.Stmt:
            return self._rows(at, (partial, index))

        return loops.using([partial], [loops.loop(self.pieces, piece, name="piece")])

    def _rows(self, at: _Panel, piece: tuple[tirx.Buffer, Any] | None = None) -> tirx.Stmt:
        statements = []
        for part in parts(at.rows, self.tile.columns):

            def tile(step: Any, part: Part = part) -> tirx.Stmt:
                return self._tile(at, part.start + step * part.step, part.step, piece)

            statements.append(loops.loop(part.count, tile, name="row"))
        return loops.sequence(statements)

    def _tile(
        self, at: _Panel, first: Any, rows: int, piece: tuple[tirx.Buffer, Any] | None
    ) -> tirx.Stmt:
        batch, vector, shape = at.batch, at.vector, Tile(1, rows, at.vectors)
        top, valid = at.top + first, at.valid or self.lanes
        lanes, number = self.lanes, self.right.number(batch)
        start: Any = loops.integer(0)
        partial = None
        if piece:
            kept, index = piece
            start = index * (self.depth // self.pieces)

            def place(_: Any, r: Any, v: Any, lane: Any) -> Any:
                return ((first + r) * shape.vectors + v) * lanes + lane

            partial = Partial(kept, place, index == 0, index == self.pieces - 1)

        def element(_: Any, r: Any, __: Any, k: Any) -> Any:
            return self.left.load(batch, top + r, start + k)

        def factor(v: Any, _: Any, k: Any, lane: Any) -> Any:
            return loops.load(self.packed, number, vector + v, start + k, lane)

        def finish(_: Any, r: Any, v: Any, lane: Any, value: Any) -> tirx.Stmt:
            indices = (*batch, top + r, (vector + v) * lanes + lane)
            return loops.store(self.fused.output, self.fused.finish(value, *indices), *indices)

        reduction = (1, self.depth // self.pieces)
        if valid == lanes:
            return sum_tile(shape, lanes, reduction, element, factor, finish, None, partial)
        edge = loops.scratch("edge", shape.columns * lanes)

        def keep(_: Any, r: Any, __: Any, lane: Any, value: Any) -> tirx.Stmt:
            return loops.store(edge, value, r * lanes + lane)

        def row(r: Any) -> tirx.Stmt:
            return loops.unrolled(
                valid, lambda lane: finish(0, r, 0, lane, loops.load(edge, r * lanes + lane))
            )

        sums = sum_tile(shape, lanes, reduction, element, factor, keep, None, partial)
        ends: tirx.Stmt = loops.unrolled(shape.columns, row)
        if partial:
            ends = loops.when(partial.is_last, ends)
        return loops.using([edge], [sums, ends])


@dataclass(frozen=True)
class _Panel:
    """Rows by columns of the result: as many columns as a tile has.

    Attributes:
        batch: indices of the matrix.
        top, rows: the rows.
        vector, vectors: the columns, counted in vectors.
        valid: how many lanes are columns, if not all of them are.
    """

    batch: list[Any]
    top: Any
    rows: int
    vector: Any
    vectors: int
    valid: int = 0


def _pieces(panel_bytes: int, depth: int, cache_bytes: int) -> int:
    """Into how many equal pieces to cut sums, for a panel of one to stay in a cache."""
    wanted = -(-panel_bytes // (cache_bytes // 2)) if 4 * panel_bytes > 3 * cache_bytes else 1
    return next((n for n in range(wanted, 2 * wanted) if depth % n == 0), 1)
