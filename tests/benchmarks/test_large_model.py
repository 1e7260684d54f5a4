"""Memory of compiling a model with large weights: they exist once, packed, never twice."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "large_model.py"
_COMPILER_BYTES = 0.75e9  # TVM, LLVM and onnx themselves


@pytest.mark.slow
def test_weights_are_not_doubled(tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, SCRIPT, "--gigabytes", "0.8", "--folder", tmp_path]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    match = re.search(r"\| ([\d.]+) GB \| ([\d.]+) GB \|", done.stdout)
    assert match, done.stdout
    weights, peak = (float(text) * 1e9 for text in match.groups())
    assert weights > 0.7e9
    assert peak < 1.2 * weights + _COMPILER_BYTES
