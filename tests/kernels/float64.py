"""An ONNX model's outputs in float64, by onnx's own evaluator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]


class ConvTranspose(OpRun):
    """PyTorch's: onnx's own knows no groups."""

    op_domain = ""

    def _run(self, x: Array, w: Array, **attributes: Any) -> tuple[Array]:
        import torch

        rank = x.ndim - 2
        operators = torch.nn.functional
        convolve = (
            operators.conv_transpose1d,
            operators.conv_transpose2d,
            operators.conv_transpose3d,
        )
        y = convolve[rank - 1](
            torch.from_numpy(x.copy()),
            torch.from_numpy(w.copy()),
            stride=attributes["strides"],
            padding=attributes["pads"][:rank],
            output_padding=attributes["output_padding"],
            groups=attributes["group"],
            dilation=attributes["dilations"],
        )
        return (y.numpy(),)


def local_response_normalization(
    x: Array, size: int, alpha: float, beta: float, bias: float
) -> Array:
    """As the specification says: onnx's own takes the batch for the channels."""
    before = (size - 1) // 2
    pads = [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.ndim - 2)]
    near = np.lib.stride_tricks.sliding_window_view(np.pad(x * x, pads), size, axis=1)
    result: Array = x / (bias + alpha / size * near.sum(-1)) ** beta
    return result


class LRN(OpRun):
    """The same as an operator."""

    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array]:
        return (local_response_normalization(x, **attributes),)


def float64_outputs(model: onnx.ModelProto, inputs: dict[str, Array]) -> dict[str, Array]:
    """Evaluate with every float32 weight and input as float64."""
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float64), tensor.name))
    doubles = {name: value.astype(np.float64) for name, value in inputs.items()}
    names = [output.name for output in model.graph.output]
    return dict(
        zip(
            names,
            ReferenceEvaluator(model, new_ops=[ConvTranspose, LRN]).run(None, doubles),
            strict=True,
        )
    )
