"""Channels in any order and place, and shuffles of them, against float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from kernels.cases import OPSET, Cases
from kernels.convolutions import channel_shuffle
from kernels.float64 import float64_outputs
from python.arena_runner import run
from python.onnx_models import save, spec
from tvmake.compiler import CompiledModel, compile_model
from tvmake.optimize.channels import Channels
from tvmake.spec import TargetSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_groups_begin_at_blocks() -> None:
    form = Channels.grouped(2, 5, 4)
    assert (form.blocks, form.places) == (4, (0, 1, 2, 3, 4, 8, 9, 10, 11, 12))
    assert not form.is_dense
    assert Channels.grouped(2, 8, 4) == Channels.dense(16, 4)


def test_a_shuffle_keeps_the_data() -> None:
    shuffled = Channels.dense(4, 4).shuffled([0, 2, 1, 3])
    assert shuffled.spread(np.array([10, 11, 12, 13])).tolist() == [[10, 12, 11, 13]]
    assert shuffled.shuffled([0, 2, 1, 3]).is_dense


def test_joined_values_lie_one_after_the_other() -> None:
    joined = Channels.joined(
        [Channels.grouped(1, 3, 4), Channels.dense(4, 4).shuffled([3, 2, 1, 0])]
    )
    assert (joined.blocks, joined.places) == (2, (0, 1, 2, 7, 6, 5, 4))


def test_sources_tell_where_to_read() -> None:
    dense, reverse = Channels.dense(4, 4), Channels.dense(4, 4).shuffled([3, 2, 1, 0])
    assert reverse.sources(dense.places).tolist() == [[3, 2, 1, 0]]


def test_a_unit_of_shufflenet_moves_no_channels(tmp_path: Path) -> None:
    cases, shape = _cases(), (1, 136, 14, 14)
    x = cases.input(*shape)
    y = _convolution(cases, x, 136, 136, 4)
    for _ in range(2):
        z = cases.add("Relu", _convolution(cases, y, 136, 136, 4), keep=False)
        z = channel_shuffle(cases, z, 4, shape)
        z = _convolution(cases, z, 136, 136, 136, 3)
        z = _convolution(cases, z, 136, 136, 4)
        y = cases.add("Relu", cases.add("Add", f"{y} {z}", keep=False), keep=False)
    cases.add("GlobalAveragePool", y)
    model = _check(cases, tmp_path)
    moving = [name for name in model.graph.kernels if "transpose" in name or "channels" in name]
    assert len(moving) == 2  # the input's and the output's


def _use(cases: Cases, s: str) -> None:
    """Every kind of consumer of a value with 20 channels."""
    other = _convolution(cases, cases.input(1, 20, 9, 6), 20, 20, 5)
    cases.add("Relu", s)
    cases.add("Transpose", s, perm=[0, 2, 3, 1])
    cases.add("Softmax", s, axis=1)
    cases.add("Gather", f"{s} {cases.integers(3, 3, 19, 0)}", axis=1)
    cases.add("Slice", f"{s} {cases.integers(4)} {cases.integers(15)} {cases.integers(1)}")
    cases.add("Mul", f"{s} {cases.weight(1, 20, 1, 1)}")
    cases.add("Add", f"{s} {cases.weight(1, 20, 9, 6)}")
    cases.add("Add", f"{s} {cases.input(1, 20, 9, 6)}")
    cases.add("Mul", f"{s} {cases.input(1, 20, 1, 1)}")
    cases.add("Sub", f"{s} {other}")
    cases.add("Sub", f"{other} {s}")
    cases.add("Concat", f"{s} {other}", axis=1)
    joined = cases.add("Concat", f"{other} {s} {other}", axis=1, keep=False)
    cases.outputs.append(_convolution(cases, joined, 60, 18, 3, 3))
    cases.add("MaxPool", s, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    cases.add("AveragePool", s, kernel_shape=[2, 2])
    cases.add("GlobalAveragePool", s)
    cases.add("GlobalMaxPool", s)
    for groups, outputs, kernel in ((1, 16, 1), (1, 3, 1), (1, 20, 3), (4, 12, 3), (20, 20, 3)):
        cases.outputs.append(_convolution(cases, s, 20, outputs, groups, kernel))


def _shuffled(cases: Cases) -> str:
    y = _convolution(cases, cases.input(1, 12, 9, 6), 12, 20, 4)
    return channel_shuffle(cases, y, 4, (1, 20, 9, 6))


def _shuffled_twice(cases: Cases) -> str:
    y = _convolution(cases, cases.input(1, 20, 9, 6), 20, 20, 1)
    return channel_shuffle(cases, channel_shuffle(cases, y, 4, (1, 20, 9, 6)), 2, (1, 20, 9, 6))


def _shuffled_input(cases: Cases) -> str:
    return channel_shuffle(cases, cases.input(1, 20, 9, 6), 5, (1, 20, 9, 6))


def _grouped(cases: Cases) -> str:
    return _convolution(cases, cases.input(1, 10, 9, 6), 10, 20, 2)


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3"])
@pytest.mark.parametrize("source", [_shuffled, _shuffled_twice, _shuffled_input, _grouped])
def test_every_use_of_channels_in_other_places(
    source: Callable[[Cases], str], cpu: str, tmp_path: Path
) -> None:
    cases = _cases()
    _use(cases, source(cases))
    _check(cases, tmp_path, cpu)


@pytest.mark.parametrize(
    ("split", "axes", "shape"),
    [
        ((1, 4, 6, 5, 3), (0, 2, 1, 3, 4), (1, 24, 5, 3)),
        ((1, 2, 3, 4, 5, 3), (0, 3, 1, 2, 4, 5), (1, 24, 5, 3)),
        ((1, 2, 3, 4, 5, 3), (0, 2, 1, 3, 5, 4), (1, 24, 5, 3)),  # height and width change too
        ((1, 4, 6, 5, 3), (0, 2, 3, 1, 4), (1, 24, 5, 3)),
        ((1, 4, 6, 3, 5), (0, 2, 1, 3, 4), (1, 24, 5, 3)),
        ((1, 4, 6, 5, 3), (0, 2, 1, 3, 4), (1, 6, 20, 3)),
        ((1, 24, 5, 3), (0, 1, 3, 2), (1, 24, 5, 3)),
    ],
)
def test_what_is_and_is_not_a_shuffle(
    split: tuple[int, ...], axes: tuple[int, ...], shape: tuple[int, ...], tmp_path: Path
) -> None:
    cases = _cases()
    y = _convolution(cases, cases.input(1, 24, 5, 3), 24, 24, 1)
    y = cases.add("Reshape", f"{y} {cases.integers(*split)}", keep=False)
    y = cases.add("Transpose", y, keep=False, perm=list(axes))
    y = cases.add("Reshape", f"{y} {cases.integers(*shape)}", keep=False)
    cases.add("Relu", y)
    _check(cases, tmp_path)


def _cases() -> Cases:
    return Cases(np.random.default_rng(20))


def _convolution(
    cases: Cases, x: str, inputs: int, outputs: int, groups: int, kernel: int = 1
) -> str:
    w = cases.weight(outputs, inputs // groups, kernel, kernel)
    pads = [kernel // 2] * 4
    return cases.add("Conv", f"{x} {w}", keep=False, group=groups, pads=pads)


def _check(cases: Cases, folder: Path, cpu: str = "x86-64-v3") -> CompiledModel:
    """Compile, run and compare all outputs."""
    path = folder / "m.onnx"
    save(path, cases.nodes, cases.inputs, cases.outputs, cases.weights, opset=OPSET)
    inputs: dict[str, Any] = {
        name: cases.random.standard_normal(shape).astype("float32")
        for name, shape in cases.inputs.items()
    }
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", cpu)))
    got = run(model, inputs)
    for name, expected in float64_outputs(onnx.load(path), inputs).items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(got[name], expected, rtol=0, atol=1e-5 * scale, err_msg=name)
    return model
