"""From the logits of windows to the answers of questions: exact n-best decoding of P_start · P_end, without a loop over questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.int64]

_AT_ONCE = 2**22  # spans that are looked at together


@dataclass(frozen=True)
class Windows:
    """What is known of N windows, of the passages of questions.

    Attributes:
        question: (N,) the question of each; several windows may have the same one.
        first: (N,) position of the first token of the passage.
        last: (N,) position of the last one.
        null: (N,) position of the slot for no answer, −1 without.
        char_start: for each token of the passage, window after window, where in the passage it begins.
        char_end: likewise, where it ends.
    """

    question: Ints
    first: Ints
    last: Ints
    null: Ints
    char_start: Ints
    char_end: Ints

    @property
    def offsets(self) -> Ints:
        """(N,) where the tokens of each window begin in `char_start`."""
        sizes = self.last - self.first + 1
        ends: Ints = np.cumsum(sizes)
        return ends - sizes


@dataclass(frozen=True)
class Spans:
    """The best answers of Q questions, best first.

    Attributes:
        start: (Q, n) where in the passage an answer begins; −1 where there are fewer than n answers.
        end: (Q, n) where it ends, excluded.
        log_probability: (Q, n) log(P_start · P_end) in the best window of the span; −inf where there is none.
        null: (Q,) log(P_start · P_end) of no answer in the window that is the least sure of it; −inf without a slot.
    """

    start: Ints
    end: Ints
    log_probability: Floats
    null: Floats


def decode(start: Floats, end: Floats, windows: Windows, questions: int, *, longest: int, n_best: int) -> Spans:
    """The `n_best` answers of each question: all spans of at most `longest` tokens compete, whatever their windows.

    Args:
        start: logits, (N, T).
        end: likewise.
        windows: what is known of the N windows.
        questions: Q.
        longest: tokens of an answer, at least 1.
        n_best: n, at least 1.

    Returns:
        Spans by P_start · P_end, each posterior over the passage positions of its window, and the slot where there is one.

    Example:
        >>> logits = np.array([[0.0, 0.0, 3.0, 0.0]])
        >>> one = {name: np.array([number]) for name, number in dict(question=0, first=1, last=3, null=-1).items()}
        >>> windows = Windows(**one, char_start=np.array([0, 4, 8]), char_end=np.array([3, 7, 11]))
        >>> best = decode(logits, logits, windows, 1, longest=2, n_best=1)
        >>> best.start.tolist(), best.end.tolist()
        ([[4]], [[7]])
    """
    log_start, log_end = (_log_posterior(logits, windows) for logits in (start, end))
    rows = np.arange(len(start))
    null_scores = np.where(windows.null >= 0, log_start[rows, windows.null] + log_end[rows, windows.null], -np.inf)
    null = np.full(questions, np.inf)
    np.minimum.at(null, windows.question, null_scores)
    null[np.isinf(null)] = -np.inf
    window, first, last, score = _candidates(log_start, log_end, windows, longest, n_best)
    tokens = windows.offsets[window] - windows.first[window]
    begins, ends = windows.char_start[tokens + first], windows.char_end[tokens + last]
    question = windows.question[window]
    # Windows overlap: of a span that several have, the likeliest counts.
    order = np.lexsort((-score, ends, begins, question))
    same = np.zeros(len(order), np.bool_)
    same[1:] = np.logical_and.reduce([np.diff(column[order]) == 0 for column in (question, begins, ends)])
    kept = order[~same]
    kept = kept[np.lexsort((-score[kept], question[kept]))]
    counts = np.bincount(question[kept], minlength=questions)
    rank = np.arange(len(kept)) - np.repeat(np.cumsum(counts) - counts, counts)
    best, place = kept[rank < n_best], rank[rank < n_best]
    made = Spans(
        start=np.full((questions, n_best), -1),
        end=np.full((questions, n_best), -1),
        log_probability=np.full((questions, n_best), -np.inf),
        null=null,
    )
    for target, column in ((made.start, begins), (made.end, ends), (made.log_probability, score)):
        target[question[best], place] = column[best]
    return made


def _inside(windows: Windows, length: int) -> NDArray[np.bool_]:
    places = np.arange(length)
    inside: NDArray[np.bool_] = (places >= windows.first[:, None]) & (places <= windows.last[:, None])
    return inside


def _log_posterior(logits: Floats, windows: Windows) -> Floats:
    length = logits.shape[1]
    supported = _inside(windows, length) | (np.arange(length) == windows.null[:, None])
    masked = np.where(supported, logits, -np.inf).astype(np.float32)
    masked -= masked.max(axis=1, keepdims=True)
    log_p: Floats = masked - np.log(np.exp(masked).sum(axis=1, keepdims=True))
    return log_p


def _candidates(
    log_start: Floats, log_end: Floats, windows: Windows, longest: int, n_best: int
) -> tuple[Ints, Ints, Ints, Floats]:
    """The best spans of each window: (window, first token, last token, log-probability), as long as there are so many."""
    n, length = log_start.shape
    longest = min(longest, length)
    keep = min(n_best, longest * length)
    found: list[tuple[Ints, Ints, Ints, Floats]] = []
    wide = _wide(windows, length)
    step = max(_AT_ONCE // (longest * length), 1)
    for begin in range(0, n, step):
        part = slice(begin, min(begin + step, n))
        s, e = (np.where(wide[part], log[part], -np.inf).astype(np.float32) for log in (log_start, log_end))
        scores = np.full((len(s), longest, length), -np.inf, np.float32)
        for extra in range(longest):  # spans of extra + 1 tokens, by where they start
            scores[:, extra, : length - extra] = s[:, : length - extra] + e[:, extra:]
        flat = scores.reshape(len(s), -1)
        top = np.argpartition(flat, -keep, axis=1)[:, -keep:]
        values = np.take_along_axis(flat, top, axis=1)
        window, rank = np.nonzero(values > -np.inf)
        extra_of, first = np.divmod(top[window, rank], length)
        found.append((window + begin, first, first + extra_of, values[window, rank]))
    window, first, last, score = (np.concatenate(column) for column in zip(*found, strict=True))
    return window, first, last, score


def _wide(windows: Windows, length: int) -> NDArray[np.bool_]:
    """The positions of tokens that are more than white space, (N, T)."""
    sizes = windows.last - windows.first + 1
    window = np.repeat(np.arange(len(sizes)), sizes)
    place = windows.first[window] + np.arange(sizes.sum()) - windows.offsets[window]
    wide = np.zeros((len(sizes), length), np.bool_)
    wide[window, place] = windows.char_end > windows.char_start
    return wide
