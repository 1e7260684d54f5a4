"""PyTorch's .pt2 files: read, check, settle the shapes. Knows torch, but not TVM.

The reference reads a file in the same way, so that both know a program's values by the same names.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvmake.errors import ModelError, SpecError, UnsupportedError, did_you_mean

from .pt2_archive import check_archive
from .pt2_dims import OpenDims, dtype_name, resolve, show, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import torch
    from torch.fx import Node

    from tvmake.spec import InputSpec


@dataclass(frozen=True)
class Program:
    """An exported program of core ATen operators.

    Attributes:
        exported: the program.
        inputs: names of the tensors that a caller gives, in order.
        outputs: names of the results, in order, each with the node that computes it.
        dims: the dimensions that are open; none of them for a program of static shapes.
        example: INPUTS that fix them, for messages.
    """

    exported: torch.export.ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, Node], ...]
    dims: OpenDims
    example: str


def require_torch(path: Path) -> None:
    """Check that torch is installed.

    Raises:
        ModelError: when it is not; the message has the command that mends it.
    """
    if importlib.util.find_spec("torch") is None:
        raise ModelError(
            "a .pt2 model needs PyTorch, which is not installed for this Python",
            where=str(path),
            fix=f"{sys.executable} -m pip install 'tvmake[torch]' (in CMake: "
            "-DTVMAKE_EXTRAS=torch)",
        )


def read(
    path: Path,
    inputs: Sequence[InputSpec] = (),
    bounds: Mapping[str, int] | None = None,
    *,
    static: bool = True,
) -> Program:
    """Read a program and settle the shapes of its inputs.

    Args:
        path: the .pt2 file.
        inputs: shapes of inputs that the program leaves open.
        bounds: the largest extents of open dimensions, by name.
        static: whether all dimensions must be fixed.

    Raises:
        ModelError: when the file is no .pt2 archive, or is damaged.
        SpecError: when INPUTS contradicts the program or names no input.
        UnsupportedError: when an input is dynamic and may not be, is no tensor, or the program has
            state.
    """
    require_torch(path)
    check_archive(path)
    exported = _load(path)
    values = _tensor_inputs(exported, path)
    for spec in inputs:
        _check_spec(spec, values, path)
    dims = resolve(values, inputs, exported.range_constraints, bounds or {}, path)
    if static and dims.symbols:
        _ask_for_shapes(values, {spec.name for spec in inputs}, path)
    with _quiet():
        if dims.shapes is not None:
            exported = _specialize(exported, dims.shapes, path)
        exported = exported.run_decompositions()
    _check_stateless(exported, path)
    return Program(
        exported,
        tuple(_user_inputs(exported)),
        _outputs(exported),
        dims,
        " ".join(suggestion(name, value) for name, value in values.items()),
    )


def is_tensor(node: Node) -> bool:
    """Whether a node's result is one tensor; not several, and not a number."""
    import torch

    return isinstance(node.meta.get("val"), torch.Tensor)


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch tells of its internals; what matters of it is an exception."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _load(path: Path) -> torch.export.ExportedProgram:
    import torch

    try:
        with _quiet():
            return torch.export.load(path)
    except Exception as error:  # torch's loader raises every kind
        raise ModelError(
            f"torch {torch.__version__} cannot read the .pt2 file: {_first_line(error)}",
            where=str(path),
            fix="export it again, with this version of torch if it was written by a later one",
        ) from error


def _check_stateless(exported: torch.export.ExportedProgram, path: Path) -> None:
    signature = exported.graph_signature
    changed = [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]
    if changed:
        raise UnsupportedError(
            f"the model changes {', '.join(changed)} while it runs",
            where=str(path),
            expected="a program without state",
            fix="call model.eval() before the export; make a state an input and an output",
        )


def _user_inputs(exported: torch.export.ExportedProgram) -> dict[str, Any]:
    """The value of each input that a caller gives: a fake tensor, or a Python object."""
    names = set(exported.graph_signature.user_inputs)
    return {
        node.name: node.meta.get("val")
        for node in exported.graph.find_nodes(op="placeholder")
        if node.name in names
    }


def _tensor_inputs(exported: torch.export.ExportedProgram, path: Path) -> dict[str, torch.Tensor]:
    import torch

    values = _user_inputs(exported)
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            raise UnsupportedError(
                f"input '{name}' is {value!r}, no tensor",
                where=str(path),
                fix="export a module that takes tensors only",
            )
    return values


def _ask_for_shapes(values: Mapping[str, torch.Tensor], given: set[str], path: Path) -> None:
    left = [
        name
        for name, value in values.items()
        if name not in given and not all(isinstance(dim, int) for dim in value.shape)
    ]
    raise UnsupportedError(
        "the model has inputs of dynamic shape: "
        + ", ".join(show(name, values[name]) for name in left),
        where=str(path),
        expected="static shapes",
        fix="fix them with INPUTS, for example: INPUTS "
        + " ".join(suggestion(name, values[name]) for name in left)
        + "; or EXECUTOR vm",
    )


def _check_spec(spec: InputSpec, values: Mapping[str, torch.Tensor], path: Path) -> None:
    if spec.name not in values:
        raise SpecError(
            f"INPUTS names '{spec.name}', which is no input of the model",
            where=str(path),
            expected="one of: " + ", ".join(values),
            fix=did_you_mean(spec.name, values),
        )
    value = values[spec.name]
    if (
        dtype_name(value.dtype) != spec.dtype
        or len(value.shape) != len(spec.shape)
        or any(
            isinstance(dim, int) and dim != size
            for dim, size in zip(value.shape, spec.shape, strict=True)
        )
    ):
        raise SpecError(
            f"INPUTS entry '{spec}' contradicts the model",
            where=str(path),
            expected=show(spec.name, value),
        )


def _specialize(
    exported: torch.export.ExportedProgram, shapes: Mapping[str, tuple[int, ...]], path: Path
) -> torch.export.ExportedProgram:
    """The program, exported again for these shapes: torch checks them against its constraints."""
    import torch
    from torch.utils import _pytree as pytree

    values = _user_inputs(exported)
    flat = [torch.zeros(shape, dtype=values[name].dtype) for name, shape in shapes.items()]
    args, kwargs = pytree.tree_unflatten(flat, exported.call_spec.in_spec)
    try:
        return torch.export.export(exported.module(), args, kwargs)
    except Exception as error:  # a guard that fails raises AssertionError, others their own
        raise SpecError(
            f"the program does not take these shapes: {_first_line(error)}",
            where=str(path),
            expected="; ".join(show(name, value) for name, value in values.items()),
            fix="correct INPUTS, or the dynamic shapes of the export",
        ) from error


def _outputs(exported: torch.export.ExportedProgram) -> tuple[tuple[str, Node], ...]:
    """Names after the keys of what forward() returns; numbers where there are none."""
    from torch.utils import _pytree as pytree

    (output,) = exported.graph.find_nodes(op="output")
    nodes = list(output.args[0])
    out_spec = exported.call_spec.out_spec
    paths = [
        path for path, _ in pytree.tree_flatten_with_path(pytree.tree_unflatten(nodes, out_spec))[0]
    ]
    parts = [[str(getattr(key, "key", getattr(key, "idx", key))) for key in path] for path in paths]
    names = [
        "_".join(["output", *part] if not part or part[0].isdecimal() else part) for part in parts
    ]
    return tuple(zip(names, nodes, strict=True))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
