"""How much faster a network is on several threads than on one."""

from __future__ import annotations

import statistics
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
    """Turns of a network on one thread and on several, each right after the other.

    Attributes:
        alone, together: milliseconds of a run in each turn.
    """

    network: str
    threads: int
    alone: Sequence[float]
    together: Sequence[float]

    @property
    def ratio(self) -> float:
        """The median of the pairs: what else the machine does changes between them."""
        pairs = zip(self.alone, self.together, strict=True)
        return statistics.median(one / several for one, several in pairs)


def scaling(model: ModelFiles, build: Build, threads: int, rounds: int, seconds: float) -> Scaling:
    """Measure one network.

    Args:
        model: the network.
        build: where it is built.
        threads: how many are compared with one.
        rounds: pairs of turns.
        seconds: of a turn.
    """
    name = model.network.name
    weights = build.artifacts(name) / "weights.bin"
    executors = {count: Model(build.library(name), name, count, weights) for count in (1, threads)}
    turns: dict[int, list[float]] = {count: [] for count in executors}
    for executor in executors.values():
        executor.set_inputs(list(model.inputs().values()))
    order = list(executors)
    for _ in range(rounds):
        for count in order:
            turns[count].append(turn(executors[count], seconds, CLOCKS["wall"]))
        order.reverse()
    for executor in executors.values():
        executor.close()
    return Scaling(name, threads, turns[1], turns[threads])
