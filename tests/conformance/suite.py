"""ONNX's backend suite against tvmake's backend, each case in a process of its own.

The parent has imported everything and forks a child for each case, so that a case costs its own
work only, and a crash, a hang or a leak ends with its child. As a program it writes the results:

    PYTHONPATH=python:tests python tests/conformance/suite.py --output docs/conformance.json
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import re
import resource
import select
import signal
import tempfile
import time
import unittest
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# One thread: the parent must have none when it forks, and results must not depend on their number.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

CPU_SECONDS = 120
WALL_SECONDS = 1500
MEMORY_BYTES = 12 << 30
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        result: "passed"; "unsupported" (tvmake said so), "rounding" (nearer than the suite's values
            to the result in double precision, and within the suite's tolerances of that), "wrong"
            (another value, type or shape than the suite's), "error" (an exception that is not
            tvmake's), "crash" or "timeout".
        reason: why it did not pass.
        group: the case's set.
        opset: version of the model's default operator set.
        operators: what the model consists of.
        seconds: CPU time.
    """

    result: str
    reason: str = ""
    group: str = ""
    opset: int = 0
    operators: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Case:
    """One test of the suite."""

    name: str
    group: str
    test: unittest.TestCase
    item: Any


def load_cases() -> list[Case]:
    """The suite's tests for the CPU."""
    # Comparing makes NumPy warn of the very overflows that are compared.
    warnings.simplefilter("ignore")
    from conformance.runner import ObservedBackend, SuiteRunner

    runner = SuiteRunner(ObservedBackend, __name__)
    cases = []
    for kind, tests in runner.test_cases.items():
        group = kind.removeprefix("OnnxBackend").removesuffix("ModelTest")
        items = runner._test_items[f"{group}Model"]
        cases += [
            Case(name.removesuffix("_cpu").removeprefix("test_"), group, tests(name), items[name])
            for name in sorted(items)
            if name.endswith("_cpu")
        ]
    return cases


def run_cases(cases: Iterable[Case], workers: int) -> Iterator[tuple[Case, Outcome]]:
    """Run each case in a child, at most `workers` at a time; results as they come."""
    _warm_up()
    waiting = list(cases)[::-1]
    running: dict[int, _Child] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            child = _Child.start(waiting.pop())
            running[child.pipe] = child
        ready, _, _ = select.select(list(running), [], [], 1.0)
        for child in list(running.values()):
            if child.pipe in ready or child.is_late():
                del running[child.pipe]
                yield child.case, child.finish()


def _warm_up() -> None:
    """Do once what every child would do: imports, and what is remembered within a process."""
    from tvmake import compiler, loader
    from tvmake.spec import TargetSpec
    from tvmake.target import host_triple, resolve_target

    resolve_target(TargetSpec(host_triple(), "native"))
    loader._loader(compiler.default_cache_dir())
    import tvmake.emit.kernels
    import tvmake.emit.manifest
    import tvmake.frontend.onnx_import
    import tvmake.lower
    import tvmake.optimize
    import tvmake.schedule  # noqa: F401

    gc.collect()
    gc.freeze()


@dataclass
class _Child:
    """A process that runs one case, and the pipe it answers through."""

    case: Case
    pid: int
    pipe: int
    started: float

    @staticmethod
    def start(case: Case) -> _Child:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            try:
                answer = _run_limited(case)
                os.write(write, json.dumps(answer).encode())
            finally:
                os._exit(0)
        os.close(write)
        return _Child(case, pid, read, time.monotonic())

    def is_late(self) -> bool:
        return time.monotonic() - self.started > WALL_SECONDS

    def finish(self) -> Outcome:
        late = self.is_late()
        if late:
            os.kill(self.pid, signal.SIGKILL)
        data = b"".join(iter(lambda: os.read(self.pipe, 1 << 16), b""))
        os.close(self.pipe)
        _, status, usage = os.wait4(self.pid, 0)
        seconds = round(usage.ru_utime + usage.ru_stime, 2)
        number = os.WTERMSIG(status)
        if late or number == signal.SIGXCPU:
            limit = f"more than {WALL_SECONDS if late else CPU_SECONDS} s"
            return Outcome("timeout", limit, self.case.group, seconds=seconds)
        if number or not data:
            name = signal.Signals(number).name if number else "no answer"
            return Outcome("crash", name, self.case.group, seconds=seconds)
        return Outcome(**{**json.loads(data), "seconds": seconds})


def _run_limited(case: Case) -> dict[str, Any]:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryFile() as silent:
        os.dup2(silent.fileno(), 1)
        os.dup2(silent.fileno(), 2)
        with tempfile.TemporaryDirectory() as folder:
            os.environ["ONNX_MODELS"] = folder  # where the suite puts the inputs it makes
            result = _Result()
            case.test.run(result)
    return asdict(_outcome(case, result.error))


class _Result(unittest.TestResult):
    """Keeps the exception, not its text."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None

    def addError(self, _test: Any, error: Any) -> None:  # noqa: N802 - unittest's name
        self.error = error[1]

    def addFailure(self, _test: Any, error: Any) -> None:  # noqa: N802 - unittest's name
        self.error = error[1]

    def addSkip(self, _test: Any, reason: str) -> None:  # noqa: N802 - unittest's name
        self.error = unittest.SkipTest(reason)


def _outcome(case: Case, error: BaseException | None) -> Outcome:
    from conformance.runner import RoundingError
    from tvmake.errors import TvmakeError

    result = (
        "passed"
        if error is None
        else "unsupported"
        if isinstance(error, TvmakeError)
        else "rounding"
        if isinstance(error, RoundingError)
        else "wrong"
        if isinstance(error, AssertionError)
        else "error"
    )
    reason = ""
    if error is not None:
        text = " ".join(str(error).split()) or type(error).__name__
        prefix = f"{type(error).__name__}: " if result == "error" else ""
        reason = re.sub(r"/\S*/(?=[\w.-]+)", "", prefix + text)[:_LONGEST_REASON]
    model = case.item.proto[0]
    opset, operators = 0, list[str]()
    if model is not None:
        opset = next((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), 0)
        operators = sorted({_qualified(node) for node in model.graph.node})
    return Outcome(result, reason, case.group, opset, tuple(operators))


def _qualified(node: Any) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def document(outcomes: dict[str, Outcome], suite: int) -> dict[str, Any]:
    """The results as they are kept in docs/conformance.json; `suite` is the number of all cases."""
    import onnx

    results = [outcome.result for outcome in outcomes.values()]
    cases = {}
    for name in sorted(outcomes):
        entry = asdict(outcomes[name])
        del entry["seconds"]
        cases[name] = {key: value for key, value in entry.items() if value}
    return {
        "onnx": onnx.__version__,
        "passed": results.count("passed"),
        "total": len(results),
        "suite": suite,
        "cases": cases,
    }


def dump(document: dict[str, Any]) -> str:
    """JSON with one line for each case."""
    cases = document["cases"]
    head = json.dumps({k: v for k, v in document.items() if k != "cases"}, indent=1)
    lines = ",\n".join(f"  {json.dumps(n)}: {json.dumps(cases[n])}" for n in cases)
    return f'{head[:-2]},\n "cases": {{\n{lines}\n }}\n}}\n'


def main() -> None:
    """Run the suite, or what of it matches, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--pattern", default="", help="run the cases whose name matches only")
    parser.add_argument("--failed-in", type=Path, help="run the cases that failed in this JSON")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", type=Path, help="keep each result here, and take up from it")
    arguments = parser.parse_args()
    outcomes: dict[str, Outcome] = {}
    every = load_cases()
    cases = [case for case in every if re.search(arguments.pattern, f"test_{case.name}")]
    before: dict[str, Any] = {}
    if arguments.failed_in:
        before = json.loads(arguments.failed_in.read_text(encoding="utf-8"))["cases"]
        cases = [case for case in cases if before.get(case.name, {}).get("result") != "passed"]
    if arguments.log and arguments.log.exists():
        for line in arguments.log.read_text(encoding="utf-8").splitlines():
            name, entry = json.loads(line)
            outcomes[name] = Outcome(**entry)
        cases = [case for case in cases if case.name not in outcomes]
    start = time.monotonic()
    for case, outcome in run_cases(cases, arguments.workers):
        outcomes[case.name] = outcome
        if arguments.log:
            with arguments.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps((case.name, asdict(outcome))) + "\n")
        if outcome.result != "passed":
            print(f"{case.name}: {outcome.result}: {outcome.reason}", flush=True)
    passed = sum(outcome.result == "passed" for outcome in outcomes.values())
    cpu = sum(outcome.seconds for outcome in outcomes.values())
    wall = time.monotonic() - start
    print(f"{passed} of {len(outcomes)} passed; {cpu:.0f} s of CPU, {wall:.0f} s")
    if arguments.output:
        written = document(outcomes, len(every))
        if before:
            written["cases"] = {**before, **written["cases"]}
            written["total"] = len(written["cases"])
            results = [entry["result"] for entry in written["cases"].values()]
            written["passed"] = results.count("passed")
        arguments.output.write_text(dump(written), encoding="utf-8")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
