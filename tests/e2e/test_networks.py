"""Whole networks, from the model file to the outputs of a linked program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from e2e.support import Array, Project
from models import light

ARENA_SLACK = 1.10  # over the largest sum of live tensors
COSINE = 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("name", light.NAMES)
def test_shipped_network_gives_stored_output(project: Project, name: str, tmp_path: Path) -> None:
    image = light.backend_test_input()
    (output,) = project.run(name, [image], tmp_path)
    # The tolerances of onnx's own backend test.
    np.testing.assert_allclose(output, light.stored_output(name), rtol=1e-3, atol=1e-7)
    _assert_close(output, *project.reference(name, [image]))


@pytest.mark.slow
@pytest.mark.parametrize("name", light.NAMES)
def test_random_weights_match_onnxruntime(project: Project, name: str, tmp_path: Path) -> None:
    image = light.random_input(seed=3)
    (output,) = project.run(f"{name}_random", [image], tmp_path)
    (expected,) = project.reference(f"{name}_random", [image])
    assert expected.std() > 0.5 * expected.mean()  # else the comparison says little
    _assert_close(output, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", light.NAMES)
def test_arena_is_near_the_lower_bound(project: Project, name: str) -> None:
    memory = project.manifest(name)["memory"]
    assert memory["live_bytes"] <= memory["arena_bytes"] <= ARENA_SLACK * memory["live_bytes"]


@pytest.mark.slow
def test_sentence_encoder_gives_the_original_embeddings(project: Project, tmp_path: Path) -> None:
    with np.load(project.models / "minilm.npz") as file:
        ids, masks, embeddings = file["input_ids"], file["attention_mask"], file["embeddings"]
    for tokens, mask, expected in zip(ids, masks, embeddings, strict=True):
        (output,) = project.run("minilm", [tokens, mask], tmp_path)
        assert output.shape == (1, *expected.shape)
        norms = np.linalg.norm(output[0]) * np.linalg.norm(expected)
        assert output[0] @ expected / norms >= COSINE
        _assert_close(output, *project.reference("minilm", [tokens, mask]))


def _assert_close(output: Array, expected: Array) -> None:
    """Allows for another order of sums in single precision."""
    largest = float(np.abs(expected).max())
    np.testing.assert_allclose(output, expected, rtol=1e-3, atol=1e-4 * largest)
