"""Several corpora on one side of the mix: whose turn it is, spread evenly, by size, by weight or by temperature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Real

import numpy as np

from ssl_pdr.data.permutation import IntArray
from ssl_pdr.errors import ConfigError

# Weights become whole numbers; a mix is exact over as many rows as they add up to, which is at most about this.
_RESOLUTION = 2**24


class Shares:
    """An endless sequence of rows dealt to pools, such that every prefix is in proportion, to within a row or two.

    Args:
        weights: one whole number of at least 0 for each pool; not all are 0.

    Example:
        >>> Shares([3, 1]).counts(np.array([0, 1, 2, 4, 8])).tolist()
        [[0, 0], [1, 0], [2, 0], [3, 1], [6, 2]]
    """

    def __init__(self, weights: Sequence[int]) -> None:
        self.weights = list(weights)

    def counts(self, rows: IntArray) -> IntArray:
        """How many of the first `rows` rows each pool gives: (n,) to (n, pools), each column never falling.

        The largest pool is dealt its share of all rows, the next its share of what is left over, and so on. Rounding
        each pool on its own would be simpler, but then the counts neither add up nor only grow.
        """
        counts = np.zeros((len(rows), len(self.weights)), dtype=np.int64)
        total = sum(self.weights)
        # Cut at the period first: the product of a late row and a large pool does not fit into 64 bits, and that of two
        # corpora of more than two billion rows not even then.
        left: IntArray = np.asarray(rows, dtype=np.int64 if total < 2**31 else object)
        for weight, pool in sorted(
            ((weight, pool) for pool, weight in enumerate(self.weights) if weight), reverse=True
        ):
            counts[:, pool] = left // total * weight + (left % total * weight + total // 2) // total
            left = left - counts[:, pool]
            total -= weight
        return counts


def shares(
    sizes: Sequence[int | None], weights: Sequence[float] | None, temperature: float | None, what: str
) -> Shares:
    """The shares of pools on one side.

    Args:
        sizes: rows of each pool; None where nobody knows, as of a stream.
        weights: one number of at least 0 for each pool; they need not add up to 1. None goes by size.
        temperature: T > 0: pools weigh size^(1/T), so that 1 goes by size and a large T treats all alike.
        what: the side, as messages name it: "labelled" or "unlabelled".

    Raises:
        ConfigError: for weights that are negative, not finite, all zero, or not one for each pool, a temperature that is
            not above 0, both at once, or sizes that are wanted and not known.
    """
    if weights is not None and temperature is not None:
        raise ConfigError(f"{what} weights and temperature: got both, expected at most one of them")
    if not sizes:
        return Shares([])
    known = [size for size in sizes if size is not None]
    if weights is not None:
        return Shares(_whole(_checked(weights, len(sizes), what)))
    if len(known) < len(sizes):
        if temperature is not None:
            raise ConfigError(f"temperature: the size of a streamed corpus is not known; give the {what} ones weights")
        return Shares([1] * len(sizes))
    if temperature is None:
        return Shares(known)
    if not _is_finite(temperature) or temperature <= 0:
        raise ConfigError(f"temperature: got {temperature!r}, expected a finite number above 0, such as 2")
    if temperature == 1:
        return Shares(known)
    largest = max(known)
    return Shares(_whole([Fraction((size / largest) ** (1 / float(temperature))) for size in known]))


def _checked(weights: Sequence[float], pools: int, what: str) -> list[Fraction]:
    if len(weights) != pools:
        raise ConfigError(f"{what} weights: got {len(weights)} of them for {pools} corpora, expected one for each")
    for weight in weights:
        if not _is_finite(weight) or weight < 0:
            raise ConfigError(f"{what} weights: got {weight!r}, expected finite numbers of at least 0")
    if not any(weights):
        raise ConfigError(f"{what} weights: all {pools} of them are 0; expected one above 0, or no corpus")
    return [Fraction(repr(float(weight))) for weight in weights]


def _is_finite(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def _whole(weights: Sequence[Fraction]) -> list[int]:
    """Whole numbers in the same proportion: exactly, where they are small enough."""
    common = math.lcm(*(weight.denominator for weight in weights))
    exact = [int(weight * common) for weight in weights]
    divisor = math.gcd(*exact)
    exact = [number // divisor for number in exact]
    if sum(exact) <= _RESOLUTION:
        return exact
    scale = Fraction(_RESOLUTION) / sum(weights)
    return [max(round(weight * scale), int(weight > 0)) for weight in weights]
