"""A grid and its cells in, the summary of a curve out: against the same numbers worked out by hand or by SciPy alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from scipy import stats

from ssl_pdr.curves.statistics import NO_RUN, NOT_SHARED, ONE_BUDGET, ONE_SEED, SMALL_GAP
from ssl_pdr.curves.summary import NO_PLAIN, NOT_ALL, summarise

Cells = list[dict[str, Any]]
BUDGETS, SEEDS = [0.1, 0.5, 1.0], [0, 1, 2, 3, 4]
# Plain training, R-Drop and VAT at each budget; the scores of seeds lie around them.
MEANS = {"none": (0.60, 0.80, 0.90), "rdrop:kl": (0.62, 0.80, 0.89), "vat:kl": (0.70, 0.85, 0.90)}
LUCK = (-0.02, -0.01, 0.0, 0.01, 0.02)
OWN = {"vat:kl": (0.003, -0.001, 0.0, -0.003, 0.001), "rdrop:kl": (-0.002, 0.004, -0.001, 0.001, -0.002)}


def grid(**changes: Any) -> dict[str, Any]:
    made = {"format": 1, "name": "words", "budgets": BUDGETS, "methods": list(MEANS), "seeds": SEEDS, "search": {}}
    made |= {"select": "in_domain", "match": "steps", "batch": 8, "ratio": 1.0, "config": {}, "model": "a model"}
    return {**made, "data_fingerprint": "data", **changes}


def cell(
    method: str, budget: float, seed: int, score: float | Mapping[str, Any] | None, **changes: Any
) -> dict[str, Any]:
    """A finished cell; one number is the accuracy in the domain, None a run that failed."""
    made = {"format": 1, "budget": budget, "method": method, "setting": changes.get("setting", {}), "seed": seed}
    made["key"] = f"{random.Random(str(made)).getrandbits(64):016x}"
    if score is None:
        return {**made, "status": "failed", "reason": f"seed {seed} went wrong", **changes}
    scores = score if isinstance(score, Mapping) else {"in_domain": {"accuracy": score, "macro_f1": 0.1, "rows": 9}}
    made |= {"status": "finished", "scores": scores, "labelled": round(2000 * budget), "data": {"fingerprint": "data"}}
    return {**made, **changes}


def score_of(method: str, budget: float, seed: int) -> float:
    return MEANS[method][BUDGETS.index(budget)] + LUCK[seed] + OWN.get(method, (0.0,) * 5)[seed]


def whole(seeds: Sequence[int] = SEEDS, **parts: Callable[[float], Mapping[str, Any]]) -> Cells:
    """Every cell of the grid; `parts` makes scores of other parts out of the one in the domain."""
    made = []
    for seed in seeds:
        for method in MEANS:
            for budget in BUDGETS:
                score = score_of(method, budget, seed)
                scores = {"in_domain": {"accuracy": score, "rows": 9}}
                made.append(cell(method, budget, seed, scores | {name: of(score) for name, of in parts.items()}))
    return made


def entry(entries: Sequence[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    wanted = {"part": "in_domain", **wanted}
    (found,) = [one for one in entries if all(one[key] == value for key, value in wanted.items())]
    return found


def without(cells: Cells, method: str, budget: float, *seeds: int) -> Cells:
    return [c for c in cells if (c["method"], c["budget"]) != (method, budget) or c["seed"] not in seeds]


def test_the_head_of_a_summary_and_json() -> None:
    found = summarise(grid(), whole())
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    copied = ("format", "name", "model", "data_fingerprint", "match", "select", "budgets", "methods", "seeds", "search")
    assert {name: found[name] for name in copied} == {name: grid()[name] for name in copied}
    assert found["labelled"] == {size: {"min": n, "max": n} for size, n in (("0.1", 200), ("0.5", 1000), ("1", 2000))}
    assert (found["metric"], found["ignored"]) == ({"in_domain": "accuracy"}, 0)
    sizes = {name: len(found[name]) for name in ("points", "differences", "recovery", "label_worth")}
    assert sizes == {"points": 9, "differences": 6 + 3, "recovery": 4, "label_worth": 6}


def test_points() -> None:
    scores = [score_of("vat:kl", 0.1, seed) for seed in SEEDS]
    point = entry(summarise(grid(), whole())["points"], method="vat:kl", budget=0.1)
    assert point["values"] == {str(seed): score for seed, score in zip(SEEDS, scores, strict=True)}
    assert (point["mean"], point["sd"]) == (pytest.approx(0.7), pytest.approx(stats.tstd(scores)))
    assert (point["n"], point["few"], point["missing"], point["failed"], point["reason"]) == (5, False, [], {}, None)
    assert min(scores) < point["low"] < 0.69 < 0.71 < point["high"] < max(scores)


def test_differences_to_plain_training_and_to_rdrop() -> None:
    differences = summarise(grid(), whole())["differences"]
    sides = {
        against: [score_of(method, 0.1, seed) for seed in SEEDS]
        for against, method in (("none", "none"), ("rdrop", "rdrop:kl"))
    }
    ours = [score_of("vat:kl", 0.1, seed) for seed in SEEDS]
    for against, mean in (("none", 0.1), ("rdrop", 0.08)):
        found = entry(differences, method="vat:kl", against=against, budget=0.1)
        assert found["mean"] == pytest.approx(mean)
        assert found["p"] == pytest.approx(stats.ttest_rel(ours, sides[against]).pvalue)
        assert found["low"] > 0.07
    assert {(one["method"], one["against"]) for one in differences} == {
        ("rdrop:kl", "none"),
        ("vat:kl", "none"),
        ("vat:kl", "rdrop"),
    }


def test_the_first_of_several_rdrops_is_the_control() -> None:
    methods = ["none", "rdrop:shl", "vat:kl", "rdrop:kl"]
    scores = dict(zip(methods, (0.6, 0.65, 0.7, 0.8), strict=True))
    cells = [cell(method, 1.0, seed, scores[method]) for method in methods for seed in SEEDS]
    differences = summarise(grid(methods=methods, budgets=[1.0]), cells)["differences"]
    found = {one["method"]: round(one["mean"], 3) for one in differences if one["against"] == "rdrop"}
    assert found == {"vat:kl": 0.05, "rdrop:kl": 0.15}


def test_recovery() -> None:
    """VAT closes 10 of the 30 points between 10 % and all, and 5 of the 10 between 50 % and all."""
    recoveries = summarise(grid(), whole())["recovery"]
    assert {one["budget"] for one in recoveries} == {0.1, 0.5}
    assert entry(recoveries, method="vat:kl", budget=0.1)["value"] == pytest.approx(1 / 3)
    assert entry(recoveries, method="vat:kl", budget=0.5)["value"] == pytest.approx(1 / 2)
    assert entry(recoveries, method="rdrop:kl", budget=0.5)["value"] == pytest.approx(0, abs=1e-9)


def test_label_worth_and_the_sentence() -> None:
    """0.70 is half of the way from 200 to 1,000 labels: √(200 · 1000) = 447, 22 % of 2,000."""
    found = summarise(grid(), whole())
    worth = entry(found["label_worth"], method="vat:kl", budget=0.1)
    assert worth["labels"] == pytest.approx((200 * 1000) ** 0.5, abs=0.01)
    assert 400 < worth["low"] < worth["labels"] < worth["high"] < 500
    end = entry(found["label_worth"], method="vat:kl", budget=1.0)
    assert end["labels"] == pytest.approx(2000)
    assert (
        found["sentence"]
        == "10 % of the labels were worth 22 % (vat:kl, 200 labels: as good as plain training with 447)"
    )


def test_the_order_of_cells_decides_nothing() -> None:
    cells = whole(other=lambda score: {"accuracy": score / 2, "rows": 9})
    shuffled = random.Random(0).sample(cells, len(cells))
    assert json.dumps(summarise(grid(), shuffled)) == json.dumps(summarise(grid(), cells))


def test_missing_and_failed_seeds() -> None:
    cells = [*without(whole(), "vat:kl", 0.1, 2, 3), cell("vat:kl", 0.1, 3, None)]
    found = summarise(grid(), cells)
    point = entry(found["points"], method="vat:kl", budget=0.1)
    assert (point["n"], point["few"], point["missing"]) == (3, True, [2, 3])
    assert point["failed"] == {"3": "seed 3 went wrong"}
    assert point["note"] == "3 seeds only: the interval is too narrow"


def test_comparisons_are_over_the_seeds_that_all_have() -> None:
    """Plain training lost its worst seeds, VAT its best one: unpaired, half of the gain would be gone."""
    cells = without(without(whole(), "none", 0.1, 0, 1), "vat:kl", 0.1, 4)
    found = summarise(grid(), cells)
    difference = entry(found["differences"], method="vat:kl", against="none", budget=0.1)
    gains = [score_of("vat:kl", 0.1, seed) - score_of("none", 0.1, seed) for seed in (2, 3)]
    assert (difference["n"], difference["mean"]) == (2, pytest.approx(sum(gains) / 2))
    recovery = entry(found["recovery"], method="vat:kl", budget=0.1)
    assert (recovery["n"], recovery["value"]) == (2, pytest.approx(sum(gains) / 0.6))
    worth = entry(found["label_worth"], method="vat:kl", budget=0.1)
    share = sum(gains) / 2 / 0.2
    assert (worth["n"], worth["labels"]) == (2, pytest.approx(200 * 5**share, abs=0.01))


def test_every_reason_for_a_missing_number() -> None:
    cells = without(whole(), "vat:kl", 0.1, *SEEDS)
    found = summarise(grid(), cells)
    for kind in ("points", "recovery", "label_worth"):
        assert entry(found[kind], method="vat:kl", budget=0.1)["reason"] == NO_RUN
    point = entry(found["points"], method="vat:kl", budget=0.1)
    assert (point["mean"], point["low"], point["values"], point["missing"]) == (None, None, {}, SEEDS)
    assert entry(found["differences"], method="vat:kl", against="none", budget=0.1)["reason"] == NOT_SHARED

    one = summarise(grid(), whole(seeds=[0]))
    assert {recovery["reason"] for recovery in one["recovery"]} == {ONE_SEED}
    assert entry(one["differences"], method="vat:kl", against="none", budget=0.1)["p"] is None

    apart = without(without(whole(), "vat:kl", 0.1, 0, 1), "none", 0.1, 2, 3, 4)
    for kind in ("recovery", "label_worth"):
        assert entry(summarise(grid(), apart)[kind], method="vat:kl", budget=0.1)["reason"] == NOT_SHARED

    flat = [cell(method, budget, seed, 0.7 + LUCK[seed]) for method in MEANS for budget in BUDGETS for seed in SEEDS]
    assert {recovery["reason"] for recovery in summarise(grid(), flat)["recovery"]} == {SMALL_GAP}

    half = summarise(grid(budgets=[0.1, 0.5]), [one for one in whole() if one["budget"] < 1])
    assert {recovery["reason"] for recovery in half["recovery"]} == {NOT_ALL}
    single = summarise(grid(budgets=[0.1]), [one for one in whole() if one["budget"] == 0.1])
    assert {worth["reason"] for worth in single["label_worth"]} == {ONE_BUDGET}
    assert single["sentence"] == f"It cannot be told what 10 % of the labels were worth: {ONE_BUDGET}"


def test_a_curve_without_any_result() -> None:
    for cells in ([], [cell("vat:kl", 0.1, seed, None) for seed in SEEDS]):
        found = summarise(grid(), cells)
        assert json.dumps(found, allow_nan=False)
        assert (found["points"], found["metric"], found["labelled"]) == ([], {}, {})
        assert found["best"] == {"0.1": None, "0.5": None, "1": None}
        assert found["sentence"] == f"It cannot be told what 10 % of the labels were worth: {NO_RUN}"


def test_a_method_that_equals_plain_training() -> None:
    scores = {"none": MEANS["none"], "at": (0.60, 0.80, 0.90)}
    cells = [
        cell(method, budget, seed, mean + LUCK[seed])
        for method, means in scores.items()
        for budget, mean in zip(BUDGETS, means, strict=True)
        for seed in SEEDS
    ]
    found = summarise(grid(methods=["none", "at"]), cells)
    for budget in BUDGETS:
        difference = entry(found["differences"], method="at", against="none", budget=budget)
        assert [difference[name] for name in ("mean", "low", "high", "p", "exact_p")] == [0, 0, 0, None, 1]
        worth = entry(found["label_worth"], method="at", budget=budget)
        assert (worth["labels"], worth["at_least"], worth["at_most"]) == (pytest.approx(2000 * budget), False, False)
        assert found["best"][f"{budget:g}"] == "none"
    assert (
        found["sentence"] == "10 % of the labels were worth 10 % (at, 200 labels: as good as plain training with 200)"
    )


def test_settings_are_chosen_by_the_selection_part_alone() -> None:
    """α = 4 is better in the domain, α = 1 elsewhere; at 50 % both are as good, and the first that is searched is taken."""
    cells = []
    for seed in SEEDS:
        for alpha, here, there in ((4.0, 0.70, 0.40), (1.0, 0.65, 0.60)):
            for budget in (0.1, 0.5):
                score = 0.8 if budget == 0.5 else here + LUCK[seed]
                scores = {"in_domain": {"accuracy": score, "rows": 9}, "other": {"accuracy": there, "rows": 9}}
                cells.append(cell("vat:kl", budget, seed, scores, setting={"alpha": alpha}))
    for order, first in (([1.0, 4.0], 1.0), ([4.0, 1.0], 4.0)):
        found = summarise(grid(budgets=[0.1, 0.5], methods=["vat:kl"], search={"alpha": order}), cells)
        for part, mean in (("in_domain", 0.70), ("other", 0.40)):
            point = entry(found["points"], part=part, method="vat:kl", budget=0.1)
            assert (point["setting"], point["mean"]) == ({"alpha": 4.0}, pytest.approx(mean))
        assert entry(found["points"], method="vat:kl", budget=0.5)["setting"] == {"alpha": first}


def test_one_lucky_run_chooses_no_setting() -> None:
    """α = 4 has one good run and four that failed; α = 2 misses the worst seed, which the others must not be blamed for."""
    runs: dict[float, list[float | None]] = {
        1.0: [0.50, 0.70, 0.70, 0.70, 0.70],
        2.0: [None, 0.69, 0.69, 0.69, 0.69],
        4.0: [None, None, None, None, 0.99],
    }
    cells = [
        cell("vat:kl", 0.1, seed, score, setting={"alpha": alpha})
        for alpha, scores in runs.items()
        for seed, score in enumerate(scores)
    ]
    settings = grid(budgets=[0.1], methods=["vat:kl"], search={"alpha": list(runs)})
    point = entry(summarise(settings, cells)["points"], method="vat:kl", budget=0.1)
    assert (point["setting"], point["n"], point["failed"]) == ({"alpha": 1.0}, 5, {})
    only = [one for one in cells if one["setting"] == {"alpha": 4.0}]
    point = entry(summarise(settings, only)["points"], method="vat:kl", budget=0.1)
    assert (point["setting"], point["n"], list(point["failed"])) == ({"alpha": 4.0}, 1, ["0", "1", "2", "3"])


def test_the_best_method_is_that_of_the_selection_part() -> None:
    cells = whole(dev=lambda score: {"accuracy": 1 - score, "rows": 9})
    assert summarise(grid(), cells)["best"] == {"0.1": "vat:kl", "0.5": "vat:kl", "1": "none"}
    by_dev = summarise(grid(select="dev"), cells)["best"]
    assert by_dev == {"0.1": "none", "0.5": "none", "1": "rdrop:kl"}
    assert set(summarise(grid(select="nothing"), cells)["best"].values()) == {None}


def test_parts_have_their_own_metrics() -> None:
    cells = whole(
        asked=lambda score: {"f1": score / 2, "exact": 0.1, "rows": 9},
        broken=lambda score: {"accuracy": float("nan") if score < 0.6 else score, "rows": 9},
    )
    found = summarise(grid(), cells)
    assert found["metric"] == {"in_domain": "accuracy", "asked": "f1", "broken": "accuracy"}
    assert entry(found["points"], part="asked", method="vat:kl", budget=0.1)["mean"] == pytest.approx(0.35)
    assert entry(found["points"], part="broken", method="none", budget=0.1)["missing"] == [0, 1]


def test_the_baseline_has_points_and_nothing_else() -> None:
    cells = whole(other=lambda score: {"accuracy": score, "rows": 9})
    for one in cells:
        if one["method"] == "none" and one["seed"] != 4:
            one["baseline"] = {"in_domain": {"accuracy": 0.5 + one["budget"] / 10, "rows": 9}}
    found = summarise(grid(), cells)
    points = [point for point in found["points"] if point["method"] == "tfidf"]
    assert [(p["part"], p["budget"], p["n"], p["missing"]) for p in points] == [
        ("in_domain", b, 4, [4]) for b in BUDGETS
    ]
    assert [point["mean"] for point in points] == [pytest.approx(mean) for mean in (0.51, 0.55, 0.6)]
    for kind in ("differences", "recovery", "label_worth"):
        assert "tfidf" not in {one["method"] for one in found[kind]}


def test_what_is_not_of_the_grid_is_counted_and_left_out() -> None:
    cells = whole()
    strange = [
        cell("vat:kl", 0.1, 0, 0.0, data={"fingerprint": "other data"}, key="0" * 16),
        cell("jr", 0.1, 0, 0.0),
        cell("vat:kl", 0.2, 0, 0.0),
        cell("vat:kl", 0.1, 9, 0.0),
        cell("vat:kl", 0.1, 0, 0.0, key="f" * 16),  # a second one of its place
        cell("vat:kl", 0.1, 0, None, key="0" * 16),  # one that failed before
    ]
    found = summarise(grid(), [*strange, *cells])
    assert found.pop("ignored") == len(strange)
    expected = summarise(grid(), cells)
    assert expected.pop("ignored") == 0
    assert found == expected


def test_labels_may_differ_between_seeds() -> None:
    cells = whole()
    for one in cells:
        one["labelled"] += one["seed"] % 2
    assert summarise(grid(), cells)["labelled"]["0.1"] == {"min": 200, "max": 201}


def test_without_plain_training_there_is_nothing_to_compare_with() -> None:
    found = summarise(grid(methods=["rdrop:kl", "vat:kl"]), [one for one in whole() if one["method"] != "none"])
    assert (found["recovery"], found["label_worth"]) == ([], [])
    assert {(one["method"], one["against"]) for one in found["differences"]} == {("vat:kl", "rdrop")}
    sentence = "What 10 % of the labels are worth takes plain training (none) and another method"
    assert found["sentence"] == sentence
    assert summarise(grid(methods=["none"]), whole())["sentence"] == sentence


def said(vat: Sequence[float], plain: tuple[float, float, float] = (0.60, 0.80, 0.90), **parts: float) -> str:
    """The sentence for VAT's scores at 10 %, one a seed; `parts` are shifts of both on other parts."""
    seeds = list(range(len(vat)))
    cells = []
    for seed in seeds:
        scores = {("vat:kl", 0.1): vat[seed], **{("none", b): s for b, s in zip(BUDGETS, plain, strict=True)}}
        for (method, budget), score in scores.items():
            of = {"in_domain": 0.0, **parts}
            found = {name: {"accuracy": score + (method == "vat:kl") * shift, "rows": 9} for name, shift in of.items()}
            cells.append(cell(method, budget, seed, found))
    test = next((name for name in parts if name == "dev"), None)
    return str(summarise(grid(methods=["none", "vat:kl"], seeds=seeds, test=test), cells)["sentence"])


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        (
            [0.69, 0.7, 0.7, 0.7, 0.71],
            "10 % of the labels were worth 22 % (vat:kl, 200 labels: as good as plain training with 447)",
        ),
        (
            [0.95, 0.96, 0.97],
            "10 % of the labels were worth at least 100 % (vat:kl, 200 labels: better than plain training with 2,000; 3 seeds only)",
        ),
        (
            [0.5, 0.51, 0.52, 0.5, 0.5],
            "10 % of the labels were worth at most 10 % (vat:kl, 200 labels: worse than plain training with 200)",
        ),
        (
            [0.58, 0.62, 0.59, 0.61, 0.65],
            "It cannot be told whether 10 % of the labels were worth more than 10 % (vat:kl, 200 labels: as good as plain training "
            "with 217; 95 % interval 200 to 259)",
        ),
        (
            [0.7],
            "It cannot be told yet what 10 % of the labels were worth (vat:kl, 200 labels: as good as plain training with 447; one seed only)",
        ),
    ],
)
def test_the_sentence_claims_no_more_than_the_interval(scores: list[float], sentence: str) -> None:
    assert said(scores) == sentence


def test_the_sentence_is_of_the_test_part_where_one_is_named() -> None:
    assert "as good as plain training with 447" in said([0.69, 0.7, 0.7, 0.7, 0.71], other=-0.05)
    assert "at most 10 %" in said([0.69, 0.7, 0.7, 0.7, 0.71], dev=-0.2)


def test_the_sentence_while_runs_are_missing() -> None:
    """All labels are known to be 2,000 from half of them; a curve that begins at 50 % says nothing of 10 %."""
    no_all = [one for one in whole() if one["budget"] < 1]
    assert (
        "worth 22 % (vat:kl, 200 labels: as good as plain training with 447)" in summarise(grid(), no_all)["sentence"]
    )
    no_plain = summarise(grid(), without(whole(), "none", 0.1, *SEEDS))
    assert entry(no_plain["label_worth"], method="vat:kl", budget=0.1)["at_most"]
    assert no_plain["sentence"] == f"It cannot be told what 10 % of the labels were worth: {NO_PLAIN}"


def test_a_curve_of_all_labels_says_nothing_of_fewer() -> None:
    found = summarise(grid(budgets=[1.0]), [one for one in whole() if one["budget"] == 1.0])
    assert found["sentence"] == "All runs had all labels: nothing can be said of fewer"
    assert found["recovery"] == []
