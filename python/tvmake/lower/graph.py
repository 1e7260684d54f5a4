"""The lowered model: a flat list of kernel calls over tensors, and where each tensor lives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tvmake.elements import stored_bits
from tvmake.lower.extents import UNBOUNDED

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import tvm

    from tvmake.frontend.imported import Symbol
    from tvmake.optimize.movement import Movement
    from tvmake.optimize.provenance import Provenance

VIEW = "__nop"  # GraphExecutor's name of a call that only gives its input another shape
PART = "__part"  # gives a part of its input another shape
JOIN = "__join"  # gives inputs that lie one after the other in memory one shape
WEIGHT = -1
POOLED = -2
REPEAT = "__repeat"  # goes back to an earlier call while its input, one bool, is true
BIND = "__bind"  # takes the elements of its input for the values of symbols


@dataclass(frozen=True)
class Tensor:
    """A dense tensor. `name` is unique in the graph.

    Attributes:
        shape: the extents; of dynamic ones, the largest, or UNBOUNDED.
        dims: the extents as expressions of symbols; empty when all are static.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    dims: tuple[Any, ...] = ()

    @property
    def bytes(self) -> int:
        """Size in bytes, without padding; the largest where extents are dynamic."""
        if self.is_unbounded:
            return 0
        return math.prod(self.shape) * stored_bits(self.dtype) // 8

    @property
    def is_unbounded(self) -> bool:
        """Whether the size has no upper bound."""
        return UNBOUNDED in self.shape


@dataclass(frozen=True)
class Loop:
    """Calls that are made again and again.

    Attributes:
        first: index of the call that a turn begins with.
        states: the tensors that each turn overwrites.
        collected: the tensors of which each turn writes a part.
    """

    first: int
    states: tuple[int, ...]
    collected: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One kernel call, or one view of memory.

    Attributes:
        inputs, outputs: indices into the graph's tensors. The last `num_workspaces` outputs are
            scratch memory that nobody reads after the call.
        in_place: pairs (output, input) of positions that may share their memory.
        scalars: expressions of symbols that the kernel takes, between its inputs and outputs.
        binds: the symbols whose values a BIND call reads from its input.
        guards: pairs (tensor, value): the call is needed only if each of these tensors of one bool
            has this value.
        loop: what a REPEAT call repeats.
        movement: what the kernel could be spared for, if it only moves data.
    """

    name: str
    kernel: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    num_workspaces: int = 0
    in_place: tuple[tuple[int, int], ...] = ()
    provenance: Provenance | None = None
    scalars: tuple[Any, ...] = ()
    binds: tuple[str, ...] = ()
    guards: tuple[tuple[int, bool], ...] = ()
    loop: Loop | None = None
    movement: Movement | None = None

    @property
    def overwrites(self) -> int | None:
        """The tensor, one of its inputs, that the call writes to, if it does so."""
        special = self.kernel in (VIEW, BIND, REPEAT)
        return None if special or self.outputs else self.inputs[-1]

    @property
    def is_view(self) -> bool:
        """Whether the output is the input's memory, or a part of it, under another shape."""
        return self.kernel in (VIEW, PART)

    @property
    def is_alias(self) -> bool:
        """Whether nothing is computed: the output is memory of the inputs."""
        return self.is_view or self.kernel == JOIN


def memory_roots(tensors: int, calls: Iterable[Call]) -> list[int]:
    """For each of so many tensors, the tensor whose memory it is."""
    roots = list(range(tensors))
    for call in calls:
        if call.is_view:
            roots[call.outputs[0]] = roots[call.inputs[0]]
    return roots


@dataclass(frozen=True)
class Graph:
    """A model as kernel calls in execution order.

    Attributes:
        inputs, outputs, weights: indices into `tensors`; inputs come first, then weights.
        values: the weights' values, in the order of `weights`.
        kernels: the prim funcs that the calls name.
        symbols: those of the inputs first, then those that depend on data.
        homes: of tensors that lie within another one: that one, and the byte where they begin.
    """

    tensors: tuple[Tensor, ...]
    calls: tuple[Call, ...]
    inputs: tuple[int, ...]
    weights: tuple[int, ...]
    outputs: tuple[int, ...]
    output_names: tuple[str, ...]
    values: tuple[np.ndarray[Any, Any], ...]
    kernels: dict[str, tvm.tirx.PrimFunc]
    symbols: tuple[Symbol, ...] = ()
    homes: Mapping[int, tuple[int, int]] = field(default_factory=dict)


Homes = Mapping[int, tuple[int, int]]


def whole_of(homes: Homes, tensor: int) -> tuple[int, int]:
    """What holds this tensor and is part of no other, and the byte where this one begins."""
    offset = 0
    while tensor in homes:
        tensor, begin = homes[tensor]
        offset += begin
    return tensor, offset


def all_homes(graph: Graph) -> dict[int, tuple[int, int]]:
    """The graph's homes, and those of views."""
    views = {call.outputs[0]: (call.inputs[0], 0) for call in graph.calls if call.kernel == VIEW}
    return {**views, **graph.homes}


@dataclass(frozen=True)
class MemoryPlan:
    """Where every tensor lives.

    Attributes:
        offsets: byte offset of each tensor in the arena; WEIGHT for weights, POOLED for tensors
            without an upper bound, which the executor allocates when it knows their size.
        storages: an id for each distinct piece of memory: views and parts share their source's,
            what is joined has one each.
        arena_bytes: size of the arena.
        live_bytes: the largest sum, over the calls, of the bytes of the tensors alive then. No
            plan can be smaller.
        tensors_bytes: what the arena would be if every tensor had its own place.
    """

    offsets: tuple[int, ...]
    storages: tuple[int, ...]
    arena_bytes: int
    live_bytes: int
    tensors_bytes: int
    alignment: int
