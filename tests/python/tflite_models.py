"""A small TFLite network, written with the schema that LiteRT ships: no TensorFlow is needed.

A convolution, a depthwise one, a residual addition, pooling, a dense layer and a softmax; in
float, with weights in half precision, and in integers whose scales are calibrated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

Array = np.ndarray[Any, Any]

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}
_Op = schema.BuiltinOperator
_RELU = schema.ActivationFunctionType.RELU
SHAPE = (1, 8, 8, 3)


def _random(*shape: int, seed: int, scale: float) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype("float32")


WEIGHTS = {
    "conv_w": _random(8, 3, 3, 3, seed=1, scale=0.3),
    "conv_b": _random(8, seed=2, scale=0.3),
    "depth_w": _random(1, 3, 3, 8, seed=3, scale=0.4),
    "depth_b": _random(8, seed=4, scale=0.2),
    "dense_w": _random(5, 8, seed=5, scale=0.4),
    "dense_b": _random(5, seed=6, scale=0.2),
}
_AXES = {"conv_w": 0, "depth_w": 3, "dense_w": None}  # which have a scale of their own
_INPUT_OF = {"conv": "image", "depth": "conv", "dense": "flat"}
_SHAPES = {
    "image": SHAPE,
    **dict.fromkeys(("conv", "depth", "sum"), (1, 8, 8, 8)),
    "pool": (1, 1, 1, 8),
    "flat": (1, 8),
    "dense": (1, 5),
    "classes": (1, 5),
}


class _Writer:
    """Collects tensors and operators."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = b"tvmake's test model"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self.places: dict[str, int] = {}

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        data: Array | None = None,
        scales: tuple[Array, int, int] | None = None,
    ) -> None:
        """A tensor; `scales` are its scales, its zero point and the axis that they are along."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), list(shape), _TYPES[dtype]
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), "uint8")
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        if scales is not None:
            quantization = schema.QuantizationParametersT()
            quantization.scale = np.atleast_1d(scales[0]).astype("float32")
            quantization.zeroPoint = np.full(len(quantization.scale), scales[1], "int64")
            quantization.quantizedDimension = scales[2]
            tensor.quantization = quantization
        self.places[name] = len(self.graph.tensors)
        self.graph.tensors.append(tensor)

    def operator(self, code: int, inputs: str, output: str, kind: str = "", **fields: Any) -> None:
        """An operator; `kind` names its options, `fields` are theirs."""
        code_entry = schema.OperatorCodeT()
        code_entry.builtinCode, code_entry.deprecatedBuiltinCode = code, min(code, 127)
        code_entry.version = 3 if code in (_Op.CONV_2D, _Op.DEPTHWISE_CONV_2D) else 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(code_entry)
        operator.inputs = [self.places[name] for name in inputs.split()]
        operator.outputs = [self.places[output]]
        if kind:
            options = getattr(schema, f"{kind}T")()
            for name, value in fields.items():
                setattr(options, name, value)
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self.graph.operators.append(operator)

    def save(self, path: Path, inputs: str, outputs: str) -> Path:
        self.graph.inputs = [self.places[name] for name in inputs.split()]
        self.graph.outputs = [self.places[name] for name in outputs.split()]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


def _network(writer: _Writer) -> None:
    window = {"padding": schema.Padding.SAME, "strideW": 1, "strideH": 1}
    dilation = {"dilationWFactor": 1, "dilationHFactor": 1, "fusedActivationFunction": _RELU}
    writer.operator(
        _Op.CONV_2D, "image conv_w conv_b", "conv", "Conv2DOptions", **window, **dilation
    )
    writer.operator(
        *(_Op.DEPTHWISE_CONV_2D, "conv depth_w depth_b", "depth", "DepthwiseConv2DOptions"),
        **{**window, **dilation, "depthMultiplier": 1},
    )
    writer.operator(_Op.ADD, "depth conv", "sum", "AddOptions")
    writer.operator(
        *(_Op.AVERAGE_POOL_2D, "sum", "pool", "Pool2DOptions"),
        **{**window, "padding": schema.Padding.VALID, "filterWidth": 8, "filterHeight": 8},
    )
    writer.operator(_Op.RESHAPE, "pool", "flat", "ReshapeOptions", newShape=[1, 8])
    writer.operator(_Op.FULLY_CONNECTED, "flat dense_w dense_b", "dense", "FullyConnectedOptions")
    writer.operator(_Op.SOFTMAX, "dense", "classes", "SoftmaxOptions", beta=1.0)


def float_model(path: Path) -> Path:
    """All in float32."""
    writer = _Writer()
    for name, shape in _SHAPES.items():
        writer.tensor(name, shape, "float32")
    for name, value in WEIGHTS.items():
        writer.tensor(name, value.shape, "float32", value)
    _network(writer)
    return writer.save(path, "image", "classes")


def half_model(path: Path) -> Path:
    """Weights in float16, computation in float32."""
    writer = _Writer()
    for name, shape in _SHAPES.items():
        writer.tensor(name, shape, "float32")
    for name, value in WEIGHTS.items():
        writer.tensor(name, value.shape, "float32")
        writer.tensor(f"{name}_half", value.shape, "float16", value.astype("float16"))
        writer.operator(_Op.DEQUANTIZE, f"{name}_half", name, "DequantizeOptions")
    _network(writer)
    return writer.save(path, "image", "classes")


def integer_model(path: Path) -> Path:
    """All in int8, sums in int32; the scales from what the float model computes."""
    writer = _Writer()
    ranges = _ranges(float_model(path))
    scales: dict[str, tuple[float, int]] = {}
    for name, shape in _SHAPES.items():
        low, high = min(ranges[name][0], 0.0), max(ranges[name][1], 0.0)
        scale = (high - low) / 255
        zero = round(-128 - low / scale)
        if name == "classes":
            scale, zero = 1 / 256, -128
        if name in ("flat", "pool"):
            scale, zero = scales["sum"]  # these operators keep the scale
        scales[name] = (scale, zero)
        writer.tensor(name, shape, "int8", scales=(np.array([scale]), zero, 0))
    for layer, source in _INPUT_OF.items():
        weights, axis = WEIGHTS[f"{layer}_w"], _AXES[f"{layer}_w"]
        others = None if axis is None else tuple(i for i in range(weights.ndim) if i != axis)
        scale = np.abs(weights).max(axis=others, keepdims=True) / 127
        whole = np.round(weights / scale).astype("int8")
        flat = np.atleast_1d(scale.reshape(-1))
        place = axis or 0
        writer.tensor(f"{layer}_w", whole.shape, "int8", whole, (flat, 0, place))
        sums = flat * scales[source][0]
        bias = np.round(WEIGHTS[f"{layer}_b"] / sums).astype("int32")
        writer.tensor(f"{layer}_b", bias.shape, "int32", bias, (sums, 0, 0))
    _network(writer)
    return writer.save(path, "image", "classes")


def _ranges(path: Path) -> dict[str, tuple[float, float]]:
    """The smallest and largest value of each tensor of the float model, over some images."""
    interpreter = Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    places = {detail["name"]: detail["index"] for detail in interpreter.get_tensor_details()}
    ranges = dict.fromkeys(_SHAPES, (0.0, 0.0))
    for seed in range(4):
        interpreter.set_tensor(image["index"], _random(*SHAPE, seed=10 + seed, scale=1))
        interpreter.invoke()
        for name, (low, high) in ranges.items():
            value = interpreter.get_tensor(places[name])
            ranges[name] = (min(low, float(value.min())), max(high, float(value.max())))
    return ranges
