"""What reduces along the last axis, as steps of which each computes a number, or a row, per row."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import TYPE_CHECKING, Any

from tvm import tirx
from tvm.ir import Call
from tvm.ir.expr import TensorLoad
from tvm.ir.prim import expr as prim

from tvmake.schedule.expressions import identity, loads, replace, variables_of
from tvmake.schedule.primitives import block_names, element_bits, new_schedule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tvm import s_tir

_REDUCERS = (prim.Add, prim.Mul, prim.Max, prim.Min)
_NEUTRAL = {prim.Add: 0, prim.Mul: 1}  # what lanes must start from, to count for nothing


@dataclass(frozen=True, eq=False)
class Step:
    """A block: for each row a number, or the row's elements. Axes of extent 1 are left out.

    Attributes:
        buffer: what it writes.
        indices: where in the buffer.
        value: of an element; of a reduction, what is combined.
        row: its variables for the row.
        within: its variables for the place within the row; none if it computes a number per row.
        rows, extents: how many there are of each.
        reducer: the kind of expression that combines two values; None if it reduces nothing.
        start: of the reduction.
        bits: of an element.
    """

    buffer: Any
    indices: tuple[Any, ...]
    value: Any
    row: tuple[Any, ...]
    within: tuple[Any, ...]
    rows: tuple[int, ...]
    extents: tuple[int, ...]
    reducer: Any
    start: Any
    bits: int

    @property
    def writes_row(self) -> bool:
        """Whether it computes the elements of a row."""
        return bool(self.within) and self.reducer is None

    @property
    def dtype(self) -> str:
        """The type of what it computes."""
        return str(self.buffer.dtype)

    @property
    def is_along(self) -> bool:
        """Whether the last axis is what is side by side in memory."""
        places = [load.indices for load in loads(self.value)] if self.reducer else [self.indices]
        return any(_is_last(indices, self.within[-1]) for indices in places)

    @property
    def is_flat(self) -> bool:
        """Whether a row is contiguous in all that is read and written, or the same for all."""
        places = [(load.source.shape, load.indices) for load in loads(self.value)]
        if self.writes_row:
            places.append((self.buffer.shape, self.indices))
        return all(
            _is_whole(shape, indices, self.within, self.extents) for shape, indices in places
        )


def read_steps(function: tirx.PrimFunc) -> list[Step]:
    """The steps of a prim func that is not scheduled yet.

    Raises:
        ValueError: if it is of another form.
    """
    schedule = new_schedule(function)
    blocks = [schedule.get_sblock(name) for name in block_names(function)]
    kept = [
        [axis for axis in _wide(schedule.get(block).iter_vars) if _is_kept(axis)]
        for block in blocks
        if not all(map(_is_kept, schedule.get(block).iter_vars))
    ]
    if not kept:
        raise ValueError("no reduction")
    steps = [_step(schedule, block, len(kept[0])) for block in blocks]
    for number, step in enumerate(steps):
        if step.rows != steps[0].rows or step.extents not in ((), _longest(steps)):
            raise ValueError("rows of different sizes")
        if step.within and not step.is_along:
            raise ValueError("not along the last axis")
        _check_reads(step, steps[:number])
    writers = {identity(step.buffer): step for step in steps}
    return [_by_reciprocal(step, writers) for step in steps]


def groups(steps: Sequence[Step]) -> list[list[Step]]:
    """Steps that one loop over a row does: none of them needs what another one has reduced."""
    found: list[list[Step]] = []
    for step in steps:
        read = [load.source for load in loads(step.value)]
        last = found[-1] if found else []
        needs = any(each.reducer and each.buffer.same_as(b) for each in last for b in read)
        if last and bool(step.within) == bool(last[-1].within) and not needs:
            last.append(step)
        else:
            found.append([step])
    return found


def _step(schedule: s_tir.Schedule, block: Any, rank: int) -> Step:
    statement = schedule.get(block)
    axes, store = list(statement.iter_vars), statement.body
    if len(schedule.get_loops(block)) != len(axes) or not isinstance(store, tirx.BufferStore):
        raise ValueError("not a plain loop nest")
    kept = [axis for axis in _wide(axes) if _is_kept(axis)]
    reduced = [axis for axis in _wide(axes) if not _is_kept(axis)]
    if len(kept) < rank or (reduced and len(kept) > rank):
        raise ValueError("not a row at a time")
    row, within = kept[:rank], reduced or kept[rank:]
    value, reducer, start = store.value, None, None
    if reduced:
        value, reducer, start = _reduction(store, statement.init)
    elif not all(map(_is_kept, axes)):
        raise ValueError("a reduction of single elements")
    single = {a.var: tirx.const(0, str(a.var.ty.dtype)) for a in axes if _extent(a) == 1}
    return Step(
        store.buffer,
        tuple(replace(index, single) for index in store.indices),
        replace(value, single),
        tuple(axis.var for axis in row),
        tuple(axis.var for axis in within),
        tuple(map(_extent, row)),
        tuple(map(_extent, within)),
        reducer,
        start,
        element_bits(schedule, block),
    )


def _reduction(store: Any, init: Any) -> tuple[Any, Any, Any]:
    """What is combined, how, and from where on."""
    kind, start = type(store.value), getattr(init, "value", None)
    if kind not in _REDUCERS or not isinstance(start, prim.FloatImm | prim.IntImm):
        raise ValueError("another reduction")
    own = store.value.a
    if not isinstance(own, TensorLoad) or not own.source.same_as(store.buffer):
        raise ValueError("another reduction")
    if _NEUTRAL.get(kind, start.value) != start.value:
        raise ValueError("a start that would count once for each lane")
    return store.value.b, kind, start


def _check_reads(step: Step, before: Sequence[Step]) -> None:
    """Refuse a step that reads other results than those of its own row, and of its own place.

    Raises:
        ValueError: if it does.
    """
    for load in loads(step.value):
        for writer in before:
            if not load.source.same_as(writer.buffer):
                continue
            theirs = (*writer.row, *(() if writer.reducer else writer.within))
            mine = (*step.row, *step.within)
            if len(theirs) > len(mine):
                raise ValueError("a whole row's results")
            known = dict(zip(theirs, mine, strict=False))
            expected = [replace(index, known) for index in writer.indices]
            if not all(map(_is_same, load.indices, expected)):
                raise ValueError("another place's results")


def _by_reciprocal(step: Step, writers: Mapping[Any, Step]) -> Step:
    """A softmax's division as a product with a reciprocal, of which there is one per row.

    The sum is of e^(x - maximum), so it is at least one, and its reciprocal no subnormal.
    """

    def written(load: Any) -> Step | None:
        return writers.get(identity(load.source)) if isinstance(load, TensorLoad) else None

    if not isinstance(step.value, prim.Div) or not (total := written(step.value.b)):
        return step
    power = written(total.value)
    exponent = power.value if power and total.reducer is prim.Add else None
    if not isinstance(exponent, Call) or exponent.op.name != "tirx.exp":
        return step
    (difference,) = exponent.args
    highest = written(difference.b) if isinstance(difference, prim.Sub) else None
    if not highest or highest.reducer is not prim.Max or step.dtype != "float32":
        return step
    return replaced(step, value=step.value.a * (tirx.const(1.0, step.dtype) / step.value.b))


def _longest(steps: Sequence[Step]) -> tuple[int, ...]:
    return max((step.extents for step in steps), key=len)


def _is_last(indices: Sequence[Any], variable: Any) -> bool:
    """Whether of all indices but constants the last one is a variable."""
    wide = [index for index in indices if not isinstance(index, prim.IntImm)]
    return bool(wide) and bool(wide[-1].same_as(variable))


def _is_whole(
    shape: Sequence[Any], indices: Sequence[Any], within: Sequence[Any], extents: Sequence[int]
) -> bool:
    """Whether an access is to the last axes as a whole, or to the same for the whole row."""
    wide = [(int(n), at) for n, at in zip(shape, indices, strict=True) if int(n) != 1]
    inside = set(map(identity, within))
    before, last = wide[: -len(within)], wide[-len(within) :]
    used = {identity(v) for _, index in before for v in variables_of(index)}
    tail = [(n, identity(at)) for n, at in last]
    whole = tail == list(zip(extents, map(identity, within), strict=True))
    used |= set() if whole else {identity(v) for _, index in last for v in variables_of(index)}
    return not used & inside


def _wide(axes: Sequence[Any]) -> list[Any]:
    return [axis for axis in axes if _extent(axis) != 1]


def _extent(axis: Any) -> int:
    return int(axis.dom.extent)


def _is_kept(axis: Any) -> bool:
    return bool(axis.iter_type == tirx.IterVar.DataPar)


def _is_same(index: Any, other: Any) -> bool:
    if isinstance(index, prim.IntImm) and isinstance(other, prim.IntImm):
        return int(index) == int(other)
    return bool(index.same_as(other))
