"""Tensors that an ONNX model keeps in files of its own, beside it.

Large ones are mapped, never read: a model of many gigabytes costs no memory until a stage needs a
tensor. Small ones, which may be shapes that decide the graph, are put into the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from tvmake import constants
from tvmake.elements import ELEMENTS
from tvmake.errors import ModelError

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

_SMALL = 1 << 20  # bytes


def attach(model: ModelProto, path: Path) -> tuple[str, ...]:
    """Find every external tensor's file; its location becomes an absolute path, in place.

    Only files in the model's own folder, or below it, are opened: a model from elsewhere shall not
    read what else lies on the machine.

    Returns:
        The files.

    Raises:
        ModelError: when a file is missing, too short, or outside the model's folder.
    """
    files = set()
    weights = {tensor.name for tensor in model.graph.initializer}
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        where = f"{path}, tensor '{tensor.name}'"
        file = _locate(entries.get("location", ""), path.parent, where)
        files.add(str(file))
        offset, size = _extent(tensor, entries, file, where)
        del tensor.external_data[:]
        if size >= _SMALL and tensor.name in weights and _is_plain(tensor):
            for key, value in (("location", file), ("offset", offset), ("length", size)):
                tensor.external_data.add(key=key, value=str(value))
        else:
            with file.open("rb") as stream:
                stream.seek(offset)
                tensor.raw_data = stream.read(size)
            tensor.data_location = TensorProto.DEFAULT
    return tuple(sorted(files))


def without_large(model: ModelProto) -> ModelProto:
    """A copy for ONNX's checker and shape inference, in which large weights are inputs.

    Both take a model apart into bytes and put it together again, so that with its weights it would
    be in memory several times. What the checker says of weights is looked at here: whether their
    bytes are as many as their shape wants.
    """
    copy, graph = ModelProto(), model.graph
    _copy_fields(model, copy, "graph")
    _copy_fields(graph, copy.graph, "initializer")
    inputs = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if not (is_mapped(tensor) or _is_large(tensor)):
            copy.graph.initializer.add().CopyFrom(tensor)
        elif tensor.name not in inputs:
            kind = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            copy.graph.input.append(kind)
    return copy


def _copy_fields(source: Any, target: Any, left_out: str) -> None:
    """Copy all fields of a message but one."""
    for field, value in source.ListFields():
        if field.name == left_out:
            continue
        if isinstance(value, str | bytes | int):
            setattr(target, field.name, value)
        elif hasattr(value, "CopyFrom"):
            getattr(target, field.name).CopyFrom(value)
        else:
            getattr(target, field.name).extend(value)


def _is_large(tensor: TensorProto) -> bool:
    """Whether a tensor in the model is large, and its bytes are as many as its shape wants."""
    size = len(tensor.raw_data) if tensor.HasField("raw_data") else 0
    return size >= _SMALL and bool(tensor.name) and size == _bytes(tensor)


def is_mapped(tensor: TensorProto) -> bool:
    """Whether the tensor's data lie in a file of their own."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def mapped(tensor: TensorProto) -> Array:
    """The values of an attached tensor, read when they are touched."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    path, offset = Path(entries["location"]), int(entries["offset"])
    return constants.map_file(path, dtype, offset, tuple(tensor.dims))


def _locate(location: str, folder: Path, where: str) -> Path:
    root = folder.resolve()
    file = (root / location).resolve()
    if not location or Path(location).is_absolute() or not file.is_relative_to(root):
        raise ModelError(
            f"the external data '{location}' lie outside the model's folder",
            where=where,
            expected=f"a relative path to a file in {folder}",
            fix="copy the file beside the model; links that lead elsewhere are not followed",
        )
    if not file.is_file():
        raise ModelError(
            f"the external data file '{location}' is missing",
            where=where,
            expected=str(file),
            fix="copy it beside the model",
        )
    return file


def _extent(
    tensor: TensorProto, entries: dict[str, str], file: Path, where: str
) -> tuple[int, int]:
    """Offset and size in bytes, checked against the file and the tensor's shape."""
    available = file.stat().st_size
    try:
        offset = int(entries.get("offset", 0))
        size = int(entries.get("length", available - offset))
    except ValueError as error:
        raise ModelError(
            f"the place of the external data is no number: {error}", where=where
        ) from error
    if offset < 0 or size < 0 or offset + size > available:
        raise ModelError(
            f"the external data file is truncated: it has {available} bytes",
            where=where,
            expected=f"{size} bytes from byte {offset} on in {file}",
            fix="export or copy the model again",
        )
    needed = _bytes(tensor)
    if needed is not None and size != needed:
        raise ModelError(
            f"the external data are {size} bytes",
            where=where,
            expected=f"{needed} bytes for the shape {list(tensor.dims)}",
            fix="export the model again",
        )
    return offset, size


def _is_plain(tensor: TensorProto) -> bool:
    """Whether kernels can use the bytes as they are."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return dtype.kind in "fiub" and str(dtype) not in ELEMENTS


def _bytes(tensor: TensorProto) -> int | None:
    """The size that the shape asks for; None for types of less than a byte."""
    if not _is_plain(tensor):
        return None
    itemsize = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(math.prod(tensor.dims) * itemsize)


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from _tensors_of(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _tensors_of_node(node)


def _tensors_of(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from _tensors_of_node(node)


def _tensors_of_node(node: NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in (attribute.g, *attribute.graphs):
            yield from _tensors_of(graph)
