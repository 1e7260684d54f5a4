"""PyTorch's .pt2 files, over the planned arena, against PyTorch."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from python import torch_models
from python.arena_runner import run
from python.onnx_models import random, spec
from tvmake.compiler import CompiledModel, compile_model
from tvmake.errors import ModelError, SpecError, UnsupportedError
from tvmake.export import export_model
from tvmake.frontend import import_model
from tvmake.reference import reference_outputs

SEQUENCE = torch.export.Dim("sequence", min=2, max=64)


def save(path: Path, model: nn.Module, *example: torch.Tensor, **options: Any) -> Path:
    program = torch.export.export(torch_models.seeded(model), example, **options)
    torch.export.save(program, path)
    return path


def check(path: Path, inputs: dict[str, np.ndarray], *entries: str) -> CompiledModel:
    """Compile, run, compare every output and every known intermediate value with PyTorch."""
    compiled = compile_model(spec(path, *entries))
    got = run(compiled, inputs)
    expected = reference_outputs(path, inputs, list(got))
    assert got.keys() == expected.keys()
    for name, value in got.items():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(value, expected[name], atol=1e-5 * scale, rtol=0, err_msg=name)
    return compiled


def encoder(folder: Path) -> Path:
    ids, mask = torch.zeros(1, 9, dtype=torch.int64), torch.ones(1, 9, dtype=torch.int64)
    dynamic = ({1: SEQUENCE}, {1: SEQUENCE})
    return save(folder / "encoder.pt2", torch_models.Encoder(), ids, mask, dynamic_shapes=dynamic)


def test_residual_cnn(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt2", torch_models.ResidualCnn(), torch.zeros(1, 3, 16, 16))
    compiled = check(path, {"image": random(1, 3, 16, 16)})
    assert list(compiled.imported.outputs) == ["logits", "features"]
    first = next(call for call in compiled.graph.calls if "conv" in call.name)
    assert first.provenance is not None
    assert first.provenance.sources[0].op_type == "aten.convolution"
    assert first.provenance.sources[0].name.startswith("stem.0/")
    named = [call.provenance.tensor for call in compiled.graph.calls if call.provenance]
    assert {"relu", "relu_1", "relu_2"} <= set(named)


def test_encoder_with_a_sequence_of_another_length(tmp_path: Path) -> None:
    length = 12
    ids = np.random.default_rng(0).integers(0, 50, (1, length))
    mask = (np.arange(length) < length - 2)[None].astype("int64")
    inputs = {"ids": ids, "mask": mask}
    check(encoder(tmp_path), inputs, f"ids=int64[1,{length}]", f"mask=int64[1,{length}]")


@pytest.mark.filterwarnings("ignore:The tensor attributes")  # torch's own weights of its own cells
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent(tmp_path: Path, kind: type[nn.LSTM | nn.GRU]) -> None:
    path = save(tmp_path / "m.pt2", torch_models.Recurrent(kind), torch.zeros(1, 7, 6))
    check(path, {"steps": random(1, 7, 6)})


def test_detector(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt2", torch_models.Detector(), torch.zeros(1, 3, 16, 16))
    image = random(1, 3, 16, 16)
    check(path, {"image": image})
    scores = reference_outputs(path, {"image": image}, ["output_1"])["output_1"]
    assert 0 < np.count_nonzero(scores) < scores.size  # else suppression is not tested


class Lookups(nn.Module):
    """Indexing as NumPy has it: several arrays at once, from the end, at a middle axis."""

    def forward(self, x: torch.Tensor, i: torch.Tensor) -> tuple[torch.Tensor, ...]:
        j = torch.tensor([[0], [-1]])
        return (
            x[:, i, i],
            x[:, :, i],
            x[i, :, j],
            x[:, i.reshape(1, 3), j],
            x[..., -2],
            torch.gather(x, 2, i.reshape(1, 1, 3).expand(4, 5, 3).clamp(min=0)),
            torch.index_select(x, 1, i.clamp(min=0)),
        )


def test_indexing(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.pt2", Lookups(), torch.zeros(4, 5, 6), torch.zeros(3, dtype=torch.int64)
    )
    check(path, {"x": random(4, 5, 6), "i": np.array([1, -1, 3])})


def test_outputs_may_be_any_node(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt2", torch_models.ResidualCnn(), torch.zeros(1, 3, 16, 16))
    compiled = compile_model(spec(path, outputs=["relu", "features"]))
    inputs = {"image": random(1, 3, 16, 16)}
    got, expected = run(compiled, inputs), reference_outputs(path, inputs, ["relu", "features"])
    for name in ("relu", "features"):
        np.testing.assert_allclose(got[name], expected[name], atol=1e-5)
    with pytest.raises(SpecError, match=r"no tensor of the model(.|\n)*did you mean 'features'"):
        import_model(spec(path, outputs=["feature"]))


def test_dynamic_inputs_are_asked_for(tmp_path: Path) -> None:
    path = encoder(tmp_path)
    with pytest.raises(UnsupportedError, match=r"INPUTS ids=int64\[1,9\] mask=int64\[1,9\]"):
        import_model(spec(path, executor="graph"))
    with pytest.raises(SpecError, match=r"contradicts(.|\n)*expected: ids=int64\[1,"):
        import_model(spec(path, "ids=float32[1,4]", "mask=int64[1,4]"))
    with pytest.raises(SpecError, match="does not take these shapes"):
        import_model(spec(path, "ids=int64[1,65]", "mask=int64[1,65]"))
    with pytest.raises(SpecError, match="did you mean 'mask'"):
        import_model(spec(path, "masks=int64[1,4]"))


class Counter(nn.Module):
    count: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return x * self.count


class Missing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = torch.linalg.eigvals(x)
        return values.abs()


def test_state_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt2", Counter(), torch.zeros(3))
    with pytest.raises(UnsupportedError, match="changes count while it runs"):
        import_model(spec(path))


def test_unsupported_operators_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt2", Missing(), torch.eye(3))
    with pytest.raises(UnsupportedError, match=r"aten\.linalg_eig \(node linalg_eig\)"):
        import_model(spec(path))


def test_files_that_are_no_program(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=r"not a \.pt2 archive"):
        import_model(spec(path))
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"not one of torch\.export"):
        import_model(spec(path))
    good = save(tmp_path / "good.pt2", torch_models.ResidualCnn(), torch.zeros(1, 3, 16, 16))
    data = good.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="truncated or damaged"):
        import_model(spec(path))
    path.write_bytes(data[:300] + bytes([data[300] ^ 0xFF]) + data[301:])
    with pytest.raises(ModelError, match="damaged"):
        import_model(spec(path))


def rewritten(source: Path, target: Path, member: str, old: bytes, new: bytes) -> Path:
    """A copy of an archive in which one member is changed."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for name in before.namelist():
            data = before.read(name)
            if name.endswith(member):
                assert old in data
                data = data.replace(old, new)
            after.writestr(name, data)
    return target


class Bomb:
    """What a pickle does when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("code of the model file was run",))


def test_no_code_of_the_file_is_run(tmp_path: Path) -> None:
    good = encoder(tmp_path)
    expression = b"Symbol('s27'"
    with zipfile.ZipFile(good) as archive:
        (model,) = [n for n in archive.namelist() if n.endswith("models/model.json")]
        symbol = archive.read(model).split(b"Symbol('")[1].split(b"'")[0]
        expression = b"Symbol('" + symbol + b"'"
    for evil in (b"open('x'", b"().__class__", b"[1", b"Symbol(exec('x')"):
        path = rewritten(good, tmp_path / "evil.pt2", "models/model.json", expression, evil)
        with pytest.raises(ModelError, match="no arithmetic"):
            import_model(spec(path))
    path = rewritten(
        good,
        tmp_path / "evil.pt2",
        "weights_config.json",
        b'"use_pickle": false',
        b'"use_pickle": true',
    )
    with pytest.raises(UnsupportedError, match="pickled object"):
        import_model(spec(path))
    program = torch.export.load(good)
    program._example_inputs = ((Bomb(), torch.zeros(1)), {})
    torch.export.save(program, path)
    with pytest.raises(pytest.fail.Exception, match="code of the model file"):
        torch.export.load(path)  # what tvmake must not do
    with pytest.raises(UnsupportedError, match="example inputs"):
        import_model(spec(path))


FACTORY = """
import torch

def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.5))

def number():
    return 1
"""


def test_export_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "factory_of_models.py").write_text(FACTORY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m.pt2"
    export_model("factory_of_models:make", ["float32[N,4]"], path)
    check(path, {"input": random(3, 4)}, "input=float32[3,4]")
    for factory, what in (
        ("factory_of_models", "cannot read"),
        ("factory_of_model:make", "cannot be imported"),
        ("factory_of_models:mak", "did you mean 'make'"),
        ("factory_of_models:number", "no torch.nn.Module"),
    ):
        with pytest.raises(SpecError, match=what):
            export_model(factory, ["float32[1,4]"], path)
    with pytest.raises(SpecError, match="cannot be exported"):
        export_model("factory_of_models:make", ["float32[1,5]"], path)
    with pytest.raises(SpecError, match="unknown element type"):
        export_model("factory_of_models:make", ["float31[1,4]"], path)


def test_without_torch_the_message_has_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(b"PK")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"pip install 'tvmake\[torch\]'"):
        import_model(spec(path))
