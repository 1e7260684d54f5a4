"""One step of an RNN, GRU or LSTM, for a block of the hidden state.

What a step makes of a block, all gates of it, needs the state before the step, but nothing new of
other blocks, or what another phase of the step has made of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T  # noqa: N812 - TVM's own name for it

_LANES = 16
_SUMS = 4  # vectors that are summed side by side
SHARED_STEP = 1 << 17  # multiplications of a step that threads share


@dataclass(frozen=True)
class Cell:
    """One kind of recurrent operator.

    Attributes:
        gates: how many blocks of rows its weights have.
        defaults: its activation functions, for one direction.
        has_cell: whether it has a cell state beside the hidden state.
        phases: what emits one step of one sequence for a block of the state; all blocks of a phase
            come before the next one.
    """

    gates: int
    defaults: tuple[str, ...]
    has_cell: bool
    phases: Callable[[Layer], Sequence[Callable[[Step], None]]]


@dataclass(frozen=True)
class Layer:
    """Sizes and options of an operator."""

    cell: Cell
    steps: int
    batch: int
    directions: int
    hidden: int
    reverse: tuple[bool, ...]
    functions: Sequence[Sequence[Callable[[Any], Any]]]
    clip: float
    reset_after: bool
    couple: bool
    dtype: str

    @property
    def lanes(self) -> int:
        """Width of a vector."""
        return min(self.hidden, _LANES)

    @property
    def block(self) -> int:
        """Width of a block of the state: some vectors."""
        return self.lanes * min(-(-_SUMS // self.cell.gates), self.hidden // self.lanes)

    @property
    def blocks(self) -> int:
        """Into how many blocks the state is cut, of which the last one may be partly filled."""
        return -(-self.hidden // self.block)

    @property
    def padded(self) -> int:
        """How many elements all gates of all blocks have."""
        return self.cell.gates * self.blocks * self.block

    @property
    def is_shared(self) -> bool:
        """Whether threads share every step, and not the sequences."""
        return self.cell.gates * self.hidden**2 * self.batch >= SHARED_STEP

    def clipped(self, value: Any) -> Any:
        """What an activation function gets to see."""
        if not self.clip:
            return value
        bound = tirx.const(self.clip, self.dtype)
        return tirx.max(tirx.min(value, bound), -bound)


@dataclass(frozen=True)
class Step:
    """What the code of one step of a block refers to; all buffers are flat.

    Attributes:
        direction: the direction's number, known when the code is emitted.
        block: the block's number.
        inputs, row: where the inputs' share of the gates begins, and in which buffer.
        old, new: where the sequence's hidden state begins in `hidden`, before and after the step.
        state: where its state begins in `cell` and `scratch`.
        gates: where its row of `sums` begins.
    """

    layer: Layer
    direction: int
    block: Any
    inputs: Any
    row: Any
    weights: Any
    hidden: Any
    old: Any
    new: Any
    cell: Any
    sums: Any
    scratch: Any
    peepholes: Any
    bias: Any
    state: Any
    gates: Any

    def product(self, source: Any, start: Any, first: int, count: int) -> None:
        """Emit: sums of the block in some gates = source vector times the weights' columns."""
        layer = self.layer
        lanes, block, hidden = layer.lanes, layer.block, layer.hidden
        width, tile = layer.cell.gates * block, count * block
        base = (self.direction * layer.blocks + self.block) * hidden * width + first * block
        zero = tirx.const(0.0, layer.dtype)
        place = T.buffer_proxy(T.decl_buffer([tile], layer.dtype, scope="local"))
        for at in range(0, tile, lanes):
            with T.vectorized(0, lanes) as lane:
                place[at + lane] = zero
        with T.serial(0, hidden) as k:
            for at in range(0, tile, lanes):
                with T.vectorized(0, lanes) as lane:
                    term = source[start + k] * self.weights[base + k * width + at + lane]
                    place[at + lane] = place[at + lane] + term
        for gate in range(count):
            column = self.gates + ((first + gate) * layer.blocks + self.block) * block
            for at in range(0, block, lanes):
                with T.vectorized(0, lanes) as lane:
                    self.sums[column + at + lane] = place[gate * block + at + lane]

    def each(self, body: Callable[[Any], None]) -> None:
        """Emit the body for every element of the block, in vectors."""
        layer = self.layer
        start, last = self.block * layer.block, layer.hidden % layer.block
        if last == 0:
            each_element(start, layer.block, layer.lanes, body)
            return
        with T.If(self.block < layer.blocks - 1):
            with T.Then():
                each_element(start, layer.block, layer.lanes, body)
            with T.Else():
                each_element(start, last, layer.lanes, body)

    def gate(self, number: int, j: Any) -> Any:
        """The sum of inputs and state for one element of a gate."""
        return self.inputs[self.row + number * self.layer.hidden + j] + self.sum(number, j)

    def sum(self, number: int, j: Any) -> Any:
        """The sum of the state for one element of a gate."""
        return self.sums[self.gates + number * self.layer.blocks * self.layer.block + j]


def each_element(start: Any, count: int, lanes: int, body: Callable[[Any], None]) -> None:
    """Emit the body for neighbouring elements, in vectors."""
    whole, rest = divmod(count, lanes)
    if whole:
        with T.serial(0, whole) as part, T.vectorized(0, lanes) as lane:
            body(start + part * lanes + lane)
    if rest:
        with T.vectorized(0, rest) as lane:
            body(start + whole * lanes + lane)


def _write_rnn(step: Step) -> None:
    (f,) = step.layer.functions[step.direction]
    step.product(step.hidden, step.old, 0, 1)

    def element(j: Any) -> None:
        step.hidden[step.new + j] = f(step.layer.clipped(step.gate(0, j)))

    step.each(element)


def _write_lstm(step: Step) -> None:
    layer = step.layer
    f, g, h = layer.functions[step.direction]
    step.product(step.hidden, step.old, 0, 4)

    def gate(number: int, j: Any, cell: Any, peephole: int | None) -> Any:
        value = step.gate(number, j)
        if peephole is not None and step.peepholes is not None:
            row = (step.direction * 3 + peephole) * layer.hidden
            value = value + step.peepholes[row + j] * cell
        return layer.clipped(value)

    def element(j: Any) -> None:
        one = tirx.const(1.0, layer.dtype)
        place = step.state + j
        old = step.cell[place]
        entry = f(gate(0, j, old, 0))
        keep = one - entry if layer.couple else f(gate(2, j, old, 2))
        step.cell[place] = keep * old + entry * g(gate(3, j, old, None))
        new = step.cell[place]
        step.hidden[step.new + j] = f(gate(1, j, new, 1)) * h(new)

    step.each(element)


def _write_gru(step: Step) -> None:
    """All of it, with the gate that resets the state after the product."""
    step.product(step.hidden, step.old, 0, 3)
    _write_gru_state(step)


def _write_gru_gates(step: Step) -> None:
    """The state, reset before it is multiplied."""
    layer = step.layer
    f, _ = layer.functions[step.direction]
    step.product(step.hidden, step.old, 0, 2)

    def reset(j: Any) -> None:
        gate = f(layer.clipped(step.gate(1, j)))
        step.scratch[step.state + j] = gate * step.hidden[step.old + j]

    step.each(reset)


def _write_gru_rest(step: Step) -> None:
    step.product(step.scratch, step.state, 2, 1)
    _write_gru_state(step)


def _write_gru_state(step: Step) -> None:
    layer = step.layer
    f, g = layer.functions[step.direction]
    hidden = layer.hidden

    def element(j: Any) -> None:
        one = tirx.const(1.0, layer.dtype)
        update = f(layer.clipped(step.gate(0, j)))
        share = step.sum(2, j) + step.bias[step.direction * hidden + j]
        if layer.reset_after:
            share = share * f(layer.clipped(step.gate(1, j)))
        new = g(layer.clipped(step.inputs[step.row + 2 * hidden + j] + share))
        step.hidden[step.new + j] = (one - update) * new + update * step.hidden[step.old + j]

    step.each(element)


def _gru_phases(layer: Layer) -> list[Callable[[Step], None]]:
    return [_write_gru] if layer.reset_after else [_write_gru_gates, _write_gru_rest]


RNN = Cell(1, ("Tanh",), False, lambda _: [_write_rnn])
GRU = Cell(3, ("Sigmoid", "Tanh"), False, _gru_phases)
LSTM = Cell(4, ("Sigmoid", "Tanh", "Tanh"), True, lambda _: [_write_lstm])
