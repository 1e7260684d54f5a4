"""What compiling costs: time and memory, with nothing cached."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
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
        # What a process had before it became another program counts to the memory of that too:
        # so it is started by one that has little, and not by this one.
        with ProcessPoolExecutor(1, get_context("spawn")) as starter:
            seconds, usage = starter.submit(_run, command, environment).result()
    return Cost(
        model.network.name,
        round(seconds, 1),
        round(usage.ru_utime + usage.ru_stime, 1),
        1024 * usage.ru_maxrss,
        model.onnx.stat().st_size,
    )


def _run(command: list[str], environment: dict[str, str]) -> tuple[float, resource.struct_rusage]:
    """Run a program: its wall time, and what it took."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    # Of this child alone; getrusage() tells the largest of all children so far.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - start, usage
