"""The comparison runs as a user starts it, and tells what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
SCRIPT = REPO / "benchmarks" / "speed.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("speed")


def run(cache: Path, *options: str) -> object:
    result = cache / "result.json"
    command: list[str | Path] = [sys.executable, SCRIPT, "--cache", cache, "--json", result]
    done = subprocess.run(
        [*command, *options], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    content: object = json.loads(result.read_text(encoding="utf-8"))
    return content


def test_compares_outputs_and_times(cache: Path) -> None:
    content = run(
        cache,
        "--networks",
        "digits",
        "--peers",
        "tvmake",
        "onnxruntime",
        "--rounds",
        "2",
        "--quick",
        *("--threads", "1"),
    )
    assert isinstance(content, dict)
    assert content["peak_gflops"]["1"] > 1
    (row,) = content["rows"]
    assert (row["network"], row["threads"], row["batch"]) == ("digits", 1, 1)
    for peer in ("tvmake", "onnxruntime"):
        result = row["results"][peer]
        assert result["failure"] is None
        assert len(result["turns"]) == 2
        assert 0 < result["best_ms"] <= result["ms"]
        assert result["error"] < 1e-5
    results = row["results"]
    assert row["ratio"] == pytest.approx(results["onnxruntime"]["ms"] / results["tvmake"]["ms"])


def test_scaling_compares_threads_in_turns(cache: Path) -> None:
    networks = ("--networks", "digits", "--scaling", "digits", "--peers", "tvmake")
    content = run(cache, *networks, "--rounds", "3", "--quick", "--threads", "1", "2")
    assert isinstance(content, dict)
    (gain,) = content["scalings"]
    assert (gain["network"], gain["threads"]) == ("digits", 2)
    ratios = [one / two for one, two in zip(gain["alone"], gain["together"], strict=True)]
    assert len(ratios) == 3
    assert gain["ratio"] == pytest.approx(sorted(ratios)[1])


def test_profile_counts_multiplications(cache: Path) -> None:
    calls = run(cache, "--profile", "digits", "--rounds", "2", "--threads", "1")
    assert isinstance(calls, list)
    assert all(call["nanoseconds"] > 0 and call["bytes"] > 0 for call in calls)
    # Counted by hand: two padded convolutions, two dense layers.
    assert sum(call["multiplications"] for call in calls) == 9216 + 73728 + 8192 + 640
