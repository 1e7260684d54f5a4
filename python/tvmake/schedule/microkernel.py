"""A tile of sums in registers: the inside of convolutions and products."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tvmake.schedule import loops
from tvmake.schedule.primitives import divisor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tvm import tirx

    from tvmake.schedule.sliding import Span
    from tvmake.schedule.tiles import Part, Tile

# Steps of the sum that are written one after the other. A whole vector of channels would be several
# times the code for LLVM to optimize, and no faster.
_UNROLLED_STEPS = 16
UNROLLED_CHANNELS = 4
_LINE = 16  # elements of a line of the cache


@dataclass(frozen=True)
class Partial:
    """Sums that are made in pieces, so that the weights of one stay in the cache meanwhile.

    Attributes:
        buffer: holds the sums between the pieces.
        place: (row, column, vector, lane) -> index into it.
        is_first, is_last: whether the piece at hand is.
    """

    buffer: tirx.Buffer
    place: Callable[..., Any]
    is_first: Any
    is_last: Any


@dataclass(frozen=True)
class _Columns:
    """The columns of a tile: all of them, and those that some elements of the kernel are for."""

    all: range
    spans: Sequence[Span] | None

    def loop(self, extent: Any, body: Callable[[Any, range], tirx.Stmt], name: str) -> tirx.Stmt:
        """The loops over a row of the kernel; `body` is given an element, and its columns."""
        if self.spans is None:
            return loops.loop(extent, lambda k: body(k, self.all), name=name)

        def one(span: Span) -> tirx.Stmt:
            return loops.loop(
                len(span.taps),
                lambda k: body(k, span.columns),
                start=span.taps.start,
                name=name,
            )

        return loops.sequence([one(span) for span in self.spans])


@dataclass(frozen=True)
class Link:
    """One of the sums that are made in the same registers, one after the other.

    Attributes:
        data, weight, finish, fetch: as of `sum_tile`.
        begin: (row, column, vector, lane, sum so far) -> what the products are added to; if there
            is none, to the sum so far.
    """

    data: Callable[..., Any]
    weight: Callable[..., Any]
    finish: Callable[..., tirx.Stmt]
    fetch: Callable[[Any], tirx.Stmt]
    begin: Callable[..., Any] | None = None


class _Sums:
    """The sums of a tile, one after the other: rows, columns, vectors, lanes."""

    def __init__(self, tile: Tile, lanes: int) -> None:
        self.tile, self.lanes = tile, lanes
        self.buffer = loops.scratch("sums", tile.sums * lanes)

    def place(self, r: Any, c: Any, v: Any, lane: Any) -> Any:
        """Where one is."""
        return ((r * self.tile.columns + c) * self.tile.vectors + v) * self.lanes + lane

    def load(self, *at: Any) -> Any:
        """One of them."""
        return loops.load(self.buffer, self.place(*at))

    def set(self, value: Callable[..., Any]) -> tirx.Stmt:
        """Give each of them a value."""
        return _each(
            self.tile,
            self.lanes,
            lambda *at: loops.store(self.buffer, value(*at), self.place(*at)),
        )

    def use(self, finish: Callable[..., tirx.Stmt]) -> tirx.Stmt:
        """Do something with each of them."""
        return _each(self.tile, self.lanes, lambda *at: finish(*at, self.load(*at)))

    def add(self, data: Callable[..., Any], weight: Callable[..., Any]) -> Callable[..., tirx.Stmt]:
        """What adds products to those of some columns: (columns, *reduction) -> it."""

        def step(columns: range, *k: Any) -> tirx.Stmt:
            def one(r: Any, c: Any, v: Any, lane: Any) -> tirx.Stmt:
                c = c + columns.start if columns.start else c
                at = self.place(r, c, v, lane)
                product = data(r, c, *k) * weight(v, *k, lane)
                return loops.store(self.buffer, loops.load(self.buffer, at) + product, at)

            return _each(replace(self.tile, columns=len(columns)), self.lanes, one)

        return step


def sum_tile(
    tile: Tile,
    lanes: int,
    reduction: Sequence[Any],
    data: Callable[..., Any],
    weight: Callable[..., Any],
    finish: Callable[..., tirx.Stmt],
    fetch: Callable[[Any], tirx.Stmt] | None = None,
    partial: Partial | None = None,
    spans: Sequence[Span] | None = None,
    apart: bool = False,
) -> tirx.Stmt:
    """Sum products of one element of the data with a vector of weights, and finish the sums.

    Args:
        tile: shape of the tile.
        lanes: of a vector.
        reduction: extents of the loops of the sum: input blocks, the kernel's axes, channels of a
            block.
        data: (row, column, *reduction) -> element.
        weight: (vector, *reduction, lane) -> element.
        finish: (row, column, vector, lane, sum) -> what is done with it.
        fetch: input block -> what is read ahead meanwhile.
        partial: where the sums are kept, if this is one piece of them.
        spans: which columns have which elements of a row of the kernel, if not all have all.
        apart: whether no two columns are of the same elements of the data.
    """
    sums = _Sums(tile, lanes)
    first, last = sums.set(lambda *_: loops.zero()), sums.use(finish)
    if partial:

        def known(*at: Any) -> Any:
            return loops.load(partial.buffer, partial.place(*at))

        def pause(r: Any, c: Any, v: Any, lane: Any, value: Any) -> tirx.Stmt:
            return loops.store(partial.buffer, value, partial.place(r, c, v, lane))

        first = loops.when(partial.is_first, first, sums.set(known))
        last = loops.when(partial.is_last, last, sums.use(pause))
    if spans is not None and not spans:
        return loops.using([sums.buffer], [first, last])
    everything = _Columns(range(tile.columns), spans)
    added = _reduce(reduction, everything, sums.add(data, weight), fetch, apart=apart)
    return loops.using([sums.buffer], [first, added, last])


def sum_chain(tile: Tile, lanes: int, reduction: Sequence[Any], links: Sequence[Link]) -> tirx.Stmt:
    """Sums that go on from one another: of each, what it begins with, its products, and its end.

    Args:
        tile: shape of the tile.
        lanes: of a vector.
        reduction: extents of the loops of each sum, as of `sum_tile`.
        links: the sums.
    """
    sums = _Sums(tile, lanes)
    columns = _Columns(range(tile.columns), None)
    statements = []
    for link in links:
        if (begin := link.begin) is not None:
            statements.append(sums.set(lambda *at, begin=begin: begin(*at, sums.load(*at))))
        statements.append(_reduce(reduction, columns, sums.add(link.data, link.weight), link.fetch))
        statements.append(sums.use(link.finish))
    return loops.using([sums.buffer], statements)


def read_ahead(
    weight: tirx.Buffer,
    start: tuple[Any, ...],
    size: int,
    part: tuple[Any, int, int],
    steps: int,
) -> Callable[[Any], tirx.Stmt]:
    """Fetch the weights of the next tiles while those at hand are in use.

    They are used once per run, so they come from memory, which would be waited for. All tiles that
    share weights fetch the next ones together, a few lines of the cache in each step of their sums.

    Args:
        weight: the weights.
        start: indices where the next ones start.
        size: how many elements they are.
        part: what a tile fetches of them: as much as its positions are of all positions, given as
            first position, how many, and how many there are in all.
        steps: of a sum.

    Returns:
        step -> what it fetches.
    """
    first, count, positions = part
    lines = -(-size // _LINE)
    each = -(-lines * count // (positions * steps))

    def fetch(step: Any) -> tirx.Stmt:
        begin = (first.astype("int64") * lines // positions).astype("int32") + step * each
        return loops.loop(each, lambda at: loops.prefetch(weight, *start, (begin + at) * _LINE))

    return fetch


def share(
    part: Part, task: Any, tasks: int, body: Callable[[Any], tirx.Stmt], name: str
) -> tirx.Stmt:
    """One task's share of the steps of a part."""
    if tasks == 1:
        return loops.loop(part.count, body, name=name)
    if tasks == part.count:
        return body(task)
    first = task * part.count // tasks
    return loops.loop((task + 1) * part.count // tasks - first, body, start=first, name=name)


def _reduce(
    extents: Sequence[Any],
    columns: _Columns,
    step: Callable[..., tirx.Stmt],
    fetch: Callable[[Any], tirx.Stmt] | None,
    *,
    apart: bool = False,
) -> tirx.Stmt:
    """The loops of the sum."""
    blocks, *inner = extents
    if inner[-1] <= UNROLLED_CHANNELS:
        return _reduce_few(extents, columns, step, fetch, apart=apart)

    def within(*at: Any, having: range = columns.all) -> tirx.Stmt:
        """The loops of the axes after those of which the steps are given."""
        left = inner[len(at) - 1 :]
        if not left:
            return step(having, *at)
        if len(left) == 2:
            return columns.loop(left[0], lambda k, having: within(*at, k, having=having), "k")
        return loops.loop(left[0], lambda k: within(*at, k, having=having), name="k")

    def block(io: Any) -> tirx.Stmt:
        taps = within(io)
        return loops.sequence([fetch(io), taps]) if fetch else taps

    return loops.loop(blocks, block, name="io")


def _reduce_few(
    extents: Sequence[Any],
    columns: _Columns,
    step: Callable[..., tirx.Stmt],
    fetch: Callable[[Any], tirx.Stmt] | None,
    *,
    apart: bool,
) -> tirx.Stmt:
    """The loops of the sum over blocks of few channels, as a picture's, which are blocks of one.

    Few steps are unrolled: those of different channels and rows, which read different elements.
    Those of neighbouring columns read the same ones. Were they unrolled, LLVM would keep in
    registers what is soon read again, and spill the sums. So columns are a loop around the rows,
    unless nothing is read again: then it is around each row, whose elements lie side by side.
    """
    blocks, *kernel_d, kernel_h, kernel_w, inner = extents
    together = divisor(blocks, UNROLLED_CHANNELS // inner) if isinstance(blocks, int) else 1
    is_short = isinstance(kernel_h, int) and kernel_h * together * inner <= _UNROLLED_STEPS
    rows = loops.unrolled if is_short else loops.loop

    def place(having: range, first: Any, *taps: Any) -> tirx.Stmt:
        def channels(io: Any) -> tirx.Stmt:
            return loops.unrolled(inner, lambda ii: step(having, first + io, *taps, ii), name="ii")

        return loops.unrolled(together, channels, name="io")

    def column(having: range, first: Any, kd: list[Any], kw: Any) -> tirx.Stmt:
        return rows(kernel_h, lambda kh: place(having, first, *kd, kh, kw), name="kh")

    def row(first: Any, kd: list[Any], kh: Any) -> tirx.Stmt:
        return columns.loop(kernel_w, lambda kw, having: place(having, first, *kd, kh, kw), "kw")

    def plane(first: Any, *kd: Any) -> tirx.Stmt:
        if len(kd) < len(kernel_d):
            return loops.loop(kernel_d[0], lambda at: plane(first, at), name="kd")
        if apart:
            return loops.loop(kernel_h, lambda kh: row(first, [*kd], kh), name="kh")
        return columns.loop(kernel_w, lambda kw, having: column(having, first, [*kd], kw), "kw")

    def part(index: Any) -> tirx.Stmt:
        first = index * together
        ahead = [loops.loop(together, lambda io: fetch(first + io), name="io")] if fetch else []
        return loops.sequence([*ahead, plane(first)])

    return loops.loop(blocks // together, part, name="part")


def _each(tile: Tile, lanes: int, body: Callable[..., tirx.Stmt]) -> tirx.Stmt:
    """Something for every sum of a tile."""
    return loops.unrolled(
        tile.rows,
        lambda r: loops.unrolled(
            tile.columns,
            lambda c: loops.unrolled(
                tile.vectors, lambda v: loops.vector(lanes, lambda lane: body(r, c, v, lane))
            ),
        ),
    )
