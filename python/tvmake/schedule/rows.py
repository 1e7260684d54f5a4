"""Kernels that reduce what is side by side in memory: a row at a time, in lanes.

A maximum along the last axis, a softmax, a normalization: several blocks of which each computes a
number, or all elements, of every row. One loop goes over the rows, and within it over all blocks,
so that a row stays in the cache from the first to the last. Each lane has a part of a row, and
several vectors hide the latency of an operation. Sums that are made so also round less (Higham,
"Accuracy and Stability", 2nd edition, section 4.2).
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from tvm import tirx
from tvm.ir import Call

from tvmake.schedule import loops
from tvmake.schedule.expressions import contains, identity, replace
from tvmake.schedule.primitives import PARALLEL_WORK
from tvmake.schedule.steps import Step, groups, read_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tvmake.schedule.cpu import CpuModel

_VECTORS = 8  # that are reduced side by side
_FEWEST_ROWS = 8  # that threads share
_MOST_BYTES = 8 << 10  # of a thread's stack


def reduce_rows(function: tirx.PrimFunc, cpu: CpuModel) -> tirx.PrimFunc | None:
    """The rule for reductions along the last axis, and what is computed before and after them."""
    try:
        steps = read_steps(function)
    except ValueError:  # of another form
        return None
    nest = _Nest(steps, list(function.params), cpu)
    return loops.rewrite(function, nest.build(), nest.memory) if nest.is_worth_it else None


class _Nest:
    """The loops over the rows, and over a row.

    Attributes:
        memory: buffers of the whole call.
    """

    def __init__(self, steps: list[Step], parameters: list[Any], cpu: CpuModel) -> None:
        self.steps = steps
        self.lanes = cpu.lanes(max(step.bits for step in steps))
        self.rows = steps[0].rows
        self.shape = max((step.extents for step in steps), key=len)
        self.size = math.prod(self.shape)
        is_flat = all(step.is_flat for step in steps if step.within)
        self.extents = (self.size,) if is_flat else self.shape
        self.work = math.prod(self.rows) * self.size
        self.memory: list[tirx.Buffer] = []
        self._own: list[tirx.Buffer] = []  # of a row
        self._place: dict[Any, Callable[..., tuple[Any, Sequence[Any]]]] = {}
        self._allot(list(map(identity, parameters)))

    @property
    def is_worth_it(self) -> bool:
        """Whether rows fill vectors, and are many where there is more to do than a reduction."""
        writes = any(step.writes_row for step in self.steps)
        enough = math.prod(self.rows) >= _FEWEST_ROWS or self.work < PARALLEL_WORK
        return self.extents[-1] >= self.lanes * (1 + writes) and (enough or not writes)

    def build(self) -> tirx.Stmt:
        """The loops."""

        def one(index: Any) -> tirx.Stmt:
            row = loops.places(index, self.rows)
            statements = [self._group(group, row) for group in groups(self.steps)]
            return loops.using(self._own, statements)

        count = math.prod(self.rows)
        if self.work < PARALLEL_WORK:
            return loops.loop(count, one, name="row")
        return loops.parallel(count, one)

    # Where results are.

    def _allot(self, outputs: Sequence[Any]) -> None:
        """Find a place for what steps hand on to one another."""
        room, over = _MOST_BYTES, self._written_over(outputs)
        for step in self.steps:
            size = self.size * step.bits // 8 if step.writes_row else 0
            if identity(step.buffer) in outputs:
                continue
            if step is over:
                self._keep(step, lambda row, at: self._address(self.steps[-1], row, at))
            elif size <= room:
                room -= size
                shape = self.shape if step.writes_row else (1,)
                own = loops.scratch("own", *shape, dtype=step.dtype)
                self._own.append(own)
                self._keep(step, lambda _, at, own=own: (own, at or [0]))
            else:
                self.memory.append(step.buffer)

    def _written_over(self, outputs: Sequence[Any]) -> Step | None:
        """A step whose elements are kept where the last one's come to be."""
        *before, last = self.steps
        for step in before:
            fits = step.writes_row and last.writes_row and step.dtype == last.dtype
            if fits and identity(step.buffer) not in outputs:
                return step
        return None

    def _keep(self, step: Step, place: Callable[..., tuple[Any, Sequence[Any]]]) -> None:
        self._place[identity(step.buffer)] = place

    def _address(self, step: Step, row: Sequence[Any], at: Sequence[Any]) -> tuple[Any, Any]:
        """The buffer and the indices of what a step computes at a place."""
        if place := self._place.get(identity(step.buffer)):
            return place(row, at if step.writes_row else [])
        known = _known(step, row, at)
        return step.buffer, [replace(index, known) for index in step.indices]

    # What is computed.

    def unflattened(self, at: Sequence[Any]) -> list[Any]:
        """A place by all axes of a row."""
        return list(at) if len(at) == len(self.shape) else loops.places(at[0], self.shape)

    def value(self, step: Step, row: Sequence[Any], at: Sequence[Any]) -> Any:
        """A step's value at a place."""
        writers = {identity(each.buffer): each for each in self.steps}

        def read(load: Any) -> Any:
            writer = writers.get(identity(load.source))
            if writer is None:
                return None
            buffer, indices = self._address(writer, row, at)
            return loops.load(buffer, *indices)

        return replace(step.value, _known(step, row, at), read)

    def write(self, step: Step, value: Any, row: Sequence[Any], at: Sequence[Any]) -> tirx.Stmt:
        """The statement that stores a step's value at a place."""
        buffer, indices = self._address(step, row, at)
        return loops.store(buffer, value, *indices)

    def _group(self, group: list[Step], row: Sequence[Any]) -> tirx.Stmt:
        if group[0].within:
            return _Walk(self, group, row).build()
        return loops.sequence([self.write(s, self.value(s, row, []), row, []) for s in group])


class _Walk:
    """A loop over a row that does some steps, and the combination of their lanes."""

    def __init__(self, nest: _Nest, group: list[Step], row: Sequence[Any]) -> None:
        self.nest, self.group, self.row = nest, group, row
        self.lanes = nest.lanes
        reductions = [step for step in group if step.reducer]
        self.vectors = self._vectors(len(reductions))
        size = self.vectors * self.lanes
        self.sums = {step: loops.scratch("lanes", size, dtype=step.dtype) for step in reductions}

    def build(self) -> tirx.Stmt:
        """The statements."""
        start = [self._start(step) for step in self.sums]
        end = [self._combine(step) for step in self.sums]
        return loops.using(list(self.sums.values()), [*start, self._along([]), *end])

    def _vectors(self, reductions: int) -> int:
        """How many vectors are taken side by side."""
        calls = any(contains(step.value, lambda e: isinstance(e, Call)) for step in self.group)
        if calls or not reductions:  # exp takes longer than an addition, and many registers
            return 1
        return max(1, min(_VECTORS // reductions, self.nest.extents[-1] // self.lanes))

    def _start(self, step: Step) -> tirx.Stmt:
        def vector(number: Any) -> tirx.Stmt:
            first = number * self.lanes
            return loops.vector(
                self.lanes, lambda lane: loops.store(self.sums[step], step.start, first + lane)
            )

        return loops.unrolled(self.vectors, vector)

    def _along(self, before: Sequence[Any]) -> tirx.Stmt:
        """The loops over a row, from the axis on that comes after `before`."""
        extent = self.nest.extents[len(before)]
        if len(before) < len(self.nest.extents) - 1:
            return loops.loop(extent, lambda at: self._along([*before, at]))
        whole, rest = divmod(extent, self.lanes)
        rounds, single = divmod(whole, self.vectors)
        statements = [
            loops.loop(rounds, lambda at: self._several(before, at, self.vectors), name="round")
        ]
        if single:
            statements.append(self._several(before, rounds, single))
        if rest:
            statements.append(self._vector([*before, whole * self.lanes], 0, rest))
        return loops.sequence(statements)

    def _several(self, before: Sequence[Any], part: Any, count: int) -> tirx.Stmt:
        def vector(number: Any) -> tirx.Stmt:
            place = (part * self.vectors + number) * self.lanes
            return self._vector([*before, place], number, self.lanes)

        return loops.unrolled(count, vector)

    def _vector(self, place: Sequence[Any], number: Any, width: int) -> tirx.Stmt:
        """All steps for the elements from a place on."""
        *before, start = place

        def element(step: Step, lane: Any) -> tirx.Stmt:
            at = self.nest.unflattened([*before, start + lane])
            value = self.nest.value(step, self.row, at)
            if not step.reducer:
                return self.nest.write(step, value, self.row, at)
            sums, own = self.sums[step], number * self.lanes + lane
            return loops.store(sums, step.reducer(loops.load(sums, own), value), own)

        return loops.sequence(
            [loops.vector(width, functools.partial(element, step)) for step in self.group]
        )

    def _combine(self, step: Step) -> tirx.Stmt:
        """The lanes of all vectors as one number."""
        sums = self.sums[step]

        def across(lane: Any) -> tirx.Stmt:
            parts = [loops.load(sums, n * self.lanes + lane) for n in range(self.vectors)]
            return loops.store(sums, _paired(parts, step.reducer), lane)

        total = _paired([loops.load(sums, lane) for lane in range(self.lanes)], step.reducer)
        return loops.sequence(
            [loops.vector(self.lanes, across), self.nest.write(step, total, self.row, [])]
        )


def _known(step: Step, row: Sequence[Any], at: Sequence[Any]) -> dict[Any, Any]:
    """What a step's variables are at a place."""
    variables = (*step.row, *(step.within if at else ()))
    return {
        variable: place.astype(str(variable.ty.dtype))
        for variable, place in zip(variables, (*row, *at), strict=True)
    }


def _paired(values: Sequence[Any], combine: Callable[[Any, Any], Any]) -> Any:
    """All values combined, in pairs: each result depends on few others."""
    while len(values) > 1:
        pairs = [combine(a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
        values = [*pairs, *(values[-1:] if len(values) % 2 else [])]
    return values[0]
