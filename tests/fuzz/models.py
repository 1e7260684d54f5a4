"""Small models that are damaged: between them they use most kinds of operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from python.onnx_models import node, random, save, small_cnn

_SHAPE = np.array([2, 12], "int64")


def sources(folder: Path) -> list[bytes]:
    """The models as files, written into a folder first."""
    paths = [small_cnn(folder / "cnn.onnx"), _attention(folder), _shapes(folder)]
    return [path.read_bytes() for path in paths]


def _attention(folder: Path) -> Path:
    weights = {"w": random(8, 8), "b": random(8), "g": random(8), "t": random(10, 8)}
    nodes = [
        node("Gather", "t i", "x"),
        node("MatMul", "x w", "q"),
        node("Add", "q b", "qb"),
        node("Transpose", "qb", "k", perm=[0, 2, 1]),
        node("MatMul", "qb k", "s"),
        node("Softmax", "s", "p", axis=-1),
        node("MatMul", "p qb", "o"),
        node("LayerNormalization", "o g b", "y", axis=-1),
    ]
    return save(folder / "attention.onnx", nodes, {"i": (1, 4)}, ["y"], weights, {"i": 7})


def _shapes(folder: Path) -> Path:
    weights = {
        "shape": _SHAPE,
        "starts": np.array([1], "int64"),
        "ends": np.array([5], "int64"),
        "axes": np.array([1], "int64"),
        "pads": np.array([0, 1, 1, 0], "int64"),
    }
    nodes = [
        node("Reshape", "x shape", "a"),
        node("Slice", "a starts ends axes", "b"),
        node("Pad", "b pads", "c"),
        node("Concat", "c c", "d", axis=1),
        node("ReduceMean", "d axes", "e"),
        node("Sigmoid", "e", "y"),
    ]
    return save(folder / "shapes.onnx", nodes, {"x": (4, 6)}, ["y"], weights, opset=18)
