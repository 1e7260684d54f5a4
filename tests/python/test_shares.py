"""Parallel loops are dealt out in even shares: no iteration twice, none left out."""

from __future__ import annotations

from typing import Any

import pytest
import tvm
from tvm import tirx

from tvmake.emit.shares import share_parallel_loops
from tvmake.schedule import loops

EXTENTS = (2, 3, 12, 31, 33, 63, 64, 65, 100, 1000, 100_003)


def shared(extent: int) -> list[range]:
    """The iterations of each share of a parallel loop."""
    buffer = tirx.decl_buffer((extent,), "float32", "y")
    body = loops.parallel(extent, lambda task: loops.store(buffer, loops.zero(), task))
    module = tvm.IRModule({"main": tirx.PrimFunc([buffer], body)})
    loop = share_parallel_loops()(module)["main"].body
    assert loop.kind == tirx.ForKind.PARALLEL
    inner = loop.body
    assert inner.kind == tirx.ForKind.SERIAL

    def at(value: Any, share: int) -> int:
        analyzer = tvm.sym.Analyzer()
        analyzer.bind(loop.loop_var, tirx.IntImm("int64", share))
        return int(analyzer.simplify(value))

    firsts = [at(inner.min, share) for share in range(int(loop.extent))]
    return [range(first, first + at(inner.extent, share)) for share, first in enumerate(firsts)]


@pytest.mark.parametrize("extent", EXTENTS)
def test_every_iteration_is_in_one_share(extent: int) -> None:
    assert [i for share in shared(extent) for i in share] == list(range(extent))


@pytest.mark.parametrize("threads", [2, 4, 8])
@pytest.mark.parametrize("extent", EXTENTS)
def test_threads_begin_with_even_parts(extent: int, threads: int) -> None:
    shares = shared(extent)
    each = len(shares) // threads
    counts = [sum(map(len, shares[t * each : (t + 1) * each])) for t in range(threads)]
    assert max(counts) - min(counts) <= 1


def test_first_iteration_is_in_the_first_share() -> None:
    assert all(0 in shared(extent)[0] for extent in EXTENTS)
