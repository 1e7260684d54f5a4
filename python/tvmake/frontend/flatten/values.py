"""What the names of a graph stand for while it is flattened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, TypeProto, numpy_helper

from tvmake.frontend import onnx_external

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Tensor:
    """A tensor of the flat graph.

    Attributes:
        name: its name there.
        type: element type and, as far as known, shape. May be empty.
        constant: its value, if it is known.
    """

    name: str
    type: TypeProto
    constant: TensorProto | None = None

    @property
    def elem_type(self) -> int:
        """ONNX's number of the element type; 0 if it is not known."""
        return int(self.type.tensor_type.elem_type)

    @property
    def dims(self) -> tuple[int | None, ...] | None:
        """The dimensions, None for those unknown; None altogether if the rank is unknown."""
        if not self.type.tensor_type.HasField("shape"):
            return None
        return tuple(
            int(dim.dim_value) if dim.HasField("dim_value") else None
            for dim in self.type.tensor_type.shape.dim
        )

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The dimensions, if all are known."""
        dims = self.dims
        if dims is None or None in dims:
            return None
        return tuple(int(dim) for dim in dims if dim is not None)

    @property
    def array(self) -> Array | None:
        """The value, if it is known."""
        return None if self.constant is None else to_array(self.constant)


@dataclass(frozen=True)
class Sequence:
    """A list of values, each known by name. `type` is the sequence's, if it is known."""

    items: tuple[Value, ...]
    type: TypeProto = field(default_factory=TypeProto)


@dataclass(frozen=True)
class Optional:
    """A value, or none."""

    value: Value | None


Value: TypeAlias = "Tensor | Sequence | Optional"


@dataclass
class Scope:
    """The names that a graph's nodes can see.

    Attributes:
        opsets: version of each operator set, by domain.
        prefix: of the names that results get in the flat graph.
        parent: the scope around a subgraph; a function has none.
    """

    opsets: dict[str, int]
    prefix: str = ""
    parent: Scope | None = None
    values: dict[str, Value | None] = field(default_factory=dict)

    def get(self, name: str) -> Value | None:
        """What a name stands for; None for one that is left out.

        Raises:
            KeyError: for a name that nothing defines.
        """
        if not name:
            return None
        if name in self.values:
            return self.values[name]
        if self.parent is None:
            raise KeyError(name)
        return self.parent.get(name)

    def inner(self, prefix: str) -> Scope:
        """The scope of a subgraph."""
        return Scope(self.opsets, f"{self.prefix}{prefix}/", self)


def to_array(tensor: TensorProto) -> Array:
    """A tensor's value; one in a file of its own is mapped."""
    is_mapped = onnx_external.is_mapped(tensor)
    return onnx_external.mapped(tensor) if is_mapped else numpy_helper.to_array(tensor)


def tensor_type(elem_type: int, shape: tuple[int | str, ...]) -> TypeProto:
    """A tensor's type as ONNX writes it."""
    return onnx.helper.make_tensor_type_proto(elem_type, shape)


def constant(name: str, proto: TensorProto) -> Tensor:
    """A tensor whose value is known."""
    return Tensor(name, tensor_type(proto.data_type, tuple(proto.dims)), proto)


def tensors_of(value: Value | None) -> Iterator[Tensor]:
    """All tensors that a value consists of."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Sequence):
        for item in value.items:
            yield from tensors_of(item)
    elif isinstance(value, Optional):
        yield from tensors_of(value.value)
