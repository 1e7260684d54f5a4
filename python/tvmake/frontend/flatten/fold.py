"""Operators whose operands are all known, computed here by ONNX's own reference.

TVM would compile a kernel for each of them only to call it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from .values import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx import TensorProto

    from .values import Value

_RANDOM = {"Bernoulli", "Multinomial"}
_LARGEST_RESULT = 1 << 30  # bytes; a larger constant is cheaper to compute than to ship


def fold(
    node: NodeProto, operands: Sequence[Value | None], opsets: Mapping[str, int]
) -> list[TensorProto | None] | None:
    """The node's results, None for one without a name; None altogether if it cannot be folded."""
    if node.domain not in ("", "ai.onnx") or node.op_type in _RANDOM:
        return None
    if node.op_type.startswith("Random") or _has_graph(node):
        return None
    arrays: dict[str, Any] = {}
    for name, operand in zip(node.input, operands, strict=True):
        if operand is None:
            continue
        if not isinstance(operand, Tensor) or operand.array is None:
            return None
        arrays[name] = operand.array
    try:
        with np.errstate(all="ignore"):
            evaluator = ReferenceEvaluator(node, opsets={"": opsets.get("", 1)})
            results = evaluator.run(None, arrays)
    except Exception:  # noqa: BLE001 - what the reference cannot do stays for the compiler
        return None
    values = [np.asarray(result) for result in results]
    plain = all(_is_element(value.dtype) for value in values)
    small = sum(value.nbytes for value in values) <= _LARGEST_RESULT
    if not plain or not small or len(values) < len([name for name in node.output if name]):
        return None
    return [
        _proto(value, name) if name else None
        for value, name in zip(values, node.output, strict=False)
    ]


def _proto(value: Any, name: str) -> TensorProto:
    is_text = value.dtype.kind in "UT"
    return numpy_helper.from_array(value.astype(object) if is_text else value, name)


def _is_element(dtype: Any) -> bool:
    if dtype.kind in "fiubOUT":
        return True
    try:
        return bool(onnx.helper.np_dtype_to_tensor_dtype(dtype))
    except (KeyError, ValueError):
        return False


def _has_graph(node: NodeProto) -> bool:
    return any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


def scalar(value: Value | None) -> int | None:
    """The value of a known tensor with one element, as an integer."""
    array = value.array if isinstance(value, Tensor) else None
    return int(array.reshape(-1)[0]) if array is not None and array.size == 1 else None
