"""Results as a table in the terminal, JSON, a section of a page, and a plot."""

from __future__ import annotations

import math
import platform
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comparison.models import call
from comparison.peers import PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from comparison.cost import Cost
    from comparison.layers import Layer
    from comparison.scaling import Scaling

OURS = "tvmake"
_PRINT_VECTOR_BITS = """
from tvmake.spec import TargetSpec
from tvmake.target import host_triple, resolve_target
print(resolve_target(TargetSpec(host_triple(), "native")).vector_bits)
"""
_WRONG = 1e-2  # relative to the output's range; a peer that is off by more is not a peer


@dataclass(frozen=True)
class Row:
    """One network at one number of threads; `results` by peer, as comparison.measure has them."""

    network: str
    family: str
    batch: int
    threads: int
    results: dict[str, dict[str, Any]]

    def ms(self, peer: str) -> float | None:
        """Milliseconds, unless the peer failed or gave wrong results."""
        result = self.results.get(peer, {})
        is_right = result.get("error") is not None and result["error"] <= _WRONG
        return result["ms"] if is_right else None

    @property
    def best(self) -> tuple[str, float] | None:
        """The fastest peer and its milliseconds."""
        times = [(peer, self.ms(peer)) for peer in self.results if peer != OURS]
        known = [(peer, ms) for peer, ms in times if ms is not None]
        return min(known, key=lambda entry: entry[1]) if known else None

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the best peer we are."""
        ours, best = self.ms(OURS), self.best
        return best[1] / ours if ours and best else None


@dataclass(frozen=True)
class Report:
    """All that was measured.

    Attributes:
        rows: the networks.
        peaks: in GFLOP/s, by number of threads.
        clock: what times are of.
        costs: what compiling costs.
        scalings: what more threads gain.
        layers: how near single layers are to the peak.
    """

    rows: Sequence[Row]
    peaks: dict[int, float]
    clock: str
    costs: Sequence[Cost] = ()
    scalings: Sequence[Scaling] = ()
    layers: Sequence[Layer] = ()

    @property
    def peers(self) -> list[str]:
        """Ours first."""
        return list(dict.fromkeys(peer for row in self.rows for peer in row.results))

    def means(self) -> list[tuple[str, int, float]]:
        """Family, threads, geometric mean of the ratios."""
        groups: dict[tuple[str, int], list[float]] = {}
        for row in self.rows:
            if row.ratio:
                groups.setdefault((row.family, row.threads), []).append(row.ratio)
        return [(*key, math.exp(sum(map(math.log, r)) / len(r))) for key, r in groups.items()]

    def show(self) -> None:
        """Print the whole table."""
        from rich.console import Console
        from rich.table import Table

        table = Table(title=self.heading(), title_justify="left")
        for column in self._columns():
            table.add_column(column, justify="right" if column != "network" else "left")
        for row in self.rows:
            table.add_row(*self._cells(row))
        console = Console(width=160)
        console.print(table)
        for cost in self.costs:
            memory = f"{cost.peak_bytes / 1e6:.0f} MB at most"
            times = f"{cost.seconds:.1f} s, {cost.cpu_seconds:.1f} s of CPU"
            console.print(f"compiling {cost.network}: {times}, {memory}")
        for gain in self.scalings:
            copies = f"{gain.threads} copies over one: {gain.bound:.2f}"
            console.print(
                f"{gain.network}, {gain.threads} threads over one: {gain.ratio:.2f}; {copies}"
            )
        for layer in self.layers:
            console.print(
                f"{layer.layer}, {layer.threads} threads: {100 * layer.share:.0f} % of the peak"
            )
        for family, threads, mean in self.means():
            console.print(f"{family}, {threads} threads: {mean:.2f} times the best peer")

    def heading(self) -> str:
        """Clock and peak."""
        peaks = ", ".join(
            f"{peak:.0f} GFLOP/s on {n} thread{'s' * (n > 1)}" for n, peak in self.peaks.items()
        )
        return f"milliseconds ({self.clock} clock); measured peak of multiply-adds: {peaks}"

    def markdown(self) -> str:
        """The table for a page."""
        columns = self._columns()
        lines = [
            f"| {' | '.join(columns)} |",
            "|" + "|".join("---" if c == "network" else "--:" for c in columns) + "|",
            *(f"| {' | '.join(self._cells(row))} |" for row in self.rows),
        ]
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Everything that was measured, with versions."""
        return {
            "machine": {
                "cpu": cpu_name(),
                "vector_bits": vector_bits(),
                "system": platform.platform(aliased=True, terse=True),
            },
            "versions": {peer: metadata.version(PACKAGES[peer]) for peer in self.peers},
            "clock": self.clock,
            "peak_gflops": self.peaks,
            "geometric_means": [
                {"family": f, "threads": t, "ratio": mean} for f, t, mean in self.means()
            ],
            "compilations": [asdict(cost) for cost in self.costs],
            "scalings": [
                {**asdict(gain), "ratio": gain.ratio, "bound": gain.bound} for gain in self.scalings
            ],
            "layers": [{**asdict(layer), "share": layer.share} for layer in self.layers],
            "rows": [{**asdict(row), "ratio": row.ratio} for row in self.rows],
        }

    def _columns(self) -> list[str]:
        return ["network", "batch", "threads", *self.peers, "ratio to best", "error"]

    def _cells(self, row: Row) -> list[str]:
        error = row.results.get(OURS, {}).get("error")
        return [
            row.network,
            str(row.batch),
            str(row.threads),
            *(_milliseconds(row, peer) for peer in self.peers),
            f"{row.ratio:.2f}" if row.ratio else "",
            f"{error:.0e}" if error is not None else "",
        ]


def show_row(row: Row) -> None:
    """Print one row while the rest is measured."""
    times = "  ".join(f"{peer} {_milliseconds(row, peer)}" for peer in row.results)
    ratio = f"  ratio {row.ratio:.2f}" if row.ratio else ""
    print(f"{row.network}, batch {row.batch}, {row.threads} threads: {times}{ratio}", flush=True)
    for peer, result in row.results.items():
        if result.get("failure"):
            print(f"  {peer}: {result['failure'][:300]}", flush=True)


def cpu_name() -> str:
    """As the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names: Iterable[str] = (line.partition(":")[2] for line in lines if line.startswith("model n"))
    return next(iter(names), platform.processor()).strip()


def vector_bits() -> int:
    """Of the widest vectors that tvmake's kernels use on this machine."""
    return int(call([sys.executable, "-c", _PRINT_VECTOR_BITS]))


def _milliseconds(row: Row, peer: str) -> str:
    result = row.results.get(peer, {})
    if result.get("ms") is None:
        return "failed" if result.get("failure") else ""
    text = f"{result['ms']:.3g}" if result["ms"] < 100 else f"{result['ms']:.0f}"
    return text if row.ms(peer) is not None else f"wrong ({text})"
