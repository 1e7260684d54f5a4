"""Writes normalise.onnx: pictures of bytes from 0 to 16 become floats from 0 to 1."""

from __future__ import annotations

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def model() -> onnx.ModelProto:
    """`image = float32(pixels) / 16`."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pixels"], ["wide"], name="cast", to=TensorProto.FLOAT),
            helper.make_node("Div", ["wide", "brightest"], ["image"], name="scale"),
        ],
        "normalise",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [numpy_helper.from_array(np.array(16, np.float32), "brightest")],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="tvmake")


if __name__ == "__main__":
    onnx.save(model(), sys.argv[1])
