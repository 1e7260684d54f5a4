"""Minimal filtering: neighbouring results of a filter with few multiplications.

y = Aᵀ [(G g) ⊙ (Bᵀ d)] for inputs d, taps g and results y. The matrices come from polynomials that
are multiplied by their values at some points (Winograd, "Arithmetic Complexity of Computations",
1980, chapter IV; Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
arXiv:1509.09308, section 4). A filter with steps of two is the sum of two with steps of one: of its
even taps over the even inputs, and of the odd ones.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    Matrix = tuple[tuple[float, ...], ...]
    Rows = list[list[Fraction]]

# Each stands for itself and its negative: the two share half of their sums. Small ones lose few
# digits. Zero is taken where there would be one too few, and the last of every filter is infinity.
_POINTS = (Fraction(1), Fraction(1, 2), Fraction(2))


@dataclass(frozen=True)
class Filter:
    """Of one dimension.

    Attributes:
        tile: results that are computed together.
        taps: of the filter.
        stride: inputs from one result to the next.
        before: Bᵀ, a row for each multiplication, a column for each input: as many.
        weights: G, a column for each tap. All multiplications from its last row on share that row.
        after: Aᵀ, a row for each result, a column for each multiplication.
    """

    tile: int
    taps: int
    stride: int
    before: Matrix
    weights: Matrix
    after: Matrix

    @property
    def size(self) -> int:
        """How many inputs a tile has, and multiplications."""
        return len(self.before)


@functools.cache
def minimal_filter(tile: int, taps: int, stride: int = 1) -> Filter:
    """F(tile, taps) for steps of one or two.

    Raises:
        ValueError: if it is so large that it would lose many digits.
    """
    if stride == 1:
        before, weights, after = _toom_cook(tile, taps)
        return Filter(tile, taps, stride, *map(_floats, (before, weights, after)))
    even_before, even_weights, even_after = _toom_cook(tile, -(-taps // 2))
    odd = _single(tile) if taps // 2 == 1 else _toom_cook(tile, taps // 2)
    odd_before, odd_weights, odd_after = odd
    size = len(even_before) + len(odd_before)
    before = [_spread(row, 0, size) for row in even_before]
    before += [_spread(row, 1, size) for row in odd_before]
    weights = [_spread(row, 0, taps) for row in even_weights]
    weights += [_spread(row, 1, taps) for row in odd_weights]
    after = [even + odd for even, odd in zip(even_after, odd_after, strict=True)]
    return Filter(tile, taps, stride, *map(_floats, (before, weights, after)))


def transform(matrix: Matrix, values: Sequence[Any]) -> list[Any]:
    """A matrix times a vector of expressions, with few operations.

    Columns that are alike up to their signs share their sum and difference. What rows that are so
    share is written alike in both, so that it is computed once.
    """
    columns = [list(column) for column in zip(*matrix, strict=True)]
    terms = list(values)
    for first, second in _opposites(columns):
        columns[first], columns[second] = _parts(columns[first], columns[second])
        total, difference = terms[first] + terms[second], terms[first] - terms[second]
        terms[first], terms[second] = total, difference
    rows = [list(row) for row in zip(*columns, strict=True)]
    results = [_dot(row, terms) for row in rows]
    for first, second in _opposites(rows):
        shared, opposed = (_dot(part, terms) for part in _parts(rows[first], rows[second]))
        results[first], results[second] = shared + opposed, shared - opposed
    return results


def _opposites(vectors: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pairs of vectors that have the same elements but for signs, some the same and some not."""
    found: list[tuple[int, int]] = []
    for first, a in enumerate(vectors):
        for second in range(first + 1, len(vectors)):
            b, used = vectors[second], {i for pair in found for i in pair}
            pairs = [(x, y) for x, y in zip(a, b, strict=True) if x or y]
            alike = all(abs(x) == abs(y) for x, y in pairs)
            if alike and len({x == y for x, y in pairs}) == 2 and not used & {first, second}:
                found.append((first, second))
    return found


def _parts(a: Sequence[float], b: Sequence[float]) -> tuple[list[float], list[float]]:
    """Of two that are alike up to their signs: where these are the same, and where they are not."""
    pairs = list(zip(a, b, strict=True))
    return [x if x == y else 0.0 for x, y in pairs], [x if x != y else 0.0 for x, y in pairs]


def _dot(row: Sequence[float], terms: Sequence[Any]) -> Any:
    """A sum of products, without multiplications by one."""
    used = [(factor, term) for factor, term in zip(row, terms, strict=True) if factor]
    used.sort(key=lambda each: each[0] < 0)
    size = abs(used[0][0])
    if size != 1 and all(abs(factor) == size for factor, _ in used):
        return _dot([f / size for f, _ in used], [term for _, term in used]) * size
    total: Any = None
    for factor, term in used:
        product = term if abs(factor) == 1 else term * abs(factor)
        if total is None:
            total = product if factor > 0 else product * -1.0
        else:
            total = total + product if factor > 0 else total - product
    return total


def _toom_cook(tile: int, taps: int) -> tuple[Rows, Rows, Rows]:
    """Bᵀ, G and Aᵀ for steps of one."""
    count = tile + taps - 2
    pairs = _POINTS[: count // 2]
    points = [Fraction(0)] * (count % 2) + [sign * p for p in pairs for sign in (1, -1)]
    if len(points) < count:
        raise ValueError(f"F({tile}, {taps}) takes {count} points, here are {len(points)}")
    before, weights = [], []
    for point in points:
        others = [other for other in points if other != point]
        scale = functools.reduce(lambda a, other: a * (point - other), others, Fraction(1))
        sign = -1 if scale < 0 else 1
        before.append([sign * factor for factor in _polynomial(others)] + [Fraction(0)])
        weights.append([point**power / abs(scale) for power in range(taps)])
    before.append(_polynomial(points))
    weights.append([Fraction(power == taps - 1) for power in range(taps)])
    after = [
        [*(point**power for point in points), Fraction(power == tile - 1)] for power in range(tile)
    ]
    return before, weights, after


def _single(tile: int) -> tuple[Rows, Rows, Rows]:
    """The same for a filter of one tap: a multiplication for each result, all by that tap."""
    identity = [[Fraction(row == column) for column in range(tile)] for row in range(tile)]
    return identity, [[Fraction(1)]], identity


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the product of all x - root, lowest power first."""

    def times(factors: list[Fraction], root: Fraction) -> list[Fraction]:
        zero = [Fraction(0)]
        return [up - root * own for up, own in zip(zero + factors, factors + zero, strict=True)]

    return functools.reduce(times, roots, [Fraction(1)])


def _spread(row: Sequence[Fraction], first: int, size: int) -> list[Fraction]:
    """A row with its elements at every second place."""
    spread = [Fraction(0)] * size
    spread[first::2] = row
    return spread


def _floats(rows: Rows) -> Matrix:
    return tuple(tuple(map(float, row)) for row in rows)


Transform = "Callable[[Sequence[Any]], list[Any]]"
