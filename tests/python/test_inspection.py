"""What `inspect` tells of a model's cost, against what is known of the models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from models.light import shipped_path
from python.onnx_models import node, save, small_cnn, spec
from tvmake.compiler import compile_model
from tvmake.errors import SpecError
from tvmake.inspection import inspect_model
from tvmake.spec import InputSpec


def facts(path: Path, *inputs: str) -> dict[str, Any]:
    text = inspect_model(path, [InputSpec.parse(i) for i in inputs], as_json=True)
    return json.loads(text)  # type: ignore[no-any-return]


def test_resnet50() -> None:
    """He et al., 2016, table 1: 3.8e9 multiplications without the shortcuts' projections."""
    told = facts(shipped_path("resnet50"))
    assert told["multiplications"] == 4_089_184_256
    assert told["parameters"] == pytest.approx(25.6e6, rel=0.01)


def test_operators_that_multiply(tmp_path: Path) -> None:
    weights: dict[str, np.ndarray[Any, Any]] = {
        "c": np.zeros((6, 2, 3, 3), "float32"),
        "t": np.zeros((6, 4, 2, 2), "float32"),
        "w": np.zeros((1, 20, 7), "float32"),
        "r": np.zeros((1, 20, 5), "float32"),
    }
    nodes = [
        node("Conv", "x c", "a", group=2, pads=[1, 1, 1, 1]),
        node("ConvTranspose", "a t", "b", strides=[2, 2]),
        node("LSTM", "s w r", "h", hidden_size=5),
        node("MatMul", "p q", "m"),
        node("Gemm", "g g", "e", transA=1),
    ]
    shapes: dict[str, Any] = {
        "x": (1, 4, 8, 8),
        "s": (3, 2, 7),
        "p": (5, 2, 3),
        "q": (3, 4),
        "g": (6, 6),
    }
    path = save(tmp_path / "m.onnx", nodes, shapes, ["b", "h", "m", "e"], weights)
    assert facts(path)["multiplications"] == (
        6 * 64 * 2 * 9 + 6 * 64 * 4 * 4 + 3 * 2 * 20 * (7 + 5) + 5 * 2 * 4 * 3 + 6 * 6 * 6
    )


def test_activations_are_near_the_planned_arena(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    planned = compile_model(
        spec(path, optimize="PRECISE")
    ).plan.arena_bytes  # no scratch of Winograd
    assert planned / 2 < facts(path)["activation_bytes"] < planned * 2


def test_open_shapes_are_told_and_can_be_fixed(tmp_path: Path) -> None:
    weights = {"w": np.zeros((3, 4), "float32")}
    path = save(tmp_path / "m.onnx", [node("MatMul", "x w", "y")], {"x": ("N", 3)}, ["y"], weights)
    assert facts(path)["multiplications"] is None
    assert "fix the open shapes with --input" in inspect_model(path, [], as_json=False)
    assert facts(path, "x=float32[5,3]")["multiplications"] == 60
    with pytest.raises(SpecError, match="contradicts the model"):
        facts(path, "x=float32[5,4]")


def test_what_is_constant_costs_nothing(tmp_path: Path) -> None:
    weights = {"v": np.zeros((8, 8), "float32")}
    constant = helper.make_node(
        "Constant", [], ["c"], value=onnx.numpy_helper.from_array(np.zeros((8, 8), "float32"))
    )
    nodes = [constant, node("MatMul", "c v", "w"), node("MatMul", "x w", "y")]
    told = facts(save(tmp_path / "m.onnx", nodes, {"x": (1, 8)}, ["y"], weights))
    assert (told["multiplications"], told["parameters"], told["weight_bytes"]) == (64, 64, 256)


def test_a_program_of_pytorch(tmp_path: Path) -> None:
    import torch

    layers = [torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(512, 10)]
    program = torch.export.export(torch.nn.Sequential(*layers), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, tmp_path / "m.pt2")
    told = facts(tmp_path / "m.pt2")
    assert told["format"] == "pt2"
    assert told["multiplications"] == 8 * 64 * 27 + 512 * 10
    assert told["inputs"] == ["input=float32[1,3,8,8]"]
    assert "aten.convolution" in inspect_model(tmp_path / "m.pt2", [], as_json=False)
