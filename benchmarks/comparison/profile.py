"""Where the time of a network goes, kernel call by kernel call."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from comparison.library import Model
from comparison.work import CallWork, call_work

if TYPE_CHECKING:
    from comparison.build import Build
    from comparison.models import ModelFiles

_SHOWN_SOURCES = 3


@dataclass(frozen=True)
class CallProfile:
    """One kernel call: its work, and the median of its time in nanoseconds."""

    work: CallWork
    nanoseconds: float

    @property
    def gflops(self) -> float:
        """GFLOP/s, a multiplication with its addition being two."""
        return 2 * self.work.multiplications / max(self.nanoseconds, 1.0)

    @property
    def gigabytes(self) -> float:
        """GB/s of operands and results."""
        return self.work.bytes / max(self.nanoseconds, 1.0)


def profile(model: ModelFiles, build: Build, threads: int, runs: int) -> list[CallProfile]:
    """Time every kernel call of a network."""
    name = model.network.name
    artifacts = build.artifacts(name)
    library = Model(build.library(name), name, threads, artifacts / "weights.bin")
    library.set_inputs(list(model.inputs().values()))
    library.run()
    observed = [library.run_observed() for _ in range(runs)]
    times = [
        statistics.median(call.nanoseconds for call in calls)
        for calls in zip(*observed, strict=True)
    ]
    work = call_work(artifacts, model.onnx, times)
    return [CallProfile(*entry) for entry in zip(work, times, strict=True)]


def show(calls: list[CallProfile], title: str, peak: float, limit: int) -> None:
    """Print the slowest calls and the sum."""
    from rich.console import Console
    from rich.table import Table

    total = sum(call.nanoseconds for call in calls)
    table = Table(title=title, title_justify="left")
    for column in ("time µs", "share", "M mult.", "GFLOP/s", "of peak", "MB", "GB/s"):
        table.add_column(column, justify="right")
    for column in ("kernel", "compiled from"):
        table.add_column(column, overflow="fold")
    for call in sorted(calls, key=lambda call: -call.nanoseconds)[:limit]:
        table.add_row(*_row(call, total, peak))
    everything = CallWork(
        f"{len(calls)} calls",
        "",
        (),
        sum(call.work.multiplications for call in calls),
        sum(call.work.bytes for call in calls),
    )
    table.add_section()
    table.add_row(*_row(CallProfile(everything, total), total, peak))
    Console(width=200).print(table)


def to_json(calls: list[CallProfile]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [{**asdict(call.work), "nanoseconds": call.nanoseconds} for call in calls]


def _row(call: CallProfile, total: float, peak: float) -> tuple[str, ...]:
    work, has_work = call.work, call.work.multiplications > 0
    names = ", ".join(work.sources[:_SHOWN_SOURCES])
    more = len(work.sources) - _SHOWN_SOURCES
    return (
        f"{call.nanoseconds / 1e3:.1f}",
        f"{100 * call.nanoseconds / total:.1f} %",
        f"{work.multiplications / 1e6:.1f}" if has_work else "",
        f"{call.gflops:.1f}" if has_work else "",
        f"{100 * call.gflops / peak:.0f} %" if has_work else "",
        f"{work.bytes / 1e6:.2f}",
        f"{call.gigabytes:.1f}",
        work.name,
        names + (f" and {more} more" if more > 0 else ""),
    )
