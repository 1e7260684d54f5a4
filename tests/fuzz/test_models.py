"""Damaged model files never crash or hang the compiler: they compile, or are refused."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

from fuzz import run
from fuzz.models import sources

SECONDS = 45


@pytest.mark.slow
def test_damaged_models(tmp_path: Path) -> None:
    # Threads do not survive a fork: everything happens in a process that has none.
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_fuzz, args=(str(tmp_path), results))
    process.start()
    counts, findings = results.get(timeout=900)
    process.join()
    assert not findings, "\n".join(findings)
    assert counts["refused"] > 5
    assert counts["compiled"] > 0


def _fuzz(folder: str, results: multiprocessing.Queue[object]) -> None:
    models = sources(Path(folder))
    for model in models:
        run.warm_up(model)
    counts, findings = {"compiled": 0, "refused": 0, "finding": 0}, []
    end = time.monotonic() + SECONDS
    for seed, data in run.mutants(models, 0):
        if time.monotonic() > end and counts["compiled"] and counts["refused"] > 5:
            break
        outcome = run.check(data)
        counts[outcome.kind] += 1
        if outcome.kind == "finding":
            findings.append(f"seed {seed}: {outcome.report}")
    results.put((counts, findings))


def test_a_crash_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("as TVM does")

    monkeypatch.setattr(run, "compile_model", crash)
    outcome = run.check(b"")
    assert outcome.kind == "finding"
    assert "RuntimeError: as TVM does" in outcome.report
