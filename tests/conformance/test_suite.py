"""ONNX's backend suite: what passed passes still, and nothing gives a wrong result or fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from conformance import report, suite

REPO = Path(__file__).resolve().parents[2]
DOCS = REPO / "docs"
RESULTS = REPO / "build" / "conformance.json"  # of this run, to look at or to be written down
UPDATE = (
    "PYTHONPATH=python:tests python tests/conformance/suite.py --output docs/conformance.json && "
    "PYTHONPATH=python:tests python tests/conformance/report.py"
)

# How a case may end. Where the suite's values are rounded more than tvmake's, the model in double
# precision says so.
GOOD = ("passed", "unsupported", "rounding")


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DOCS / "conformance.json").read_text(encoding="utf-8"))
    return document


def test_the_page_tells_what_the_results_say(expected: dict[str, Any]) -> None:
    page = (DOCS / "conformance.md").read_text(encoding="utf-8")
    assert page == report.page(expected), f"stale: {UPDATE}"


def test_no_result_is_wrong(expected: dict[str, Any]) -> None:
    assert {entry["result"] for entry in expected["cases"].values()} <= set(GOOD)


def test_suite(expected: dict[str, Any]) -> None:
    assert onnx.__version__ == expected["onnx"], f"results of another onnx: {UPDATE}"
    outcomes = {case.name: outcome for case, outcome in suite.run_cases(suite.load_cases(), 2)}
    assert set(expected["cases"]) <= set(outcomes), f"another suite: {UPDATE}"
    broken, mended = [], []
    for name, outcome in sorted(outcomes.items()):
        before = expected["cases"].get(name, {"result": "not written down"})["result"]
        if outcome.result == "passed" and before != "passed":
            mended.append(name)
        elif outcome.result != before or outcome.result not in GOOD:
            broken.append(f"{name}: {outcome.result}, {before} before: {outcome.reason}")
    results = suite.document(outcomes, len(outcomes))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(suite.dump(results), encoding="utf-8")
    slowest = sorted(outcomes, key=lambda name: -outcomes[name].seconds)[:5]
    print("slowest:", ", ".join(f"{name} {outcomes[name].seconds} s" for name in slowest))
    if mended:
        print(f"pass now, {len(mended)}: {', '.join(mended)}\nwrite it down: {UPDATE}")
    assert not broken, "worse than before, or not refused as it should be:\n" + "\n".join(broken)
    assert results["passed"] >= expected["passed"]
