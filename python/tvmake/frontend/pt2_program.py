"""PyTorch's .pt2 files: read, check, fix the shapes. Knows torch, but not TVM.

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

from tvmake.errors import ModelError, SpecError, UnsupportedError, nearest

from .pt2_archive import check_archive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import torch
    from torch.fx import Node

    from tvmake.spec import InputSpec


@dataclass(frozen=True)
class Program:
    """An exported program of core ATen operators with static shapes.

    Attributes:
        exported: the program.
        inputs: names of the tensors that a caller gives, in order.
        outputs: names of the results, in order, each with the node that computes it.
    """

    exported: torch.export.ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, Node], ...]


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


def read(path: Path, inputs: Sequence[InputSpec] = ()) -> Program:
    """Read a program and give every input a static shape.

    Args:
        path: the .pt2 file.
        inputs: shapes of inputs that the program leaves open.

    Raises:
        ModelError: when the file is no .pt2 archive, or is damaged.
        SpecError: when INPUTS contradicts the program or names no input.
        UnsupportedError: when an input is still dynamic, is no tensor, or the program has state.
    """
    require_torch(path)
    check_archive(path)
    exported = _load(path)
    fixed = _fixed_inputs(exported, inputs, path)
    with _quiet():
        if fixed:
            exported = _specialize(exported, fixed, path)
        exported = exported.run_decompositions()
    _check_stateless(exported, path)
    return Program(exported, tuple(_user_inputs(exported)), _outputs(exported))


def dtype_name(dtype: torch.dtype) -> str:
    """NumPy's name of a torch element type."""
    return str(dtype).removeprefix("torch.")


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


def _fixed_inputs(
    exported: torch.export.ExportedProgram, specs: Sequence[InputSpec], path: Path
) -> dict[str, tuple[int, ...]]:
    """Static shapes of all inputs; empty when the program has static ones itself."""
    import torch

    values = _user_inputs(exported)
    for name, value in values.items():
        if not isinstance(value, torch.Tensor):
            raise UnsupportedError(
                f"input '{name}' is {value!r}, no tensor",
                where=str(path),
                fix="export a module that takes tensors only",
            )
    given = {spec.name: spec for spec in specs}
    for spec in specs:
        _check_spec(spec, values, path)
    dynamic = {name for name, value in values.items() if None in _dims(value)}
    left = [name for name in values if name in dynamic and name not in given]
    if left:
        raise UnsupportedError(
            "the model has inputs of dynamic shape: "
            + ", ".join(_show(name, values[name]) for name in left),
            where=str(path),
            expected="static shapes",
            fix="fix them with INPUTS, for example: INPUTS "
            + " ".join(_suggestion(name, values[name]) for name in left),
        )
    if not dynamic:
        return {}
    return {
        name: tuple(map(int, given[name].shape if name in given else value.shape))
        for name, value in values.items()
    }


def _check_spec(spec: InputSpec, values: dict[str, Any], path: Path) -> None:
    if spec.name not in values:
        match = nearest(spec.name, values)
        raise SpecError(
            f"INPUTS names '{spec.name}', which is no input of the model",
            where=str(path),
            expected="one of: " + ", ".join(values),
            fix=f"did you mean '{match}'?" if match else None,
        )
    value = values[spec.name]
    dims = _dims(value)
    if not all(isinstance(size, int) for size in spec.shape):
        raise UnsupportedError(
            f"INPUTS entry '{spec}' leaves a dimension open",
            where=str(path),
            expected="a number for every dimension: PyTorch programs are compiled for fixed shapes",
            fix="fix it, or export to ONNX, whose open dimensions EXECUTOR vm takes",
        )
    if (
        dtype_name(value.dtype) != spec.dtype
        or len(dims) != len(spec.shape)
        or any(dim not in (None, size) for dim, size in zip(dims, spec.shape, strict=True))
    ):
        raise SpecError(
            f"INPUTS entry '{spec}' contradicts the model",
            where=str(path),
            expected=_show(spec.name, value),
        )


def _specialize(
    exported: torch.export.ExportedProgram, shapes: dict[str, tuple[int, ...]], path: Path
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
            expected="; ".join(_show(name, value) for name, value in values.items()),
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


def _dims(value: torch.Tensor) -> list[int | None]:
    return [dim if isinstance(dim, int) else None for dim in value.shape]


def _show(name: str, value: torch.Tensor) -> str:
    return f"{name}={dtype_name(value.dtype)}[{','.join(map(str, value.shape))}]"


def _suggestion(name: str, value: torch.Tensor) -> str:
    sizes = ",".join(str(dim if isinstance(dim, int) else _hint(dim)) for dim in value.shape)
    return f"{name}={dtype_name(value.dtype)}[{sizes}]"


def _hint(dim: torch.SymInt) -> int:
    """The size that the program was exported with, where it is known."""
    hint = dim.node.hint
    return hint if isinstance(hint, int) else 1


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
