"""RNN, GRU and LSTM: one matrix product for all inputs, then one kernel that walks through time."""

from __future__ import annotations

from functools import partial

import numpy as np
from tvm import relax

from tvmake.kernels.recurrent import walk
from tvmake.kernels.recurrent_cells import GRU, LSTM, RNN, Cell, Layer

from . import activations
from .operator import Converter, Operator, static_shape


def _convert(operator: Operator, cell: Cell) -> relax.Expr:
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
        lambda *tensors: walk(layer, dict(zip(operands, tensors, strict=True))), *flat
    )
    state = [layer.directions, layer.batch, layer.hidden]
    shapes = [[layer.steps, *state], state, state]
    return relax.Tuple(
        [
            _cast(operator, _ordered(operator, result, index, shapes[index], batch_first), given)
            for index in range(3 if cell.has_cell else 2)
        ]
    )


def _layer(operator: Operator, cell: Cell, shape: list[int], dtype: str) -> Layer:
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
    return Layer(
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


def _split_bias(operator: Operator, layer: Layer) -> tuple[relax.Expr, relax.Expr]:
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
    if layer.cell is not GRU:
        return operator.emit(relax.op.add(part(0, width), part(width, 2 * width))), late
    gates = 2 * layer.hidden
    early = operator.emit(relax.op.add(part(0, gates), part(width, width + gates)))
    return operator.emit(relax.op.concat([early, part(gates, width)], 1)), late


def _input_shares(
    operator: Operator, layer: Layer, data: relax.Expr, bias: relax.Expr
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


def _pack(operator: Operator, layer: Layer, weights: relax.Expr) -> relax.Expr:
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


def _state(operator: Operator, layer: Layer, index: int, batch_first: bool) -> relax.Expr:
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


CONVERTERS: dict[str, Converter] = {
    "GRU": partial(_convert, cell=GRU),
    "LSTM": partial(_convert, cell=LSTM),
    "RNN": partial(_convert, cell=RNN),
}
