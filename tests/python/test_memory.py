"""The memory plan: properties that every plan must have, over random graphs."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from tvmake.lower.graph import VIEW, Call, Graph, Tensor
from tvmake.lower.memory import plan_memory

if TYPE_CHECKING:
    from tvmake.lower import MemoryPlan


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random straight-line graphs with views, in-place kernels, workspaces and several outputs."""
    sizes = st.integers(1, 400)
    tensors = [Tensor("input", "float32", (draw(sizes),)), Tensor("weight", "float32", (8,))]
    calls: list[Call] = []
    results: list[int] = [0]
    owned: list[int] = []  # results that an output may be: not views of the input
    for number in range(draw(st.integers(1, 25))):
        source = draw(st.sampled_from(results))
        kind = draw(st.sampled_from(["kernel", "view", "in place", "workspace"]))
        size = tensors[source].shape[0] if kind in ("view", "in place") else draw(sizes)
        outputs = [len(tensors)]
        tensors.append(Tensor(f"t{number}", "float32", (size,)))
        if kind == "workspace":
            outputs.append(len(tensors))
            tensors.append(Tensor(f"t{number}.workspace", "float32", (draw(sizes),)))
        other = draw(st.sampled_from(results))
        inputs = (source,) if kind == "view" else (source, other, 1)
        calls.append(
            Call(
                f"c{number}",
                VIEW if kind == "view" else "kernel",
                inputs,
                tuple(outputs),
                len(outputs) - 1,
                ((0, 0),) if kind == "in place" else (),
            )
        )
        results.append(outputs[0])
        if kind != "view":
            owned.append(outputs[0])
    outputs_count = draw(st.integers(0, min(3, len(owned))))
    outputs_ = tuple(draw(st.permutations(owned))[:outputs_count])
    names = tuple(f"y{i}" for i in range(len(outputs_)))
    return Graph(tuple(tensors), tuple(calls), (0,), (1,), outputs_, names, (), {})


class Arena:
    """An arena in which every byte remembers who wrote it last."""

    def __init__(self, graph: Graph, plan: MemoryPlan) -> None:
        self.graph, self.plan = graph, plan
        self.owner: dict[int, object] = {}
        self.value: dict[int, object] = {}

    def span(self, index: int) -> range:
        offset = self.plan.offsets[index]
        return range(offset, offset + self.graph.tensors[index].bytes)

    def write(self, index: int, what: object) -> None:
        self.value[index] = what
        self.owner.update(dict.fromkeys(self.span(index), what))

    def check(self, index: int) -> None:
        intact = all(self.owner[byte] == self.value[index] for byte in self.span(index))
        assert intact, self.graph.tensors[index].name

    def check_overlap(self, call: Call, operands: list[int]) -> None:
        """A result may lie on an operand only where the kernel allows it, and exactly."""
        allowed = {(call.outputs[o], call.inputs[i]) for o, i in call.in_place}
        for output, index in itertools.product(call.outputs, operands):
            if set(self.span(output)) & set(self.span(index)):
                assert (output, index) in allowed
                assert self.plan.offsets[output] == self.plan.offsets[index]
                assert operands.count(index) == 1

    def run(self, call: Call) -> None:
        operands = [index for index in call.inputs if index not in self.graph.weights]
        for index in operands:
            self.check(index)
        if call.is_view:
            self.value[call.outputs[0]] = self.value[call.inputs[0]]
            assert self.plan.offsets[call.outputs[0]] == self.plan.offsets[call.inputs[0]]
            return
        self.check_overlap(call, operands)
        for output in call.outputs:
            self.write(output, (call.name, output))
        for output in call.outputs:
            self.check(output)


def simulate(graph: Graph, plan: MemoryPlan) -> None:
    """Run the graph, and check whatever is read."""
    arena = Arena(graph, plan)
    for index in graph.inputs:
        arena.write(index, f"input {index}")
    for call in graph.calls:
        arena.run(call)
    for index in (*graph.inputs, *graph.outputs):
        arena.check(index)


@given(graphs())
@settings(max_examples=300, deadline=None)
def test_nothing_alive_is_overwritten(graph: Graph) -> None:
    plan = plan_memory(graph, 64)
    simulate(graph, plan)
    for index, tensor in enumerate(graph.tensors):
        if index in graph.weights:
            assert plan.offsets[index] == -1
        else:
            assert plan.offsets[index] % 64 == 0
            assert plan.offsets[index] + tensor.bytes <= plan.arena_bytes
    assert plan.live_bytes <= plan.arena_bytes <= max(64, 2 * plan.tensors_bytes + 64 * 64)


@given(graphs())
@settings(max_examples=50, deadline=None)
def test_planning_is_deterministic(graph: Graph) -> None:
    assert plan_memory(graph, 64) == plan_memory(graph, 64)


def test_a_chain_needs_two_buffers() -> None:
    tensors = tuple(Tensor(f"t{i}", "float32", (256,)) for i in range(6))
    calls = tuple(Call(f"c{i}", "kernel", (i,), (i + 1,)) for i in range(5))
    plan = plan_memory(Graph(tensors, calls, (0,), (), (5,), ("y",), (), {}), 64)
    # The input stays, and the others take turns in two places.
    assert plan.arena_bytes == plan.live_bytes == 3 * math.prod((256, 4))


def test_an_empty_tensor_gets_a_place() -> None:
    tensors = (Tensor("x", "float32", (0, 4)), Tensor("y", "float32", (0, 4)))
    plan = plan_memory(
        Graph(tensors, (Call("c", "kernel", (0,), (1,)),), (0,), (), (1,), ("y",), (), {}), 64
    )
    assert all(offset % 64 == 0 for offset in plan.offsets)
