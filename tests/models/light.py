"""The nine ``light_*`` networks of the onnx package, as shipped and with random weights.

As shipped, most weights are made by ``ConstantOfShape`` nodes and all equal 0.02, so that every
output is the same number: good for shapes, blind to wrong indexing. :func:`randomize` puts seeded
random numbers in their place, scaled layer by layer so that every activation keeps a spread near
one and the outputs stay far from saturation.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import numpy_helper

NAMES = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)
SEED = 2

Array = npt.NDArray[Any]

_FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
_LOGIT_SPREAD = 2.0  # standard deviation before softmax: probabilities over a few decades


def shipped_path(name: str) -> Path:
    """Returns the file of one network inside the onnx package."""
    return _FOLDER / f"light_{name}.onnx"


def stored_output(name: str) -> Array:
    """Returns the output that the onnx package stores for :func:`backend_test_input`."""
    tensor = onnx.TensorProto()
    tensor.ParseFromString((_FOLDER / f"light_{name}_output_0.pb").read_bytes())
    return numpy_helper.to_array(tensor)


def backend_test_input() -> Array:
    """Returns the input of onnx's backend test: 0, 1/n, 2/n, … in float32[1,3,224,224]."""
    size = 3 * 224 * 224
    return (np.arange(size).reshape(1, 3, 224, 224) / size).astype(np.float32)


def random_input(seed: int) -> Array:
    """Returns a standard normal picture, float32[1,3,224,224]."""
    return np.random.default_rng(seed).standard_normal((1, 3, 224, 224), np.float32)


def write_random(name: str, path: Path, seed: int = SEED) -> None:
    """Writes one network with random weights; ``path`` appears only when it is complete."""
    model = randomize(onnx.load(shipped_path(name)), seed)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    onnx.save(model, temporary)
    temporary.replace(path)


def randomize(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """Returns ``model`` with random weights as initializers in place of its constant ones.

    Runs the network node by node on random data: a weight is scaled so that its layer's output has
    spread one (layer-sequential unit variance, Mishkin and Matas, arXiv:1511.06422, section 3), and
    a batch norm gets the mean and the variance of its input. Scales are rounded, so that the last
    bits of a machine's sums do not show in the weights.
    """
    return _Randomizer(model, seed).run()


class _Randomizer:
    """Walks one graph in order, holding the values that are still needed."""

    def __init__(self, model: onnx.ModelProto, seed: int) -> None:
        self.model = model
        self.seed = seed
        self.constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self.weights: dict[str, Array] = {}
        self.values: dict[str, Array] = {}
        self.uses = Counter(name for node in model.graph.node for name in node.input)
        self.next_op = {
            name: node.op_type for node in model.graph.node for name in list(node.input)[:1]
        }
        for node in model.graph.node:
            if node.op_type == "ConstantOfShape":
                shape = tuple(int(extent) for extent in self.constants[node.input[0]])
                self.weights[node.output[0]] = np.zeros(shape, np.float32)
        self.weights |= {
            name: value for name, value in self.constants.items() if value.dtype == np.float32
        }

    def run(self) -> onnx.ModelProto:
        for value in self.model.graph.input:
            if value.name not in self.constants:
                self.values[value.name] = random_input(self.seed)
        for node in self.model.graph.node:
            if node.op_type != "ConstantOfShape":
                self._visit(node)
        return self._rebuilt()

    def _visit(self, node: onnx.NodeProto) -> None:
        parameters = [name for name in node.input if name in self.weights]
        for position, name in enumerate(node.input):
            if name in parameters:
                self.weights[name] = self._draw(node, position, name)
        outputs = self._evaluate(node)
        if node.op_type in ("Conv", "Gemm"):
            spread = _LOGIT_SPREAD if self._feeds_softmax(node.output[0]) else 1.0
            scale = _rounded(spread / float(outputs[0].std()))
            self._scale(node.input[1], np.float32(scale))
            outputs = self._evaluate(node)
        self.values |= zip(node.output, outputs, strict=False)
        for name in node.input:
            self.uses[name] -= 1
            if self.uses[name] == 0:
                self.values.pop(name, None)

    def _scale(self, name: str, factor: np.float32) -> None:
        """Scales a weight, through the reshape that it may come from."""
        if name in self.weights:
            self.weights[name] *= factor
        else:
            self.values[name] = self.values[name] * factor
            (source,) = (node.input[0] for node in self.model.graph.node if name in node.output)
            self._scale(source, factor)

    def _draw(self, node: onnx.NodeProto, position: int, name: str) -> Array:
        """Returns a first value for one weight of ``node``."""
        shape = self.weights[name].shape
        generator = self._generator(name)
        if node.op_type == "Reshape" or (node.op_type in ("Conv", "Gemm") and position == 1):
            fan_in = shape[-1] if node.op_type == "Reshape" else math.prod(shape[1:])
            spread = np.float32(1 / math.sqrt(fan_in))
            return np.asarray(generator.standard_normal(shape, np.float32) * spread)
        if node.op_type == "BatchNormalization" and position in (3, 4):
            data = self.values[node.input[0]]
            channels = data.mean((0, 2, 3)) if position == 3 else data.var((0, 2, 3)) + 1e-3
            return np.asarray(channels.astype(np.float16).astype(np.float32))
        if position == 1 and node.op_type in ("BatchNormalization", "Mul", "Unsqueeze"):
            return generator.uniform(0.5, 1.5, shape).astype(np.float32)
        if node.op_type == "Unsqueeze":  # the scale or the shift of densenet and inception_v2
            low = 0.5 if name.endswith("_w_0") else -0.3
            return generator.uniform(low, low + 0.6, shape).astype(np.float32)
        return generator.normal(0.0, 0.2, shape).astype(np.float32)

    def _generator(self, name: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.seed}:{name}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "little"))

    def _feeds_softmax(self, name: str) -> bool:
        following = self.next_op.get(name)
        while following in ("Relu", "GlobalAveragePool", "Reshape"):
            (name,) = (
                node.output[0] for node in self.model.graph.node if name in list(node.input)[:1]
            )
            following = self.next_op.get(name)
        return following == "Softmax"

    def _evaluate(self, node: onnx.NodeProto) -> list[Array]:
        """Runs one node by itself in onnxruntime."""
        known = self.constants | self.weights | self.values
        feeds = {name: known[name] for name in node.input}
        graph = onnx.helper.make_graph(
            [node],
            "one_node",
            [
                onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
                )
                for name, value in feeds.items()
            ],
            [onnx.helper.make_empty_tensor_value_info(node.output[0])],
        )
        model = onnx.helper.make_model(
            graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version
        )
        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return list(session.run([node.output[0]], feeds))

    def _rebuilt(self) -> onnx.ModelProto:
        result = onnx.ModelProto()
        result.CopyFrom(self.model)
        graph = result.graph
        del graph.node[:], graph.initializer[:], graph.input[:]
        graph.node.extend(n for n in self.model.graph.node if n.op_type != "ConstantOfShape")
        graph.input.extend(i for i in self.model.graph.input if i.name not in self.constants)
        used = {name for node in graph.node for name in node.input}
        for name, value in (self.constants | self.weights).items():
            if name in used:
                graph.initializer.append(numpy_helper.from_array(value, name))
        result.ir_version = max(result.ir_version, 4)  # initializers that are no inputs
        return result


def _rounded(value: float) -> float:
    """Rounds to two significant digits."""
    return float(f"{value:.1e}")


def main() -> None:
    """Writes networks with random weights from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="name", choices=NAMES)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        write_random(name, arguments.output_dir / f"{name}_random.onnx", arguments.seed)


if __name__ == "__main__":
    main()
