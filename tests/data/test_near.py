"""Near texts: what is reported is true, what was planted is found, and templates do not blow it up."""

from __future__ import annotations

import random
import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_pdr.data.near import NEAR, NEAR_WORDS, NearTexts, jaccard, shingles

WORDS = [f"w{i}" for i in range(5000)]


def single(texts: list[str]) -> NearTexts:
    return NearTexts((row, text, "") for row, text in enumerate(texts))


def sentences(count: int, words: int, seed: int = 0) -> list[list[str]]:
    source = random.Random(seed)
    return [source.choices(WORDS, k=words) for _ in range(count)]


def true_similarity(one: str, other: str) -> float:
    """Jaccard similarity of runs of three words, in plain Python."""

    def runs(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text)
        return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))} if words else set()

    both = runs(one) | runs(other)
    return len(runs(one) & runs(other)) / len(both) if both else 0.0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.text("ab ,", max_size=24), max_size=12), st.lists(st.text("ab ,", max_size=24), max_size=12))
def test_what_is_reported_is_true_and_equal_words_are_always_found(ours: list[str], theirs: list[str]) -> None:
    here, there = single(ours), single(theirs)
    pairs = {(row, other): similarity for similarity, row, other in here.near_to(there)}
    for (row, other), similarity in pairs.items():
        assert similarity == pytest.approx(true_similarity(ours[row], theirs[other]))
        assert similarity >= NEAR
    same = {(i, j) for i, a in enumerate(ours) for j, b in enumerate(theirs) if true_similarity(a, b) == 1}
    assert same <= set(pairs)
    assert here.rows.tolist() == [row for row, text in enumerate(ours) if text.strip(" ,")]


def test_one_word_changed_in_thirty_is_found_and_nothing_else() -> None:
    originals = sentences(400, 30)
    source = random.Random(1)
    changed = [[*s[:k], "other", *s[k + 1 :]] for s in originals for k in [source.randrange(30)]]
    found = list(single([" ".join(s) for s in originals]).near_to(single([" ".join(s) for s in changed])))
    assert all(row == other for _, row, other in found)
    assert len(found) >= 0.99 * 400
    assert min(similarity for similarity, _, _ in found) == pytest.approx(25 / 31)
    both = single([" ".join(s) for s in originals + changed])
    assert 0.99 * 400 <= both.repeats <= 400


def test_punctuation_does_not_count_and_order_does() -> None:
    texts = ["it was, in the end, a good film", "it was in the end a good film!", "a good film in the end it was"]
    assert [pair[1:] for pair in single(texts[:1]).near_to(single(texts[1:]))] == [(0, 0)]


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("good", "good.", True),
        ("good", "bad", False),
        ("very good", "very bad", False),
        ("very good", "good very", False),
        ("not a good film", "not a bad film", False),
        ("?", "!", False),
        ("", "", False),
        (
            "今天的电影非常好看我们都很喜欢它的音乐和演员还有最后的一幕",
            "今天的电影非常好看我们都很喜欢他的音乐和演员还有最后的一幕",
            True,
        ),
        ("今天的电影非常好看", "昨天那本书十分无聊", False),
    ],
)
def test_short_texts_and_scripts_without_spaces(one: str, other: str, near: bool) -> None:
    assert bool(list(single([one]).near_to(single([other])))) == near


def test_both_sides_of_a_pair_have_to_be_near() -> None:
    premise = " ".join(sentences(1, 60)[0])
    known = NearTexts([(0, premise, "a man is asleep")])
    for pair, near in {"a man is asleep!": True, "nobody is awake": False, "": False}.items():
        assert bool(list(known.near_to(NearTexts([(5, premise, pair)])))) == near
    assert not list(known.near_to(NearTexts([(5, "a man is asleep", premise)])))


def test_many_versions_of_a_text_are_one_group_and_each_is_found() -> None:
    stem = sentences(1, 40)[0]
    versions = [" ".join([*stem, f"number{i}"]) for i in range(2000)]
    near = single(versions)
    assert near.repeats == 1999
    (_, row, _), *_ = near.near_to(single([versions[1234]]))
    assert row == 1234


def test_what_is_near_to_a_member_is_found_though_it_is_far_from_the_leader() -> None:
    leaders, members, probes = (
        [" ".join([f"new{i}", *words[start:]]) for i, words in enumerate(sentences(100, 100))] for start in (0, 14, 28)
    )
    members = [f"{text} {' '.join(words)}" for text, words in zip(members, sentences(100, 13, seed=1), strict=True)]
    probes = [f"{text} {' '.join(words)}" for text, words in zip(probes, sentences(100, 13, seed=1), strict=True)]
    assert true_similarity(leaders[0], probes[0]) < 0.65 < NEAR < true_similarity(members[0], probes[0])
    near = single(leaders + members)
    assert near.repeats == 100
    found = {(row, other) for _, row, other in near.near_to(single(probes))}
    assert len(found) > 90
    assert all(row == 100 + other for row, other in found)


def test_words_beyond_the_limit_are_not_looked_at() -> None:
    start = " ".join(sentences(1, NEAR_WORDS)[0])
    assert (shingles(f"{start} and so on") == shingles(start)).all()
    assert len(shingles(start)) <= NEAR_WORDS


def test_shingles_of_different_texts_differ() -> None:
    texts = [shingles(" ".join(run)) for run in sentences(200, 3)]
    assert len({int(s[0]) for s in texts}) == 200
    assert [jaccard(a, b) for a, b in combinations(texts[:5], 2)] == [0.0] * 10
    assert jaccard(texts[0], np.empty(0, np.uint64)) == 0.0
    assert not len(shingles("… ?!"))
    assert single([]).repeats == 0
