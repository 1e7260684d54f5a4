"""The files of each network, made once and kept outside of the repository."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from networks.registry import Network

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

BENCHMARKS = Path(__file__).resolve().parents[1]
REPO = BENCHMARKS.parent


@dataclass(frozen=True)
class ModelFiles:
    """One network on disk."""

    network: Network
    folder: Path

    @property
    def onnx(self) -> Path:
        """The model file."""
        return self.folder / "model.onnx"

    def inputs(self) -> dict[str, Array]:
        """Input name -> value, in the model's order."""
        with np.load(self.folder / "inputs.npz") as file:
            return {name: file[name] for name in file.files}

    def reference(self) -> list[Array]:
        """The outputs, calculated in float64."""
        with np.load(self.folder / "reference.npz") as file:
            return [file[name] for name in file.files]


def cache_folder() -> Path:
    """Where models, builds and compiled models of peers are kept."""
    base = os.environ.get("TVMAKE_CACHE_DIR") or Path.home() / ".cache" / "tvmake"
    return Path(base) / "benchmarks"


def prepare(network: Network, cache: Path) -> ModelFiles:
    """Make a network's files, or find them in the cache."""
    folder = cache / "models" / f"{network.name}-{_key(network)}"
    if not (folder / "reference.npz").exists():  # written last
        folder.mkdir(parents=True, exist_ok=True)
        call([sys.executable, "-m", "networks.make", network.name, folder])
    return ModelFiles(network, folder)


def call(command: list[str | Path], **environment: str) -> str:
    """Run a command with the compiler and the benchmarks importable; returns what it prints.

    Raises:
        RuntimeError: with all that it printed, when it fails.
    """
    python_path = os.pathsep.join([str(REPO / "python"), str(BENCHMARKS)])
    result = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": python_path, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        words = " ".join(map(str, command))
        raise RuntimeError(
            f"{words} ended with {result.returncode}:\n{result.stdout}{result.stderr}"
        )
    return result.stdout


def _key(network: Network) -> str:
    """Of all that a network's files are made from."""
    folder = BENCHMARKS / "networks"
    sources = [folder / f"{name}.py" for name in (network.module, "layers", "make", "float64")]
    sources.append(REPO / "tests" / "models" / "light.py")
    digest = hashlib.sha256(repr(network).encode())
    for source in sources:
        digest.update(source.read_bytes() if source.exists() else b"")
    for package in ("onnx", "torch", "onnxscript"):
        digest.update(importlib.metadata.version(package).encode())
    return digest.hexdigest()[:16]
