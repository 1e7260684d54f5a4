"""The largest tensor that kernels can index."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tvm import relax, tirx

from tvmake.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import tvm

_MOST_ELEMENTS = (1 << 31) - 1  # kernels count in 32 bits


def check_sizes(module: tvm.IRModule, path: Path) -> None:
    """Refuse tensors whose elements cannot be counted in 32 bits: kernels would wrap around.

    Raises:
        UnsupportedError: for the first one.
    """
    main = module["main"]
    for variable in (*main.params, *_variables(main)):
        for type_ in _tensor_types(variable.ty):
            sizes = [int(dim) for dim in type_.shape or () if isinstance(dim, tirx.IntImm)]
            if math.prod(sizes) > _MOST_ELEMENTS:
                raise UnsupportedError(
                    f"the value '{variable.name}' has the shape {sizes}",
                    where=str(path),
                    expected=f"at most {_MOST_ELEMENTS} elements in a tensor",
                    fix="check the dimensions of the inputs, in the file and in INPUTS",
                )


def _variables(main: relax.Function) -> Iterator[relax.Var]:
    for block in main.body.blocks:
        for binding in block.bindings:
            yield binding.var


def _tensor_types(type_: tvm.ir.Type) -> Iterator[relax.TensorType]:
    if isinstance(type_, relax.TupleType):
        for field in type_.fields:
            yield from _tensor_types(field)
    elif isinstance(type_, relax.TensorType):
        yield type_
