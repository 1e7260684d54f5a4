"""Writes a model whose inputs are called `in` and `x.1`, with a dynamic batch, and two outputs."""

from __future__ import annotations

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def _tensor(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4])


if __name__ == "__main__":
    nodes = [
        helper.make_node("Add", ["in", "x.1"], ["sum"], name="add"),
        helper.make_node("Add", ["sum", "steps"], ["plus"], name="shift"),
        helper.make_node("Sub", ["in", "x.1"], ["minus"], name="subtract"),
    ]
    steps = numpy_helper.from_array(np.arange(4, dtype=np.float32), "steps")
    inputs, outputs = [_tensor("in"), _tensor("x.1")], [_tensor("plus"), _tensor("minus")]
    graph = helper.make_graph(nodes, "awkward", inputs, outputs, [steps])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), sys.argv[1])
