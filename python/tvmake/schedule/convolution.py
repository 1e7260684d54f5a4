"""Direct convolution on blocked layout, written out: tiles of sums in registers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tvmake.schedule import loops
from tvmake.schedule.fused import Fused, take_apart
from tvmake.schedule.microkernel import Partial, read_ahead, share, sum_tile
from tvmake.schedule.primitives import PARALLEL_WORK
from tvmake.schedule.tiles import (
    Part,
    Tile,
    Work,
    choose_groups,
    choose_pieces,
    choose_tile,
    extents,
    parts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tvm import tirx

    from tvmake.schedule.cpu import CpuModel

CONVOLUTION = "convolution_blocked"
PADDED = "padded"
ANNOTATION = "tvmake.convolution"


@dataclass(frozen=True)
class Convolution:
    """Shapes of a blocked convolution.

    Attributes:
        batch, height, width: of the result.
        blocks: of output channels, `lanes` each.
        data: extents of the input.
        weight: extents of the weights: O/o, I/g/i, H, W, i, o; i is I/g for a gathering one.
        padding: top, left, bottom, right.
        gathers: whether the third parameter tells where the input channels of each group are.
    """

    batch: int
    blocks: int
    height: int
    width: int
    lanes: int
    data: tuple[int, ...]
    weight: tuple[int, ...]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]
    groups: int
    gathers: bool

    @staticmethod
    def of(fused: Fused) -> Convolution:
        """Read the shapes off the prim func: its first two parameters are input and weights."""
        batch, blocks, height, width, lanes = _shape(fused.output)
        numbers = [int(value) for value in fused.annotations[ANNOTATION]]
        stride_h, stride_w, dilation_h, dilation_w, top, left, bottom, right = numbers[:8]
        return Convolution(
            batch=batch,
            blocks=blocks,
            height=height,
            width=width,
            lanes=lanes,
            data=_shape(fused.params[0]),
            weight=_shape(fused.params[1]),
            strides=(stride_h, stride_w),
            dilation=(dilation_h, dilation_w),
            padding=(top, left, bottom, right),
            groups=numbers[8],
            gathers=bool(numbers[9]),
        )

    @property
    def is_product(self) -> bool:
        """Whether it is a matrix product over positions that lie one after the other."""
        return self.weight[2:4] == (1, 1) and self.strides == (1, 1) and not any(self.padding)

    @property
    def padded(self) -> tuple[int, ...]:
        """Extents of the input with its padding."""
        n, blocks, height, width, inner = self.data
        top, left, bottom, right = self.padding
        return (n, blocks, height + top + bottom, width + left + right, inner)

    @property
    def sampled(self) -> Convolution:
        """With an input of only those positions that a kernel of one element reads."""
        n, blocks, _, _, inner = self.data
        data = (n, blocks, self.height, self.width, inner)
        return replace(self, data=data, strides=(1, 1))


def direct_convolution(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The rule for a convolution and what follows it element by element."""
    fused = take_apart(function, CONVOLUTION, (PADDED,))
    if fused is None:
        return None
    shapes = Convolution.of(fused)
    data, memory, statements = fused.params[0], [], []
    if any(shapes.padding):
        data = loops.scratch(PADDED, *shapes.padded)
        memory.append(data)
        statements.append(pad(fused.params[0], data, shapes.padding, shapes.lanes))
    elif shapes.weight[2:4] == (1, 1) and shapes.strides != (1, 1):
        data = loops.scratch("sampled", *shapes.sampled.data)
        memory.append(data)
        statements.append(sample(fused.params[0], data, shapes.strides, shapes.lanes))
        shapes = shapes.sampled
    offsets = None
    if shapes.gathers:
        offsets = loops.scratch("offsets", *_shape(fused.params[2]), dtype="int32")
        memory.append(offsets)
        statements.append(_find(fused.params[2], offsets, data))
    nest = _Nest(shapes, fused, data, offsets, cpu)
    statements.append(nest.build())
    return loops.rewrite(function, loops.sequence(statements), memory)


@dataclass(frozen=True)
class Piece:
    """One of the pieces that the sums are made in, and what has been summed before it."""

    sums: tirx.Buffer
    index: Any
    count: int

    def share(self, steps: int) -> tuple[Any, Any]:
        """Its first step, and how many it has."""
        first = self.index * steps // self.count
        return first, (self.index + 1) * steps // self.count - first

    def partial(self, tile: Tile, lanes: int, first: Any, columns: int) -> Partial:
        """Where a tile has its sums: those from position `first` on, in rows of `columns`."""

        def place(r: Any, c: Any, v: Any, lane: Any) -> Any:
            return ((first + r * columns + c) * tile.vectors + v) * lanes + lane

        return Partial(self.sums, place, self.index == 0, self.index == self.count - 1)


def _find(places: tirx.Buffer, offsets: tirx.Buffer, data: tirx.Buffer) -> tirx.Stmt:
    """How far the lanes of input channels, counted through all blocks, are from the image's start.

    A sum's steps are too short to divide by themselves.
    """
    _, _, height, width, inner = _shape(data)
    groups, inputs = _shape(places)

    def find(group: Any, channel: Any) -> tirx.Stmt:
        place = loops.load(places, group, channel)
        offset = place // inner * (height * width * inner) + place % inner
        return loops.store(offsets, offset, group, channel)

    return loops.loop(groups, lambda group: loops.loop(inputs, lambda io: find(group, io)))


class _Nest:
    """The loops around the tiles, and the tiles."""

    def __init__(
        self,
        shapes: Convolution,
        fused: Fused,
        data: tirx.Buffer,
        offsets: tirx.Buffer | None,
        cpu: CpuModel,
    ) -> None:
        self.shapes, self.fused, self.data, self.offsets = shapes, fused, data, offsets
        self.weight, self.cpu = fused.params[1], cpu
        merged = shapes.is_product and fused.merges
        self.rows = 1 if merged else shapes.height
        self.columns = shapes.height * shapes.width if merged else shapes.width
        self.group_blocks = shapes.blocks // shapes.groups
        tile = choose_tile(self.rows, self.columns, self.group_blocks, cpu)
        self.row_parts = parts(self.rows, tile.rows)
        self.column_parts = parts(self.columns, tile.columns)
        self.depth_parts = parts(self.group_blocks, tile.vectors)
        self.image_groups, self.channel_groups = self._groups(cpu)

    def _groups(self, cpu: CpuModel) -> tuple[int, int]:
        """Into how many tasks to cut positions, and channels."""
        shapes = self.shapes
        o, i, kh, kw, inner, lanes = shapes.weight
        image = math.prod(shapes.padded[1:])
        positions, passes = extents(self._grouped()), extents(self.depth_parts)
        products = self.rows * self.columns * self.group_blocks * i * kh * kw * inner
        if shapes.batch * shapes.groups * products * lanes < PARALLEL_WORK:
            return 1, 1
        work = Work(
            image_bytes=4 * image // shapes.groups,
            weight_bytes=4 * o * i * kh * kw * inner * lanes // shapes.groups,
            positions=positions,
            passes=passes,
            others=shapes.batch * shapes.groups,
            cycles=products / 2,
        )
        return choose_groups(work, cpu)

    def _grouped(self) -> Sequence[Part]:
        """The parts of the axis of positions that groups divide."""
        return self.column_parts if self.rows == 1 else self.row_parts

    def build(self) -> tirx.Stmt:
        counts = (self.shapes.batch, self.shapes.groups, self.image_groups, self.channel_groups)
        tasks = counts[0] * counts[1] * counts[2] * counts[3]

        def task(index: Any) -> tirx.Stmt:
            places = []
            for count in reversed(counts):
                places.append(index % count if count > 1 else loops.integer(0))
                index = index // count if count > 1 else index
            channel, image, group, batch = places
            return self._channels(batch, group, image, channel)

        return loops.parallel(tasks, task)

    def _channels(self, batch: Any, group: Any, image: Any, task: Any) -> tirx.Stmt:
        statements = []
        for part in self.depth_parts:

            def block(step: Any, part: Part = part) -> tirx.Stmt:
                first = group * self.group_blocks + part.start + step * part.step
                return self._pieces(batch, group, first, part.step, image)

            statements.append(share(part, task, self.channel_groups, block, "channel"))
        return loops.sequence(statements)

    def _pieces(self, batch: Any, group: Any, block: Any, depth: int, image: Any) -> tirx.Stmt:
        """All positions, for one piece of the sums after the other."""
        sums = self.rows * self.columns * depth * self.shapes.lanes
        weights = depth * math.prod(self.shapes.weight[1:])
        count = min(choose_pieces(4 * weights, 4 * sums, self.cpu), self.shapes.weight[1])
        if count == 1:
            return self._positions(batch, group, block, depth, image)
        partial = loops.scratch("partial", sums)

        def piece(index: Any) -> tirx.Stmt:
            at = Piece(partial, index, count)
            return self._positions(batch, group, block, depth, image, at)

        return loops.using([partial], [loops.loop(count, piece, name="piece")])

    def _positions(
        self,
        batch: Any,
        group: Any,
        block: Any,
        depth: int,
        image: Any,
        piece: Piece | None = None,
    ) -> tirx.Stmt:
        statements = []
        by_row = self.rows > 1
        for rows in self.row_parts:
            for columns in self.column_parts:

                def tile(
                    row: Any, column: Any, rows: Part = rows, columns: Part = columns
                ) -> tirx.Stmt:
                    shape = Tile(rows.step, columns.step, depth)
                    top = rows.start + row * rows.step
                    left = columns.start + column * columns.step
                    return self._tile(shape, batch, group, block, top, left, piece)

                def row(step: Any, columns: Part = columns, tile: Any = tile) -> tirx.Stmt:
                    def column(at: Any) -> tirx.Stmt:
                        return tile(step, at)

                    if by_row:
                        return loops.loop(columns.count, column, name="column")
                    return share(columns, image, self.image_groups, column, "column")

                statements.append(
                    share(rows, image, self.image_groups, row, "row")
                    if by_row
                    else row(loops.integer(0))
                )
        return loops.sequence(statements)

    def _tile(
        self,
        shape: Tile,
        batch: Any,
        group: Any,
        block: Any,
        top: Any,
        left: Any,
        piece: Piece | None,
    ) -> tirx.Stmt:
        shapes = self.shapes
        _, blocks, kernel_h, kernel_w, inner, lanes = shapes.weight
        (sh, sw), (dh, dw) = shapes.strides, shapes.dilation

        first, count = piece.share(blocks) if piece else (loops.integer(0), blocks)

        def element(r: Any, c: Any, io: Any, kh: Any, kw: Any, ii: Any) -> Any:
            row, column = (top + r) * sh + kh * dh, (left + c) * sw + kw * dw
            if self.offsets is not None:
                # It reaches beyond the first block.
                offset = loops.load(self.offsets, group, ii)
                return loops.load(self.data, batch, 0, row, column, offset)
            return loops.load(self.data, batch, group * blocks + first + io, row, column, ii)

        def factor(v: Any, io: Any, kh: Any, kw: Any, ii: Any, lane: Any) -> Any:
            return loops.load(self.weight, block + v, first + io, kh, kw, ii, lane)

        def finish(r: Any, c: Any, v: Any, lane: Any, value: Any) -> tirx.Stmt:
            indices = (batch, block + v, top + r, left + c, lane)
            return loops.store(self.fused.output, self.fused.finish(value, *indices), *indices)

        reduction = (count, kernel_h, kernel_w, inner)
        fetch = self._fetch(shape, block, top, left, first)
        at = top * self.columns + left
        partial = piece.partial(shape, lanes, at, self.columns) if piece else None
        return sum_tile(shape, lanes, reduction, element, factor, finish, fetch, partial)

    def _fetch(
        self, shape: Tile, block: Any, top: Any, left: Any, step: Any
    ) -> Callable[[Any], tirx.Stmt] | None:
        """What a tile reads ahead: its part of the weights of the next channels."""
        if extents(self.depth_parts) == 1:
            return None
        blocks, *rest = self.shapes.weight[1:]
        positions, groups = self.rows * self.columns, self.image_groups
        first = top * self.columns + left
        first = first * groups % positions if groups > 1 else first
        part = (first, shape.rows * shape.columns * groups, positions)
        start = (block + shape.vectors, 0, 0, 0, 0)
        size = math.prod(rest) * blocks * shape.vectors
        fetch = read_ahead(self.weight, start, size, part, blocks)
        return lambda io: fetch(step + io)


def pad(
    source: tirx.Buffer, target: tirx.Buffer, padding: tuple[int, int, int, int], lanes: int
) -> tirx.Stmt:
    """Copy an image into a larger one with zeros around it."""
    batch, blocks, height, width, inner = _shape(source)
    top, left, bottom, right = padding

    def fill(n: Any, c: Any, row: Any, start: int, count: int) -> tirx.Stmt:
        """Zeros in one row."""
        return _run(
            count * inner,
            lanes,
            lambda at: loops.store(target, loops.zero(), n, c, row, start, at),
        )

    def copy(n: Any, c: Any, row: Any) -> tirx.Stmt:
        return _run(
            width * inner,
            lanes,
            lambda at: loops.store(
                target, loops.load(source, n, c, row, 0, at), n, c, row + top, left, at
            ),
        )

    def image(index: Any) -> tirx.Stmt:
        n, c = index // blocks, index % blocks

        def row(at: Any) -> tirx.Stmt:
            ends = [(0, left), (left + width, right)]
            zeros = [fill(n, c, at + top, start, count) for start, count in ends if count]
            return loops.sequence([*zeros, copy(n, c, at)])

        whole = left + width + right
        edges = [(0, top), (top + height, bottom)]
        statements = [
            loops.loop(count, lambda at: fill(n, c, at, 0, whole), start=start, name="row")
            for start, count in edges
            if count
        ]
        return loops.sequence([*statements, loops.loop(height, row, name="row")])

    return loops.parallel(batch * blocks, image)


def sample(
    source: tirx.Buffer, target: tirx.Buffer, strides: tuple[int, int], lanes: int
) -> tirx.Stmt:
    """Copy every so many-th row and column of an image."""
    batch, blocks, height, width, inner = _shape(target)

    def image(index: Any) -> tirx.Stmt:
        n, c = index // blocks, index % blocks

        def position(row: Any, column: Any) -> tirx.Stmt:
            def copy(at: Any) -> tirx.Stmt:
                value = loops.load(source, n, c, row * strides[0], column * strides[1], at)
                return loops.store(target, value, n, c, row, column, at)

            return _run(inner, lanes, copy)

        def whole(row: Any) -> tirx.Stmt:
            return loops.loop(width, lambda column: position(row, column), name="column")

        return loops.loop(height, whole, name="row")

    return loops.parallel(batch * blocks, image)


def _run(count: int, lanes: int, body: Any) -> tirx.Stmt:
    """Neighbouring elements: whole vectors, then what is left one by one."""
    whole, rest = divmod(count, lanes)
    statements = []
    if whole:
        statements.append(
            loops.loop(
                whole,
                lambda at: loops.vector(lanes, lambda lane: body(at * lanes + lane)),
                name="vector",
            )
        )
    if rest:
        statements.append(loops.loop(rest, lambda at: body(at + whole * lanes), name="rest"))
    return loops.sequence(statements)


def _shape(buffer: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in buffer.shape)
