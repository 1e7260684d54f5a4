"""Winograd convolution written out: transform a group of tiles, multiply, transform back.

The group is as large as the caches allow, so that what lies between the three steps stays in them
while the weights are read as few times as possible. The threads share each step of a group, or,
where there are many, the groups: then no thread waits for another, nor reads what another wrote.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tvm import tirx

from tvmake.schedule import loops
from tvmake.schedule.filters import minimal_filter, transform
from tvmake.schedule.fused import Fused, take_apart
from tvmake.schedule.microkernel import read_ahead, share, sum_tile
from tvmake.schedule.tiles import Part, Tile, choose_tile, parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tvmake.schedule.cpu import CpuModel
    from tvmake.schedule.filters import Filter, Matrix

WINOGRAD = "winograd_blocked"
ANNOTATION = "tvmake.winograd"
_BLOCKS = ("winograd_padded", "winograd_input", "winograd_product")
_LINE = 16  # elements of a line of the cache
# Tasks that share the groups, each with memory of its own, and how many groups make one worth it.
_MOST_TASKS = 16
_FEWEST_TASKS = 4
_GROUPS_OF_TASK = 8
_GROUP = 24  # tiles that are worth reading weights for that are in the second cache, or nearly
_LARGE_GROUP = 64  # and weights that are not


@dataclass(frozen=True)
class _Shapes:
    """Of one layer.

    Attributes:
        filter: in each direction.
        lanes, out_lanes: channels of a block of the input, and of the result.
        rows, columns: tiles of an image.
        group: how many tiles are under way at a time.
    """

    filter: Filter
    batch: int
    height: int
    width: int
    blocks: int
    lanes: int
    out_height: int
    out_width: int
    out_blocks: int
    out_lanes: int
    top: int
    left: int
    rows: int
    columns: int
    group: int

    @property
    def tile(self) -> int:
        """How many results a tile has in each direction."""
        return self.filter.tile

    @property
    def size(self) -> int:
        """Of a tile of the input, in each direction."""
        return self.filter.size

    @property
    def tiles(self) -> int:
        """How many there are."""
        return self.batch * self.rows * self.columns

    @property
    def groups(self) -> int:
        """How many there are."""
        return -(-self.tiles // self.group)

    @property
    def tasks(self) -> int:
        """How many tasks share the groups: a power of two; 1 if each group is shared by itself."""
        most = min(_MOST_TASKS, self.groups // _GROUPS_OF_TASK)
        return 1 << (most.bit_length() - 1) if most >= _FEWEST_TASKS else 1

    @staticmethod
    def of(fused: Fused, cpu: CpuModel) -> _Shapes:
        batch, blocks, height, width, lanes = _shape(fused.params[0])
        _, out_blocks, out_height, out_width, out_lanes = _shape(fused.output)
        tile, taps, stride, top, left = (int(v) for v in fused.annotations[ANNOTATION])
        chosen = minimal_filter(tile, taps, stride)
        rows, columns = -(-out_height // tile), -(-out_width // tile)
        tiles = batch * rows * columns
        most = _largest_group(chosen, tiles, blocks * lanes, out_blocks * out_lanes, cpu)
        groups = -(-tiles // most)
        return _Shapes(
            *(chosen, batch, height, width, blocks, lanes),
            *(out_height, out_width, out_blocks, out_lanes),
            *(top, left, rows, columns, -(-tiles // groups)),
        )


def _largest_group(chosen: Filter, tiles: int, inputs: int, outputs: int, cpu: CpuModel) -> int:
    """How many tiles to have under way.

    What belongs to one point must stay in the second cache; all points should, beside the weights
    and the image, unless that makes so few tiles that reading the weights again costs more. So it
    does the sooner where threads share each step, since they wait for one another in each group.
    """
    one = cpu.l2_bytes // 4 // (4 * max(inputs, outputs))
    everything = cpu.l2_bytes // 2 // (4 * chosen.size**2 * (inputs + outputs))
    weights = 4 * len(chosen.weights) ** 2 * inputs * outputs
    shares_steps = tiles < _GROUP * _GROUPS_OF_TASK * _FEWEST_TASKS
    near = cpu.l2_bytes if shares_steps else 2 * cpu.l2_bytes
    enough = _GROUP if weights <= near else _LARGE_GROUP
    return max(8, min(one, max(everything, enough)))


def winograd_convolution(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The rule for a Winograd convolution and what follows it element by element."""
    fused = take_apart(function, WINOGRAD, _BLOCKS)
    if fused is None:
        return None
    shapes = _Shapes.of(fused, cpu)
    moved = _Points.scratch("moved", shapes, shapes.blocks, shapes.lanes)
    product = _Points.scratch("product", shapes, shapes.out_blocks, shapes.out_lanes)
    tasks = shapes.tasks

    def task(index: Any) -> tirx.Stmt:
        across = loops.parallel if tasks == 1 else loops.loop
        layer = _Winograd(shapes, fused, cpu, moved.of(index), product.of(index), across)
        return share(Part(0, 1, shapes.groups), index, tasks, layer.group, "group")

    memory = [moved.memory, product.memory]
    return loops.rewrite(function, loops.parallel(tasks, task), memory, fused.overwritable)


@dataclass(frozen=True)
class _Points:
    """What a group of tiles has at each point: [task, point, block, tile, lane].

    The points of a tile are an odd number of lines apart, so that they fall into different sets of
    a cache.

    Attributes:
        memory: of all tasks.
        shapes: of the layer.
        lanes: of a block.
        task: whose part this is.
    """

    memory: tirx.Buffer
    shapes: _Shapes
    lanes: int
    task: Any = 0

    @staticmethod
    def scratch(name: str, shapes: _Shapes, blocks: int, lanes: int) -> _Points:
        """Memory for so many blocks of channels."""
        stride = (-(-blocks * shapes.group * lanes // _LINE) | 1) * _LINE
        return _Points(loops.scratch(name, shapes.tasks * shapes.size**2, stride), shapes, lanes)

    def of(self, task: Any) -> _Points:
        """The part of a task."""
        return replace(self, task=task)

    def load(self, point: Any, block: Any, tile: Any, lane: Any) -> Any:
        """An element."""
        return loops.load(self.memory, *self._place(point, block, tile, lane))

    def store(self, value: Any, point: Any, block: Any, tile: Any, lane: Any) -> tirx.Stmt:
        """A change of an element."""
        return loops.store(self.memory, value, *self._place(point, block, tile, lane))

    def _place(self, point: Any, block: Any, tile: Any, lane: Any) -> tuple[Any, Any]:
        shapes = self.shapes
        inner = (block * shapes.group + tile) * self.lanes + lane
        return self.task * shapes.size**2 + point, inner


@dataclass(frozen=True)
class _Winograd:
    """Writes the three steps for a group of tiles.

    Attributes:
        shapes, fused, cpu: what is computed, and on what.
        moved: the group's tiles transformed.
        product: what they are multiplied to.
        across: the loop over what can be done in any order.
    """

    shapes: _Shapes
    fused: Fused
    cpu: CpuModel
    moved: _Points
    product: _Points
    across: Callable[[int, Callable[[Any], tirx.Stmt]], tirx.Stmt]

    def group(self, index: Any) -> tirx.Stmt:
        """All steps of a group."""
        first = index * self.shapes.group
        return loops.sequence([self._before(first), self._multiply(), self._after(first)])

    def _place(self, tile: Any) -> tuple[Any, Any, Any]:
        """Image, row and column of a tile's first result."""
        shapes = self.shapes
        image = tile // (shapes.rows * shapes.columns)
        row = tile // shapes.columns % shapes.rows
        return image, row * shapes.tile, tile % shapes.columns * shapes.tile

    def _before(self, first: Any) -> tirx.Stmt:
        """Bᵀ d B for each tile and block of input channels."""
        shapes, lanes, data = self.shapes, self.shapes.lanes, self.fused.params[0]
        size, before = shapes.size, shapes.filter.before
        patch = loops.scratch("patch", size * size * lanes)

        def tile(block: Any, index: Any) -> tirx.Stmt:
            image, row, column = self._place(first + index)
            stride = shapes.filter.stride
            top, left = row * stride - shapes.top, column * stride - shapes.left

            def store(i: int, j: int, value: Any, lane: Any) -> tirx.Stmt:
                return self.moved.store(value, i * size + j, block, index, lane)

            def inside(r: int, c: int, lane: Any) -> Any:
                return loops.load(data, image, block, top + r, left + c, lane)

            def in_patch(r: Any, c: Any, lane: Any) -> Any:
                return (r * size + c) * lanes + lane

            def from_patch(r: Any, c: Any, lane: Any) -> Any:
                return loops.load(patch, in_patch(r, c, lane))

            def gather(r: Any, c: Any) -> tirx.Stmt:
                h, w = top + r, left + c
                known = _all(
                    *(h >= 0, h < shapes.height, w >= 0, w < shapes.width),
                    image < shapes.batch,
                )

                def put(value: Callable[[Any], Any]) -> tirx.Stmt:
                    return loops.vector(
                        lanes, lambda v: loops.store(patch, value(v), in_patch(r, c, v))
                    )

                return loops.when(
                    known, put(lambda v: inside(r, c, v)), put(lambda _: loops.zero())
                )

            def gather_row(r: Any) -> tirx.Stmt:
                return loops.loop(size, lambda c: gather(r, c), name="c")

            whole = _all(
                *(top >= 0, top + size <= shapes.height),
                *(left >= 0, left + size <= shapes.width, image < shapes.batch),
            )
            edge = [
                loops.loop(size, gather_row, name="r"),
                self._two_passes(before, lanes, from_patch, store),
            ]
            return loops.when(
                whole, self._two_passes(before, lanes, inside, store), loops.using([patch], edge)
            )

        def blocks(block: Any) -> tirx.Stmt:
            return loops.loop(shapes.group, lambda t: tile(block, t), name="t")

        return self.across(shapes.blocks, blocks)

    def _product_tile(self, point: Any, block: Any, left: Any, shape: Tile) -> tirx.Stmt:
        """Products of some tiles with some blocks of output channels, at one point."""
        shapes, lanes, weight = self.shapes, self.shapes.out_lanes, self.fused.params[1]
        weights = self._weights(point)

        def data(_r: Any, c: Any, io: Any, _kh: Any, _kw: Any, ii: Any) -> Any:
            return self.moved.load(point, io, left + c, ii)

        def factor(v: Any, io: Any, _kh: Any, _kw: Any, ii: Any, lane: Any) -> Any:
            return loops.load(weight, weights, block + v, io, ii, lane)

        def finish(_r: Any, c: Any, v: Any, lane: Any, value: Any) -> tirx.Stmt:
            return self.product.store(value, point, block + v, left + c, lane)

        reduction = (shapes.blocks, 1, 1, shapes.lanes)
        size = shapes.blocks * shapes.lanes * lanes * shape.vectors
        part = (left, shape.columns, shapes.group)
        following = (weights, block + shape.vectors, 0, 0)
        fetch = read_ahead(weight, following, size, part, shapes.blocks)
        return sum_tile(shape, lanes, reduction, data, factor, finish, fetch)

    def _weights(self, point: Any) -> Any:
        """Which weights those of a point are: in each direction the last points share them."""
        size, count = self.shapes.size, len(self.shapes.filter.weights)
        if count == size:
            return point
        row, column = (tirx.min(at, count - 1) for at in (point // size, point % size))
        return row * count + column

    def _multiply(self) -> tirx.Stmt:
        """For each point a product of matrices: tiles by input channels by output channels."""
        shapes = self.shapes
        best = choose_tile((1, shapes.group, shapes.out_blocks), shapes.out_lanes, self.cpu)

        def row(point: Any, first: Any, depth: int) -> tirx.Stmt:
            statements = []
            for wide in parts(shapes.group, best.columns):

                def step(at: Any, wide: Part = wide) -> tirx.Stmt:
                    left = wide.start + at * wide.step
                    return self._product_tile(point, first, left, Tile(1, wide.step, depth))

                statements.append(loops.loop(wide.count, step, name="s"))
            return loops.sequence(statements)

        def channels(point: Any) -> tirx.Stmt:
            statements = []
            for deep in parts(shapes.out_blocks, best.vectors):

                def block(at: Any, deep: Part = deep) -> tirx.Stmt:
                    return row(point, deep.start + at * deep.step, deep.step)

                statements.append(loops.loop(deep.count, block, name="o"))
            return loops.sequence(statements)

        return self.across(shapes.size**2, channels)

    def _after(self, first: Any) -> tirx.Stmt:
        """Aᵀ m A and the epilogue for each tile and block of output channels."""
        shapes, lanes, after = self.shapes, self.shapes.out_lanes, self.shapes.filter.after

        def tile(block: Any, index: Any) -> tirx.Stmt:
            image, row, column = self._place(first + index)

            def value(r: int, c: int, lane: Any) -> Any:
                return self.product.load(r * shapes.size + c, block, index, lane)

            def store(i: int, j: int, result: Any, lane: Any) -> tirx.Stmt:
                indices = (image, block, row + i, column + j, lane)
                return loops.store(self.fused.output, self.fused.finish(result, *indices), *indices)

            def known(i: int, j: int) -> Any:
                return _all(
                    row + i < shapes.out_height,
                    column + j < shapes.out_width,
                    image < shapes.batch,
                )

            whole = self._two_passes(after, lanes, value, store)
            last = shapes.tile - 1
            if not (shapes.out_height % shapes.tile or shapes.out_width % shapes.tile) and (
                shapes.tiles % shapes.group == 0
            ):
                return whole
            return loops.when(
                known(last, last), whole, self._two_passes(after, lanes, value, store, known)
            )

        def blocks(block: Any) -> tirx.Stmt:
            return loops.loop(shapes.group, lambda t: tile(block, t), name="t")

        return self.across(shapes.out_blocks, blocks)

    def _two_passes(
        self,
        matrix: Matrix,
        lanes: int,
        value: Callable[[Any, Any, Any], Any],
        store: Callable[[Any, Any, Any, Any], tirx.Stmt],
        condition: Callable[[Any, Any], Any] | None = None,
    ) -> tirx.Stmt:
        """A transform of the columns, then of the rows, of one tile."""
        size, height = self.shapes.size, len(matrix)
        half = loops.scratch("half", height * size * lanes)

        def place(i: Any, c: Any, lane: Any) -> Any:
            return (i * size + c) * lanes + lane

        def column(c: Any) -> tirx.Stmt:
            def each(lane: Any) -> tirx.Stmt:
                values = transform(matrix, [value(r, c, lane) for r in range(size)])
                stores = [loops.store(half, v, place(i, c, lane)) for i, v in enumerate(values)]
                return loops.sequence(stores)

            return loops.vector(lanes, each)

        def element(i: Any, j: int) -> tirx.Stmt:
            def each(lane: Any) -> tirx.Stmt:
                known = [loops.load(half, place(i, c, lane)) for c in range(size)]
                return store(i, j, transform(matrix, known)[j], lane)

            statement = loops.vector(lanes, each)
            return loops.when(condition(i, j), statement) if condition else statement

        def row(i: Any) -> tirx.Stmt:
            return loops.sequence([element(i, j) for j in range(height)])

        passes = [loops.loop(size, column, name="c"), loops.loop(height, row, name="r")]
        return loops.using([half], passes)


def _all(*conditions: Any) -> Any:
    return tirx.all(*conditions)


def _shape(buffer: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in buffer.shape)
