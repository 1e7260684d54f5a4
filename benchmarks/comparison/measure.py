"""Measures one network at one number of threads, all peers in turns, in a process of its own.

    python -m comparison.measure JOB.json     prints a JSON object

Each round gives every peer a turn, in an order that changes from round to round: a short rest, in
which the threads of the one before go to sleep, one run that does not count, then runs for a while.
A turn's result is the median of its runs, a peer's result the median of its turns.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from comparison.peers import RUNNERS, Job

if TYPE_CHECKING:
    from comparison.peers import Runner

    Array = np.ndarray[Any, Any]

_REST = 0.02  # seconds; idle threads of onnxruntime and TBB spin for a few milliseconds
_MOST_RUNS = 2000
_LEAST_RUNS = 3  # of a network that takes longer than a turn, unless that takes too long
_PATIENCE = 6  # turns' time for them

CLOCKS: dict[str, Callable[[], int]] = {
    "wall": time.perf_counter_ns,
    # Of this process, which has nothing else to do: tells little on several threads, but on a
    # machine that does other things too it is what one thread would take.
    "cpu": time.process_time_ns,
}


@dataclass
class Measurement:
    """What a peer reached, or why it did not.

    Attributes:
        ms: median of the turns, in milliseconds.
        best_ms: the fastest turn.
        error: largest difference from the float64 outputs, relative to each output's range.
    """

    ms: float | None = None
    best_ms: float | None = None
    error: float | None = None
    failure: str | None = None
    turns: list[float] = field(default_factory=list)


def measure(
    job: Job, peers: list[str], reference: list[Array], rounds: int, seconds: float, clock: str
) -> dict[str, Measurement]:
    """Measure peers on one network."""
    results = {peer: Measurement() for peer in peers}
    runners: dict[str, Runner] = {}
    for peer in peers:
        runner = _open(peer, job, reference, results[peer])
        if runner:
            runners[peer] = runner
    order = list(runners)
    for _ in range(rounds):
        order = order[1:] + order[:1]
        for peer in order:
            results[peer].turns.append(turn(runners[peer], seconds, CLOCKS[clock]))
    for peer in runners:
        turns = results[peer].turns
        results[peer].ms, results[peer].best_ms = statistics.median(turns), min(turns)
    return results


def _open(peer: str, job: Job, reference: list[Array], result: Measurement) -> Runner | None:
    """A peer that has run once and been checked; None when it could not."""
    try:
        runner = RUNNERS[peer](job)
        runner.run()
        result.error = relative_error(runner.outputs(), reference)
    except Exception as error:  # noqa: BLE001 - a peer's failure is a result
        result.failure = f"{type(error).__name__}: {error}"
        return None
    return runner


def turn(runner: Runner, seconds: float, now: Callable[[], int]) -> float:
    """The median of a turn's runs, in milliseconds."""
    time.sleep(_REST)
    runner.run()
    times: list[int] = []
    start = before = now()
    while len(times) < _MOST_RUNS:
        enough = seconds if len(times) >= _LEAST_RUNS else seconds * _PATIENCE
        if times and before - start >= enough * 1e9:
            break
        runner.run()
        after = now()
        times.append(after - before)
        before = after
    return statistics.median(times) * 1e-6


def relative_error(outputs: list[Array], reference: list[Array]) -> float:
    """The worst output's largest difference over its range; infinite where shapes or kinds differ.

    Args:
        outputs: what a peer gave.
        reference: the same in float64.
    """
    worst = 0.0
    for output, expected in zip(outputs, reference, strict=True):
        if output.shape != expected.shape or not np.isfinite(output).all():
            return float("inf")
        spread = float(np.ptp(expected)) or 1.0
        worst = max(worst, float(np.abs(output.astype(np.float64) - expected).max()) / spread)
    return worst


def main() -> None:
    """Measure what the job file says."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with np.load(request["inputs"]) as file:
        inputs = {name: file[name] for name in file.files}
    with np.load(request["reference"]) as file:
        reference = [file[name] for name in file.files]
    paths = {key: Path(request[key]) for key in ("onnx", "library", "weights", "iree")}
    job = Job(request["name"], inputs=inputs, threads=request["threads"], **paths)
    results = measure(
        job, request["peers"], reference, request["rounds"], request["seconds"], request["clock"]
    )
    print(json.dumps({peer: asdict(result) for peer, result in results.items()}))


if __name__ == "__main__":
    main()
