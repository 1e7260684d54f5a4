"""LSTM, GRU and RNN: states of any width, sequences by themselves and steps that threads share."""

from __future__ import annotations

import math
from typing import Any

from kernels.cases import Cases, fitting, kernel_class

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_WIDTHS = (1, 3, 5, 8, 17, 33, 50, 100, 185, 225, 370)


@kernel_class
def recurrent(cases: Cases) -> None:
    kind = cases.choose(*_GATES)
    gates, width = _GATES[kind], cases.pick((1, 6, 17))
    hidden, batch, steps = fitting(
        lambda: [cases.pick(_WIDTHS), cases.pick((1, 1, 3)), cases.pick((1, 4, 7))],
        lambda sizes: gates * sizes[0] ** 2 * sizes[1] * sizes[2],
    )
    direction = cases.choose("forward", "reverse", "bidirectional")
    directions = 2 if direction == "bidirectional" else 1

    def weight(*shape: int) -> str:
        values = cases.random.standard_normal(shape) / math.sqrt(shape[-1])
        return cases.weight(values=values.astype("float32"))

    operands = [
        cases.input(steps, batch, width),
        weight(directions, gates * hidden, width),
        weight(directions, gates * hidden, hidden),
        cases.weight(directions, 2 * gates * hidden),
        "_",
        cases.input(directions, batch, hidden),
    ]
    if kind == "LSTM":
        operands.append(cases.input(directions, batch, hidden))
    options: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
    if kind == "GRU":
        options["linear_before_reset"] = cases.pick((0, 1))
    cases.add(kind, " ".join(operands), **options)
