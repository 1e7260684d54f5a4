"""The lowered model: a flat list of kernel calls over tensors, and where each tensor lives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvmake.elements import stored_bits

if TYPE_CHECKING:
    import numpy as np
    import tvm

    from tvmake.optimize.provenance import Provenance

VIEW = "__nop"  # GraphExecutor's name of a call that only gives its input another shape


@dataclass(frozen=True)
class Tensor:
    """A dense tensor. `name` is unique in the graph."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size in bytes, without padding."""
        return math.prod(self.shape) * stored_bits(self.dtype) // 8


@dataclass(frozen=True)
class Call:
    """One kernel call, or one view.

    Attributes:
        inputs, outputs: indices into the graph's tensors. The last `num_workspaces` outputs are
            scratch memory that nobody reads after the call.
        in_place: pairs (output, input) of positions that may share their memory.
    """

    name: str
    kernel: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    num_workspaces: int = 0
    in_place: tuple[tuple[int, int], ...] = ()
    provenance: Provenance | None = None

    @property
    def is_view(self) -> bool:
        """Whether the output is the input's memory under another shape."""
        return self.kernel == VIEW


@dataclass(frozen=True)
class Graph:
    """A model as kernel calls in execution order.

    Attributes:
        inputs, outputs, weights: indices into `tensors`; inputs come first, then weights.
        values: the weights' values, in the order of `weights`.
        kernels: the prim funcs that the calls name.
    """

    tensors: tuple[Tensor, ...]
    calls: tuple[Call, ...]
    inputs: tuple[int, ...]
    weights: tuple[int, ...]
    outputs: tuple[int, ...]
    output_names: tuple[str, ...]
    values: tuple[np.ndarray[Any, Any], ...]
    kernels: dict[str, tvm.tirx.PrimFunc]


@dataclass(frozen=True)
class MemoryPlan:
    """Where every tensor lives.

    Attributes:
        offsets: byte offset of each tensor in the arena; -1 for weights.
        storages: an id for each distinct piece of memory: views share their source's.
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
