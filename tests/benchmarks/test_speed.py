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
    copies = [2 * one / copy for one, copy in zip(gain["alone"], gain["beside"], strict=True)]
    assert gain["bound"] == pytest.approx(sorted(copies)[1])


def test_layers_are_told_apart(cache: Path) -> None:
    peers = ("--networks", "digits", "--peers", "tvmake", "--quick", "--threads", "1")
    content = run(cache, *peers, "--rounds", "1", "--layers")
    assert isinstance(content, dict)
    layers = {layer["layer"]: layer for layer in content["layers"]}
    assert "convolution 3 x 3, 128 to 256 channels of 28 x 28, steps of 2" in layers
    assert "product with weights, 1024 x 512 x 2048" in layers
    assert "product of two computed matrices, 1024 x 1536 x 1024" in layers
    for layer in layers.values():
        # Multiplications done in its time: another kernel's would be many times more or less.
        assert 0.1 < layer["share"] < 1.5, layer


def test_page_has_a_section_for_each_kind_of_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from comparison import page, report

    result = {"ms": 1.0, "best_ms": 1.0, "error": 0.0, "failure": None, "turns": [1.0]}
    row = report.Row("digits", "small", 1, 1, {"onnxruntime": {**result, "ms": 3.0}})
    row.results["tvmake"] = result
    section = page.section_text(report.Report([row], {1: 100.0}, "wall"), "A note.", "a.svg")
    assert f"vectors of {report.vector_bits()} bits" in section
    assert "| digits | 1 | 1 | 3 | 1 | 3.00 | 0e+00 |" in section
    other = "<!-- begin 1: written by benchmarks/speed.py -->\nkept\n<!-- end -->\n"
    own = "<!-- begin 2: written by benchmarks/speed.py -->\nold\n<!-- end -->\nafter\n"
    written = page.with_section(other + own, "2", section)
    assert written == other + own.replace("old\n", section + "\n")
    with pytest.raises(ValueError, match="no section for vectors of 2 bits"):
        page.with_section(other, "2", section)


def test_profile_counts_multiplications(cache: Path) -> None:
    calls = run(cache, "--profile", "digits", "--rounds", "2", "--threads", "1")
    assert isinstance(calls, list)
    assert all(call["nanoseconds"] > 0 and call["bytes"] > 0 for call in calls)
    # Counted by hand: two padded convolutions, two dense layers.
    assert sum(call["multiplications"] for call in calls) == 9216 + 73728 + 8192 + 640
