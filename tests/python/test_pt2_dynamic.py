"""PyTorch's .pt2 files with open dimensions, run by the executor, against PyTorch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

from python import torch_models
from python.onnx_models import random, spec
from python.opened_model import OpenedModel, open_model
from tvmake.compiler import compile_model
from tvmake.errors import SpecError, UnsupportedError
from tvmake.frontend import import_model
from tvmake.inspection import inspect_model
from tvmake.reference import reference_outputs

Array = np.ndarray[Any, Any]
BATCH = Dim("batch")


def save(path: Path, model: nn.Module, *example: torch.Tensor, dims: Any) -> Path:
    program = torch.export.export(torch_models.seeded(model), example, dynamic_shapes=dims)
    torch.export.save(program, path)
    return path


@dataclass
class Opened(OpenedModel):
    """A compiled model, open, beside the module that it was exported from."""

    reference: nn.Module

    def check(self, **inputs: Array) -> None:
        """Run once, and compare shapes and values. What was in the arena before is poison."""
        self.run(**{name: _poison(value) for name, value in inputs.items()})
        with torch.no_grad():
            results = self.reference(*map(torch.from_numpy, inputs.values()))
        if isinstance(results, torch.Tensor):
            results = [results]
        wanted = list(results.values()) if isinstance(results, dict) else list(results)
        for got, expected in zip(self.run(**inputs), map(np.asarray, wanted), strict=True):
            assert got.shape == expected.shape
            assert got.dtype == expected.dtype
            scale = np.abs(expected).max(initial=0.0)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * scale)


def _poison(value: Array) -> Array:
    return np.full_like(value, np.nan) if value.dtype.kind == "f" else np.zeros_like(value)


def opened(
    folder: Path, model: nn.Module, example: tuple[torch.Tensor, ...], dims: Any, *inputs: str
) -> Opened:
    """Export a module, compile it, and open it."""
    path = save(folder / "m.pt2", model, *example, dims=dims)
    compiled = open_model(folder, path, *inputs)
    return Opened(compiled.compiled, compiled.module, model)


def linear(path: Path, dims: Any, *shapes: tuple[int, ...]) -> Path:
    class Sum(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x.sum() + y.sum()

    return save(path, Sum(), *map(torch.zeros, shapes), dims=dims)


def test_residual_cnn(tmp_path: Path) -> None:
    example = (torch.zeros(2, 3, 16, 16),)
    inputs = ["image=float32[N<=8,3,16,16]"]
    model = opened(tmp_path, torch_models.ResidualCnn(), example, ({0: BATCH},), *inputs)
    assert model.compiled.executor == ("vm", "it has symbolic dimensions: N")
    assert -2 not in model.compiled.plan.offsets  # nothing is allocated later
    for n in (8, 1, 3):
        model.check(image=random(n, 3, 16, 16, seed=n))
    with pytest.raises(ValueError, match="N is at most 8"):
        model.run(image=random(9, 3, 16, 16))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["executor"] == "vm"
    assert [out["dims"] for out in manifest["outputs"]] == [["N", 5], ["N", 16]]


def test_transformer_encoder(tmp_path: Path) -> None:
    ids, mask = torch.zeros(2, 9, dtype=torch.int64), torch.ones(2, 9, dtype=torch.int64)
    dims = {0: BATCH, 1: Dim("sequence", max=64)}
    model = opened(tmp_path, torch_models.Encoder(), (ids, mask), (dims, dims), "ids=int64[N,S]")
    assert [(s.name, s.most) for s in model.compiled.imported.symbols] == [("N", None), ("S", 64)]
    for n, s in ((1, 1), (2, 7), (3, 64), (1, 33), (2, 2)):
        generator = np.random.default_rng(s)
        lengths = generator.integers(1, s + 1, (n, 1))
        present = (np.arange(s)[None] < lengths).astype("int64")
        model.check(ids=generator.integers(0, 50, (n, s)), mask=present)
    with pytest.raises(ValueError, match="S is at most 64"):
        model.run(ids=np.zeros((1, 65), np.int64), mask=np.ones((1, 65), np.int64))
    with pytest.raises(ValueError, match="they must agree"):
        model.run(ids=np.zeros((1, 6), np.int64), mask=np.ones((1, 5), np.int64))


def test_encoder_layer_shares_its_weights(tmp_path: Path) -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    dims = ({0: BATCH, 1: Dim("sequence")},)
    inputs = ["src=float32[N<=4,S<=40,32]"]
    model = opened(tmp_path, layer, (torch.zeros(2, 9, 32),), dims, *inputs)
    for n, s in ((4, 40), (1, 1), (2, 7), (3, 16)):
        model.check(src=random(n, s, 32, seed=s))
    # PyTorch repeats the weights of the projections for each element of a batch.
    assert not any(tensor.dims[-2:] == (32, 96) for tensor in model.compiled.graph.tensors)


def test_detector(tmp_path: Path) -> None:
    """A grid made of the image's size; names and ranges are the program's."""
    height, width = Dim("height", min=8, max=64), Dim("width", min=8, max=64)
    dims = ({0: BATCH, 2: height, 3: width},)
    example = (torch.zeros(2, 3, 16, 24),)
    model = opened(tmp_path, torch_models.DenseDetector(), example, dims)
    _, *sizes = model.compiled.imported.symbols
    assert [(symbol.least, symbol.most) for symbol in sizes] == [(8, 64), (8, 64)]
    for shape in ((4, 3, 64, 64), (1, 3, 8, 9), (2, 3, 16, 16), (1, 3, 33, 20)):
        model.check(image=random(*shape))
    with pytest.raises(ValueError, match=rf"8<={sizes[0].name}<=64.*is at least 8"):
        model.run(image=random(1, 3, 7, 8))


def test_operators_along_an_open_axis(tmp_path: Path) -> None:
    example = (torch.zeros(2, 5, 6), torch.zeros(3, dtype=torch.int64))
    dims: Any = ({0: BATCH, 1: Dim("length", min=3)}, {})
    model = opened(tmp_path, torch_models.Sequences(), example, dims)
    for n, s in ((3, 17), (1, 3), (2, 4), (1, 6)):
        model.check(x=random(n, s, 6, seed=s), i=np.array([1, -1, 0]))


def test_some_dimensions_are_fixed(tmp_path: Path) -> None:
    dims = ({0: BATCH, 1: Dim("sequence", min=2, max=30)},)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = opened(tmp_path, layer, (torch.zeros(2, 9, 8),), dims, "src=float32[N,12,8]")
    assert [symbol.name for symbol in model.compiled.imported.symbols] == ["N"]
    for n in (3, 1):
        model.check(src=random(n, 12, 8, seed=n))
    with pytest.raises(ValueError, match="axis 1 is 12"):
        model.run(src=random(1, 11, 8))


def test_fixed_programs_use_the_graph_executor(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.pt2", ({0: BATCH}, {0: BATCH}), (2, 3), (2, 4))
    for entries in (["x=float32[5,3]"], ["x=float32[5,3]", "y=float32[5,4]"]):
        model = compile_model(spec(path, *entries))
        assert model.executor == ("graph", "all shapes are static")
        assert [model.graph.tensors[t].shape for t in model.graph.inputs] == [(5, 3), (5, 4)]


def test_reference_has_the_names_of_the_program(tmp_path: Path) -> None:
    dims = ({0: BATCH},)
    path = save(tmp_path / "m.pt2", torch_models.ResidualCnn(), torch.zeros(2, 3, 8, 8), dims=dims)
    imported = import_model(spec(path))
    names = [node.output for node in imported.nodes]
    values = reference_outputs(path, {"image": random(3, 3, 8, 8)}, names, is_dynamic=True)
    assert values["logits"].shape == (3, 5)
    assert {node.output for node in imported.nodes if node.op_type == "aten.relu"} <= set(values)


def test_inspect(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.pt2", ({0: BATCH}, {0: BATCH}), (2, 3), (2, 4))
    facts = json.loads(inspect_model(path, (), as_json=True))
    (symbol,) = import_model(spec(path)).symbols
    assert facts["inputs"] == [f"x=float32[{symbol.name},3]", f"y=float32[{symbol.name},4]"]
    assert inspect_model(path, (), as_json=False)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (["x=float32[N,3]"], {"executor": "graph"}, "has a symbolic dimension"),
        (["x=float32[N<=2,3]", "N<=3"], {}, "bounds 'N' by 3 and by 2"),
        (["x=float32[N,3]", "M<=3"], {}, r"bounds 'M', which is no dimension(.|\n)*one of: N"),
        (["x=float32[N,M]"], {}, "contradicts the model"),
        (["x=float32[N,3]", "y=float32[M,4]"], {}, r"says N for.*'x', and M for.*'y'"),
        (["x=float32[N<=99,3]"], {}, r"bounds 'N' by 99(.|\n)*at least 2 and at most 9"),
        (["x=float32[N<=1,3]"], {}, r"bounds 'N' by 1(.|\n)*at least 2 and at most 9"),
    ],
)
def test_wrong_requests(
    tmp_path: Path, inputs: list[str], options: dict[str, Any], message: str
) -> None:
    size = Dim("size", min=2, max=9)
    path = linear(tmp_path / "m.pt2", ({0: size}, {0: size}), (2, 3), (2, 4))
    with pytest.raises(SpecError, match=message):
        import_model(spec(path, *inputs, **options))


def test_the_graph_executor_wants_static_shapes(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.pt2", ({0: BATCH}, {0: BATCH}), (2, 3), (2, 4))
    with pytest.raises(UnsupportedError, match=r"inputs of dynamic shape(.|\n)*or EXECUTOR vm"):
        import_model(spec(path, executor="graph"))


def test_derived_dimensions_are_fixed_or_refused(tmp_path: Path) -> None:
    size = Dim("size")
    path = linear(tmp_path / "m.pt2", ({0: size + 1}, {0: size}), (3, 3), (2, 4))
    match = r"axis 0 of input 'x' is .* \+ 1, which PyTorch derives(.|\n)*INPUTS x=float32\[3,3\]"
    with pytest.raises(UnsupportedError, match=match):
        import_model(spec(path))
    with pytest.raises(SpecError, match=r"does not take these shapes"):
        import_model(spec(path, "x=float32[7,3]", "y=float32[5,4]"))
    fixed = import_model(spec(path, "y=float32[5,4]"))
    assert not fixed.symbols


class Chosen(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[x > 0]


class Scaled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (x.shape[0] / 4)


def test_what_cannot_be_compiled_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt2", Chosen(), torch.zeros(4, 3), dims=({0: BATCH},))
    with pytest.raises(UnsupportedError, match=r"aten\.\w+.* depends on data"):
        import_model(spec(path))
    path = save(tmp_path / "m.pt2", Scaled(), torch.zeros(4, 3), dims=({0: BATCH},))
    with pytest.raises(UnsupportedError, match=r"no whole number(.|\n)*INPUTS x=float32\[4,3\]"):
        import_model(spec(path))
