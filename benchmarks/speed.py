"""Compares the speed of tvmake with onnxruntime, OpenVINO and IREE, in one interleaved run.

    python benchmarks/speed.py [--networks NAME …] [--peers NAME …] [--threads N …] [--quick]
    python benchmarks/speed.py --page --cost --scaling --layers
    python benchmarks/speed.py --profile NETWORK [--threads N]

Runs in a Python that has tvmake's requirements with its extras `test` and `bench`; for figures that
mean something, on an otherwise idle machine. Models, builds and what peers compile are kept in
~/.cache/tvmake/benchmarks.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from comparison import page, report
from comparison.build import Build, build
from comparison.cost import NETWORKS as COST_NETWORKS
from comparison.cost import compile_cost
from comparison.layers import Layer, layers
from comparison.measure import CLOCKS
from comparison.models import REPO, ModelFiles, cache_folder, call, prepare
from comparison.peers import RUNNERS, compile_iree
from comparison.profile import profile, show, to_json
from comparison.scaling import NETWORKS as SCALING_NETWORKS
from comparison.scaling import Scaling, scaling
from networks.registry import LAYERS, NETWORKS, QUICK, select


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds, and seconds of a peer's turn in each."""

    rounds: int
    seconds: float


_FULL = Effort(15, 0.1)
_QUICK = Effort(5, 0.05)
_SCALING_TURNS = 4  # times as long, for the median to be one of many runs


def compare(arguments: Any, models: list[ModelFiles], built: Build) -> list[report.Row]:
    """Measure all networks at all numbers of threads; rows appear as they are known."""
    effort = _effort(arguments)
    rows = []
    for model in models:
        compiled, failure = Path(), None
        if "iree" in arguments.peers:
            compiled, failure = _iree(model, arguments.cache)
        for threads in arguments.threads:
            request = {
                "name": model.network.name,
                "onnx": str(model.onnx),
                "inputs": str(model.folder / "inputs.npz"),
                "reference": str(model.folder / "reference.npz"),
                "library": str(built.library(model.network.name)),
                "weights": str(built.artifacts(model.network.name) / "weights.bin"),
                "iree": str(compiled),
                "threads": threads,
                "peers": [p for p in arguments.peers if p != "iree" or not failure],
                "rounds": effort.rounds,
                "seconds": effort.seconds,
                "clock": arguments.clock,
            }
            results = _measure(request)
            if failure:
                results["iree"] = {"failure": failure}
            network = model.network
            row = report.Row(network.name, network.family, network.batch, threads, results)
            report.show_row(row)
            rows.append(row)
    return rows


def _scalings(arguments: Any, models: list[ModelFiles], built: Build) -> list[Scaling]:
    """What several threads gain, where that was asked for."""
    effort = _effort(arguments)
    threads, seconds = max(arguments.threads), _SCALING_TURNS * effort.seconds
    wanted = [model for model in models if model.network.name in arguments.scaling]
    return [scaling(model, built, threads, effort.rounds, seconds) for model in wanted]


def _layers(arguments: Any) -> list[Layer]:
    """How near single layers are to the peak, where that was asked for."""
    models = [prepare(network, arguments.cache) for network in select(list(LAYERS))]
    built = build(models, arguments.cache)
    rounds = _effort(arguments).rounds
    return [
        layer
        for model in models
        for threads in arguments.threads
        for layer in layers(model, built, threads, rounds)
    ]


def _effort(arguments: Any) -> Effort:
    effort = _QUICK if arguments.quick else _FULL
    return replace(effort, rounds=arguments.rounds or effort.rounds)


def _measure(request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tvmake-speed-") as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        printed = call([sys.executable, "-m", "comparison.measure", path])
    results: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return results


def _iree(model: ModelFiles, cache: Path) -> tuple[Path, str | None]:
    """The network compiled by IREE, or why not."""
    try:
        return compile_iree(model.onnx, cache), None
    except RuntimeError as error:
        return Path(), str(error)[:500]


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, metavar="NAME")
    parser.add_argument("--peers", nargs="+", choices=RUNNERS, default=list(RUNNERS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="few networks, few rounds")
    parser.add_argument("--rounds", type=int, help="turns of each peer")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: on a busy machine, with one thread"
    )
    parser.add_argument("--profile", choices=NETWORKS, metavar="NAME", help="our kernels only")
    parser.add_argument(
        "--page",
        action="store_true",
        help="write into docs/speed.md, with JSON and a plot",
    )
    parser.add_argument("--note", default="", help="a sentence for the page")
    parser.add_argument("--cost", action="store_true", help="time and memory of compiling, too")
    parser.add_argument(
        "--scaling",
        nargs="*",
        choices=NETWORKS,
        metavar="NAME",
        help="of networks, the most threads beside one, in turns, too",
    )
    parser.add_argument(
        "--layers", action="store_true", help="single layers beside the machine's peak, too"
    )
    parser.add_argument("--limit", type=int, default=25, help="lines of a profile")
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--cache", type=Path, default=cache_folder())
    arguments: Any = parser.parse_args()
    if arguments.clock == "cpu" and arguments.threads != [1]:
        parser.error("--clock cpu needs --threads 1")
    if arguments.scaling is not None and max(arguments.threads) == 1:
        parser.error("--scaling needs more --threads than 1")
    known = arguments.networks or (QUICK if arguments.quick else NETWORKS)
    if absent := [name for name in arguments.scaling or () if name not in known]:
        parser.error(f"--scaling of {', '.join(absent)}, which --networks leaves out")
    if arguments.scaling is None:
        arguments.scaling = []
    elif not arguments.scaling:
        arguments.scaling = SCALING_NETWORKS
    return arguments


def main() -> None:
    """Do what the command line asks for."""
    arguments = _arguments()
    if arguments.page:
        page.check(REPO / "docs")
    names = [arguments.profile] if arguments.profile else arguments.networks
    names = names or (QUICK if arguments.quick else list(NETWORKS))
    models = [prepare(network, arguments.cache) for network in select(names)]
    built = build(models, arguments.cache)
    peaks = {threads: built.fma_peak(threads) for threads in arguments.threads}
    if arguments.profile:
        threads = arguments.threads[0]
        calls = profile(models[0], built, threads, arguments.rounds or 20)
        title = f"{names[0]}, {threads} threads, peak {peaks[threads]:.0f} GFLOP/s"
        show(calls, title, peaks[threads], arguments.limit)
        content: Any = to_json(calls)
    else:
        rows = compare(arguments, models, built)
        costly = [m for m in models if m.network.name in COST_NETWORKS] if arguments.cost else []
        costs = [compile_cost(model) for model in costly]
        gains = _scalings(arguments, models, built)
        single = _layers(arguments) if arguments.layers else []
        result = report.Report(rows, peaks, arguments.clock, costs, gains, single)
        result.show()
        if arguments.page:
            page.write(result, REPO / "docs", arguments.note)
        content = result.to_json()
    if arguments.json:
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
