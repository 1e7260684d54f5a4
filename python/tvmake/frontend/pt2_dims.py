"""The dimensions that a .pt2 program leaves open: what they are called, how large they can be.

Torch has a symbol for each, with a range; INPUTS fixes it or gives it another name. Names of
torch.export.Dim are not in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvmake.errors import SpecError, UnsupportedError

from .imported import Symbol, check_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

    from tvmake.spec import InputSpec

_LARGEST = 1 << 31  # torch writes no bound as a large number, too


@dataclass(frozen=True)
class OpenDims:
    """What the symbols of a program stand for.

    Attributes:
        values: of each of torch's symbols the size that fixes it, or its name.
        symbols: the open dimensions, in the order in which they appear.
        shapes: of the inputs by name, if INPUTS fixes all that the program leaves open.
    """

    values: Mapping[str, int | str]
    symbols: tuple[Symbol, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] | None = None


def resolve(
    inputs: Mapping[str, torch.Tensor],
    specs: Sequence[InputSpec],
    ranges: Mapping[Any, Any],
    bounds: Mapping[str, int],
    path: Path,
) -> OpenDims:
    """Settle what every dimension of the inputs is.

    Args:
        inputs: the program's inputs, as torch describes them.
        specs: shapes that are asked for; checked against the inputs' types and static dimensions.
        ranges: the range of each of torch's symbols.
        bounds: the largest extents of open dimensions, by name.
        path: the model's file, for messages.

    Raises:
        SpecError: when INPUTS contradicts the program or itself.
        UnsupportedError: when an open dimension is an expression of others.
    """
    if all(isinstance(dim, int) for value in inputs.values() for dim in value.shape):
        check_bounds((), bounds, path)
        return OpenDims({})
    given = {spec.name: spec.shape for spec in specs}
    values = _values(inputs, given, path)
    shapes = {
        name: tuple(given.get(name) or (_extent(dim, values) for dim in value.shape))
        for name, value in inputs.items()
    }
    fixed = {
        name: tuple(size for size in shape if isinstance(size, int))
        for name, shape in shapes.items()
    }
    if fixed == shapes:
        check_bounds((), bounds, path)
        return OpenDims(values, (), fixed)
    _check_plain(inputs, given, values, path)
    return OpenDims(values, _symbols(values, ranges, bounds, path))


def dtype_name(dtype: torch.dtype) -> str:
    """NumPy's name of a torch element type."""
    return str(dtype).removeprefix("torch.")


def show(name: str, value: torch.Tensor) -> str:
    """An input with its shape, as INPUTS would have it."""
    return f"{name}={dtype_name(value.dtype)}[{','.join(map(str, value.shape))}]"


def suggestion(name: str, value: torch.Tensor) -> str:
    """An INPUTS entry that fixes every dimension of an input."""
    sizes = ",".join(str(dim if isinstance(dim, int) else _hint(dim)) for dim in value.shape)
    return f"{name}={dtype_name(value.dtype)}[{sizes}]"


def _hint(dim: torch.SymInt) -> int:
    """The size that the program was exported with, where it is known."""
    hint = dim.node.hint
    return hint if isinstance(hint, int) else 1


def _values(
    inputs: Mapping[str, torch.Tensor], given: Mapping[str, Sequence[int | str]], path: Path
) -> dict[str, int | str]:
    """What INPUTS makes of each symbol; a symbol that it does not mention keeps its name."""
    asked: dict[str, tuple[int | str, str]] = {}
    found: dict[str, int | str] = {}
    for name, value in inputs.items():
        for axis, dim in enumerate(value.shape):
            if isinstance(dim, int) or not dim.node.expr.is_Symbol:
                continue
            symbol = str(dim.node.expr)
            found.setdefault(symbol, symbol)
            if name not in given:
                continue
            wanted = given[name][axis]
            before, other = asked.setdefault(symbol, (wanted, name))
            if before != wanted:
                raise SpecError(
                    f"INPUTS says {before} for a dimension of '{other}', and {wanted} for one of "
                    f"'{name}'",
                    where=str(path),
                    expected=f"the same for both: to the program they are one, {symbol}",
                )
    return {symbol: asked[symbol][0] if symbol in asked else symbol for symbol in found}


def _extent(dim: int | torch.SymInt, values: Mapping[str, int | str]) -> int | str:
    if isinstance(dim, int):
        return dim
    expression = dim.node.expr
    sizes = {s: values.get(str(s)) for s in expression.free_symbols}
    if all(isinstance(size, int) for size in sizes.values()):
        return int(expression.subs(sizes))
    return str(values.get(str(expression), expression))


def _check_plain(
    inputs: Mapping[str, torch.Tensor],
    given: Mapping[str, Sequence[int | str]],
    values: Mapping[str, int | str],
    path: Path,
) -> None:
    """Check that every dimension that is no symbol of its own has a fixed size."""
    for name, value in inputs.items():
        for axis, dim in enumerate(value.shape):
            if isinstance(dim, int) or dim.node.expr.is_Symbol:
                continue
            size = _extent(dim, values)
            if isinstance(size, str):
                raise UnsupportedError(
                    f"axis {axis} of input '{name}' is {dim.node.expr}, which PyTorch derives from "
                    "another dimension",
                    where=str(path),
                    expected="open dimensions of inputs that are sizes of their own",
                    fix="fix them with INPUTS, for example: INPUTS "
                    + " ".join(suggestion(n, v) for n, v in inputs.items()),
                )
            if name in given and given[name][axis] != size:
                raise SpecError(
                    f"INPUTS says {given[name][axis]} for axis {axis} of '{name}'",
                    where=str(path),
                    expected=f"{dim.node.expr}, which is {size}",
                )


def _symbols(
    values: Mapping[str, int | str],
    ranges: Mapping[Any, Any],
    bounds: Mapping[str, int],
    path: Path,
) -> tuple[Symbol, ...]:
    """The open dimensions with their ranges; fixed ones are checked against theirs."""
    limits = {str(symbol): (int(r.lower), _finite(r.upper)) for symbol, r in ranges.items()}
    found: dict[str, tuple[int, int | None]] = {}
    for symbol, value in values.items():
        least, most = limits.get(symbol, (1, None))
        if isinstance(value, int):
            _check_range(f"INPUTS fixes '{symbol}' to {value}", value, least, most, path)
            continue
        before = found.get(value, (1, None))
        uppers = [limit for limit in (most, before[1]) if limit is not None]
        found[value] = (max(least, before[0]), min(uppers, default=None))
    check_bounds(tuple(found), bounds, path)
    for name, bound in bounds.items():
        _check_range(f"INPUTS bounds '{name}' by {bound}", bound, *found[name], path)
    return tuple(
        Symbol(name, bounds.get(name, most), least) for name, (least, most) in found.items()
    )


def _check_range(what: str, size: int, least: int, most: int | None, path: Path) -> None:
    if size < least or (most is not None and size > most):
        upper = "" if most is None else f" and at most {most}"
        raise SpecError(
            what,
            where=str(path),
            expected=f"at least {least}{upper}: the program was exported for these sizes",
            fix="correct INPUTS, or the dynamic shapes of the export",
        )


def _finite(limit: Any) -> int | None:
    """A limit as a number; None for infinity."""
    return int(limit) if limit.is_Integer and limit < _LARGEST else None
