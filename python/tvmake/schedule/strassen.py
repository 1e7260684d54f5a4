"""Convolutions with kernels of one element by Strassen's algorithm, written out.

Positions and channels are halved, so a layer is a product of matrices of 2 x 2 blocks each, and
seven products of blocks are enough in place of eight. In the order of Winograd's variant (Strassen,
"Gaussian Elimination is not Optimal", 1969; Douglas et al., "GEMMW: A Portable Level 3 BLAS
Winograd Variant of Strassen's Matrix-Matrix Multiply Algorithm", 1994), each product adds to what
the ones before it came to, so that sums of blocks are made in registers. Those of weights are made
at compile time. What is left are four sums of blocks of the image, which are made first.
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
    from collections.abc import Callable

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
SUMS = {2: 0, 3: 1, 5: 2, 6: 3}
_COPIES = {0: 4, 1: 5, 4: 6}
PARTS = {0: (0, 0), 1: (0, 1), 4: (1, 1)}
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


def operands(a11: Any, a12: Any, a21: Any, a22: Any) -> tuple[Any, ...]:
    """What of the image the products are of, as `IMAGE` says, with four sums in all."""
    s1 = a21 + a22
    s2 = s1 - a11
    return a11, a12, s2, a11 - a21, a22, s1, a12 - s2


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
        self.moves = {**SUMS, **_COPIES} if max(self.strides) > 1 else SUMS
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

    def image(self, picture: Any, part: tuple[int, int], at: tuple[Any, Any, Any]) -> Any:
        """An element of a block of the image: of a block of its channels, a position and a lane."""
        half, side = part
        block, position, lane = at
        block, position = block + side * self.blocks, position + half * self.half
        if max(self.strides) == 1:
            place = self._flat(position)
        else:
            steps = zip(loops.places(position, self.size), self.strides, strict=True)
            place = [index * stride for index, stride in steps]
        return loops.load(self.data, picture, block, *place, lane)

    def position(self, index: Any) -> list[Any]:
        """The indices of a position in the result."""
        if self.fused.merges:
            return self._flat(index)
        return loops.places(index, self.size)

    def _flat(self, index: Any) -> list[Any]:
        """Indices of which the last one counts through all positions."""
        return [*(loops.integer(0) for _ in self.size[1:]), index]

    def _move(self, picture: Any, image: Any, block: Any) -> tirx.Stmt:
        """The sums of blocks of the image, for a share of the positions and a block of channels."""

        def element(position: Any, lane: Any) -> tirx.Stmt:
            at = (block, position, lane)
            a11, a12, a21, a22 = (
                self.image(picture, part, at) for part in ((0, 0), (0, 1), (1, 0), (1, 1))
            )
            values = operands(a11, a12, a21, a22)
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
                here = replace(at, block=part.start + step * part.step, depth=part.step)
                return self._share(at.image, functools.partial(self._tile, here))

            statements.append(share(part, at.channel, self.channels, block, "channel"))
        return loops.sequence(statements)

    def _tile(self, at: _Task, part: Part, step: Any) -> tirx.Stmt:
        shape = Tile(1, part.step, at.depth)
        tile = _Tile(self, at, part.start + step * part.step, shape)
        reduction = (self.blocks, 1, 1, self.lanes)
        return sum_chain(shape, self.out_lanes, reduction, tile.links())


@dataclass(frozen=True)
class _Tile:
    """A tile of each block of the result.

    Attributes:
        nest, task: that it is part of.
        first: position, of each half.
        shape: of the tile.
    """

    nest: _Nest
    task: _Task
    first: Any
    shape: Tile

    def links(self) -> list[Link]:
        """The seven products, each with what it begins with and what is done with the sum.

        With P the products, in their order here, the blocks of the result are P0 + P1, then,
        beginning with P0 again, P0 + P2 + P3 + P4, and P5 added to P0 + P2 + P3, and to P0 + P2
        with P6. So P0 is kept, later P0 + P2 in its place, and P0 + P2 + P3.
        """

        def zero(*_: Any) -> Any:
            return loops.zero()

        def first_kept(_r: Any, c: Any, v: Any, lane: Any, _: Any) -> Any:
            return self._kept(0, c, v, lane)

        def with_first_kept(_r: Any, c: Any, v: Any, lane: Any, value: Any) -> Any:
            return value + self._kept(0, c, v, lane)

        def last_result(_r: Any, c: Any, v: Any, lane: Any, value: Any) -> tirx.Stmt:
            return self._result(1, 1)(_r, c, v, lane, value + self._kept(1, c, v, lane))

        steps: list[tuple[Callable[..., Any] | None, Callable[..., tirx.Stmt]]] = [
            (zero, self._keep(0)),
            (None, self._result(0, 0)),
            (first_kept, self._keep(0)),
            (None, self._keep(1)),
            (None, self._result(1, 0)),
            (zero, last_result),
            (with_first_kept, self._result(0, 1)),
        ]
        return [
            Link(self._image(q), self._weights(q), finish, self._fetch(q), begin)
            for q, (begin, finish) in enumerate(steps)
        ]

    def _image(self, product: int) -> Callable[..., Any]:
        """What of the image a product is of."""
        nest = self.nest

        def element(_r: Any, c: Any, io: Any, _kh: Any, _kw: Any, ii: Any) -> Any:
            if product in nest.moves:
                place = (self.first + c) * nest.lanes + ii
                picture = self.task.picture
                return loops.load(nest.moved, picture, nest.moves[product], io, place)
            return nest.image(self.task.picture, PARTS[product], (io, self.first + c, ii))

        return element

    def _weights(self, product: int) -> Callable[..., Any]:
        """What of the weights a product is of."""

        def factor(v: Any, io: Any, _kh: Any, _kw: Any, ii: Any, lane: Any) -> Any:
            return loops.load(self.nest.weight, product, self.task.block + v, io, ii, lane)

        return factor

    def _fetch(self, product: int) -> Callable[[Any], tirx.Stmt]:
        """What is read ahead: a part of the weights of the next blocks of channels."""
        nest, depth = self.nest, self.task.depth
        size = depth * math.prod(_shape(nest.weight)[2:])
        first = self.first * nest.images % nest.half
        part = (first, self.shape.columns * nest.images, nest.half)
        start = (product, self.task.block + depth, 0, 0)
        return read_ahead(nest.weight, start, size, part, nest.blocks)

    def _kept(self, number: int, *at: Any) -> Any:
        """A sum that has been kept, at a column, vector and lane."""
        return loops.load(self.nest.kept, *self._place(number, *at))

    def _keep(self, number: int) -> Callable[..., tirx.Stmt]:
        """What keeps sums."""

        def finish(_: Any, c: Any, v: Any, lane: Any, value: Any) -> tirx.Stmt:
            return loops.store(self.nest.kept, value, *self._place(number, c, v, lane))

        return finish

    def _place(self, number: int, c: Any, v: Any, lane: Any) -> tuple[Any, Any, Any]:
        nest, at = self.nest, self.task
        whose = (at.picture * nest.images + at.image) * nest.channels + at.channel
        return whose, number, (c * self.shape.vectors + v) * nest.out_lanes + lane

    def _result(self, half: int, side: int) -> Callable[..., tirx.Stmt]:
        """What makes results of sums, in one half of the positions and one of the channels."""
        nest = self.nest

        def finish(_: Any, c: Any, v: Any, lane: Any, value: Any) -> tirx.Stmt:
            block = self.task.block + v + side * nest.out_blocks
            place = nest.position(self.first + c + half * nest.half)
            indices = (self.task.picture, block, *place, lane)
            return loops.store(nest.fused.output, nest.fused.finish(value, *indices), *indices)

        return finish


def _shape(buffer: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in buffer.shape)
