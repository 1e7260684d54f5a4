"""The generic GraphExecutor module, loaded by Python and by C++ programs without the compiler."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from e2e.support import REPO, Array, Project, call

DIGITS = REPO / "examples" / "digits"


def _image(index: int) -> Array:
    images: Array = np.load(DIGITS / "test_images.npy")
    return np.asarray(images[index].reshape(1, 1, 8, 8) / 16, np.float32)


def _scores(image: Array) -> Array:
    session = ort.InferenceSession(DIGITS / "digits.onnx", providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": image})[0])


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing but tvm_ffi, what that needs, and NumPy."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in ("apache-tvm-ffi", "numpy", "typing-extensions"):
        files = metadata.files(name) or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            source = Path(str(metadata.distribution(name).locate_file(top)))
            (site / top).symlink_to(source, target_is_directory=source.is_dir())
    python = folder / "bin" / "python"
    missing = subprocess.run([python, "-c", "import tvm"], capture_output=True, check=False)
    assert b"No module named 'tvm'" in missing.stderr
    return python


@pytest.mark.slow
def test_python_needs_tvm_ffi_and_numpy_only(
    project: Project, bare_python: Path, tmp_path: Path
) -> None:
    image = _image(0)
    np.save(tmp_path / "image.npy", image)
    (program,) = _blocks("python", REPO / "docs" / "graph-executor.md")
    program = program.replace("libdigits.so", str(_library(project, "digits_external")))
    zeros = "np.zeros((1, 1, 8, 8), np.float32)"
    assert zeros in program
    program = program.replace(zeros, "np.load('image.npy')")
    program += "\nnp.save('scores.npy', scores)\n"
    call([bare_python, "-I", "-c", program], cwd=tmp_path)
    np.testing.assert_allclose(
        np.load(tmp_path / "scores.npy"), _scores(image), rtol=1e-4, atol=1e-4
    )


@pytest.mark.slow
def test_program_loads_a_library_by_name(project: Project, tmp_path: Path) -> None:
    image = _image(1)
    image.tofile(tmp_path / "input.bin")
    library = _library(project, "digits_shared")
    call([project.build / "load_module", library, "input.bin", "output.bin"], cwd=tmp_path)
    scores = np.fromfile(tmp_path / "output.bin", np.float32).reshape(1, 10)
    np.testing.assert_allclose(scores, _scores(image), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_tvm_ffi_in_the_test_process_is_the_one_that_runs(project: Project) -> None:
    """A tensor that the module gives is one of this process's tvm_ffi, not of a second copy."""
    program = (
        "import sys, tvm_ffi\n"
        "library = tvm_ffi.load_module(sys.argv[1])\n"
        "model = library['default'](tvm_ffi.device('cpu', 0))\n"
        "assert isinstance(model, tvm_ffi.Module), type(model)\n"
        "assert isinstance(model['get_input'](0), tvm_ffi.Tensor)\n"
    )
    call([sys.executable, "-c", program, _library(project, "digits_external")])


def _library(project: Project, name: str) -> Path:
    return project.build / f"lib{name}.so"


def _blocks(language: str, page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
