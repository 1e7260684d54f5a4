"""RNN, GRU and LSTM: one matrix product for all inputs, then one kernel that walks through time.

The hidden state is cut into blocks. What a step makes of one, all gates of it, needs the state
before the step, but nothing new of other blocks. So threads share the blocks of a step where these
are much to do, else the sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T  # noqa: N812 - as TVM calls it

from . import activations
from .operator import Converter, Operator, static_shape

_LANES = 16
_SUMS = 4  # vectors that are summed side by side
_SHARED_STEP = 1 << 17  # multiplications of a step that threads share


@dataclass(frozen=True)
class _Cell:
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
    phases: Callable[[_Layer], Sequence[Callable[[_Step], None]]]


@dataclass(frozen=True)
class _Layer:
    """Sizes and options of an operator."""

    cell: _Cell
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
        return self.cell.gates * self.hidden**2 * self.batch >= _SHARED_STEP

    def clipped(self, value: Any) -> Any:
        """What an activation function gets to see."""
        if not self.clip:
            return value
        bound = tirx.const(self.clip, self.dtype)
        return tirx.max(tirx.min(value, bound), -bound)


@dataclass(frozen=True)
class _Step:
    """What the code of one step of a block refers to; all buffers are flat.

    Attributes:
        direction: the direction's number, known when the code is emitted.
        block: the block's number.
        inputs, row: where the inputs' share of the gates begins, and in which buffer.
        old, new: where the sequence's hidden state begins in `hidden`, before and after the step.
        state: where its state begins in `cell` and `scratch`.
        gates: where its row of `sums` begins.
    """

    layer: _Layer
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
            _each(start, layer.block, layer.lanes, body)
            return
        with T.If(self.block < layer.blocks - 1):
            with T.Then():
                _each(start, layer.block, layer.lanes, body)
            with T.Else():
                _each(start, last, layer.lanes, body)

    def gate(self, number: int, j: Any) -> Any:
        """The sum of inputs and state for one element of a gate."""
        return self.inputs[self.row + number * self.layer.hidden + j] + self.sum(number, j)

    def sum(self, number: int, j: Any) -> Any:
        """The sum of the state for one element of a gate."""
        return self.sums[self.gates + number * self.layer.blocks * self.layer.block + j]


def _each(start: Any, count: int, lanes: int, body: Callable[[Any], None]) -> None:
    """Emit the body for neighbouring elements, in vectors."""
    whole, rest = divmod(count, lanes)
    if whole:
        with T.serial(0, whole) as part, T.vectorized(0, lanes) as lane:
            body(start + part * lanes + lane)
    if rest:
        with T.vectorized(0, rest) as lane:
            body(start + whole * lanes + lane)


def _write_rnn(step: _Step) -> None:
    (f,) = step.layer.functions[step.direction]
    step.product(step.hidden, step.old, 0, 1)

    def element(j: Any) -> None:
        step.hidden[step.new + j] = f(step.layer.clipped(step.gate(0, j)))

    step.each(element)


def _write_lstm(step: _Step) -> None:
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


def _write_gru(step: _Step) -> None:
    """All of it, with the gate that resets the state after the product."""
    step.product(step.hidden, step.old, 0, 3)
    _write_gru_state(step)


def _write_gru_gates(step: _Step) -> None:
    """The state, reset before it is multiplied."""
    layer = step.layer
    f, _ = layer.functions[step.direction]
    step.product(step.hidden, step.old, 0, 2)

    def reset(j: Any) -> None:
        gate = f(layer.clipped(step.gate(1, j)))
        step.scratch[step.state + j] = gate * step.hidden[step.old + j]

    step.each(reset)


def _write_gru_rest(step: _Step) -> None:
    step.product(step.scratch, step.state, 2, 1)
    _write_gru_state(step)


def _write_gru_state(step: _Step) -> None:
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


def _gru_phases(layer: _Layer) -> list[Callable[[_Step], None]]:
    return [_write_gru] if layer.reset_after else [_write_gru_gates, _write_gru_rest]


_RNN = _Cell(1, ("Tanh",), False, lambda _: [_write_rnn])
_GRU = _Cell(3, ("Sigmoid", "Tanh"), False, _gru_phases)
_LSTM = _Cell(4, ("Sigmoid", "Tanh", "Tanh"), True, lambda _: [_write_lstm])


def _convert(operator: Operator, cell: _Cell) -> relax.Expr:
    given = str(operator.operand(0).ty.dtype)
    dtype = given if given == "float64" else "float32"
    batch_first = bool(operator.attributes.get("layout", 0))
    data = _cast(operator, operator.operand(0), dtype)
    if batch_first:
        data = operator.emit(relax.op.permute_dims(data, [1, 0, 2]))
    layer = _layer(operator, cell, static_shape(data), dtype)
    bias = _split_bias(operator, layer)
    operands = {
        "inputs": _input_shares(operator, layer, data, bias[0]),
        "weights": _pack(operator, layer, _cast(operator, operator.operand(2), dtype)),
        "bias": bias[1],
        "hidden": _state(operator, layer, 5, batch_first),
    }
    lengths = operator.optional(4)
    if lengths is not None:
        operands["lengths"] = _cast(operator, lengths, "int32")
    if cell.has_cell:
        operands["cell"] = _state(operator, layer, 6, batch_first)
        peepholes = operator.optional(7)
        if peepholes is not None:
            operands["peepholes"] = _cast(operator, peepholes, dtype)
    flat = [operator.emit(relax.op.reshape(value, [-1])) for value in operands.values()]
    result = operator.call_te(
        lambda *tensors: _kernel(layer, dict(zip(operands, tensors, strict=True))), *flat
    )
    state = [layer.directions, layer.batch, layer.hidden]
    shapes = [[layer.steps, *state], state, state]
    return relax.Tuple(
        [
            _cast(operator, _ordered(operator, result, index, shapes[index], batch_first), given)
            for index in range(3 if cell.has_cell else 2)
        ]
    )


def _layer(operator: Operator, cell: _Cell, shape: list[int], dtype: str) -> _Layer:
    directions, _, hidden = operator.shape(2)
    direction = operator.text("direction", "forward")
    reverse = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
    if len(reverse) != directions:
        raise ValueError(f"{operator.name} is {direction}, but has weights for {directions}")
    names = [
        name.decode() if isinstance(name, bytes) else str(name)
        for name in operator.attributes.get("activations", cell.defaults * directions)
    ]
    functions = activations.functions(
        names,
        iter(operator.attributes.get("activation_alpha", ())),
        iter(operator.attributes.get("activation_beta", ())),
    )
    count = len(cell.defaults)
    if len(functions) != count * directions:
        raise ValueError(f"{operator.name} needs {count * directions} activations, not {names}")
    return _Layer(
        cell=cell,
        steps=shape[0],
        batch=shape[1],
        directions=directions,
        hidden=hidden,
        reverse=reverse,
        functions=[functions[d * count : (d + 1) * count] for d in range(directions)],
        clip=float(operator.attributes.get("clip", 0.0)),
        reset_after=bool(operator.attributes.get("linear_before_reset", 0)),
        couple=bool(operator.attributes.get("input_forget", 0)),
        dtype=dtype,
    )


def _split_bias(operator: Operator, layer: _Layer) -> tuple[relax.Expr, relax.Expr]:
    """The bias of the input shares, and that of GRU's new state, which `reset` may scale."""
    width = layer.cell.gates * layer.hidden
    bias = operator.optional(3)
    if bias is None:
        zeros = relax.op.zeros([layer.directions, 2 * width], layer.dtype)
        bias = operator.emit(zeros)
    bias = _cast(operator, bias, layer.dtype)

    def part(start: int, end: int) -> relax.Expr:
        return operator.emit(relax.op.strided_slice(bias, [1], [start], [end]))

    late = part(2 * width - layer.hidden, 2 * width)
    if layer.cell is not _GRU:
        return operator.emit(relax.op.add(part(0, width), part(width, 2 * width))), late
    gates = 2 * layer.hidden
    early = operator.emit(relax.op.add(part(0, gates), part(width, width + gates)))
    return operator.emit(relax.op.concat([early, part(gates, width)], 1)), late


def _input_shares(
    operator: Operator, layer: _Layer, data: relax.Expr, bias: relax.Expr
) -> relax.Expr:
    """Inputs times weights plus bias, for all steps: [steps, batch, directions, gates]."""
    rows = layer.steps * layer.batch
    width = layer.directions * layer.cell.gates * layer.hidden
    weights = _cast(operator, operator.operand(1), layer.dtype)
    flat = operator.emit(relax.op.reshape(weights, [width, -1]))
    columns = operator.emit(relax.op.permute_dims(flat, [1, 0]))
    product = operator.emit(
        relax.op.matmul(operator.emit(relax.op.reshape(data, [rows, -1])), columns)
    )
    return operator.emit(relax.op.add(product, operator.emit(relax.op.reshape(bias, [1, width]))))


def _pack(operator: Operator, layer: _Layer, weights: relax.Expr) -> relax.Expr:
    """Weights of the state, [directions, gates · hidden, hidden], in the order they are read."""
    directions, gates, hidden = layer.directions, layer.cell.gates, layer.hidden
    blocks, block = layer.blocks, layer.block
    rows = operator.emit(relax.op.reshape(weights, [directions, gates, hidden, hidden]))
    if blocks * block > hidden:
        # A constant, so that all of this is done by the compiler.
        lacking = np.zeros((directions, gates, blocks * block - hidden, hidden), layer.dtype)
        rows = operator.emit(relax.op.concat([rows, relax.const(lacking)], 2))
    cut = operator.emit(relax.op.reshape(rows, [directions, gates, blocks, block, hidden]))
    return operator.emit(relax.op.permute_dims(cut, [0, 2, 4, 1, 3]))


def _state(operator: Operator, layer: _Layer, index: int, batch_first: bool) -> relax.Expr:
    """An initial state as [directions, batch, hidden]; zeros if it is left out."""
    value = operator.optional(index)
    if value is None:
        shape = [layer.directions, layer.batch, layer.hidden]
        return operator.emit(relax.op.zeros(shape, layer.dtype))
    if batch_first:
        value = operator.emit(relax.op.permute_dims(value, [1, 0, 2]))
    return _cast(operator, value, layer.dtype)


def _cast(operator: Operator, value: relax.Expr, dtype: str) -> relax.Expr:
    same = str(value.ty.dtype) == dtype
    return value if same else operator.emit(relax.op.astype(value, dtype))


def _ordered(
    operator: Operator, results: relax.Expr, index: int, shape: list[int], batch_first: bool
) -> relax.Expr:
    value = operator.emit(relax.TupleGetItem(results, index))
    value = operator.emit(relax.op.reshape(value, shape))
    if not batch_first:
        return value
    return operator.emit(relax.op.permute_dims(value, [2, 0, 1, 3] if index == 0 else [1, 0, 2]))


def _kernel(layer: _Layer, tensors: dict[str, te.Tensor]) -> list[te.Tensor]:
    """The walk through time. Results: all hidden states, the last ones, the last cells; scratch."""
    state = layer.directions * layer.batch * layer.hidden
    sizes = {"states": layer.steps * state, "last": state}
    if layer.cell.has_cell:
        sizes["cell"] = state
    rows = layer.directions * layer.batch
    sizes |= {"sums": rows * layer.padded, "hidden": 2 * state}
    if layer.cell is _GRU:
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


def _body(layer: _Layer, ins: dict[str, Any], outs: dict[str, Any]) -> Any:
    with IRBuilder() as builder:
        walk = _Walk(
            layer,
            {name: T.buffer_proxy(buffer) for name, buffer in ins.items()},
            {name: T.buffer_proxy(buffer) for name, buffer in outs.items()},
        )
        if layer.is_shared:
            with T.serial(0, 1):  # the builder wants one statement
                walk.by_steps()
        else:
            walk.by_sequences()
        return builder.get()


@dataclass(frozen=True)
class _Walk:
    """The loops. Of the hidden states, [2, directions, batch, hidden], steps read and write one."""

    layer: _Layer
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

        def blocks(phase: Callable[[_Step], None], direction: int, count: Any, block: Any) -> None:
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

    def _each(self, body: Callable[[Any], None]) -> None:
        """Emit the body for every element of a state, in vectors."""
        _each(0, self.layer.hidden, self.layer.lanes, body)

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

        self._each(start)

    def _end(self, direction: int, row: Any) -> None:
        """Emit the state after the last step."""
        base, last = self._base(direction, row), self._base(direction, row, self.layer.steps)

        def end(j: Any) -> None:
            self.outs["last"][base + j] = self.outs["hidden"][last + j]

        self._each(end)

    def _step(
        self, phase: Callable[[_Step], None], direction: int, row: Any, count: Any, block: Any
    ) -> None:
        """Emit a step of a sequence for a block."""
        layer = self.layer
        time = layer.steps - 1 - count if layer.reverse[direction] else count
        width = layer.cell.gates * layer.hidden
        place = direction * layer.batch + row
        step = _Step(
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


CONVERTERS: dict[str, Converter] = {
    "GRU": partial(_convert, cell=_GRU),
    "LSTM": partial(_convert, cell=_LSTM),
    "RNN": partial(_convert, cell=_RNN),
}
