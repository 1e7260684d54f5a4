"""A model computed in double precision, to tell an error from the suite's own rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}


def in_double(model: onnx.ModelProto, inputs: list[Any]) -> list[Any]:
    """The outputs by ONNX's reference, with float64 wherever the model has a smaller float."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for tensor in wide.graph.initializer:
        tensor.CopyFrom(_widened(tensor))
    for node in wide.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                attribute.t.CopyFrom(_widened(attribute.t))
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in _FLOATS:
                attribute.i = TensorProto.DOUBLE
    named = {
        value.name: array.astype("float64") if array.dtype.kind == "f" else array
        for value, array in zip(model.graph.input, inputs, strict=True)
    }
    return list(ReferenceEvaluator(wide).run(None, named))


def _widened(tensor: TensorProto) -> TensorProto:
    if tensor.data_type not in _FLOATS:
        return tensor
    array = numpy_helper.to_array(tensor).astype(np.float64)
    return numpy_helper.from_array(array, tensor.name)
