"""Measures how long a target takes from nothing, and how small a static program is.

    python benchmarks/targets.py [--only NAME …] [--build-dir DIR]

Builds runtime, digits and harness with each toolchain: with empty caches, and a second time in a
new build tree. Needs an otherwise idle machine and a Python that has tvmake's requirements and the
extra `zig`. Prints a table; ends with 1 when a bound is not kept.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
DIGITS = REPO / "examples" / "digits"
MEGABYTE = 1e6


@dataclass(frozen=True)
class Case:
    """A toolchain, and the seconds or bytes that it may take. None: no bound."""

    toolchain: str
    first: float | None
    second: float | None
    strip: str | None = None
    size: float | None = None


CASES = {
    case.toolchain: case
    for case in (
        Case("aarch64-linux-gnu", 45.0, None),
        Case("zig-aarch64-linux-gnu", 120.0, 15.0),
        Case("zig-x86_64-linux-musl", None, None, "strip", 1.5),
        Case("zig-aarch64-linux-musl", None, None, "aarch64-linux-gnu-strip", 1.5),
    )
}


@dataclass(frozen=True)
class Figure:
    """One measured number and its bound, if it has one."""

    name: str
    value: float
    unit: str
    bound: float | None
    note: str = ""

    @property
    def kept(self) -> bool:
        """Whether the number is within the bound."""
        return self.bound is None or self.value <= self.bound

    @property
    def row(self) -> str:
        """The number as a row of the table."""
        bound = f"≤ {self.bound:g} {self.unit}" if self.bound is not None else ""
        kept = ("yes" if self.kept else "no") if self.bound is not None else ""
        return f"| {self.name} | {self.value:.3g} {self.unit}{self.note} | {bound} | {kept} |"


def measure(case: Case, folder: Path) -> list[Figure]:
    """Builds with empty caches, then again; strips the harness."""
    environment = {
        **os.environ,
        "TVMAKE_CACHE_DIR": str(folder / "cache"),
        "ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"),
    }
    figures = []
    for state, bound in (("first", case.first), ("second", case.second)):
        build = folder / state
        wall, processor = _timed(
            [
                *("cmake", "-S", DIGITS, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"),
                f"-DCMAKE_TOOLCHAIN_FILE={REPO / 'toolchains' / case.toolchain}.cmake",
                f"-Dtvmake_DIR={REPO / 'cmake'}",
                f"-DTVMAKE_PYTHON={sys.executable}",
            ],
            environment,
        )
        built = _timed(["cmake", "--build", build, "--target", "digits_harness"], environment)
        note = f" ({processor + built[1]:.0f} s of processor time)"
        name = f"{case.toolchain}: runtime, digits, harness, {state} time"
        figures.append(Figure(name, wall + built[0], "s", bound, note))
    if case.strip:
        stripped = folder / "stripped"
        _timed([case.strip, "-o", stripped, folder / "first" / "digits_harness"], environment)
        size = stripped.stat().st_size / MEGABYTE
        figures.append(Figure(f"{case.toolchain}: static harness, stripped", size, "MB", case.size))
    return figures


def _timed(command: Sequence[str | Path], environment: dict[str, str]) -> tuple[float, float]:
    """Runs a command; returns wall and processor seconds. Ends the program when it fails."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    result = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if result.returncode:
        words = " ".join(map(str, command))
        sys.exit(f"{words} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--build-dir", type=Path, help="build here (default: temporary)")
    arguments = parser.parse_args()
    kept = True
    with tempfile.TemporaryDirectory(prefix="tvmake-targets-") as temporary:
        base = (arguments.build_dir or Path(temporary)).resolve()
        print("| what | measured | bound | kept |\n|---|---|---|---|")
        for name in arguments.only:
            folder = base / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for figure in measure(CASES[name], folder):
                print(figure.row, flush=True)
                kept &= figure.kept
    sys.exit(not kept)


if __name__ == "__main__":
    main()
