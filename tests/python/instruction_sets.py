"""x86's instruction sets by CPU, and which of them this machine has."""

from __future__ import annotations

from pathlib import Path

from tvmake.spec import TargetSpec
from tvmake.target import resolve_target

INSTRUCTION_SETS = {"SSE2": "x86-64", "AVX2": "x86-64-v3", "AVX-512": "x86-64-v4"}


def missing_features(cpu: str) -> set[str]:
    """What a CPU has that this machine lacks. Names as in /proc/cpuinfo where they agree."""
    wanted = {"avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq"}
    target = resolve_target(TargetSpec("x86_64-linux-gnu", cpu))
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return (wanted & set(target.required_features)) - set(flags)
