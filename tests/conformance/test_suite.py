"""Every case of ONNX's backend suite that passed before passes still."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from conformance import report, suite

DOCS = Path(__file__).resolve().parents[2] / "docs"
UPDATE = (
    "PYTHONPATH=python:tests python tests/conformance/suite.py --output docs/conformance.json && "
    "PYTHONPATH=python:tests python tests/conformance/report.py"
)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DOCS / "conformance.json").read_text(encoding="utf-8"))
    return document


def test_the_page_tells_what_the_results_say(expected: dict[str, Any]) -> None:
    page = (DOCS / "conformance.md").read_text(encoding="utf-8")
    assert page == report.page(expected), f"stale: {UPDATE}"


def test_suite(expected: dict[str, Any]) -> None:
    assert onnx.__version__ == expected["onnx"], f"results of another onnx: {UPDATE}"
    outcomes = {case.name: outcome for case, outcome in suite.run_cases(suite.load_cases(), 2)}
    assert set(outcomes) == set(expected["cases"]), f"another suite: {UPDATE}"
    broken, mended = [], []
    for name, outcome in sorted(outcomes.items()):
        before = expected["cases"][name]["result"]
        if outcome.result != "passed" and before == "passed":
            broken.append(f"{name}: {outcome.result}: {outcome.reason}")
        elif outcome.result == "passed" and before != "passed":
            mended.append(name)
    slowest = sorted(outcomes, key=lambda name: -outcomes[name].seconds)[:5]
    print("slowest:", ", ".join(f"{name} {outcomes[name].seconds} s" for name in slowest))
    if mended:
        print(f"pass now, {len(mended)}: {', '.join(mended)}\nwrite it down: {UPDATE}")
    assert not broken, "passed before:\n" + "\n".join(broken)


def test_what_does_not_pass_is_told(expected: dict[str, Any]) -> None:
    """No crash, no hang, no exception that is not tvmake's, no silent wrong result."""
    silent = {
        name: entry["result"]
        for name, entry in expected["cases"].items()
        if entry["result"] not in ("passed", "unsupported")
    }
    assert not silent
