"""Requests: what is accepted, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tvmake.errors import SpecError
from tvmake.spec import Bound, InputSpec, InputValue, TargetSpec, load_spec, parse_inputs
from tvmake.target import resolve_target

GOOD: dict[str, Any] = {
    "schema": 1,
    "name": "digits",
    "model": "/models/digits.onnx",
    "inputs": ["x=float32[1,1,8,8]"],
    "outputs": ["y"],
    "executor": "graph",
    "weights": "FILE",
    "namespace": "vision::digits",
    "target": {"triple": "x86_64-linux-gnu", "cpu": "x86-64-v3", "features": ["+avx512f"]},
}


def load(folder: Path, **changes: Any) -> Any:
    path = folder / "spec.json"
    content = {key: value for key, value in (GOOD | changes).items() if value is not None}
    path.write_text(json.dumps(content))
    return load_spec(path)


def test_good_spec(tmp_path: Path) -> None:
    spec = load(tmp_path)
    assert spec.name == "digits"
    assert spec.inputs == (InputSpec("x", "float32", (1, 1, 8, 8)),)
    assert spec.weights == "FILE"
    assert spec.namespace == "vision::digits"
    assert spec.target == TargetSpec("x86_64-linux-gnu", "x86-64-v3", ("+avx512f",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema 2"),
        ({"modell": 1}, "unknown entry 'modell'(.|\n)*did you mean 'model'"),
        ({"name": None}, "lacks 'name'"),
        ({"name": "1digit"}, "not a valid C\\+\\+ identifier"),
        ({"namespace": "a::"}, "not a valid C\\+\\+ identifier"),
        ({"executor": "grap"}, "EXECUTOR is 'grap'(.|\n)*did you mean 'graph'"),
        ({"weights": "FIL"}, "WEIGHTS is 'FIL'"),
        ({"optimize": "SPED"}, "OPTIMIZE is 'SPED'"),
        ({"inputs": ["x=float32[1]", "x=float32[2]"]}, "more than once"),
        ({"target": {"triple": ""}}, "no triple"),
    ],
)
def test_bad_spec(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as error:
        load(tmp_path, **changes)
    assert "spec.json" in str(error.value)


def test_spec_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text("{")
    with pytest.raises(SpecError, match="not valid JSON"):
        load_spec(tmp_path / "spec.json")
    with pytest.raises(SpecError, match="cannot read"):
        load_spec(tmp_path / "nothing.json")


def test_symbolic_dimensions() -> None:
    inputs, bounds = parse_inputs(["x=float32[N<=8,3,H]", "H<=480", "k=3"])
    assert inputs == (InputSpec("x", "float32", ("N", 3, "H"), (Bound("N", 8),)),)
    assert bounds == (Bound("H", 480),)


def test_input_entries() -> None:
    assert InputSpec.parse("a=b=int64[]") == InputSpec("a=b", "int64", ())
    assert str(InputSpec.parse("x = y=float32[1, 2]")) == "x = y=float32[1,2]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "cannot read INPUTS entry 'x'"),
        ("x=float32", "cannot read"),
        ("x=float32[1", "cannot read"),
        ("x=flaot32[1]", "unknown element type 'flaot32'(.|\n)*did you mean 'float32'"),
        ("x=float32[0]", "dimension '0'"),
        ("x=float32[-1]", "dimension '-1'"),
        ("x=float32[N+1]", "dimension 'N\\+1'"),
        ("x=float32[N<=0]", "dimension 'N<=0'"),
    ],
)
def test_bad_input_entries(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        InputSpec.parse(text)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (TargetSpec("vax-dec-ultrix"), "unknown architecture"),
        (TargetSpec("x86_64-linux-gnu", "x86-64-v33"), "did you mean 'x86-64-v3'"),
        (TargetSpec("x86_64-linux-gnu", "", ("avx2",)), r"\+name or -name"),
        (TargetSpec("x86_64-linux-gnu", "", ("+avx22",)), r"did you mean '\+avx2'"),
        (TargetSpec("riscv64-linux-gnu", "native"), "CPU native means this machine"),
    ],
)
def test_bad_targets(target: TargetSpec, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        resolve_target(target)


def test_required_features_follow_the_cpu() -> None:
    def features(*arguments: Any) -> set[str]:
        return set(resolve_target(TargetSpec(*arguments)).required_features)

    assert "avx" not in features("x86_64-linux-gnu")
    assert {"avx2", "fma"} <= features("x86_64-linux-gnu", "x86-64-v3")
    assert "fma" not in features("x86_64-linux-gnu", "x86-64-v3", ("-fma",))
    assert "avx512f" in features("x86_64-linux-gnu", "x86-64", ("+avx512f",))
    assert "neon" in features("aarch64-linux-gnu")


def test_native_asks_for_nothing_that_this_machine_hides() -> None:
    import platform

    triple = f"{platform.machine()}-linux-gnu"
    target = resolve_target(TargetSpec(triple, "native"))
    assert target.cpu
    if platform.machine() == "x86_64":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next(line for line in lines if line.startswith("flags")).split()
        assert ("avx512f" in target.required_features) <= ("avx512f" in flags)


def test_avx512_turns_llvms_loop_vectorizer_off() -> None:
    options = str(resolve_target(TargetSpec("x86_64-linux-gnu", "x86-64-v4")).tvm_target())
    assert "-vectorize-loops:bool=0" in options
    options = str(resolve_target(TargetSpec("x86_64-linux-gnu", "x86-64-v3")).tvm_target())
    assert "vectorize-loops" not in options


@pytest.mark.parametrize(
    ("text", "value"),
    [("axes=[0,-1]", (0, -1)), ("k=3", 3), ("on=true", True), ("s=[[0.5],[2]]", ((0.5,), (2,)))],
)
def test_a_value_in_inputs(text: str, value: object) -> None:
    assert InputValue.is_value(text)
    assert InputValue.parse(text) == InputValue(text.partition("=")[0], value)


@pytest.mark.parametrize("text", ["x=float32[1,2]", "x=int64[]", "a=b=float32[2]"])
def test_a_shape_is_no_value(text: str) -> None:
    assert not InputValue.is_value(text)


@pytest.mark.parametrize("text", ["x=[1,", "x=1.2.3", 'x=["a"]'])
def test_a_damaged_value_is_told(text: str) -> None:
    with pytest.raises(SpecError, match="cannot read INPUTS entry"):
        InputValue.parse(text)
