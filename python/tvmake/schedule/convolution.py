"""Direct convolution on blocked layout, written out: tiles of sums in registers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tvm import tirx

from tvmake.schedule import loops
from tvmake.schedule.copying import pad, sample
from tvmake.schedule.fused import Fused, take_apart
from tvmake.schedule.microkernel import UNROLLED_CHANNELS, Partial, read_ahead, share, sum_tile
from tvmake.schedule.primitives import PARALLEL_WORK
from tvmake.schedule.sliding import Axis
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

    from tvmake.schedule.cpu import CpuModel
    from tvmake.schedule.sliding import Span

CONVOLUTION = "convolution_blocked"
PADDED = "padded"
ANNOTATION = "tvmake.convolution"

_MOST_SPANS = 12  # of the tiles that are written out
# Multiply-adds in the time of one step of other loops, such as to read a weight from afar.
_PRODUCTS_OF_A_STEP = 4


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
    def axes(self) -> list[Axis]:
        """How the kernel moves, axis by axis."""
        numbers = zip(
            *(self.data[2:-1], self.size, self.kernel, self.strides, self.dilation),
            self.padding[: len(self.size)],
            strict=True,
        )
        return [Axis(*of_axis) for of_axis in numbers]

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

    @property
    def whole(self) -> Convolution:
        """With an input that has its padding."""
        return replace(self, data=self.padded, padding=(0,) * len(self.padding))


def direct_convolution(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The rule for a convolution and what follows it element by element."""
    fused = take_apart(function, CONVOLUTION, (PADDED,))
    if fused is None:
        return None
    shapes = Convolution.of(fused)
    data, memory, statements = fused.params[0], [], []
    if any(shapes.padding) and not _has_few_borders(shapes, cpu):
        data = loops.scratch(PADDED, *shapes.padded)
        memory.append(data)
        statements.append(pad(fused.params[0], data, shapes.padding, shapes.lanes))
        shapes = shapes.whole
    elif shapes.is_single and max(shapes.strides) > 1 and not any(shapes.padding):
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
    return loops.rewrite(function, loops.sequence(statements), memory, fused.overwritable)


def _has_few_borders(shapes: Convolution, cpu: CpuModel) -> bool:
    """Whether shorter sums at the sides of the image are little code, so that no copy is needed."""
    height, width = shapes.size[-2:]
    tile = choose_tile((height, width, shapes.blocks // shapes.groups), shapes.lanes, cpu)
    across = shapes.axes[-1]
    tiles = across.tiles(parts(across.output, tile.columns))
    return sum(len(across.spans(part.start, part.step)) for part in tiles) <= _MOST_SPANS


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

    def following(self, steps: int) -> tuple[Any, Any]:
        """How many passes on the next piece is, and its first step."""
        after = self.index + 1
        return after // self.count, after % self.count * steps // self.count

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


@dataclass(frozen=True)
class _Pass:
    """What the tiles of a pass have in common.

    Attributes:
        picture: index of the image, and of its plane.
        group: of channels.
        block, depth: the first block of output channels, and how many there are.
        image: index of the task among those that share the positions.
        piece: of the sums, if they are made in pieces.
    """

    picture: Any
    group: Any
    block: Any
    depth: int
    image: Any
    piece: Piece | None = None


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
        wanted = (self.rows, self.columns, self.group_blocks)
        tile = choose_tile(wanted, shapes.lanes, cpu)
        self.row_parts = parts(self.rows, tile.rows)
        self.axes = shapes.axes
        self.column_parts: Sequence[Part] = parts(self.columns, tile.columns)
        if any(shapes.padding):
            self.column_parts = self.axes[-1].tiles(self.column_parts)
        self.depth_parts = parts(self.group_blocks, tile.vectors)
        self.image_groups, self.channel_groups = self._groups(cpu)

    def _groups(self, cpu: CpuModel) -> tuple[int, int]:
        """Into how many tasks to cut positions, and channels."""
        shapes = self.shapes
        positions, passes = extents(self._grouped()), extents(self.depth_parts)
        products = self.rows * self.columns * self.group_blocks * math.prod(shapes.weight[1:-1])
        others = shapes.batch * self.planes * shapes.groups
        steps = others * products * shapes.lanes // _PRODUCTS_OF_A_STEP
        if max(steps, math.prod(shapes.weight)) < PARALLEL_WORK:
            return 1, 1
        work = Work(
            image_bytes=4 * math.prod(self._slab()) // shapes.groups,
            weight_bytes=4 * math.prod(shapes.weight) // shapes.groups,
            positions=positions,
            passes=passes,
            others=others,
            cycles=products / cpu.multiply_adds(shapes.lanes),
        )
        return choose_groups(work, cpu)

    def _slab(self) -> Sequence[int]:
        """Extents of the input that a plane of the result is computed from."""
        _, blocks, *planes, height, width, inner = self.shapes.data
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
                return self._pieces(_Pass(picture, group, first, part.step, image))

            statements.append(share(part, task, self.channel_groups, block, "channel"))
        return loops.sequence(statements)

    def _pieces(self, at: _Pass) -> tirx.Stmt:
        """All positions, for one piece of the sums after the other."""
        sums = self.rows * self.columns * at.depth * self.shapes.lanes
        weights = at.depth * math.prod(self.shapes.weight[1:])
        count = min(choose_pieces(4 * weights, 4 * sums, self.cpu), self.shapes.weight[1])
        if count == 1:
            return self._positions(at)
        partial = loops.scratch("partial", sums)

        def piece(index: Any) -> tirx.Stmt:
            return self._positions(replace(at, piece=Piece(partial, index, count)))

        return loops.using([partial], [loops.loop(count, piece, name="piece")])

    def _positions(self, at: _Pass) -> tirx.Stmt:
        if self.rows == 1:
            return self._rows(at, loops.integer(0), 1)

        def rows(part: Part) -> tirx.Stmt:
            def row(step: Any) -> tirx.Stmt:
                return self._rows(at, part.start + step * part.step, part.step)

            return share(part, at.image, self.image_groups, row, "row")

        return loops.sequence([rows(part) for part in self.row_parts])

    def _rows(self, at: _Pass, top: Any, count: int) -> tirx.Stmt:
        """Tiles beside one another, of one row where the kernel leaves the image.

        Sums over few channels are unrolled, so they are faster where all have as many products.
        """
        inside, is_few = self.axes[-2].inside, self.shapes.weight[-2] <= UNROLLED_CHANNELS
        if inside == range(self.axes[-2].output):
            return self._columns(at, top, count)

        def border(row: Any) -> tirx.Stmt:
            return self._columns(at, top + row, 1, leaves=True)

        borders = loops.loop(count, border, name="row")
        if len(inside) < count or (count == 1 and not is_few):
            return borders
        within = tirx.all(top >= inside.start, top <= inside.stop - count)
        return loops.when(within, self._columns(at, top, count), borders)

    def _columns(self, at: _Pass, top: Any, rows: int, *, leaves: bool = False) -> tirx.Stmt:
        """The tiles of some rows, of which the kernel may leave the image above and below."""

        def tiles(part: Part) -> tirx.Stmt:
            def tile(step: Any) -> tirx.Stmt:
                shape = Tile(rows, part.step, at.depth)
                spans = self._spans(part)
                return self._tile(at, shape, top, part.start + step * part.step, spans, leaves)

            if self.rows > 1:
                return loops.loop(part.count, tile, name="column")
            return share(part, at.image, self.image_groups, tile, "column")

        return loops.sequence([tiles(part) for part in self.column_parts])

    def _spans(self, part: Part) -> Sequence[Span] | None:
        """What tiles at the sides of the image sum."""
        across = self.axes[-1]
        return across.spans(part.start, part.step) if any(self.shapes.padding) else None

    def _tile(
        self,
        at: _Pass,
        shape: Tile,
        top: Any,
        left: Any,
        spans: Sequence[Span] | None,
        leaves: bool,
    ) -> tirx.Stmt:
        _, blocks, *kernel, inner, lanes = self.shapes.weight
        batch, *plane = self._picture(at.picture)
        first, count = at.piece.share(blocks) if at.piece else (loops.integer(0), blocks)
        taps = self._taps([*plane, top], leaves=leaves)

        def moved(k: Sequence[Any]) -> list[Any]:
            steps = zip(k, (*taps, (0, 0)), strict=True)
            return [tap + start for tap, (start, _) in steps]

        def element(r: Any, c: Any, io: Any, *at_step: Any) -> Any:
            *k, ii = at_step
            places = [*plane, top + r, left + c]
            place = [axis.source(*p) for axis, *p in zip(self.axes, places, moved(k), strict=True)]
            if self.offsets is not None:
                # It reaches beyond the first block.
                offset = loops.load(self.offsets, at.group, ii)
                return loops.load(self.data, batch, 0, *place, offset)
            return loops.load(self.data, batch, at.group * blocks + first + io, *place, ii)

        def factor(v: Any, io: Any, *at_step: Any) -> Any:
            *k, ii, lane = at_step
            return loops.load(self.weight, at.block + v, first + io, *moved(k), ii, lane)

        def finish(r: Any, c: Any, v: Any, lane: Any, value: Any) -> tirx.Stmt:
            indices = (batch, at.block + v, *plane, top + r, left + c, lane)
            return loops.store(self.fused.output, self.fused.finish(value, *indices), *indices)

        reduction = (count, *(end - start for start, end in taps), kernel[-1], inner)
        fetch = self._fetch(at, shape, top, left)
        position = top * self.columns + left
        partial = at.piece.partial(shape, lanes, position, self.columns) if at.piece else None
        apart = self.axes[-1].stride >= self.axes[-1].kernel
        return sum_tile(
            *(shape, lanes, reduction, element, factor, finish, fetch, partial, spans), apart=apart
        )

    def _taps(self, places: Sequence[Any], *, leaves: bool) -> list[tuple[Any, Any]]:
        """The first element of the kernel along each axis but the last, and the end of them.

        Args:
            places: in the result.
            leaves: whether the kernel may be above or below the image.
        """
        *planes, rows = self.axes[:-1]
        taps = [axis.taps(place) for axis, place in zip(planes, places[:-1], strict=True)]
        return [*taps, rows.taps(places[-1]) if leaves else (0, rows.kernel)]

    def _picture(self, index: Any) -> tuple[Any, ...]:
        """Batch, and the plane of the result if it has a depth."""
        if len(self.shapes.size) == 2:
            return (index,)
        if self.planes == 1:
            return (index, loops.integer(0))
        return (index // self.planes, index % self.planes)

    def _fetch(
        self, at: _Pass, shape: Tile, top: Any, left: Any
    ) -> Callable[[Any], tirx.Stmt] | None:
        """What a tile reads ahead: its part of the weights of the next piece, or next channels."""
        if extents(self.depth_parts) == 1 and not at.piece:
            return None
        blocks, *rest = self.shapes.weight[1:]
        positions, groups = self.rows * self.columns, self.image_groups
        first = top * self.columns + left
        first = first * groups % positions if groups > 1 else first
        part = (first, shape.rows * shape.columns * groups, positions)
        starts, steps, size = [(at.block + at.depth, 0)], blocks, at.depth * blocks
        if at.piece:
            passes, start = at.piece.following(blocks)
            starts = [(at.block + passes * at.depth + v, start) for v in range(at.depth)]
            steps, size = blocks // at.piece.count, -(-blocks // at.piece.count)
        zeros, size = [0 for _ in rest[1:]], size * math.prod(rest)
        ahead = [read_ahead(self.weight, (*s, *zeros), size, part, steps) for s in starts]
        return lambda io: loops.sequence([fetch(io) for fetch in ahead])


def _shape(buffer: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in buffer.shape)
