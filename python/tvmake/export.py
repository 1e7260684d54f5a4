"""PyTorch models from Python code to .pt2 files."""

from __future__ import annotations

import importlib
import re
import sys
from typing import TYPE_CHECKING, Any

from tvmake.errors import SpecError, did_you_mean
from tvmake.frontend.pt2_program import require_torch
from tvmake.spec import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

_INPUT = re.compile(r"(?P<dtype>[a-z][a-z0-9]*)\[(?P<dims>[^\[\]]*)\]\Z")
_EXAMPLE_SIZE = 3  # of a dimension of any size; neither 0 nor 1, which torch takes for constants


def export_model(factory: str, inputs: Sequence[str], path: Path) -> None:
    """Make a model, export it for inference and save it.

    Args:
        factory: `module:function`; the function takes nothing and returns a torch.nn.Module. The
            module is looked for in the current folder first.
        inputs: for each argument of forward(), `dtype[d0,d1,…]`; a name in place of a size stands
            for any size, the same one wherever it stands.
        path: the .pt2 file to write.

    Raises:
        SpecError: when the factory, an input or the model is not as it should be.
        ModelError: when torch is not installed.
    """
    require_torch(path)
    import torch

    model = _make(factory)
    sizes: dict[str, Any] = {}
    examples = [_example(text, sizes) for text in inputs]
    try:
        program = torch.export.export(
            model.eval(),
            tuple(example for example, _ in examples),
            dynamic_shapes=tuple(dims for _, dims in examples),
        )
        torch.export.save(program, path)
    except Exception as error:  # the model's own code runs here
        raise SpecError(
            f"the model cannot be exported: {error}", where=factory, fix="correct --input"
        ) from error


def _make(factory: str) -> torch.nn.Module:
    import torch

    module_name, _, name = factory.partition(":")
    if not module_name or not name:
        raise SpecError(
            f"cannot read '{factory}'", expected="module:function, for example nets:make_resnet"
        )
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise SpecError(f"'{module_name}' cannot be imported: {error}", where=factory) from error
    finally:
        sys.path.remove("")
    if not callable(getattr(module, name, None)):
        raise SpecError(
            f"'{module_name}' has no function '{name}'",
            where=factory,
            fix=did_you_mean(name, [n for n in dir(module) if not n.startswith("_")]),
        )
    model = getattr(module, name)()
    if not isinstance(model, torch.nn.Module):
        raise SpecError(f"'{name}' returns {type(model).__name__}, no torch.nn.Module")
    return model


def _example(text: str, sizes: dict[str, Any]) -> tuple[torch.Tensor, dict[int, Any]]:
    """A tensor of zeros, and the dimensions of any size; `sizes` has those by name."""
    import torch

    match = _INPUT.match(text)
    if not match:
        raise SpecError(
            f"cannot read --input '{text}'", expected="dtype[d0,d1,…], as in float32[1,3,224,224]"
        )
    if match["dtype"] not in DTYPES or not hasattr(torch, match["dtype"]):
        raise SpecError(
            f"--input '{text}' has unknown element type '{match['dtype']}'",
            expected=" ".join(name for name in DTYPES if hasattr(torch, name)),
        )
    shape, dynamic = [], {}
    for axis, dim in enumerate(d.strip() for d in match["dims"].split(",") if d.strip()):
        if dim.isdecimal():
            shape.append(int(dim))
        elif dim.isidentifier():
            shape.append(_EXAMPLE_SIZE)
            dynamic[axis] = sizes.setdefault(dim, torch.export.Dim(dim))
        else:
            raise SpecError(f"--input '{text}' has dimension '{dim}'", expected="a size or a name")
    return torch.zeros(shape, dtype=getattr(torch, match["dtype"])), dynamic
