"""Kernels compiled one by one: what is compiled again, and by how many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import numpy_helper

from python.onnx_models import node, random, save, small_cnn, spec
from tvmake.compiler import compile_model, emit, usable_cores
from tvmake.emit import codegen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def built(path: Path, folder: Path, cache: Path, jobs: int = 1) -> bytes:
    """The model's kernels.o."""
    emit(compile_model(spec(path)), folder, cache, jobs)
    return (folder / "kernels.o").read_bytes()


def entries(cache: Path) -> set[Path]:
    return set((cache / "kernels").glob("*.o"))


def longer_cnn(path: Path, channels: int) -> Path:
    """Two convolutions between others, with `channels` between the two."""
    nodes = [
        node("Conv", "x w1", "c1"),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2", "c2"),
        node("Relu", "c2", "r2"),
        node("Conv", "r2 w3", "c3", strides=[2, 2]),
        node("Sigmoid", "c3", "y"),
    ]
    weights = {
        "w1": random(16, 3, 3, 3),
        "w2": random(channels, 16, 1, 1),
        "w3": random(16, channels, 1, 1),
    }
    return save(path, nodes, {"x": (1, 3, 12, 12)}, ["y"], weights)


def with_first_node(source: Path, path: Path) -> Path:
    """The same model behind one more node, so that all others have another number."""
    model = onnx.load(source)
    model.graph.node[0].input[0] = "first"
    model.graph.node.insert(0, node("Abs", "x", "first"))
    onnx.save(model, path)
    return path


def test_a_changed_layer_compiles_what_has_its_shape(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    built(longer_cnn(tmp_path / "m.onnx", 16), tmp_path, cache)
    before = entries(cache)
    built(longer_cnn(tmp_path / "m.onnx", 24), tmp_path, cache)
    names = compile_model(spec(tmp_path / "m.onnx")).graph.kernels
    assert len(entries(cache) - before) == 2 < len(names)  # the layer, and the one that reads it


def test_a_new_node_leaves_the_kernels_behind_it(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = small_cnn(tmp_path / "m.onnx")
    built(path, tmp_path, cache)
    before = entries(cache)
    built(with_first_node(path, tmp_path / "n.onnx"), tmp_path, cache)
    assert len(entries(cache) - before) == 1


def test_the_same_bytes_whoever_compiled_what(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    alone = built(path, tmp_path / "alone", tmp_path / "a")
    assert built(path, tmp_path / "two", tmp_path / "b", jobs=2) == alone
    assert built(path, tmp_path / "many", tmp_path / "c", jobs=16) == alone
    for entry in sorted(entries(tmp_path / "b"))[::2]:
        entry.unlink()
    assert built(path, tmp_path / "some", tmp_path / "b", jobs=2) == alone
    # From the entries that a model with other names for everything has left.
    built(with_first_node(path, tmp_path / "n.onnx"), tmp_path / "other", tmp_path / "d")
    assert built(path, tmp_path / "shared", tmp_path / "d") == alone
    contents = [{entry.name: entry.read_bytes() for entry in entries(tmp_path / c)} for c in "abc"]
    assert contents[0] == contents[1] == contents[2]


def test_a_changed_weight_changes_no_kernel(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    first = built(path, tmp_path, tmp_path / "cache")
    before = entries(tmp_path / "cache")
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 2, weight.name))
    onnx.save(model, path)
    assert built(path, tmp_path, tmp_path / "cache") == first
    assert entries(tmp_path / "cache") == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:0],
        lambda content: content[:-1],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[:99] + bytes([content[99] ^ 1]) + content[100:],
        lambda content: content[:-32],
    ],
)
def test_a_damaged_entry_is_compiled_again(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    cache = tmp_path / "cache"
    path = longer_cnn(tmp_path / "m.onnx", 16)
    good = built(path, tmp_path, cache)
    contents = {entry: entry.read_bytes() for entry in entries(cache)}
    entry = min(contents)
    entry.write_bytes(damage(contents[entry]))
    assert built(path, tmp_path, cache) == good
    assert {entry: entry.read_bytes() for entry in entries(cache)} == contents


def test_what_a_helper_cannot_compile_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = longer_cnn(tmp_path / "m.onnx", 16)
    model = compile_model(spec(path))

    def fail(*_: object) -> None:
        raise RuntimeError("no code for this")

    with monkeypatch.context() as patched:
        patched.setattr(codegen, "compile_module", fail)
        with pytest.raises(RuntimeError, match="no code for this"):
            emit(model, tmp_path, tmp_path / "cache", 2)
    assert not entries(tmp_path / "cache")
    assert not (tmp_path / "kernels.o").exists()
    assert built(path, tmp_path, tmp_path / "cache", 2)  # and nothing is left that holds it up


@pytest.mark.parametrize(("limit", "expected"), [("1", 1), ("", None), ("0", None), ("x", None)])
def test_jobs_are_the_cores_and_no_more_than_the_build_may_use(
    limit: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CMAKE_BUILD_PARALLEL_LEVEL", raising=False)
    cores = usable_cores()
    monkeypatch.setenv("CMAKE_BUILD_PARALLEL_LEVEL", limit)
    assert usable_cores() == (cores if expected is None else expected)
