"""RNN, GRU and LSTM against onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from python.converter_cases import Cases, random
from tvmake.kernels.recurrent_cells import SHARED_STEP

if TYPE_CHECKING:
    from pathlib import Path

STEPS, BATCH, WIDTH = 5, 3, 4
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
TOLERANCE = 2e-6


def add(cases: Cases, kind: str, hidden: int, **attributes: Any) -> None:
    """One operator with all its operands, drawn at random."""
    seed = len(cases.nodes) * 10
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[kind] * hidden
    state = (directions, BATCH, hidden)
    operands = [
        cases.input(random(STEPS, BATCH, WIDTH, seed=seed)),
        cases.weight(random(directions, rows, WIDTH, seed=seed + 1) / 2),
        # Smaller for larger states, so that differences do not grow from step to step.
        cases.weight(random(directions, rows, hidden, seed=seed + 2) / max(2, hidden**0.5)),
        cases.weight(random(directions, 2 * rows, seed=seed + 3) / 2),
        cases.input([5, 2, 4], "int32") if attributes.pop("lengths", False) else "_",
        cases.input(random(*state, seed=seed + 4)),
    ]
    if kind == "LSTM":
        operands.append(cases.input(random(*state, seed=seed + 5)))
        if attributes.pop("peepholes", False):
            operands.append(cases.weight(random(directions, 3 * hidden, seed=seed + 6) / 2))
    results = 3 if kind == "LSTM" else 2
    cases.add(
        kind,
        " ".join(operands),
        results=results,
        tolerance=TOLERANCE,
        hidden_size=hidden,
        **attributes,
    )


@pytest.mark.parametrize("kind", GATES)
def test_directions_lengths_and_options(tmp_path: Path, kind: str) -> None:
    cases = Cases(opset=14)
    add(cases, kind, 16)
    add(cases, kind, 7, direction="reverse", lengths=True)
    add(cases, kind, 6, direction="bidirectional", lengths=True, clip=0.4)
    if kind == "GRU":
        add(cases, kind, 5, direction="bidirectional", linear_before_reset=1)
    if kind == "LSTM":
        add(cases, kind, 5, direction="bidirectional", peepholes=True)
    cases.check(tmp_path)


@pytest.mark.parametrize("kind", GATES)
def test_threads_share_the_steps_of_large_states(tmp_path: Path, kind: str) -> None:
    cases = Cases(opset=14)
    hidden = {"RNN": 320, "GRU": 136, "LSTM": 112}[kind]
    assert GATES[kind] * hidden**2 * BATCH >= SHARED_STEP
    add(cases, kind, hidden)
    add(cases, kind, hidden, direction="bidirectional", lengths=True)
    add(cases, kind, hidden + 5, direction="reverse", lengths=True)
    if kind == "GRU":
        add(cases, kind, hidden, direction="bidirectional", linear_before_reset=1)
    cases.check(tmp_path)


def test_activations_take_their_parameters_in_order(tmp_path: Path) -> None:
    cases = Cases(opset=14)
    add(cases, "RNN", 4, activations=["Affine"], activation_alpha=[0.3], activation_beta=[0.1])
    add(cases, "RNN", 4, activations=["ScaledTanh"], activation_alpha=[0.7], activation_beta=[0.9])
    add(cases, "RNN", 4, activations=["Softsign"])
    add(cases, "RNN", 4, activations=["Relu"])
    add(
        cases,
        "LSTM",
        4,
        activations=["HardSigmoid", "LeakyRelu", "Elu"],
        activation_alpha=[0.3, 0.1, 0.8],
        activation_beta=[0.4],
    )
    add(cases, "GRU", 4, activations=["Sigmoid", "ThresholdedRelu"], activation_alpha=[0.2])
    cases.check(tmp_path)
