"""Convolutions with kernels of one element by Strassen's algorithm, written out.

Positions and channels are halved, so a layer is a product of matrices of 2 x 2 blocks each, and
seven products of blocks are enough in place of eight. In the order of Winograd's variant (Strassen,
"Gaussian Elimination is not Optimal", 1969; Douglas et al., "GEMMW: A Portable Level 3 BLAS
Winograd Variant of Strassen's Matrix-Matrix Multiply Algorithm", 1994), each product adds to what
the ones before it came to, so that sums of blocks are made in registers. Those of weights are made
at compile time. What is left are four sums of blocks of the image, for a group of positions at a
time, which stays in the second cache while all weights pass by.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tvmake.schedule import loops
from tvmake.schedule.fused import Fused, take_apart
from tvmake.schedule.microkernel import Link, read_ahead, share, sum_chain
from tvmake.schedule.tiles import Part, Tile, Work, choose_groups, choose_tile, extents, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tvm import tirx

    from tvmake.schedule.cpu import CpuModel

STRASSEN = "strassen_blocked"
ANNOTATION = "tvmake.strassen"
_BLOCKS = ("strassen_input", "strassen_product")
_LINE = 16  # elements of a line of the cache

# The products, in the order in which they are made: what of the image they are of. The image is
# [[A11, A12], [A21, A22]], positions by channels; weights are [[B11, B12], [B21, B22]].
IMAGE = (
    ((1, 0), (0, 0)),  # A11
    ((0, 1), (0, 0)),  # A12
    ((-1, 0), (1, 1)),  # S2 = S1 - A11
    ((1, 0), (-1, 0)),  # S3 = A11 - A21
    ((0, 0), (0, 1)),  # A22
    ((0, 0), (1, 1)),  # S1 = A21 + A22
    ((1, 1), (-1, -1)),  # S4 = A12 - S2
)
# What of the weights they are of, input by output channels.
WEIGHTS = (
    ((1, 0), (0, 0)),  # B11
    ((0, 0), (1, 0)),  # B21
    ((1, -1), (0, 1)),  # T2 = B22 - T1
    ((0, -1), (0, 1)),  # T3 = B22 - B12
    ((-1, 1), (1, -1)),  # -T4 = B21 - T2
    ((-1, 1), (0, 0)),  # T1 = B12 - B11
    ((0, 0), (0, 1)),  # B22
)
# The products that each block of the result is the sum of, positions by output channels.
RESULT = (((0, 1), (0, 2, 5, 6)), ((0, 2, 3, 4), (0, 2, 3, 5)))
# By the product: where in the scratch memory what it is of is, of the image or, with steps of more
# than one, a copy; and which block of the image it is of if it is of one.
_SUMS = {2: 0, 3: 1, 5: 2, 6: 3}
_COPIES = {0: 4, 1: 5, 4: 6}
_PARTS = {0: (0, 0), 1: (0, 1), 4: (1, 1)}
_TASKS = 8  # to keep a few cores evenly busy


@dataclass(frozen=True)
class _Task:
    """A share of the positions, for some blocks of output channels.

    Attributes:
        picture: index of the image.
        image, channel: which share of the positions, and of the channels.
        block, depth: the first block of output channels, and how many there are.
    """

    picture: Any
    image: Any
    channel: Any
    block: Any = 0
    depth: int = 0


def strassen_convolution(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The rule for such a convolution and what follows it element by element."""
    fused = take_apart(function, STRASSEN, _BLOCKS)
    if fused is None:
        return None
    nest = _Nest(fused, cpu)
    return loops.rewrite(function, nest.build(), [nest.moved, nest.kept], fused.overwritable)


class _Nest:
    """The sums of blocks of the image, then the loops around the tiles, and the tiles."""

    def __init__(self, fused: Fused, cpu: CpuModel) -> None:
        self.fused, self.data, self.weight = fused, *fused.params[:2]
        self.batch, blocks, *_, self.lanes = _shape(self.data)
        _, out_blocks, *self.size, self.out_lanes = _shape(fused.output)
        self.strides = [int(stride) for stride in fused.annotations[ANNOTATION]]
        self.moves = {**_SUMS, **_COPIES} if max(self.strides) > 1 else _SUMS
        self.half = math.prod(self.size) // 2
        self.blocks, self.out_blocks = blocks // 2, out_blocks // 2
        tile = choose_tile((1, self.half, self.out_blocks), self.out_lanes, cpu)
        self.column_parts = parts(self.half, tile.columns)
        self.depth_parts = parts(self.out_blocks, tile.vectors)
        products = len(IMAGE) * self.half * self.blocks * self.lanes * self.out_blocks
        weights = math.prod(_shape(self.weight))
        work = Work(
            image_bytes=len(IMAGE) * 4 * self.half * self.blocks * self.lanes,
            weight_bytes=4 * weights,
            positions=extents(self.column_parts),
            passes=extents(self.depth_parts),
            others=self.batch,
            cycles=products / cpu.multiply_adds(self.out_lanes),
        )
        self.images, self.channels = choose_groups(work, cpu)
        row = (-(-self.half * self.lanes // _LINE) | 1) * _LINE  # odd, to use all sets of a cache
        self.moved = loops.scratch("moved", self.batch, len(self.moves), self.blocks, row)
        # Not on the stack: LLVM takes that for registers, which it spills across lines.
        tasks = self.batch * self.images * self.channels
        self.kept = loops.scratch("kept", tasks, 2, tile.sums * self.out_lanes)

    def build(self) -> tirx.Stmt:
        """All of it; who has some of the positions first will mostly have them later too."""
        chunks = min(self.blocks, -(-_TASKS // (self.batch * self.images)))
        before = (self.batch, self.images, chunks)
        counts = (self.batch, self.images, self.channels)

        def move(index: Any) -> tirx.Stmt:
            picture, image, chunk = loops.places(index, before)

            def block(at: Any) -> tirx.Stmt:
                return self._move(picture, image, at)

            return share(Part(0, 1, self.blocks), chunk, chunks, block, "block")

        def task(index: Any) -> tirx.Stmt:
            return self._task(_Task(*loops.places(index, counts)))

        return loops.sequence(
            [loops.parallel(math.prod(n), body) for n, body in ((before, move), (counts, task))]
        )

    def _image(self, picture: Any, part: tuple[int, int], at: tuple[Any, Any, Any]) -> Any:
        """An element of a block of the image: of a block of its channels, a position and a lane."""
        half, side = part
        block, position, lane = at
        block, position = block + side * self.blocks, position + half * self.half
        if max(self.strides) == 1:
            place = [*(loops.integer(0) for _ in self.size[1:]), position]
        else:
            steps = zip(loops.places(position, self.size), self.strides, strict=True)
            place = [index * stride for index, stride in steps]
        return loops.load(self.data, picture, block, *place, lane)

    def _move(self, picture: Any, image: Any, block: Any) -> tirx.Stmt:
        """The sums of blocks of the image, for a share of the positions and a block of channels."""

        def element(position: Any, lane: Any) -> tirx.Stmt:
            at = (block, position, lane)
            a11, a12, a21, a22 = (
                self._image(picture, part, at) for part in ((0, 0), (0, 1), (1, 0), (1, 1))
            )
            s1 = a21 + a22
            s2 = s1 - a11
            values = {0: a11, 1: a12, 2: s2, 3: a11 - a21, 4: a22, 5: s1, 6: a12 - s2}
            place = (block, position * self.lanes + lane)
            stores = [
                loops.store(self.moved, values[product], picture, number, *place)
                for product, number in self.moves.items()
            ]
            return loops.sequence(stores)

        def tile(part: Part, step: Any) -> tirx.Stmt:
            def position(at: Any) -> tirx.Stmt:
                place = part.start + step * part.step + at
                return loops.vector(self.lanes, lambda lane: element(place, lane))

            return loops.loop(part.step, position, name="position")

        return self._share(image, tile)

    def _share(self, image: Any, body: Callable[[Part, Any], tirx.Stmt]) -> tirx.Stmt:
        """The tiles of a share of the positions: (part that they are of, step in it) -> one."""
        return loops.sequence(
            [
                share(part, image, self.images, functools.partial(body, part), "column")
                for part in self.column_parts
            ]
        )

    def _task(self, at: _Task) -> tirx.Stmt:
        statements = []
        for part in self.depth_parts:

            def block(step: Any, part: Part = part) -> tirx.Stmt:
                first = part.start + step * part.step
                here = replace(at, block=first, depth=part.step)
                return self._share(at.image, functools.partial(self._tile, here))

            statements.append(share(part, at.channel, self.channels, block, "channel"))
        return loops.sequence(statements)

    def _tile(self, at: _Task, part: Part, step: Any) -> tirx.Stmt:
        """The seven products for a tile of each block of the result.

        With P the products, in their order here, the blocks are P0 + P1, then, beginning with P0,
        P0 + P2 + P3 + P4, and P5 added to P0 + P2 + P3, and to P0 + P2 with P6.
        """
        first, columns = part.start + step * part.step, part.step
        shape = Tile(1, columns, at.depth)
        whose = (at.picture * self.images + at.image) * self.channels + at.channel

        def kept(number: int, c: Any, v: Any, lane: Any) -> tuple[Any, ...]:
            return whose, number, (c * shape.vectors + v) * self.out_lanes + lane

        def keep(number: int) -> Callable[..., tirx.Stmt]:
            return lambda _, *at, number=number: loops.store(
                self.kept, at[-1], *kept(number, *at[:-1])
            )

        def known(number: int, c: Any, v: Any, lane: Any) -> Any:
            return loops.load(self.kept, *kept(number, c, v, lane))

        def result(half: int, side: int) -> Callable[..., tirx.Stmt]:
            def finish(_: Any, c: Any, v: Any, lane: Any, value: Any) -> tirx.Stmt:
                block = at.block + v + side * self.out_blocks
                where = self._position(first + c + half * self.half)
                indices = (at.picture, block, *where, lane)
                return loops.store(self.fused.output, self.fused.finish(value, *indices), *indices)

            return finish

        def zero(*_: Any) -> Any:
            return loops.zero()

        def first_kept(_r: Any, c: Any, v: Any, lane: Any, _: Any) -> Any:
            return known(0, c, v, lane)

        def with_first_kept(_r: Any, c: Any, v: Any, lane: Any, value: Any) -> Any:
            return value + known(0, c, v, lane)

        def last_result(_r: Any, c: Any, v: Any, lane: Any, value: Any) -> tirx.Stmt:
            return result(1, 1)(_r, c, v, lane, value + known(1, c, v, lane))

        steps: list[tuple[Callable[..., Any] | None, Callable[..., tirx.Stmt]]] = [
            (zero, keep(0)),
            (None, result(0, 0)),
            (first_kept, keep(0)),
            (None, keep(1)),
            (None, result(1, 0)),
            (zero, last_result),
            (with_first_kept, result(0, 1)),
        ]
        links = [
            Link(
                data=self._element(at, q, first),
                weight=self._factor(at, q),
                finish=finish,
                fetch=self._fetch(at, q, first, columns),
                begin=begin,
            )
            for q, (begin, finish) in enumerate(steps)
        ]
        reduction = (self.blocks, 1, 1, self.lanes)
        return sum_chain(shape, self.out_lanes, reduction, links)

    def _element(self, at: _Task, q: int, first: Any) -> Callable[..., Any]:
        """What of the image a product is of."""

        def element(_r: Any, c: Any, io: Any, _kh: Any, _kw: Any, ii: Any) -> Any:
            if q in self.moves:
                place = (first + c) * self.lanes + ii
                return loops.load(self.moved, at.picture, self.moves[q], io, place)
            return self._image(at.picture, _PARTS[q], (io, first + c, ii))

        return element

    def _factor(self, at: _Task, q: int) -> Callable[..., Any]:
        """What of the weights a product is of."""

        def factor(v: Any, io: Any, _kh: Any, _kw: Any, ii: Any, lane: Any) -> Any:
            return loops.load(self.weight, q, at.block + v, io, ii, lane)

        return factor

    def _fetch(self, at: _Task, q: int, first: Any, columns: int) -> Callable[[Any], tirx.Stmt]:
        """What a tile reads ahead: its part of the weights of the next blocks of channels."""
        size = at.depth * math.prod(_shape(self.weight)[2:])
        part = (first * self.images % self.half, columns * self.images, self.half)
        start = (q, at.block + at.depth, 0, 0)
        return read_ahead(self.weight, start, size, part, self.blocks)

    def _position(self, where: Any) -> Sequence[Any]:
        """The indices of a position."""
        if self.fused.merges:
            return [*(loops.integer(0) for _ in self.size[1:]), where]
        return loops.places(where, self.size)


def _shape(buffer: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in buffer.shape)
