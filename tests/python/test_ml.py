"""Models of scikit-learn beyond the usual ones, over the planned arena, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC, SVR

from python.arena_runner import run
from python.onnx_models import random, spec
from tvmake.compiler import compile_model
from tvmake.errors import UnsupportedError
from tvmake.frontend import import_model
from tvmake.reference import reference_outputs

FEATURES = random(120, 5, seed=1)
CLASSES = (FEATURES[:, 0] > 0).astype(int) + (FEATURES[:, 1] > 0.5)
NUMBERS = FEATURES[:, 0] * 2 + FEATURES[:, 1]
ENTRY = "X=float32[7,5]"

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter warns of its own code


def save(path: Path, model: Any, target: Any, **options: Any) -> Path:
    model.fit(FEATURES, target)
    opsets = {"": 18, "ai.onnx.ml": 3}
    exported = to_onnx(model, FEATURES[:1], target_opset=opsets, **options)
    path.write_bytes(exported.SerializeToString())
    return path


def check(path: Path, *outputs: str) -> list[str]:
    """Compile, run, compare; the names of the outputs."""
    inputs = {"X": FEATURES[:7]}
    got = run(compile_model(spec(path, ENTRY, outputs=outputs)), inputs)
    expected = reference_outputs(path, inputs, list(got))
    for name, value in got.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=name)
    return list(got)


@pytest.mark.parametrize("target", [CLASSES, CLASSES > 0], ids=["three", "two"])
def test_svm_classifier(tmp_path: Path, target: Any) -> None:
    names = check(save(tmp_path / "m.onnx", SVC(), target.astype(int)))
    assert len(names) == 2  # labels, and the tensor that ZipMap would have made dictionaries of


def test_svm_regressor(tmp_path: Path) -> None:
    check(save(tmp_path / "m.onnx", SVR(kernel="poly", degree=3), NUMBERS))


def test_labels_of_text(tmp_path: Path) -> None:
    forest = RandomForestClassifier(3, random_state=0)
    path = save(tmp_path / "m.onnx", forest, np.array(["a", "b", "c"])[CLASSES])
    with pytest.raises(UnsupportedError, match=r"label' is a tensor of strings(.|\n)*OUTPUTS"):
        import_model(spec(path, ENTRY))
    check(path, "probabilities")
