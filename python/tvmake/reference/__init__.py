"""Reference results on inputs that a seed determines: each format by the engine it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tvmake.manifest import TensorSpec

    Array = np.ndarray[Any, Any]

_DEFAULT_INTEGERS = 2  # masks and flags are the common case


@dataclass(frozen=True)
class Engine:
    """What computes the reference for one file format.

    Attributes:
        outputs: (model file, inputs by name, names of tensors, whether dimensions were left open)
            -> what the engine computes for them, except those that it does not know; they may be
            intermediate ones.
        index_limits: (model file, shapes of the inputs) -> for each input that indexes a table,
            how many rows the smallest such table has.
    """

    outputs: Callable[[Path, Mapping[str, Array], Sequence[str], bool], dict[str, Array]]
    index_limits: Callable[[Path, Sequence[TensorSpec]], dict[str, int]]


def _engine(path: Path) -> Engine:
    suffix = path.suffix.lower()
    if suffix == ".pt2":
        from . import pytorch

        return Engine(pytorch.outputs, pytorch.index_limits)
    if suffix == ".tflite":
        from . import litert

        return Engine(litert.outputs, litert.index_limits)
    from . import onnx_runtime

    return Engine(onnx_runtime.outputs, onnx_runtime.index_limits)


def seeded_inputs(path: Path, inputs: Sequence[TensorSpec], seed: int) -> dict[str, Array]:
    """Random inputs: floats from a normal distribution, integers in the range their use allows.

    Args:
        path: the model file, which tells what integer inputs index.
        inputs: names, types and shapes.
        seed: of the generator.
    """
    generator = np.random.default_rng(seed)
    limits = _engine(path).index_limits(path, inputs)
    return {
        tensor.name: _random(generator, tensor, limits.get(tensor.name, _DEFAULT_INTEGERS))
        for tensor in inputs
    }


def reference_outputs(
    path: Path, inputs: Mapping[str, Array], names: Sequence[str], *, is_dynamic: bool = False
) -> dict[str, Array]:
    """What the format's own engine computes for the named tensors, which may be intermediate ones.

    ONNX models run in onnxruntime, .pt2 programs in PyTorch, .tflite models in LiteRT.
    Intermediate tensors that the engine does not know are left out.

    Args:
        path: the model file.
        inputs: by name.
        names: of the tensors.
        is_dynamic: whether the model was compiled with open dimensions; PyTorch has other names for
            intermediate tensors then.

    Raises:
        ModelError: when the engine cannot run the model.
    """
    return _engine(path).outputs(path, inputs, names, is_dynamic)


def _random(generator: np.random.Generator, tensor: TensorSpec, limit: int) -> Array:
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return generator.standard_normal(tensor.shape).astype(dtype)
    return generator.integers(0, limit, tensor.shape).astype(dtype)
