"""Compiles one damaged model after the other, each in a process of its own.

A model may compile, or be refused by one of tvmake's errors. A crash, a hang, more memory than it
may take and any other exception are findings. As a program it goes on for a while:

    PYTHONPATH=python:tests python tests/fuzz/run.py --seconds 600 --seed 1
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fuzz.mutate import damaged_bytes, damaged_graph
from tvmake.compiler import compile_model, emit
from tvmake.errors import TvmakeError
from tvmake.spec import ModelSpec, TargetSpec

_CPU_SECONDS = 60
_MEMORY_BYTES = 6 << 30


@dataclass(frozen=True)
class Outcome:
    """What became of a model: "compiled", "refused" by a clear error, or a "finding"."""

    kind: str
    report: str = ""


def mutants(sources: list[bytes], seed: int) -> Iterator[tuple[int, bytes]]:
    """Damaged models without end; each is determined by its seed."""
    while True:
        generator = random.Random(seed)
        damage = damaged_bytes if generator.random() < 0.3 else damaged_graph
        yield seed, damage(generator, generator.choice(sources))
        seed += 1


def check(data: bytes) -> Outcome:
    """Compile in a child, within limits."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report")
        child = os.fork()
        if child == 0:
            _compile(data, Path(folder))
        _, status = os.waitpid(child, 0)
        text = report.read_text(encoding="utf-8") if report.exists() else ""
    if os.WIFSIGNALED(status):
        return Outcome("finding", f"{signal.Signals(os.WTERMSIG(status)).name}\n{text}")
    return Outcome(("compiled", "refused", "finding")[os.WEXITSTATUS(status)], text)


def _compile(data: bytes, folder: Path) -> None:
    """In the child: never returns."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    path = folder / "model.onnx"
    path.write_bytes(data)
    status = 0
    try:
        model = compile_model(ModelSpec("m", path, TargetSpec("x86_64-linux-gnu")))
        emit(model, folder / "out", folder / "cache")
    except TvmakeError:
        status = 1
    except BaseException:  # noqa: BLE001 - every other one is a finding
        (folder / "report").write_text(traceback.format_exc(), encoding="utf-8")
        status = 2
    os._exit(status)


def warm_up(source: bytes) -> None:
    """Compile an undamaged model here too, so that a child has everything imported."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(source)
        compile_model(ModelSpec("m", path, TargetSpec("x86_64-linux-gnu")))
    outcome = check(source)
    assert outcome.kind == "compiled", f"an undamaged model does not compile:\n{outcome.report}"


def main() -> None:
    """Fuzz for a while; prints every finding, keeps its model, and ends with 1 if there is one."""
    from fuzz.models import sources

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="write models that are findings into this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = sources(Path(folder))
    for source in models:
        warm_up(source)
    end, counts = time.monotonic() + arguments.seconds, Counter[str]()
    for seed, data in mutants(models, arguments.seed):
        if time.monotonic() > end:
            break
        outcome = check(data)
        counts[outcome.kind] += 1
        if outcome.kind == "finding":
            print(f"== seed {seed}: {outcome.report}", flush=True)
            if arguments.keep:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                (arguments.keep / f"{seed}.onnx").write_bytes(data)
    print(", ".join(f"{kind} {count}" for kind, count in sorted(counts.items())))
    sys.exit(bool(counts["finding"]))


if __name__ == "__main__":
    main()
