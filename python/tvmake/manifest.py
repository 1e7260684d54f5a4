"""What is known of a compiled model: `manifest.json`, read and checked."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import types
import typing
from dataclasses import dataclass
from typing import Any

from .errors import ArtifactError
from .preprocess import PreparedInput

if typing.TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
AGAIN = "compile the model again"
WEIGHTS_HEADER_BYTES = 64
UNKNOWN = -1  # an extent that is known at run time only; in max_shape, that has no bound


@dataclass(frozen=True)
class SourceModel:
    """The model file."""

    file: str
    sha256: str
    format: str
    producer: str


@dataclass(frozen=True)
class Versions:
    """What compiled it."""

    tvmake: str
    tvm: str
    tvm_ffi: str
    llvm: str


@dataclass(frozen=True)
class Target:
    """What it was compiled for."""

    triple: str
    cpu: str
    required_cpu_features: tuple[str, ...]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        shape: the extents; UNKNOWN where they are dynamic.
        dims: the extents; of dynamic ones, the expression of symbols that computes them.
        max_shape: the largest extents; UNKNOWN where there is no bound.
        bytes: the size, or the largest one; 0 if there is no bound.
    """

    name: str
    identifier: str
    dtype: str
    code: int
    bits: int
    lanes: int
    shape: tuple[int, ...]
    dims: tuple[int | str, ...]
    max_shape: tuple[int, ...]
    bytes: int

    @property
    def is_dynamic(self) -> bool:
        """Whether an extent is known at run time only."""
        return UNKNOWN in self.shape


@dataclass(frozen=True)
class Memory:
    """Sizes in bytes."""

    arena_bytes: int
    live_bytes: int
    tensors_bytes: int
    weights_bytes: int
    alignment: int


@dataclass(frozen=True)
class Weights:
    """The weights file. `id` is the SHA-256 of everything after its 64-byte header."""

    mode: str
    file: str
    id: str
    bytes: int


@dataclass(frozen=True)
class Graph:
    """The graph file."""

    file: str
    sha256: str


@dataclass(frozen=True)
class KernelFunction:
    """A compiled function: its name in the graph and its symbol in the object."""

    name: str
    symbol: str


@dataclass(frozen=True)
class Kernels:
    """The kernels' object file."""

    file: str
    sha256: str
    backend_symbols: tuple[str, ...]
    functions: tuple[KernelFunction, ...]


@dataclass(frozen=True)
class Source:
    """A node of the model file."""

    name: str
    op_type: str


@dataclass(frozen=True)
class Call:
    """One kernel call. `onnx_outputs` has None for a result that the model file does not name."""

    name: str
    kernel: str
    sources: tuple[Source, ...]
    onnx_outputs: tuple[str | None, ...]


@dataclass(frozen=True)
class Manifest:
    """All that the templates know of a compiled model."""

    name: str
    namespace: str
    executor: str
    executor_reason: str
    model: SourceModel
    versions: Versions
    target: Target
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocess: tuple[PreparedInput, ...]
    memory: Memory
    weights: Weights
    graph: Graph
    kernels: Kernels
    calls: tuple[Call, ...]


def parse_manifest(path: Path) -> tuple[Manifest, dict[str, Any]]:
    """Reads `manifest.json`: checked, and as it stands.

    Raises:
        ArtifactError: if it is missing, damaged, or of another schema.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(
            f"cannot read the manifest: {error.strerror}", where=str(path), fix=AGAIN
        ) from error
    except ValueError as error:
        raise ArtifactError(
            f"the manifest is not JSON: {error}", where=str(path), fix=AGAIN
        ) from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise ArtifactError(
            f"the manifest has schema {schema!r}",
            where=str(path),
            expected=f"schema {SCHEMA}, which this tvmake reads",
            fix="compile and render with the same version of tvmake",
        )
    try:
        manifest = typing.cast("Manifest", _parse(Manifest, document, ""))
        _check_names(manifest)
    except ValueError as error:
        raise ArtifactError(
            f"the manifest is damaged: {error}", where=str(path), fix=AGAIN
        ) from error
    return manifest, document


@functools.cache
def _type_hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _parse(kind: object, value: object, where: str) -> object:
    """`value`, as decoded from JSON, as an instance of the type `kind`."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, dict):
            raise ValueError(f"{where} is not an object")
        missing = [f.name for f in dataclasses.fields(kind) if f.name not in value]
        if missing:
            raise ValueError(f"{where.lstrip('.') or 'it'} has no {', '.join(missing)}")
        hints = _type_hints(kind)
        fields = dataclasses.fields(kind)
        return kind(
            **{f.name: _parse(hints[f.name], value[f.name], f"{where}.{f.name}") for f in fields}
        )
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where.lstrip('.')} is not a list")
        item = typing.get_args(kind)[0]
        return tuple(_parse(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    allowed = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if type(value) not in allowed:
        expected = " or ".join(a.__name__ for a in allowed)
        raise ValueError(f"{where.lstrip('.')} is {json.dumps(value)}, not {expected}")
    return value


def _check_names(manifest: Manifest) -> None:
    """Every name that becomes code must be an identifier."""
    names = [
        manifest.name,
        *manifest.namespace.split("::"),
        *(tensor.identifier for tensor in (*manifest.inputs, *manifest.outputs)),
        *(function.symbol for function in manifest.kernels.functions),
        *manifest.kernels.backend_symbols,
    ]
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{name!r} is not an identifier")
    for tensors in (manifest.inputs, manifest.outputs):
        identifiers = [tensor.identifier for tensor in tensors]
        if len(set(identifiers)) != len(identifiers):
            raise ValueError(f"the identifiers {', '.join(identifiers)} are not unique")
    if manifest.weights.mode not in ("EMBED", "FILE"):
        raise ValueError(f"weights.mode is {manifest.weights.mode!r}, not 'EMBED' or 'FILE'")
    alignment = manifest.memory.alignment
    if alignment <= 0 or alignment & (alignment - 1):
        raise ValueError(f"memory.alignment is {alignment}, not a power of two")


def check_artifacts(manifest: Manifest, folder: Path) -> None:
    """Checks that the files beside the manifest are those it was written for.

    Raises:
        ArtifactError: if one is missing or differs.
    """
    for file, expected, skip in (
        (manifest.kernels.file, manifest.kernels.sha256, 0),
        (manifest.graph.file, manifest.graph.sha256, 0),
        (manifest.weights.file, manifest.weights.id, WEIGHTS_HEADER_BYTES),
    ):
        path = folder / file
        try:
            actual = _sha256(path, skip)
        except OSError as error:
            raise ArtifactError(
                f"cannot read {file}: {error.strerror}", where=str(path), fix=AGAIN
            ) from error
        if actual != expected:
            raise ArtifactError(
                f"{file} does not belong to the manifest beside it",
                where=str(path),
                expected=f"SHA-256 {expected}, got {actual}",
                fix=f"{AGAIN}: a compile was interrupted, or the file was changed",
            )


def _sha256(path: Path, skip: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(skip)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
