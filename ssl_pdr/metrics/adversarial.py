"""Scores under attack, of the sets that add a misleading sentence to SQuAD's passages (Jia & Liang 2017)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from ssl_pdr.metrics.answers import Gold, question_scores


def adversarial_scores(predictions: Mapping[str, str], golds: Sequence[Gold]) -> dict[str, float]:
    """Scores of the worst attack on each original question, beside those of plain averages.

    A row is an original question if there is no hyphen in its id, and an attack on the one whose id stands before the first
    hyphen otherwise: `56be4db0-high-conf-turk0`. As in the authors' evaluation an original question counts itself only where
    nothing attacks it; the worst attack is the one with the lowest F1, the first of several, and exact match is that of the
    same attack. Their evaluation passes over attacks without a prediction; here these count 0.

    Args:
        predictions: the predicted text by the row's id; a row without one counts 0.
        golds: the rows.

    Returns:
        `f1` and `exact` of the worst attacks, averaged over the original questions; `rows_f1` and `rows_exact`, averaged over
        all rows; `original_f1` and `original_exact` of the original rows, if there are any; `originals`, how many original
        questions there are, and `rows`.

    Raises:
        DataError: see `question_scores`.

    Example:
        >>> golds = [Gold(name, ("Ada",)) for name in ("1", "1-turk0", "1-turk1", "2")]
        >>> scores = adversarial_scores({"1": "Ada", "1-turk0": "Bob", "1-turk1": "Ada", "2": "Ada"}, golds)
        >>> scores["f1"], scores["rows_f1"], scores["original_f1"], scores["originals"], scores["rows"]
        (0.5, 0.75, 1.0, 2, 4)
    """
    f1, exact = question_scores(predictions, golds)
    attacks: defaultdict[str, list[int]] = defaultdict(list)
    originals: dict[str, int] = {}
    for row, gold in enumerate(golds):
        name, hyphen, _ = gold.id.partition("-")
        if hyphen:
            attacks[name].append(row)
        else:
            originals[name] = row
    unattacked = [row for name, row in originals.items() if name not in attacks]
    worst = [min(rows, key=f1.__getitem__) for rows in attacks.values()] + unattacked
    scores = {
        "f1": float(f1[worst].mean()),
        "exact": float(exact[worst].mean()),
        "rows_f1": float(f1.mean()),
        "rows_exact": float(exact.mean()),
    }
    if originals:
        alone = list(originals.values())
        scores |= {"original_f1": float(f1[alone].mean()), "original_exact": float(exact[alone].mean())}
    return scores | {"originals": len(worst), "rows": len(golds)}
