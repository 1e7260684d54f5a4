"""Kernels that read a row's columns in another order: padded, enlarged, reversed, every second one.

Which column is read is known for each column of the result. So these are cut where that changes its
course, and in between a vector is read from where its elements are, and its lanes are shuffled.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from tvm import tirx
from tvm.ir import Call
from tvm.ir.expr import TensorLoad
from tvm.ir.prim import expr as prim

from tvmake.schedule import loops
from tvmake.schedule.expressions import contains, identity, loads, replace, variables_of
from tvmake.schedule.primitives import PARALLEL_WORK, element_bits, element_block

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tvmake.schedule.cpu import CpuModel

    Array = np.ndarray[Any, Any]

_MOST_COLUMNS = 1 << 14
_MOST_STRETCHES = 12  # that are written out
_LONGEST_PERIOD = 4  # vectors after which a pattern repeats
_WIDEST = 4  # vectors from which the lanes of one come
_FEWEST_ROWS = 8  # that threads share
_ARITHMETIC = {
    prim.Add: np.add,
    prim.Sub: np.subtract,
    prim.Mul: np.multiply,
    prim.FloorDiv: np.floor_divide,
    prim.FloorMod: np.mod,
    prim.Min: np.minimum,
    prim.Max: np.maximum,
    prim.LT: np.less,
    prim.LE: np.less_equal,
    prim.GT: np.greater,
    prim.GE: np.greater_equal,
    prim.EQ: np.equal,
    prim.NE: np.not_equal,
}


@dataclass(frozen=True)
class _Stretch:
    """Columns of the result in which vectors read columns by one pattern.

    Attributes:
        start: the first column.
        sources: for each vector of a period, which columns it reads at first.
        count: of periods.
        moved: by how much the columns that are read move from one period to the next.
    """

    start: int
    sources: tuple[tuple[int, ...], ...]
    count: int
    moved: int

    @property
    def span(self) -> int:
        """How far from one another the columns are that a vector reads."""
        return max(max(vector) - min(vector) for vector in self.sources)


def gather_columns(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The rule for one block that reads columns of rows in an order that only they decide."""
    found = element_block(function)
    if found is None:
        return None
    schedule, block = found
    axes, store = list(schedule.get(block).iter_vars), schedule.get(block).body
    try:
        gather = _Gather(axes, store, cpu.lanes(element_bits(schedule, block)))
    except ValueError:  # of another form
        return None
    return loops.rewrite(function, gather.build(), [])


class _Gather:
    """The loops over rows, and the stretches of a row."""

    def __init__(self, axes: Sequence[Any], store: Any, lanes: int) -> None:
        self.variables = [axis.var for axis in axes]
        self.rows = [int(axis.dom.extent) for axis in axes[:-1]]
        self.width = int(axes[-1].dom.extent)
        self.store, self.lanes = store, lanes
        self.column = self.variables[-1]
        work, rows = math.prod(self.rows) * self.width, math.prod(self.rows)
        self.is_parallel = work >= PARALLEL_WORK
        if self.width > _MOST_COLUMNS or (self.is_parallel and rows < _FEWEST_ROWS):
            raise ValueError("few rows")
        self.moved = [load for load in loads(store.value) if self._moves(load)]
        if not self.moved:
            raise ValueError("columns as they are")
        self.sources, *others = (self._evaluate(load.indices[-1]) for load in self.moved)
        if any((other != self.sources).any() for other in others):
            raise ValueError("columns of several orders")
        sections = self._sections()
        if len(sections) == 1 and (np.diff(self.sources) == 1).all():
            raise ValueError("columns as they are")
        self.stretches = [
            (self._within(start), stretch)
            for start, end in sections
            for stretch in _stretches(self.sources, start, end, self.lanes)
        ]
        if len(self.stretches) > _MOST_STRETCHES:
            raise ValueError("columns in no order")
        if any(_is_guarded(value) for value, stretch in self.stretches if _shuffles(stretch)):
            raise ValueError("shuffles of what may lie outside")

    def build(self) -> tirx.Stmt:
        """The loops."""

        def row(index: Any) -> tirx.Stmt:
            places = loops.places(index, self.rows)
            return loops.sequence([self._stretch(places, *part) for part in self.stretches])

        count = math.prod(self.rows)
        return loops.parallel(count, row) if self.is_parallel else loops.loop(count, row)

    # What is read where.

    def _uses_column(self, expression: Any) -> bool:
        return any(v.same_as(self.column) for v in variables_of(expression))

    def _moves(self, load: TensorLoad) -> bool:
        """Whether columns are read in another order.

        Raises:
            ValueError: if that depends on rows too, or on data.
        """
        *before, last = load.indices or [tirx.const(0, "int64")]
        if any(map(self._uses_column, before)):
            raise ValueError("a transpose")
        return self._uses_column(last) and not last.same_as(self.column)

    def _evaluate(self, expression: Any) -> Array:
        """An expression of the column's number, for all columns.

        Raises:
            ValueError: if it is one of something else.
        """
        if isinstance(expression, prim.IntImm):
            return np.full(self.width, int(expression))
        if isinstance(expression, tvm.ir.Var) and expression.same_as(self.column):
            return np.arange(self.width)
        if isinstance(expression, prim.Cast):
            return self._evaluate(expression.value)
        if type(expression) not in _ARITHMETIC:
            raise ValueError("not of the column's number alone")
        sides = (self._evaluate(side) for side in (expression.a, expression.b))
        result: Array = _ARITHMETIC[type(expression)](*sides)
        return result

    def _conditions(self, expression: Any) -> Iterator[Any]:
        """The comparisons of the column's number."""
        if isinstance(expression, prim.CmpExpr) and self._uses_column(expression):
            yield expression
        elif isinstance(expression, prim.And | prim.Or):
            yield from self._conditions(expression.a)
            yield from self._conditions(expression.b)
        elif isinstance(expression, prim.Not):
            yield from self._conditions(expression.a)
        elif _is_choice(expression):
            for operand in expression.args:
                yield from self._conditions(operand)

    def _sections(self) -> list[tuple[int, int]]:
        """The columns, cut where a condition of the column's number changes."""
        cuts = {0, self.width}
        for condition in self._conditions(self.store.value):
            cuts |= {int(at) + 1 for at in np.flatnonzero(np.diff(self._evaluate(condition)))}
        return list(itertools.pairwise(sorted(cuts)))

    def _within(self, start: int) -> Any:
        """The value in the section from a column on, with all conditions of the column decided."""

        def decide(condition: Any) -> Any:
            if isinstance(condition, prim.And | prim.Or):
                sides = decide(condition.a), decide(condition.b)
                absorbing = isinstance(condition, prim.Or)
                if any(side is absorbing for side in sides):
                    return absorbing
                open_sides = [side for side in sides if not isinstance(side, bool)]
                return (
                    functools.reduce(type(condition), open_sides) if open_sides else not absorbing
                )
            if isinstance(condition, prim.CmpExpr) and self._uses_column(condition):
                return bool(self._evaluate(condition)[start])
            return condition

        def value(expression: Any) -> Any:
            if not _is_choice(expression):
                return expression
            condition, first, second = expression.args
            decided = decide(condition)
            if isinstance(decided, bool):
                return value(first if decided else second)
            return tirx.if_then_else(decided, value(first), value(second))

        return value(self.store.value)

    # What is written.

    def _stretch(self, places: Sequence[Any], value: Any, stretch: _Stretch) -> tirx.Stmt:
        period = sum(map(len, stretch.sources))

        def one(turn: Any) -> tirx.Stmt:
            parts, left = [], stretch.start + turn * period
            for sources in stretch.sources:
                parts.append(self._vector(places, value, left, sources, turn * stretch.moved))
                left = left + len(sources)
            return loops.sequence(parts)

        return loops.loop(stretch.count, one, name="turn")

    def _vector(
        self, places: Sequence[Any], value: Any, left: Any, sources: tuple[int, ...], moved: Any
    ) -> tirx.Stmt:
        """Neighbouring columns of the result, which read `sources`, moved to the right."""
        row = self._known(self.variables[:-1], places)
        lowest, width = min(sources), len(sources)
        lanes = [source - lowest for source in sources]
        gathered: list[tuple[Any, Any]] = []  # what is read, and the shuffled lanes of it
        if _is_shuffled(sources):
            gathered = [
                (load, loops.scratch("lanes", width, dtype=str(load.source.dtype)))
                for load in loads(value)
                if self._moves(load)
            ]

        def take(load: Any, into: tirx.Buffer) -> tirx.Stmt:
            before = [replace(index, row) for index in load.indices[:-1]]
            first = self._known([self.column], [lowest + moved])[self.column]
            span = max(lanes) + 1
            vector = loops.load_vector(load.source, span, *before, first)
            # TVM wants no fewer lanes than come out of them.
            shuffled = loops.shuffled([vector] * -(-width // span), lanes)
            return loops.store_vector(into, shuffled, width, 0)

        def element(lane: Any) -> tirx.Stmt:
            known = {**row, **self._known([self.column], [left + lane])}

            def read(load: Any) -> Any:
                if not self._moves(load):
                    return None
                for other, into in gathered:
                    if identity(other) == identity(load):
                        return loops.load(into, lane)
                at = lowest + moved + (lane if max(lanes) else 0)
                before = [replace(index, row) for index in load.indices[:-1]]
                return loops.load(load.source, *before, at)

            indices = [known[variable] for variable in self.variables]
            return loops.store(self.store.buffer, replace(value, known, read), *indices)

        takes = [take(load, into) for load, into in gathered]
        return loops.using([into for _, into in gathered], [*takes, loops.vector(width, element)])

    def _known(self, variables: Sequence[Any], places: Sequence[Any]) -> dict[Any, Any]:
        return {
            variable: (loops.integer(place) if isinstance(place, int) else place).astype(
                str(variable.ty.dtype)
            )
            for variable, place in zip(variables, places, strict=True)
        }


def _stretches(sources: Array, start: int, end: int, lanes: int) -> Iterator[_Stretch]:
    """The stretches of some columns: at each place the pattern that covers the most."""
    while start < end:
        width = min(lanes, end - start)
        if np.ptp(sources[start : start + width]) >= _WIDEST * lanes:
            width = 1
        periods = range(1, min(_LONGEST_PERIOD, (end - start) // width) + 1)
        found = [_repeated(sources[:end], start, width, period) for period in periods]
        found = [stretch for stretch in found if stretch.span < _WIDEST * lanes]
        best = max(found, key=lambda s: s.count * len(s.sources) if s.count > 1 else 1)
        yield best
        start += best.count * width * len(best.sources)


def _repeated(sources: Array, start: int, width: int, period: int) -> _Stretch:
    """How often a pattern of some vectors repeats from a place on."""
    size = period * width
    whole = sources[start : start + (len(sources) - start) // size * size].reshape(-1, size)
    moved = int(whole[1, 0] - whole[0, 0]) if len(whole) > 1 else 0
    expected = whole[0] + moved * np.arange(len(whole))[:, None]
    differs = np.flatnonzero((whole != expected).any(axis=1))
    count = int(differs[0]) if len(differs) else len(whole)
    vectors = tuple(tuple(map(int, vector)) for vector in whole[0].reshape(period, width))
    return _Stretch(start, vectors, count, moved)


def _is_shuffled(sources: Sequence[int]) -> bool:
    """Whether lanes are neither side by side in memory, nor all of one element."""
    steps = set(np.diff(sources))
    return not steps <= {1} and not steps <= {0}


def _shuffles(stretch: _Stretch) -> bool:
    return any(map(_is_shuffled, stretch.sources))


def _is_choice(expression: Any) -> bool:
    return isinstance(expression, Call) and expression.op.name == "prim.if_then_else"


def _is_guarded(value: Any) -> bool:
    """Whether some elements are not read where they do not exist."""
    return contains(value, _is_choice)
