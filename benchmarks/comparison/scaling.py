"""How much faster a network is on several threads than on one, and what the machine allows."""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comparison.library import Model
from comparison.measure import CLOCKS, turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comparison.build import Build
    from comparison.models import ModelFiles

NETWORKS = ("resnet50", "vgg19", "mobilenet_v2", "bert_base")


@dataclass(frozen=True)
class Scaling:
    """Turns of a network on one thread, on several, and of as many copies, right after each other.

    The copies run at the same time, with one thread each. They wait for nothing of each other, so
    what they gain together is what caches, memory and clock rates leave of another core.

    Attributes:
        alone, together: milliseconds of a run in each turn.
        beside: milliseconds of a run of a copy, the mean of the copies.
    """

    network: str
    threads: int
    alone: Sequence[float]
    together: Sequence[float]
    beside: Sequence[float]

    @property
    def ratio(self) -> float:
        """The median of the pairs: what else the machine does changes between them."""
        pairs = zip(self.alone, self.together, strict=True)
        return statistics.median(one / several for one, several in pairs)

    @property
    def bound(self) -> float:
        """How many times as many runs the copies do as one alone, the median likewise."""
        pairs = zip(self.alone, self.beside, strict=True)
        return statistics.median(self.threads * one / copy for one, copy in pairs)


def scaling(model: ModelFiles, build: Build, threads: int, rounds: int, seconds: float) -> Scaling:
    """Measure one network.

    Args:
        model: the network.
        build: where it is built.
        threads: how many are compared with one.
        rounds: how often each has a turn.
        seconds: of a turn.
    """
    name = model.network.name
    weights = build.artifacts(name) / "weights.bin"

    def open_model(count: int) -> Model:
        opened = Model(build.library(name), name, count, weights)
        opened.set_inputs(list(model.inputs().values()))
        return opened

    several = open_model(threads)
    copies = [open_model(1) for _ in range(threads)]
    turns: dict[str, list[float]] = {"alone": [], "together": [], "beside": []}

    def measure(executor: Model) -> float:
        return turn(executor, seconds, CLOCKS["wall"])

    with ThreadPoolExecutor(threads) as pool:
        ways = {
            "alone": lambda: measure(copies[0]),
            "together": lambda: measure(several),
            "beside": lambda: statistics.fmean(pool.map(measure, copies)),
        }
        order = list(ways)
        for _ in range(rounds):
            for way in order:
                turns[way].append(ways[way]())
            order = order[1:] + order[:1]
    for executor in (several, *copies):
        executor.close()
    return Scaling(name, threads, turns["alone"], turns["together"], turns["beside"])
