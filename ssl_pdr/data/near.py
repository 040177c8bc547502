"""Texts that are nearly the same: word shingles, found by MinHash, verified by their true Jaccard similarity."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]

NEAR = 0.7  # Jaccard similarity from which on two texts are near
NEAR_WORDS = 512  # words of a text that are looked at, about what a model reads
_SHINGLE = 3  # words: one word changed in a text of 19 or more leaves it near
_BANDS, _BAND = 16, 3  # a pair at NEAR is found with probability 1 − (1 − 0.7³)¹⁶ = 0.999, one at 0.55 with 0.95
_VERIFIED = 20  # candidates of a text that are compared in full, those of the highest estimate
_MIX = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)  # odd: no bit is lost
# Scripts without spaces between words (Thai, Lao, Burmese, Khmer, kana, Han): there each character counts as a word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


class NearTexts:
    """Texts, or pairs of texts, among which near ones are found; those without a word are left out.

    They are grouped around leaders: a text near to an earlier leader joins it, any other becomes a leader. Only leaders are
    indexed, or a thousand versions of one text would be compared a million times. What is near to a member resembles
    its leader too, and nearly always is found through it. Time grows with the square of the number of texts only where most
    of them share a template and are yet not near.

    Args:
        texts: (row number, text, pair), the pair empty for single texts; all as they shall be compared.

    Attributes:
        rows: (N,) row numbers of the texts that have words.

    Example:
        >>> near = NearTexts([(7, "the end of the affair", ""), (9, "the end, of the affair!", ""), (12, "a start", "")])
        >>> near.repeats, list(near.near_to(NearTexts([(0, "a start.", "")])))
        (1, [(1.0, 12, 0)])
    """

    def __init__(self, texts: Iterable[tuple[int, str, str]]) -> None:
        from datasketch import MinHash, MinHashLSH

        kept = [(row, sides) for row, *both in texts if any(map(len, sides := tuple(map(shingles, both))))]
        self.rows = np.array([row for row, _ in kept], dtype=np.int64)
        self._sides = [sides for _, sides in kept]
        size = _BANDS * _BAND
        self._sketches: list[Any] = MinHash.bulk(map(_elements, self._sides), num_perm=size, seed=1, hashfunc=int)
        self._values = np.array([sketch.hashvalues for sketch in self._sketches]).reshape(len(kept), size)
        self._leaders = MinHashLSH(num_perm=size, params=(_BANDS, _BAND))
        self._groups: dict[int, list[int]] = {}
        for place, (sketch, sides) in enumerate(zip(self._sketches, self._sides, strict=True)):
            found = self._verified(self._leaders.query(sketch), sketch, sides)
            _, leader = next(found, (1.0, place))
            if leader == place:
                self._leaders.insert(place, sketch)
            self._groups.setdefault(leader, []).append(place)

    @property
    def repeats(self) -> int:
        """How many texts are near to an earlier leader: what one would leave out to have no two near ones."""
        return len(self.rows) - len(self._groups)

    def near_to(self, others: NearTexts) -> Iterator[tuple[float, int, int]]:
        """Pairs that are near: similarity, row of a text of these, row of one of `others`."""
        for row, sketch, sides in zip(others.rows.tolist(), others._sketches, others._sides, strict=True):
            places = [place for leader in self._leaders.query(sketch) for place in self._groups[leader]]
            for similarity, place in self._verified(places, sketch, sides):
                yield similarity, int(self.rows[place]), row

    def _verified(self, places: list[int], sketch: Any, sides: tuple[Hashes, ...]) -> Iterator[tuple[float, int]]:
        if not places:
            return
        places = sorted(places)
        estimates = (self._values[places] == sketch.hashvalues).mean(axis=1)
        for best in np.argsort(-estimates, kind="stable")[:_VERIFIED]:
            # Two premises with the same hypothesis are no duplicates: both sides have to be near.
            similarity = min(map(jaccard, sides, self._sides[places[best]]))
            if similarity >= NEAR:
                yield similarity, places[best]


def shingles(text: str) -> Hashes:
    """64-bit hashes of the different runs of 3 words, sorted; a text of fewer words is one shingle, without words none."""
    codes = [_code(match.group()) for match in islice(_WORD.finditer(text), NEAR_WORDS)]
    if not codes:
        return np.empty(0, dtype=np.uint64)
    codes += [0] * (_SHINGLE - len(codes))
    runs = np.lib.stride_tricks.sliding_window_view(np.array(codes, dtype=np.uint64), _SHINGLE)
    return np.unique((runs * _MIX).sum(axis=1, dtype=np.uint64))


def jaccard(one: Hashes, other: Hashes) -> float:
    """Size of the intersection over that of the union, 1.0 for two empty sets; both sorted, without repeats."""
    if not len(one) and not len(other):
        return 1.0
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


@functools.lru_cache(maxsize=1 << 17)
def _code(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _elements(sides: tuple[Hashes, ...]) -> list[int]:
    """Both sides as one set of 32-bit numbers for MinHash; inverted bits keep them apart."""
    text, pair = sides
    elements: list[int] = (np.concatenate([text, ~pair]) >> np.uint64(32)).tolist()
    return elements
