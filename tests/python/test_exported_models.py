"""Models as exporters really produce them: compiled, run over the arena, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.exported.exporters import MODELS
from python.arena_runner import run
from python.onnx_models import spec
from tvmake.compiler import compile_model
from tvmake.reference import reference_outputs


@pytest.mark.filterwarnings("ignore")  # the exporters warn of what is in their own code
@pytest.mark.parametrize("name", MODELS)
def test_exported_model(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.onnx"
    inputs = MODELS[name](path)
    entries = [f"{k}={v.dtype}[{','.join(map(str, v.shape))}]" for k, v in inputs.items()]
    got = run(compile_model(spec(path, *entries)), inputs)
    expected = reference_outputs(path, inputs, list(got))
    for output, value in got.items():
        wanted = expected[output]
        assert value.shape == wanted.shape
        if wanted.dtype.kind != "f":
            np.testing.assert_array_equal(value, wanted, err_msg=output)
            continue
        assert np.unique(wanted).size > 1  # else the comparison says little
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(value, wanted, atol=1e-5 * scale, rtol=0, err_msg=output)
