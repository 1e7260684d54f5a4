"""Parts and joined tensors: what only moves data is left out, and every value stays what it was."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te, topi

from python.arena_runner import run
from python.onnx_models import node, save, spec
from tvmake.compiler import compile_model
from tvmake.lower import Call, Graph, Tensor, plan_memory, share_memory
from tvmake.lower.graph import JOIN, PART, VIEW
from tvmake.lower.memory import live_bytes
from tvmake.lower.sharing import MOST_MORE
from tvmake.optimize.movement import Movement, movement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Values = np.ndarray[Any, np.dtype[np.int64]]

BYTES = 4  # of an element


@dataclass
class Program:
    """A graph as it is made, and the value of each tensor: a number for each element."""

    tensors: list[Tensor] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    values: list[Values] = field(default_factory=list)
    numbers: int = 0

    def add(self, value: Values) -> int:
        """A tensor."""
        self.values.append(value)
        self.tensors.append(Tensor(f"t{len(self.tensors)}", "float32", value.shape))
        return len(self.tensors) - 1

    def new(self, size: int) -> int:
        """A tensor of values that no other has."""
        self.numbers += size
        return self.add(np.arange(self.numbers - size, self.numbers))

    def kernel(self, inputs: Sequence[int], size: int, *, in_place: bool = False) -> int:
        """A call that computes something."""
        output = self.new(size)
        pairs = ((0, 0),) if in_place else ()
        self.calls.append(
            Call(f"c{output}", f"kernel{output}", tuple(inputs), (output,), in_place=pairs)
        )
        return output

    def view(self, source: int) -> int:
        """The same under another shape."""
        output = self.add(self.values[source])
        self.calls.append(Call(f"c{output}", VIEW, (source,), (output,)))
        return output

    def split(self, source: int, ends: Sequence[int]) -> list[int]:
        """Parts that end there."""
        begins = [0, *ends[:-1]]
        value = self.values[source]
        outputs = [self.add(value[b:e]) for b, e in zip(begins, ends, strict=True)]
        moved = Movement(False, tuple(BYTES * begin for begin in begins))
        name = f"split{outputs[0]}"
        self.calls.append(Call(name, name, (source,), tuple(outputs), movement=moved))
        return outputs

    def join(self, sources: Sequence[int]) -> int:
        """One after the other."""
        parts = [self.values[source] for source in sources]
        output = self.add(np.concatenate(parts))
        offsets = np.cumsum([0, *(part.size for part in parts[:-1])]) * BYTES
        moved = Movement(True, tuple(map(int, offsets)))
        name = f"join{output}"
        self.calls.append(Call(name, name, tuple(sources), (output,), movement=moved))
        return output

    def graph(self, inputs: Sequence[int], outputs: Sequence[int]) -> Graph:
        """The whole."""
        names = tuple(f"y{index}" for index in outputs)
        kernels = {call.kernel: tvm.tirx.PrimFunc([], tvm.tirx.Evaluate(0)) for call in self.calls}
        return Graph(
            tuple(self.tensors), tuple(self.calls), tuple(inputs), (), tuple(outputs), names, (),
            kernels,
        )  # fmt: skip


class Arena:
    """The memory that a plan gives the tensors of a program."""

    def __init__(self, program: Program, graph: Graph) -> None:
        self.program, self.plan = program, plan_memory(graph, 64)
        self.memory = np.full(self.plan.arena_bytes // BYTES + 1, -1)
        assert all(offset % 64 == 0 for offset in self.plan.offsets)

    def place(self, index: int) -> Values:
        begin = self.plan.offsets[index] // BYTES
        return self.memory[begin : begin + self.program.values[index].size]

    def write(self, index: int) -> None:
        self.place(index)[:] = self.program.values[index]

    def check(self, index: int) -> None:
        np.testing.assert_array_equal(self.place(index), self.program.values[index], str(index))

    def check_overlap(self, call: Call) -> None:
        """A result may lie on an operand only where the kernel allows it, and exactly."""
        allowed = {(call.outputs[o], call.inputs[i]) for o, i in call.in_place}
        for pair in itertools.product(call.outputs, call.inputs):
            if np.shares_memory(self.place(pair[0]), self.place(pair[1])):
                assert pair in allowed
                assert self.plan.offsets[pair[0]] == self.plan.offsets[pair[1]]


def simulate(program: Program, graph: Graph) -> None:
    """Run the graph over its arena, and compare whatever is read with the value it must have."""
    arena = Arena(program, graph)
    for index in graph.inputs:
        arena.write(index)
    for call in graph.calls:
        for index in call.inputs:
            arena.check(index)
        if not call.is_alias:
            arena.check_overlap(call)
            for output in call.outputs:
                arena.write(output)
        for output in call.outputs:
            arena.check(output)
    for index in (*graph.inputs, *graph.outputs):
        arena.check(index)


@st.composite
def programs(draw: st.DrawFn) -> tuple[Program, Graph]:
    """Random graphs with much that only moves data; most sizes keep the alignment."""
    sizes = st.sampled_from([16, 16, 32, 48, 64, 20])
    program = Program()
    inputs = [program.new(draw(sizes)), program.new(draw(sizes))]
    results = list(inputs)
    for _ in range(draw(st.integers(1, 14))):
        source = draw(st.sampled_from(results))
        size = program.values[source].size
        match draw(st.sampled_from(["kernel", "in place", "view", "split", "join", "join"])):
            case "kernel":
                results.append(
                    program.kernel([source, draw(st.sampled_from(results))], draw(sizes))
                )
            case "in place":
                results.append(program.kernel([source], size, in_place=True))
            case "view":
                results.append(program.view(source))
            case "split":
                middle = draw(st.sampled_from([16, 32, size // 2]))
                results += program.split(source, [middle, size] if middle < size else [size])
            case _:
                more = draw(st.lists(st.sampled_from(results), min_size=1, max_size=3))
                results.append(program.join([source, *more]))
    views = {call.outputs[0] for call in program.calls if call.is_view}
    outputs = [index for index in results if index not in views and index not in inputs]
    chosen = draw(st.permutations(outputs))[: draw(st.integers(0, 2))] if outputs else []
    return program, program.graph(inputs, chosen)


@given(programs())
@settings(max_examples=400, deadline=None)
def test_every_value_stays_what_it_was(case: tuple[Program, Graph]) -> None:
    program, graph = case
    shared = share_memory(graph, 64)
    simulate(program, graph)
    simulate(program, shared)
    assert live_bytes(shared) <= (1 + MOST_MORE) * live_bytes(graph)
    assert set(shared.kernels) == {call.kernel for call in shared.calls if not call.is_alias} | (
        set(shared.kernels) & {VIEW}
    )


def kinds(graph: Graph) -> list[str]:
    """The kernels of the calls that are left, aliases by their names."""
    return [call.kernel for call in share_memory(graph, 64).calls]


def dense_block(*, nested: bool) -> tuple[Program, Graph]:
    """DenseNet: each layer reads all before it, joined."""
    program = Program()
    x = program.new(64)
    features = [program.kernel([x], 32)]
    joined = features[0]
    for _ in range(3):
        features.append(program.kernel([joined], 16))
        joined = program.join([joined, features[-1]] if nested else features)
    y = program.kernel([joined], 16)
    return program, program.graph([x], [y])


@pytest.mark.parametrize("nested", [True, False])
def test_a_dense_block_is_written_in_place(nested: bool) -> None:
    program, graph = dense_block(nested=nested)
    simulate(program, share_memory(graph, 64))
    assert kinds(graph).count(JOIN) == 3
    assert not any(kind.startswith("join") for kind in kinds(graph))


def test_parts_that_are_joined_with_more() -> None:
    """As in the blocks of YOLO: the halves of a tensor, and what was computed from one of them."""
    program = Program()
    x = program.new(64)
    whole = program.kernel([x], 64)
    first, second = program.split(whole, [32, 64])
    more = program.kernel([second], 32)
    y = program.kernel([program.join([first, second, more])], 16)
    graph = program.graph([x], [y])
    simulate(program, share_memory(graph, 64))
    assert kinds(graph) == [*kinds(graph)[:1], PART, PART, kinds(graph)[3], JOIN, kinds(graph)[5]]


def test_an_input_and_an_output_keep_memory_of_their_own() -> None:
    """Callers may bind theirs."""
    program = Program()
    x = program.new(32)
    a = program.kernel([x], 32)
    b = program.kernel([x], 32)
    joins = [program.join([x, a]), program.join([a, b])]
    (half,) = program.split(joins[1], [32])
    graph = program.graph([x], [program.kernel([joins[0]], 16), joins[1], half])
    simulate(program, share_memory(graph, 64))
    assert kinds(graph) == [call.kernel for call in graph.calls]


@pytest.mark.parametrize(("size", "is_shared"), [(64, True), (128, False)])
def test_memory_grows_little(size: int, is_shared: bool) -> None:
    """A long connection: the result of the join would be alive while the arena is full."""
    program = Program()
    x = program.new(16)
    early = program.kernel([x], 64)
    large = program.kernel([program.kernel([early], 256)], 256)
    late = program.kernel([large], size)
    y = program.kernel([program.join([early, late])], 16)
    graph = program.graph([x], [y])
    assert (share_memory(graph, 64) != graph) == is_shared


def concat(axis: int, *shapes: tuple[int, ...]) -> Callable[[], list[Any]]:
    def build() -> list[Any]:
        given = [te.placeholder(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
        return [*given, topi.concatenate(given, axis)]

    return build


def changed(change: Callable[[Any], Any], *shape: int) -> Callable[[], list[Any]]:
    def build() -> list[Any]:
        given = te.placeholder(shape, name="x")
        result = change(given)
        return [given, *(result if isinstance(result, list) else [result])]

    return build


MOVED = {
    "join": (concat(1, (1, 2, 5), (1, 4, 5)), Movement(True, (0, 40))),
    "join of the first axis": (concat(0, (2, 3), (1, 3), (4, 3)), Movement(True, (0, 24, 36))),
    "join of rows": (concat(1, (2, 3), (2, 1)), None),
    "split": (changed(lambda x: list(topi.split(x, [2], 1)), 1, 6, 4), Movement(False, (0, 32))),
    "split of rows": (changed(lambda x: list(topi.split(x, [2], 1)), 2, 6), None),
    "slice": (
        changed(lambda x: topi.strided_slice(x, [0, 1], [1, 3]), 1, 6, 4), Movement(False, (16,)),
    ),
    "every second": (changed(lambda x: topi.strided_slice(x, [0], [6], [2]), 6), None),
    "reversed": (changed(topi.flip, 6), None),
    "padded": (changed(lambda x: topi.nn.pad(x, [1], [1]), 6), None),
    "computed": (changed(lambda x: topi.add(x, x), 6), None),
    "cast": (changed(lambda x: topi.cast(x, "int32"), 6), None),
    "transposed": (changed(topi.transpose, 2, 3), None),
    "broadcast": (changed(lambda x: topi.broadcast_to(x, [3, 4]), 1, 4), None),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_movement(name: str) -> None:
    build, expected = MOVED[name]
    assert movement(te.create_prim_func(build())) == expected


def test_a_network_of_branches(tmp_path: Path) -> None:
    """Against NumPy in double precision; the arena starts full of poison."""
    random = np.random.default_rng(0)
    x = random.standard_normal((1, 16, 9, 7)).astype("float32")
    weights = {
        name: (random.standard_normal((16, channels, 1, 1)) / 6).astype("float32")
        for name, channels in (("w", 16), ("v", 16), ("u", 48))
    }
    nodes = [
        node("Conv", "x w", "a"),
        node("Conv", "a v", "b"),
        node("Concat", "b a", "c", axis=1),
        node("Split", "c", "d e", axis=1),
        node("Relu", "e", "f"),
        node("Concat", "d e f", "g", axis=1),
        node("Conv", "g u", "y"),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": x.shape}, ["y"], weights)
    model = compile_model(spec(path))
    aliases = [call.kernel for call in model.graph.calls if call.kernel in (PART, JOIN)]
    assert aliases.count(JOIN) == 2

    def convolved(value: Any, name: str) -> Any:
        return np.einsum("nchw,oc->nohw", value, weights[name][:, :, 0, 0].astype("float64"))

    a = convolved(x.astype("float64"), "w")
    b = convolved(a, "v")
    expected = convolved(np.concatenate([b, a, np.maximum(a, 0)], axis=1), "u")
    got = run(model, {"x": x})["y"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
