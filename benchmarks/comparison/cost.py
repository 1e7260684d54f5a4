"""What compiling costs: time and memory, with nothing cached."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comparison.models import REPO

if TYPE_CHECKING:
    from comparison.models import ModelFiles

NETWORKS = ("resnet50", "bert_base")


@dataclass(frozen=True)
class Cost:
    """One compilation from nothing.

    Attributes:
        seconds: wall time.
        cpu_seconds: of all threads together.
        peak_bytes: of resident memory.
    """

    network: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    model_bytes: int


def compile_cost(model: ModelFiles) -> Cost:
    """Compile for this machine in a process of its own, with an empty cache.

    Raises:
        RuntimeError: when the compiler fails.
    """
    with tempfile.TemporaryDirectory(prefix="tvmake-cost-") as folder:
        command = [
            *(sys.executable, "-m", "tvmake", "compile", str(model.onnx), "--quiet"),
            *("--output-dir", folder, "--cache-dir", str(Path(folder) / "cache")),
            *("--cpu", "native", "--weights", "FILE"),
        ]
        environment = {**os.environ, "PYTHONPATH": str(REPO / "python")}
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        # Of this child alone; getrusage() tells the largest of all children so far.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Cost(
        model.network.name,
        round(seconds, 1),
        round(cpu_seconds, 1),
        1024 * usage.ru_maxrss,
        model.onnx.stat().st_size,
    )
