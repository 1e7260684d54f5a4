"""What every frontend hands to the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tvmake.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    import tvm

    from tvmake.preprocess import PreparedInput


@dataclass(frozen=True)
class SourceNode:
    """An operator of the model file.

    Attributes:
        name: the node's name, or the one of its first output if it has none.
        inputs: the tensors that the operator reads, in the model's words.
        outputs: the tensors that it defines.
        is_constant: whether it depends on no input, so that it is computed at compile time.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    is_constant: bool = False

    @property
    def output(self) -> str:
        """The first tensor that the operator defines."""
        return self.outputs[0]


@dataclass(frozen=True)
class Symbol:
    """An extent that is known at run time only.

    Attributes:
        name: as in the shapes of the module.
        most: the largest value; None when there is no bound.
        least: the smallest value.
    """

    name: str
    most: int | None = None
    least: int = 1


@dataclass(frozen=True)
class ImportedModel:
    """A model as a Relax module whose function `main` takes the inputs and returns the outputs.

    Attributes:
        inputs: the model's own names of main's parameters, in order.
        outputs: the model's own names of main's results, in order.
        nodes: the model's operators. A binding of main whose variable is named by
            `variable_name(k)` computes what `nodes[k]` defines.
        files: every file that was read, the model first.
        details: opset, producer and the like, for the manifest.
        input_types, output_types: the model's own element types, if some are none that kernels
            compute with (see `elements`); empty where they are those of main.
        prepared: inputs that PREPROCESS changed, as the model file has them.
        symbols: the symbolic dimensions of the inputs.
        upper: upper bounds, in terms of those symbols, of extents that depend on data, by name.
        dynamic: why the model needs EXECUTOR vm; empty when all shapes are static.
    """

    module: tvm.IRModule
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[SourceNode, ...]
    files: tuple[str, ...]
    details: dict[str, object]
    input_types: tuple[str, ...] = ()
    output_types: tuple[str, ...] = ()
    prepared: tuple[PreparedInput, ...] = ()
    symbols: tuple[Symbol, ...] = ()
    upper: Mapping[str, Any] = field(default_factory=dict)
    dynamic: str = ""


def check_bounds(names: Sequence[str], bounds: Iterable[str], path: Path) -> None:
    """Check that INPUTS bounds symbolic dimensions only.

    Args:
        names: of the symbolic dimensions of the inputs.
        bounds: names that have a bound.
        path: the model's file, for messages.

    Raises:
        SpecError: when a name is none of these.
    """
    for name in bounds:
        if name not in names:
            raise SpecError(
                f"INPUTS bounds '{name}', which is no dimension of an input",
                where=str(path),
                expected="one of: " + ", ".join(names) if names else "a model with symbolic inputs",
                fix=did_you_mean(name, names),
            )


def check_outputs(
    names: Iterable[str], known: Collection[str], own: Iterable[str], path: Path
) -> None:
    """Check that OUTPUTS names tensors of the model.

    Args:
        names: the outputs that are asked for.
        known: what can be one.
        own: the outputs that the model has.
        path: the model's file, for messages.

    Raises:
        SpecError: when a name is none of these.
    """
    for name in names:
        if name not in known:
            raise SpecError(
                f"OUTPUTS names '{name}', which is no tensor of the model",
                where=str(path),
                expected=f"an output ({', '.join(own)}) or an operator's result",
                fix=did_you_mean(name, known),
            )


def why_dynamic(symbols: Sequence[Symbol]) -> str:
    """Why a model with these symbols needs EXECUTOR vm; empty when there are none."""
    names = ", ".join(symbol.name for symbol in symbols)
    return f"it has symbolic dimensions: {names}" if symbols else ""


_PART = "part"


def variable_name(node: int) -> str:
    """The Relax variable that holds the result of `nodes[node]`."""
    return f"n{node}_"


def node_of_variable(name: str) -> int | None:
    """The inverse of `variable_name`; None for every other variable."""
    digits = name[1:-1]
    return int(digits) if name[:1] == "n" and name[-1:] == "_" and digits.isdecimal() else None


def part_name(name: str) -> str:
    """A variable that holds the same elements as the one of this name, not yet in its shape."""
    return f"{name}{_PART}" if node_of_variable(name) is not None else ""


def node_of_part(name: str) -> int | None:
    """The node whose result the variable becomes; None for every other variable."""
    return node_of_variable(name.removesuffix(_PART)) if name.endswith(_PART) else None
