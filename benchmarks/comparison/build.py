"""Builds networks as a user of tvmake does: one CMake project, a shared library per model."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comparison.models import BENCHMARKS, call
from networks.registry import LAYERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comparison.models import ModelFiles

_PROJECT = BENCHMARKS / "project"


@dataclass(frozen=True)
class Build:
    """A build tree with some networks in it."""

    folder: Path

    def library(self, name: str) -> Path:
        """The shared library of a network."""
        return self.folder / f"lib{name}.so"

    def artifacts(self, name: str) -> Path:
        """The folder with manifest.json, graph.json and weights.bin."""
        return self.folder / "tvmake" / name

    def fma_peak(self, threads: int) -> float:
        """What this machine's multiply-adds reach, in GFLOP/s."""
        return float(call([self.folder / "fma_peak", str(threads)]))


def build(models: Sequence[ModelFiles], cache: Path) -> Build:
    """Configure and build; does again only what changed, in the models or in the compiler.

    Networks of earlier calls stay configured, so that other selections do not start anew.
    """
    tree = hashlib.sha256(str(BENCHMARKS).encode()).hexdigest()[:8]
    folder = cache / f"build-{tree}"
    listed = {**_configured(folder), **{m.network.name: str(m.onnx) for m in models}}
    value = ";".join(f"{name}={path}" for name, path in sorted(listed.items()))
    precise = ";".join(name for name, network in LAYERS.items() if network.is_precise)
    options = [f"-DBENCH_MODELS={value}", f"-DBENCH_PRECISE={precise}", "-DBENCH_PEAK=ON"]
    call(
        [
            *("cmake", "-S", _PROJECT, "-B", folder, "-GNinja"),
            *(f"-DTVMAKE_PYTHON={sys.executable}", "-DCMAKE_BUILD_TYPE=Release", *options),
        ]
    )
    targets = [model.network.name for model in models]
    call(["cmake", "--build", folder, "--target", "fma_peak", *targets])
    return Build(folder)


def _configured(folder: Path) -> dict[str, str]:
    """The networks that a build tree has already, as far as their files are still there."""
    cache = folder / "CMakeCache.txt"
    if not cache.exists():
        return {}
    match = re.search(r"^BENCH_MODELS:\w+=(.*)$", cache.read_text(encoding="utf-8"), re.MULTILINE)
    entries = (entry.partition("=") for entry in (match[1] if match else "").split(";") if entry)
    return {name: path for name, _, path in entries if Path(path).exists()}
