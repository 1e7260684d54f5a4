"""TFLite models in LiteRT's interpreter."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmake.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tvmake.manifest import TensorSpec

    Array = np.ndarray[Any, Any]


def outputs(
    path: Path, inputs: Mapping[str, Array], names: Sequence[str], is_dynamic: bool
) -> dict[str, Array]:
    """What the interpreter computes for the named tensors.

    Raises:
        ModelError: when the interpreter is missing or cannot run the model.
    """
    del is_dynamic
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise ModelError(
            "the reference of a .tflite model needs ai-edge-litert, which is not installed",
            where=str(path),
            fix=f"{sys.executable} -m pip install 'tvmake[tflite]'",
        )
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(
            model_path=str(path),
            # A delegate would hide the tensors between.
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], inputs[detail["name"]])
        interpreter.invoke()
        places = {detail["name"]: detail["index"] for detail in interpreter.get_tensor_details()}
        return {name: interpreter.get_tensor(places[name]) for name in names if name in places}
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"LiteRT cannot run the model for reference: {error}", where=str(path)
        ) from error


def index_limits(path: Path, inputs: Sequence[TensorSpec]) -> dict[str, int]:
    """Of quantized inputs: all their values. Whole numbers below zero come from the offset."""
    del path
    return {tensor.name: 128 for tensor in inputs if tensor.dtype in ("int8", "uint8")}
