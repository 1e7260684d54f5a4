"""The inputs of a graph as tensors: a sequence `x` is given as `x.0`, `x.1` and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import TypeProto, ValueInfoProto

from .values import Optional, Sequence, Tensor, Value, tensor_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tvmake.spec import InputSpec


def flat_inputs(
    inputs: Iterable[ValueInfoProto], specs: Mapping[str, InputSpec]
) -> dict[str, Value]:
    """What the inputs stand for.

    An optional input has a value if the specs name it.
    """
    return {value.name: _flat(value.name, value.type, specs) for value in inputs}


def element_names(value: ValueInfoProto, specs: Mapping[str, InputSpec]) -> list[str]:
    """The specs that give an input which is no tensor."""
    names = [value.name] if value.name in specs else []
    index = 0
    while f"{value.name}.{index}" in specs:
        names.append(f"{value.name}.{index}")
        index += 1
    return names


def _flat(name: str, kind: TypeProto, specs: Mapping[str, InputSpec]) -> Value:
    which = kind.WhichOneof("value")
    if which == "sequence_type":
        inner = kind.sequence_type.elem_type
        items, index = [], 0
        while f"{name}.{index}" in specs:
            items.append(_flat(f"{name}.{index}", inner, specs))
            index += 1
        return Sequence(tuple(items), kind)
    if which == "optional_type":
        inner = kind.optional_type.elem_type
        is_sequence = inner.WhichOneof("value") == "sequence_type"
        given = f"{name}.0" in specs if is_sequence else name in specs
        return Optional(_flat(name, inner, specs) if given else None)
    if which == "tensor_type" and name in specs:
        return Tensor(name, _fixed(kind, specs[name]))
    return Tensor(name, kind)


def _fixed(kind: TypeProto, spec: InputSpec) -> TypeProto:
    elem_type = kind.tensor_type.elem_type or onnx.TensorProto.FLOAT
    return tensor_type(elem_type, spec.shape)
