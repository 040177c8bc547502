"""Decoding of answers against a search through every span."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from ssl_pdr.tasks.spans import Spans, Windows, decode


def random_windows(rng: np.random.Generator, *, slots: bool) -> tuple[Any, Any, Windows, int]:
    """Three questions in one, two and three overlapping windows of up to 12 tokens, each token three characters long."""
    question = np.array([0, 1, 1, 2, 2, 2])
    begin = np.array([0, 0, 3, 0, 4, 8])  # the token of the passage that a window begins with
    first = np.array([3, 2, 2, 4, 4, 4])
    last = first + np.array([6, 7, 4, 5, 5, 2])
    chars = [np.arange(b, b + n + 1) * 4 for b, n in zip(begin, last - first, strict=True)]
    windows = Windows(
        question=question,
        first=first,
        last=last,
        null=np.zeros(6, int) if slots else np.full(6, -1),
        char_start=np.concatenate(chars),
        char_end=np.concatenate(chars) + 3,
    )
    start, end = rng.normal(size=(2, 6, 12)).astype(np.float32) * 3
    return start, end, windows, 3


def brute_force(
    start: Any, end: Any, windows: Windows, questions: int, longest: int
) -> list[dict[tuple[int, int], float]]:
    found: list[dict[tuple[int, int], float]] = [{} for _ in range(questions)]
    for w, question in enumerate(windows.question):
        places = list(range(windows.first[w], windows.last[w] + 1))
        slot = [0] if windows.null[w] >= 0 else []
        log_s, log_e = (
            log_softmax(logits[w, slot + places].astype(np.float64))[len(slot) :] for logits in (start, end)
        )
        offset = windows.offsets[w]
        for i in range(len(places)):
            for j in range(i, min(i + longest, len(places))):
                span = (int(windows.char_start[offset + i]), int(windows.char_end[offset + j]))
                score = float(log_s[i] + log_e[j])
                found[question][span] = max(found[question].get(span, -math.inf), score)
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("slots", [False, True])
@pytest.mark.parametrize("longest", [1, 3, 30])
def test_the_best_answers_are_those_of_a_full_search(seed: int, slots: bool, longest: int) -> None:
    start, end, windows, questions = random_windows(np.random.default_rng(seed), slots=slots)
    spans = decode(start, end, windows, questions, longest=longest, n_best=4)
    for question, every in enumerate(brute_force(start, end, windows, questions, longest)):
        best = sorted(every.items(), key=lambda item: -item[1])[:4]
        assert [(s, e) for s, e in zip(spans.start[question], spans.end[question], strict=True)] == [s for s, _ in best]
        np.testing.assert_allclose(spans.log_probability[question], [score for _, score in best], rtol=1e-4, atol=1e-5)


def test_the_probability_of_no_answer_is_that_of_the_window_least_sure_of_it() -> None:
    start, end, windows, questions = random_windows(np.random.default_rng(7), slots=True)
    spans = decode(start, end, windows, questions, longest=5, n_best=1)
    for question in range(questions):
        scores = []
        for w in np.flatnonzero(windows.question == question):
            kept = [0, *range(windows.first[w], windows.last[w] + 1)]
            scores.append(log_softmax(start[w, kept])[0] + log_softmax(end[w, kept])[0])
        assert spans.null[question] == pytest.approx(min(scores), rel=1e-5)
    without = random_windows(np.random.default_rng(7), slots=False)
    assert (decode(*without, longest=5, n_best=1).null == -np.inf).all()


def test_a_question_without_windows_and_short_passages() -> None:
    windows = Windows(
        question=np.array([1]),
        first=np.array([2]),
        last=np.array([2]),
        null=np.array([-1]),
        char_start=np.array([5]),
        char_end=np.array([9]),
    )
    spans = decode(np.zeros((1, 4)), np.zeros((1, 4)), windows, 2, longest=30, n_best=3)
    assert spans.start.tolist() == [[-1, -1, -1], [5, -1, -1]]
    assert spans.log_probability[1].tolist() == [0.0, -np.inf, -np.inf]
    assert spans.null.tolist() == [-np.inf, -np.inf]


def test_padding_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    start, end, windows, questions = random_windows(np.random.default_rng(3), slots=True)
    here = decode(start, end, windows, questions, longest=4, n_best=5)
    padded = [np.pad(logits, ((0, 0), (0, 9)), constant_values=-100) for logits in (start, end)]  # as the Trainer pads
    monkeypatch.setattr("ssl_pdr.tasks.spans._AT_ONCE", 1)
    there = decode(padded[0], padded[1], windows, questions, longest=4, n_best=5)
    for name in Spans.__dataclass_fields__:
        np.testing.assert_allclose(getattr(here, name), getattr(there, name), rtol=1e-6)
