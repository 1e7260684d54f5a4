"""RNN, GRU and LSTM: one kernel that walks through time.

The hidden state is cut into blocks, see `kernels/recurrent_cells.py`. Threads share the blocks of a
step where these are much to do, else the sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T  # noqa: N812 - TVM's own name for it

from tvmake.kernels.recurrent_cells import GRU, Layer, Step, each_element


def walk(layer: Layer, tensors: dict[str, te.Tensor]) -> list[te.Tensor]:
    """The walk through time.

    Args:
        layer: sizes and options.
        tensors: all flat; "inputs", their share of the gates, [steps, batch, directions, gates,
            hidden]; "weights" of the state, [directions, blocks, hidden, gates, block], filled up
            with zeros; "bias" of GRU's new state, [directions, hidden]; "hidden", the state before
            the first step, [directions, batch, hidden], and "cell" like it; maybe "lengths" of
            sequences, [batch], and "peepholes", [directions, 3, hidden].

    Returns:
        All hidden states, [steps, directions, batch, hidden], the last ones, the last cells if
        there are any; and scratch memory.
    """
    state = layer.directions * layer.batch * layer.hidden
    sizes = {"states": layer.steps * state, "last": state}
    if layer.cell.has_cell:
        sizes["cell"] = state
    rows = layer.directions * layer.batch
    sizes |= {"sums": rows * layer.padded, "hidden": 2 * state}
    if layer.cell is GRU:
        sizes["scratch"] = state
    names = list(tensors)
    results = te.extern(
        [(size,) for size in sizes.values()],
        list(tensors.values()),
        lambda ins, outs: _body(
            layer, dict(zip(names, ins, strict=True)), dict(zip(sizes, outs, strict=True))
        ),
        name="recurrent",
        dtype=[layer.dtype] * len(sizes),
    )
    return list(results)


def _body(layer: Layer, ins: dict[str, Any], outs: dict[str, Any]) -> Any:
    with IRBuilder() as builder:
        loops = _Walk(
            layer,
            {name: T.buffer_proxy(buffer) for name, buffer in ins.items()},
            {name: T.buffer_proxy(buffer) for name, buffer in outs.items()},
        )
        if layer.is_shared:
            with T.serial(0, 1):  # the builder wants one statement
                loops.by_steps()
        else:
            loops.by_sequences()
        return builder.get()


@dataclass(frozen=True)
class _Walk:
    """The loops. Of the hidden states, [2, directions, batch, hidden], steps read and write one."""

    layer: Layer
    ins: dict[str, Any]
    outs: dict[str, Any]

    def by_sequences(self) -> None:
        """Emit the walk of each sequence by itself."""
        layer = self.layer
        with T.parallel(0, layer.batch) as row:
            for direction in range(layer.directions):
                self._start(direction, row)
                with T.serial(0, layer.steps) as count:
                    for phase in layer.cell.phases(layer):
                        with T.serial(0, layer.blocks) as block:
                            self._step(phase, direction, row, count, block)
                self._end(direction, row)

    def by_steps(self) -> None:
        """Emit the walk of all sequences together."""
        layer = self.layer

        def rows(body: Callable[[int, Any], None]) -> None:
            for direction in range(layer.directions):
                with T.serial(0, layer.batch) as row:
                    body(direction, row)

        def blocks(phase: Callable[[Step], None], direction: int, count: Any, block: Any) -> None:
            with T.serial(0, layer.batch) as row:
                self._step(phase, direction, row, count, block)

        rows(self._start)
        with T.serial(0, layer.steps) as count:
            for phase in layer.cell.phases(layer):
                with T.parallel(0, layer.directions * layer.blocks) as task:
                    if layer.directions == 1:
                        blocks(phase, 0, count, task)
                    else:
                        with T.If(task < layer.blocks):
                            with T.Then():
                                blocks(phase, 0, count, task)
                            with T.Else():
                                blocks(phase, 1, count, task - layer.blocks)
        rows(self._end)

    def _base(self, direction: int, row: Any, count: Any = 0) -> Any:
        """Where the state of a sequence begins, or which of both hidden ones a step reads."""
        layer = self.layer
        place = (count % 2 * layer.directions + direction) * layer.batch + row
        return place * layer.hidden

    def _start(self, direction: int, row: Any) -> None:
        """Emit the states before the first step."""
        base = self._base(direction, row)

        def start(j: Any) -> None:
            self.outs["hidden"][base + j] = self.ins["hidden"][base + j]
            if self.layer.cell.has_cell:
                self.outs["cell"][base + j] = self.ins["cell"][base + j]

        each_element(0, self.layer.hidden, self.layer.lanes, start)

    def _end(self, direction: int, row: Any) -> None:
        """Emit the state after the last step."""
        base, last = self._base(direction, row), self._base(direction, row, self.layer.steps)

        def end(j: Any) -> None:
            self.outs["last"][base + j] = self.outs["hidden"][last + j]

        each_element(0, self.layer.hidden, self.layer.lanes, end)

    def _step(
        self, phase: Callable[[Step], None], direction: int, row: Any, count: Any, block: Any
    ) -> None:
        """Emit a step of a sequence for a block."""
        layer = self.layer
        time = layer.steps - 1 - count if layer.reverse[direction] else count
        width = layer.cell.gates * layer.hidden
        place = direction * layer.batch + row
        step = Step(
            layer=layer,
            direction=direction,
            block=block,
            inputs=self.ins["inputs"],
            row=((time * layer.batch + row) * layer.directions + direction) * width,
            weights=self.ins["weights"],
            hidden=self.outs["hidden"],
            old=self._base(direction, row, count),
            new=self._base(direction, row, count + 1),
            cell=self.outs.get("cell"),
            sums=self.outs["sums"],
            scratch=self.outs.get("scratch"),
            peepholes=self.ins.get("peepholes"),
            bias=self.ins["bias"],
            state=place * layer.hidden,
            gates=place * layer.padded,
        )
        states, hidden = self.outs["states"], self.outs["hidden"]
        result = ((time * layer.directions + direction) * layer.batch + row) * layer.hidden

        def run() -> None:
            phase(step)
            if phase is layer.cell.phases(layer)[-1]:
                step.each(lambda j: states.__setitem__(result + j, hidden[step.new + j]))

        def rest(j: Any) -> None:
            states[result + j] = tirx.const(0.0, layer.dtype)
            hidden[step.new + j] = hidden[step.old + j]

        if "lengths" not in self.ins:
            run()
            return
        with T.If(time < self.ins["lengths"][row]):
            with T.Then():
                run()
            with T.Else():
                step.each(rest)
