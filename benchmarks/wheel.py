"""Measures a model wheel: its size, `import` with the first result, and the time of one call.

Usage: python benchmarks/wheel.py <digits wheel>, which is installed into a temporary environment.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_START = """
import time, numpy
x = numpy.zeros((1, 1, 8, 8), numpy.float32)
start = time.perf_counter()
import digits
digits.Model().run(x)
print(time.perf_counter() - start)
"""
_CALL = """
import time, numpy, digits
x = numpy.zeros((1, 1, 8, 8), numpy.float32)
model = digits.Model(num_threads=1)
best = 1.0
for _ in range(50):
    start = time.perf_counter()
    for _ in range(1000): model.run(x)
    best = min(best, (time.perf_counter() - start) / 1000)
print(best)
"""


def main() -> None:
    """Print one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    wheel: Path = parser.parse_args().wheel
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = f"{folder}/bin/python"
        subprocess.run([python, "-m", "pip", "install", "-q", wheel], check=True)
        start = statistics.median(_seconds(python, _START) for _ in range(15))
        call = _seconds(python, _CALL)
    print(f"size                    {wheel.stat().st_size / 1e6:.2f} MB")
    print(f"import and first result {start * 1e3:.1f} ms")
    print(f"one call                {call * 1e6:.1f} us")


def _seconds(python: str, program: str) -> float:
    result = subprocess.run([python, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    return float(result.stdout)


if __name__ == "__main__":
    main()
