"""RNN, GRU and LSTM: one matrix product for all inputs, then one kernel that walks through time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T  # noqa: N812 - as TVM calls it

from . import activations
from .operator import Converter, Operator, static_shape

_LANES = 16
_VECTORS = 4


@dataclass(frozen=True)
class _Cell:
    """One kind of recurrent operator.

    Attributes:
        gates: how many blocks of rows its weights have.
        defaults: its activation functions, for one direction.
        has_cell: whether it has a cell state beside the hidden state.
        write: emits one step of one sequence.
    """

    gates: int
    defaults: tuple[str, ...]
    has_cell: bool
    write: Callable[[_Step], None]


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

    def clipped(self, value: Any) -> Any:
        """What an activation function gets to see."""
        if not self.clip:
            return value
        bound = tirx.const(self.clip, self.dtype)
        return tirx.max(tirx.min(value, bound), -bound)


@dataclass(frozen=True)
class _Step:
    """What the code of one step refers to; all buffers are flat.

    Attributes:
        direction: the direction's number, known when the code is emitted.
        inputs, row: where the inputs' share of the gates begins, and in which buffer.
        state: where the sequence's hidden state begins in `hidden`; also of `cell` and `scratch`.
        gates: where its row of `sums` begins.
    """

    layer: _Layer
    direction: int
    inputs: Any
    row: Any
    weights: Any
    hidden: Any
    cell: Any
    sums: Any
    scratch: Any
    peepholes: Any
    bias: Any
    state: Any
    gates: Any

    def product(self, source: Any, first: int, count: int) -> None:
        """Emit: sums[first : first + count] = source vector times the weights' columns."""
        hidden, width = self.layer.hidden, self.layer.cell.gates * self.layer.hidden
        lanes = _divisor(count, _LANES)
        vectors = _divisor(count // lanes, _VECTORS)
        tile = lanes * vectors
        base = self.direction * hidden * width + first
        zero = tirx.const(0.0, self.layer.dtype)
        with T.serial(0, count // tile) as block:
            place = T.buffer_proxy(T.decl_buffer([tile], self.layer.dtype, scope="local"))
            for v in range(vectors):
                with T.vectorized(0, lanes) as lane:
                    place[v * lanes + lane] = zero
            with T.serial(0, hidden) as k:
                column = base + k * width + block * tile
                for v in range(vectors):
                    with T.vectorized(0, lanes) as lane:
                        at = v * lanes + lane
                        term = source[self.state + k] * self.weights[column + at]
                        place[at] = place[at] + term
            for v in range(vectors):
                with T.vectorized(0, lanes) as lane:
                    at = v * lanes + lane
                    self.sums[self.gates + first + block * tile + at] = place[at]

    def each(self, body: Callable[[Any], None]) -> None:
        """Emit the body for every element of the hidden state, in vectors."""
        hidden = self.layer.hidden
        lanes = _divisor(hidden, _LANES)
        with T.serial(0, hidden // lanes) as block, T.vectorized(0, lanes) as lane:
            body(block * lanes + lane)

    def gate(self, number: int, j: Any) -> Any:
        """The sum of inputs and state for one element of a gate."""
        offset = number * self.layer.hidden + j
        return self.inputs[self.row + offset] + self.sums[self.gates + offset]


def _divisor(number: int, limit: int) -> int:
    return max(n for n in range(1, limit + 1) if number % n == 0)


def _write_rnn(step: _Step) -> None:
    (f,) = step.layer.functions[step.direction]
    step.product(step.hidden, 0, step.layer.hidden)

    def element(j: Any) -> None:
        step.hidden[step.state + j] = f(step.layer.clipped(step.gate(0, j)))

    step.each(element)


def _write_lstm(step: _Step) -> None:
    layer = step.layer
    f, g, h = layer.functions[step.direction]
    step.product(step.hidden, 0, 4 * layer.hidden)

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
        step.hidden[place] = f(gate(1, j, new, 1)) * h(new)

    step.each(element)


def _write_gru(step: _Step) -> None:
    layer = step.layer
    f, g = layer.functions[step.direction]
    hidden = layer.hidden
    step.product(step.hidden, 0, (3 if layer.reset_after else 2) * hidden)
    if not layer.reset_after:

        def reset(j: Any) -> None:
            gate = f(layer.clipped(step.gate(1, j)))
            step.scratch[step.state + j] = gate * step.hidden[step.state + j]

        step.each(reset)
        step.product(step.scratch, 2 * hidden, hidden)

    def element(j: Any) -> None:
        one = tirx.const(1.0, layer.dtype)
        place = step.state + j
        update = f(layer.clipped(step.gate(0, j)))
        offset = 2 * hidden + j
        share = step.sums[step.gates + offset] + step.bias[step.direction * hidden + j]
        if layer.reset_after:
            share = share * f(layer.clipped(step.gate(1, j)))
        new = g(layer.clipped(step.inputs[step.row + offset] + share))
        step.hidden[place] = (one - update) * new + update * step.hidden[place]

    step.each(element)


_RNN = _Cell(1, ("Tanh",), False, _write_rnn)
_GRU = _Cell(3, ("Sigmoid", "Tanh"), False, _write_gru)
_LSTM = _Cell(4, ("Sigmoid", "Tanh", "Tanh"), True, _write_lstm)


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
        "weights": operator.emit(
            relax.op.permute_dims(_cast(operator, operator.operand(2), dtype), [0, 2, 1])
        ),
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
    sizes = [layer.steps * state, state]
    if layer.cell.has_cell:
        sizes.append(state)
    sizes.append(layer.cell.gates * state)
    if layer.cell is _GRU:
        sizes.append(state)
    names = list(tensors)
    results = te.extern(
        [(size,) for size in sizes],
        list(tensors.values()),
        lambda ins, outs: _body(layer, dict(zip(names, ins, strict=True)), list(outs)),
        name="recurrent",
        dtype=[layer.dtype] * len(sizes),
    )
    return list(results)


def _body(layer: _Layer, ins: dict[str, Any], outs: list[Any]) -> Any:
    with IRBuilder() as builder:
        operands = {name: T.buffer_proxy(buffer) for name, buffer in ins.items()}
        results = [T.buffer_proxy(buffer) for buffer in outs]
        with T.parallel(0, layer.batch) as row:
            for direction in range(layer.directions):
                _sequence(layer, direction, row, operands, results)
        return builder.get()


def _sequence(
    layer: _Layer, direction: int, row: Any, ins: dict[str, Any], results: list[Any]
) -> None:
    """Emit the walk of one sequence in one direction."""
    place = direction * layer.batch + row
    width = layer.cell.gates * layer.hidden
    states, hidden = results[:2]
    cell = results[2] if layer.cell.has_cell else None
    base = place * layer.hidden
    length = ins["lengths"][row] if "lengths" in ins else None

    def at(inputs_row: Any) -> _Step:
        return _Step(
            layer=layer,
            direction=direction,
            inputs=ins["inputs"],
            row=(inputs_row * layer.directions + direction) * width,
            weights=ins["weights"],
            hidden=hidden,
            cell=cell,
            sums=results[3 if layer.cell.has_cell else 2],
            scratch=results[3] if layer.cell is _GRU else None,
            peepholes=ins.get("peepholes"),
            bias=ins["bias"],
            state=base,
            gates=place * width,
        )

    def start(j: Any) -> None:
        hidden[base + j] = ins["hidden"][base + j]
        if cell is not None:
            cell[base + j] = ins["cell"][base + j]

    at(0).each(start)
    with T.serial(0, layer.steps) as count:
        time = layer.steps - 1 - count if layer.reverse[direction] else count
        result = ((time * layer.directions + direction) * layer.batch + row) * layer.hidden
        step = at(time * layer.batch + row)

        def run() -> None:
            layer.cell.write(step)
            step.each(lambda j: states.__setitem__(result + j, hidden[base + j]))

        if length is None:
            run()
        else:
            with T.If(time < length):
                with T.Then():
                    run()
                with T.Else():
                    zero = tirx.const(0.0, layer.dtype)
                    step.each(lambda j: states.__setitem__(result + j, zero))


CONVERTERS: dict[str, Converter] = {
    "GRU": partial(_convert, cell=_GRU),
    "LSTM": partial(_convert, cell=_LSTM),
    "RNN": partial(_convert, cell=_RNN),
}
