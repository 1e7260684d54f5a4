"""Makes the files of one network: model, inputs and the outputs in float64.

    python -m networks.make NAME FOLDER

Runs in a process of its own, because torch takes memory and threads.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from networks.float64 import evaluate
from networks.registry import Input, Network, select

REPO = Path(__file__).resolve().parents[2]
SEED = 2
_OPSET = 18

Array = np.ndarray[Any, Any]


def make(network: Network, folder: Path) -> None:
    """Write model.onnx, inputs.npz and reference.npz."""
    torch.manual_seed(SEED)
    inputs = {entry.name: draw(entry, network.batch) for entry in network.inputs}
    model = folder / "model.onnx"
    if network.module in ("light", "digits"):
        loaded = _shipped(network, folder)
        onnx.save(loaded, model)
        inputs = dict(zip((i.name for i in loaded.graph.input), inputs.values(), strict=True))
        outputs = evaluate(loaded, inputs)
    else:
        outputs = _export(network, inputs, model)
    np.savez(folder / "inputs.npz", allow_pickle=False, **inputs)
    np.savez(folder / "reference.npz", *outputs, allow_pickle=False)


def draw(entry: Input, batch: int) -> Array:
    """A seeded value for one input."""
    generator = np.random.default_rng(SEED)
    shape = (batch, *entry.shape)
    if entry.below == 0:
        return generator.standard_normal(shape, np.float32)
    if entry.name == "attention_mask":
        return np.ones(shape, np.int64)
    return generator.integers(0, entry.below, shape)


def _export(network: Network, inputs: dict[str, Array], path: Path) -> list[Array]:
    """Export a definition; returns its outputs in float64."""
    from networks.layers import randomize

    definition = getattr(importlib.import_module(f"networks.{network.module}"), network.function)
    tensors = tuple(torch.from_numpy(value) for value in inputs.values())
    model = randomize(definition(**dict(network.arguments)), tensors)
    torch.onnx.export(
        model, tensors, str(path), input_names=list(inputs), opset_version=_OPSET,
        external_data=False, verbose=False,
    )  # fmt: skip
    exported = onnx.load(path)
    for node in exported.graph.node:
        node.ClearField("metadata_props")  # they hold paths of the machine that exported
    onnx.save(exported, path)
    with torch.no_grad():
        result = model.double()(*(t.double() if t.is_floating_point() else t for t in tensors))
    results = result if isinstance(result, tuple) else (result,)
    return [value.numpy() for value in results]


def _shipped(network: Network, folder: Path) -> onnx.ModelProto:
    """The digits example, or a network of the onnx package with random weights."""
    if network.module == "digits":
        return onnx.load(REPO / "examples" / "digits" / "digits.onnx")
    script = REPO / "tests" / "models" / "light.py"
    subprocess.run([sys.executable, script, network.function, "--output-dir", folder], check=True)
    path = folder / f"{network.function}_random.onnx"
    model = onnx.load(path)
    path.unlink()
    return _with_batch(model, network.batch)


def _with_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """The same network for another batch: its reshapes name the batch of one."""
    if batch == 1:
        return model
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    targets = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for tensor in model.graph.initializer:
        if tensor.name in targets:
            shape = numpy_helper.to_array(tensor).copy()
            shape[0] = batch
            tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))
    del model.graph.value_info[:]
    return model


def main() -> None:
    """Make the files of the network that the command line names."""
    name, folder = sys.argv[1:]
    (network,) = select([name])
    make(network, Path(folder))


if __name__ == "__main__":
    main()
