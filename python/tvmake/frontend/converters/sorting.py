"""Sorting."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from tvmake.frontend.sorting import emit_top_k

from .operator import Converter, Operator


def _top_k(operator: Operator) -> relax.Expr | None:
    data = operator.operand(0)
    if "k" in operator.attributes:
        count = int(operator.attributes["k"])
    else:
        constant = operator.operand(1)
        if not isinstance(constant, tvm.ir.GenericConst):
            raise ValueError("the number of elements must be known at compile time")
        count = int(np.asarray(constant.value.numpy()).item())
    values, positions = emit_top_k(
        operator.builder,
        data,
        count,
        axis=int(operator.attributes.get("axis", -1)),
        largest=bool(operator.attributes.get("largest", 1)),
    )
    return relax.Tuple([values, positions])


CONVERTERS: dict[str, Converter] = {"TopK": _top_k}
