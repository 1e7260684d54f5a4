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
    """Shapes of a blocked convolution over height and width, or over depth, height and width.

    Attributes:
        batch, size: of the result.
        blocks: of output channels, `lanes` each.
        data: extents of the input.
        weight: extents of the weights: O/o, I/g/i, H, W, i, o; i is I/g for a gathering one.
        padding: before all axes, then after all: top, left, bottom, right.
        gathers: whether the third parameter tells where the input channels of each group are.
    """

    batch: int
    blocks: int
    size: tuple[int, ...]
    lanes: int
    data: tuple[int, ...]
    weight: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    groups: int
    gathers: bool

    @staticmethod
    def of(fused: Fused) -> Convolution:
        """Read the shapes off the prim func: its first two parameters are input and weights."""
        batch, blocks, *size, lanes = _shape(fused.output)
        *numbers, groups, gathers = (int(value) for value in fused.annotations[ANNOTATION])
        rank = len(size)
        return Convolution(
            batch=batch,
            blocks=blocks,
            size=tuple(size),
            lanes=lanes,
            data=_shape(fused.params[0]),
            weight=_shape(fused.params[1]),
            strides=tuple(numbers[:rank]),
            dilation=tuple(numbers[rank : 2 * rank]),
            padding=tuple(numbers[2 * rank :]),
            groups=groups,
            gathers=bool(gathers),
        )

    @property
    def kernel(self) -> tuple[int, ...]:
        """Extents of the kernel."""
        return self.weight[2:-2]

    @property
    def is_single(self) -> bool:
        """Whether the kernel has one element."""
        return math.prod(self.kernel) == 1

    @property
    def is_product(self) -> bool:
        """Whether it is a matrix product over positions that lie one after the other."""
        return self.is_single and max(self.strides) == 1 and not any(self.padding)

    @property
    def padded(self) -> tuple[int, ...]:
        """Extents of the input with its padding."""
        n, blocks, *size, inner = self.data
        rank = len(size)
        around = zip(size, self.padding[:rank], self.padding[rank:], strict=True)
        return (n, blocks, *map(sum, around), inner)

    @property
    def sampled(self) -> Convolution:
        """With an input of only those positions that a kernel of one element reads."""
        n, blocks, *size, inner = self.data
        return replace(self, data=(n, blocks, *self.size, inner), strides=(1,) * len(size))

    def source(self, places: Sequence[Any], taps: Sequence[Any]) -> list[Any]:
        """Where in the padded input an element of the kernel lies, for a place in the result."""
        axes = zip(places, self.strides, taps, self.dilation, strict=True)
        return [place * stride + tap * step for place, stride, tap, step in axes]


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
    elif shapes.is_single and max(shapes.strides) > 1:
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
    _, _, *size, inner = _shape(data)
    groups, inputs = _shape(places)

    def find(group: Any, channel: Any) -> tirx.Stmt:
        place = loops.load(places, group, channel)
        offset = place // inner * (math.prod(size) * inner) + place % inner
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
        *planes, height, width = shapes.size
        self.planes = 1 if merged else math.prod(planes)
        self.rows = 1 if merged else height
        self.columns = math.prod(shapes.size) if merged else width
        self.group_blocks = shapes.blocks // shapes.groups
        tile = choose_tile(self.rows, self.columns, self.group_blocks, cpu)
        self.row_parts = parts(self.rows, tile.rows)
        self.column_parts = parts(self.columns, tile.columns)
        self.depth_parts = parts(self.group_blocks, tile.vectors)
        self.image_groups, self.channel_groups = self._groups(cpu)

    def _groups(self, cpu: CpuModel) -> tuple[int, int]:
        """Into how many tasks to cut positions, and channels."""
        shapes = self.shapes
        positions, passes = extents(self._grouped()), extents(self.depth_parts)
        products = self.rows * self.columns * self.group_blocks * math.prod(shapes.weight[1:-1])
        others = shapes.batch * self.planes * shapes.groups
        if others * products * shapes.lanes < PARALLEL_WORK:
            return 1, 1
        work = Work(
            image_bytes=4 * math.prod(self._slab()) // shapes.groups,
            weight_bytes=4 * math.prod(shapes.weight) // shapes.groups,
            positions=positions,
            passes=passes,
            others=others,
            cycles=products / 2,
        )
        return choose_groups(work, cpu)

    def _slab(self) -> Sequence[int]:
        """Extents of the input that a plane of the result is computed from."""
        _, blocks, *planes, height, width, inner = self.shapes.padded
        if self.planes > 1:
            planes = list(self.shapes.kernel[:-2])
        return (blocks, *planes, height, width, inner)

    def _grouped(self) -> Sequence[Part]:
        """The parts of the axis of positions that groups divide."""
        return self.column_parts if self.rows == 1 else self.row_parts

    def build(self) -> tirx.Stmt:
        shapes = self.shapes
        images = shapes.batch * self.planes
        counts = (images, shapes.groups, self.image_groups, self.channel_groups)
        tasks = math.prod(counts)

        def task(index: Any) -> tirx.Stmt:
            picture, group, image, channel = loops.places(index, counts)
            return self._channels(picture, group, image, channel)

        return loops.parallel(tasks, task)

    def _channels(self, picture: Any, group: Any, image: Any, task: Any) -> tirx.Stmt:
        statements = []
        for part in self.depth_parts:

            def block(step: Any, part: Part = part) -> tirx.Stmt:
                first = group * self.group_blocks + part.start + step * part.step
                return self._pieces(picture, group, first, part.step, image)

            statements.append(share(part, task, self.channel_groups, block, "channel"))
        return loops.sequence(statements)

    def _pieces(self, picture: Any, group: Any, block: Any, depth: int, image: Any) -> tirx.Stmt:
        """All positions, for one piece of the sums after the other."""
        sums = self.rows * self.columns * depth * self.shapes.lanes
        weights = depth * math.prod(self.shapes.weight[1:])
        count = min(choose_pieces(4 * weights, 4 * sums, self.cpu), self.shapes.weight[1])
        if count == 1:
            return self._positions(picture, group, block, depth, image)
        partial = loops.scratch("partial", sums)

        def piece(index: Any) -> tirx.Stmt:
            at = Piece(partial, index, count)
            return self._positions(picture, group, block, depth, image, at)

        return loops.using([partial], [loops.loop(count, piece, name="piece")])

    def _positions(
        self,
        picture: Any,
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
                    return self._tile(shape, picture, group, block, top, left, piece)

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
        picture: Any,
        group: Any,
        block: Any,
        top: Any,
        left: Any,
        piece: Piece | None,
    ) -> tirx.Stmt:
        shapes = self.shapes
        _, blocks, *kernel, inner, lanes = shapes.weight
        batch, *plane = self._picture(picture)
        first, count = piece.share(blocks) if piece else (loops.integer(0), blocks)

        def element(r: Any, c: Any, io: Any, *k: Any) -> Any:
            *taps, ii = k
            place = shapes.source([*plane, top + r, left + c], taps)
            if self.offsets is not None:
                # It reaches beyond the first block.
                offset = loops.load(self.offsets, group, ii)
                return loops.load(self.data, batch, 0, *place, offset)
            return loops.load(self.data, batch, group * blocks + first + io, *place, ii)

        def factor(v: Any, io: Any, *k: Any) -> Any:
            return loops.load(self.weight, block + v, first + io, *k)

        def finish(r: Any, c: Any, v: Any, lane: Any, value: Any) -> tirx.Stmt:
            indices = (batch, block + v, *plane, top + r, left + c, lane)
            return loops.store(self.fused.output, self.fused.finish(value, *indices), *indices)

        reduction = (count, *kernel, inner)
        fetch = self._fetch(shape, block, top, left, first)
        at = top * self.columns + left
        partial = piece.partial(shape, lanes, at, self.columns) if piece else None
        return sum_tile(shape, lanes, reduction, element, factor, finish, fetch, partial)

    def _picture(self, index: Any) -> tuple[Any, ...]:
        """Batch, and the plane of the result if it has a depth."""
        if len(self.shapes.size) == 2:
            return (index,)
        if self.planes == 1:
            return (index, loops.integer(0))
        return (index // self.planes, index % self.planes)

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
        start = (block + shape.vectors, *(0 for _ in rest))
        size = math.prod(rest) * blocks * shape.vectors
        fetch = read_ahead(self.weight, start, size, part, blocks)
        return lambda io: fetch(step + io)


def pad(source: tirx.Buffer, target: tirx.Buffer, padding: Sequence[int], lanes: int) -> tirx.Stmt:
    """Copy an image into a larger one with zeros around it."""
    batch, blocks, *size, inner = _shape(source)
    whole, rank = _shape(target)[2:], len(size)

    def fill(place: list[Any], start: int, count: int) -> tirx.Stmt:
        """Zeros in so many steps along the axis after a place."""
        corner = [0] * (rank + 1 - len(place))
        return _run(
            count * math.prod(whole[len(place) - 1 :]),
            lanes,
            lambda at: loops.store(target, loops.zero(), *place, start, *corner, at),
        )

    def axis(index: int, here: list[Any], there: list[Any]) -> tirx.Stmt:
        """What lies at a place of the first axes."""
        before, after, count = padding[index], padding[rank + index], size[index]
        ends = [(0, before), (before + count, after)]
        statements = [fill(there, start, zeros) for start, zeros in ends if zeros]
        if index == rank - 1:

            def copy(at: Any) -> tirx.Stmt:
                value = loops.load(source, *here, 0, at)
                return loops.store(target, value, *there, before, at)

            statements.append(_run(count * inner, lanes, copy))
        else:

            def step(at: Any) -> tirx.Stmt:
                return axis(index + 1, [*here, at], [*there, at + before])

            statements.append(loops.loop(count, step, name="row"))
        return loops.sequence(statements)

    def image(index: Any) -> tirx.Stmt:
        place = [index // blocks, index % blocks]
        return axis(0, place, place)

    return loops.parallel(batch * blocks, image)


def sample(
    source: tirx.Buffer, target: tirx.Buffer, strides: Sequence[int], lanes: int
) -> tirx.Stmt:
    """Copy every so many-th position of an image along each axis."""
    batch, blocks, *size, inner = _shape(target)

    def axis(place: list[Any], here: list[Any], there: list[Any]) -> tirx.Stmt:
        if len(here) == len(size):

            def copy(at: Any) -> tirx.Stmt:
                return loops.store(
                    target, loops.load(source, *place, *here, at), *place, *there, at
                )

            return _run(inner, lanes, copy)
        stride = strides[len(here)]

        def step(at: Any) -> tirx.Stmt:
            return axis(place, [*here, at * stride], [*there, at])

        return loops.loop(size[len(here)], step, name="row")

    def image(index: Any) -> tirx.Stmt:
        return axis([index // blocks, index % blocks], [], [])

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
