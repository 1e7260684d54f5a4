"""Runs an ONNX graph of the older image networks in float64, with torch's operators.

An independent reference: onnxruntime has no float64 convolutions, onnx's own evaluator takes
minutes for one of these networks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

_Attributes = dict[str, Any]


def evaluate(model: onnx.ModelProto, inputs: dict[str, Array]) -> list[Array]:
    """Run a model; floats become float64.

    Raises:
        KeyError: for an operator that none of these networks has.
    """
    values = {i.name: _double(numpy_helper.to_array(i)) for i in model.graph.initializer}
    values |= {name: _double(value) for name, value in inputs.items()}
    with torch.no_grad():
        for node in model.graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            operands = [values[name] for name in node.input if name]
            values[node.output[0]] = _OPERATORS[node.op_type](operands, attributes)
    return [values[output.name].numpy() for output in model.graph.output]


def _double(value: Array) -> torch.Tensor:
    return torch.from_numpy(value.astype(np.float64) if value.dtype == np.float32 else value.copy())


def _padded(x: torch.Tensor, attributes: _Attributes, value: float = 0.0) -> torch.Tensor:
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ValueError("auto_pad")
    return functional.pad(x, (left, right, top, bottom), value=value)


def _convolution(x: list[torch.Tensor], a: _Attributes) -> torch.Tensor:
    strides, dilations = a.get("strides", (1, 1)), a.get("dilations", (1, 1))
    bias = x[2] if len(x) > 2 else None
    return functional.conv2d(_padded(x[0], a), x[1], bias, strides, 0, dilations, a.get("group", 1))


def _max_pool(x: list[torch.Tensor], a: _Attributes) -> torch.Tensor:
    return functional.max_pool2d(
        _padded(x[0], a, -np.inf), a["kernel_shape"], a.get("strides", (1, 1))
    )


def _average_pool(x: list[torch.Tensor], a: _Attributes) -> torch.Tensor:
    kernel, strides = a["kernel_shape"], a.get("strides", (1, 1))
    result = functional.avg_pool2d(_padded(x[0], a), kernel, strides)
    if not a.get("count_include_pad", 0):
        result = result / functional.avg_pool2d(_padded(torch.ones_like(x[0]), a), kernel, strides)
    return result


def _gemm(x: list[torch.Tensor], a: _Attributes) -> torch.Tensor:
    left = x[0].T if a.get("transA") else x[0]
    right = x[1].T if a.get("transB") else x[1]
    product: torch.Tensor = a.get("alpha", 1.0) * (left @ right) + a.get("beta", 1.0) * x[2]
    return product


def _lrn(x: list[torch.Tensor], a: _Attributes) -> torch.Tensor:
    return functional.local_response_norm(
        x[0], a["size"], a.get("alpha", 1e-4), a.get("beta", 0.75), a.get("bias", 1.0)
    )


def _batch_norm(x: list[torch.Tensor], a: _Attributes) -> torch.Tensor:
    data, gamma, beta, mean, variance = x
    return functional.batch_norm(data, mean, variance, gamma, beta, eps=a.get("epsilon", 1e-5))


def _constant(_: list[torch.Tensor], a: _Attributes) -> torch.Tensor:
    if "value" in a:
        return _double(numpy_helper.to_array(a["value"]))
    (value,) = a.values()
    return torch.tensor(value, dtype=torch.float64 if "float" in next(iter(a)) else torch.int64)


def _reshape(x: list[torch.Tensor], a: _Attributes) -> torch.Tensor:
    wanted = x[1].tolist() if len(x) > 1 else a["shape"]
    return x[0].reshape([x[0].shape[i] if d == 0 else d for i, d in enumerate(wanted)])


def _unsqueeze(x: list[torch.Tensor], a: _Attributes) -> torch.Tensor:
    result = x[0]
    for axis in sorted(a["axes"] if "axes" in a else x[1].tolist()):
        result = result.unsqueeze(axis)
    return result


def _softmax(x: list[torch.Tensor], a: _Attributes) -> torch.Tensor:
    """Before opset 13: over all axes from the given one on."""
    flat = x[0].flatten(a.get("axis", 1))
    return flat.softmax(-1).reshape(x[0].shape)


_OPERATORS: dict[str, Callable[[list[torch.Tensor], _Attributes], torch.Tensor]] = {
    "Add": lambda x, _: x[0] + x[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Constant": _constant,
    "Concat": lambda x, a: torch.cat(x, a["axis"]),
    "Conv": _convolution,
    "Dropout": lambda x, _: x[0],
    "Flatten": lambda x, a: x[0].flatten(a.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x, _: x[0].mean((2, 3), keepdim=True),
    "LRN": _lrn,
    "MaxPool": _max_pool,
    "Mul": lambda x, _: x[0] * x[1],
    "Relu": lambda x, _: x[0].relu(),
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Sum": lambda x, _: sum(x[1:], x[0]),
    "Transpose": lambda x, a: x[0].permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
}
