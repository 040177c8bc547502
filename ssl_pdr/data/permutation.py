"""Keyed permutations of any size that need no memory: which row stands at which place, asked for a few places at a time."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

IntArray: TypeAlias = NDArray[np.int64]
_Words: TypeAlias = NDArray[np.uint64]

# Fewer rounds leave visible patterns in permutations of a handful of rows; the tests of uniformity fail at six.
_ROUNDS = 20
_ODD = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def permuted(places: IntArray, size: int, seed: int, *stream: int) -> IntArray:
    """What stands at some places of a seeded permutation of 0 … size − 1.

    A shuffled array of ten million rows takes 80 MB and a second at every start; this takes neither, and a run
    that is resumed goes on at any place. Rows are cut into two digits, l and r, of about √size values each, and each
    round adds a hash of the one to the other (a Feistel network); the few numbers that come out too large go round again.

    Args:
        places: (n,) numbers from 0 to size − 1.
        size: how many rows there are, from 1 to 2**62.
        seed: any whole number of at least 0.
        *stream: further numbers of at least 0; each gives a permutation of its own.

    Returns:
        (n,) int64; different places hold different rows.

    Source: Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002 (generalised Feistel, cycle walking).

    Example:
        >>> order = permuted(np.arange(5), 5, seed=0)
        >>> sorted(order.tolist()), permuted(np.array([3]), 5, seed=0)[0] == order[3]
        ([0, 1, 2, 3, 4], np.True_)
    """
    keys = _round_keys(seed, stream)
    rows = _once(places.astype(np.uint64), size, keys)
    while (outside := np.flatnonzero(rows >= size)).size:
        rows[outside] = _once(rows[outside], size, keys)
    return rows.astype(np.int64)


def endless(start: int, count: int, size: int, seed: int, *stream: int) -> IntArray:
    """`count` rows from place `start` of one seeded permutation after the other: none comes again before all were there.

    Example:
        >>> rows = endless(0, 6, 3, 0)
        >>> sorted(rows[:3].tolist()), sorted(rows[3:].tolist())
        ([0, 1, 2], [0, 1, 2])
    """
    if count == 0:
        return np.empty(0, dtype=np.int64)
    passes = range(start // size, (start + count - 1) // size + 1)
    cuts = [(max(start - p * size, 0), min(start + count - p * size, size)) for p in passes]
    parts = [
        permuted(np.arange(low, high), size, seed, *stream, p) for p, (low, high) in zip(passes, cuts, strict=True)
    ]
    return np.concatenate(parts)


def _once(rows: _Words, size: int, keys: _Words) -> _Words:
    """One trip through the network: a permutation of the numbers below the product of both digits' ranges."""
    n_left = math.isqrt(size - 1) + 1
    n_left += n_left % 2  # with two odd ranges only half of all permutations could come about, the even ones
    n_right = np.uint64(-(-size // n_left))
    left, right = rows // n_right, rows % n_right
    for number, key in enumerate(keys):
        if number % 2:
            right = (right + _hash(left, key)) % n_right
        else:
            left = (left + _hash(right, key)) % np.uint64(n_left)
    return left * n_right + right


def _hash(words: _Words, key: np.uint64) -> _Words:
    """A few bits short of 64, so that a digit can be added without overflow."""
    words = (words + key) * _ODD
    for shift, factor in zip((30, 27), _MIX, strict=True):
        words = (words ^ (words >> np.uint64(shift))) * factor
    return (words ^ (words >> np.uint64(31))) >> np.uint64(2)


@lru_cache(maxsize=256)
def _round_keys(seed: int, stream: tuple[int, ...]) -> _Words:
    return (
        np.random.SeedSequence(seed, spawn_key=stream)
        .generate_state(_ROUNDS, np.uint64)
        .astype(np.uint64)
        .astype(np.uint64)
    )
