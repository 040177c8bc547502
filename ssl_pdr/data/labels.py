"""Labels as people write them, and the numbers of classes that a model knows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_pdr.errors import DataError, unknown_name

NO_AGREEMENT = "-"  # how NLI sets mark rows on which the annotators did not agree
_ENTAILMENT = "entailment"
_WHOLE = re.compile(r"([-+]?\d+)\.0*")
_NUMBER = re.compile(r"[-+]?\d{1,100}")  # one that int() reads, which neither "²" nor one of 5,000 digits is
_FRACTION = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?")


def label_text(value: Any) -> str | None:
    """A label as text: whole numbers without a fraction, words without surrounding space; None where there is none.

    Example:
        >>> [label_text(value) for value in (1, 1.0, " ham ", "2.0", None, float("nan"), "")]
        ['1', '1', 'ham', '2', None, None, None]
    """
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    whole = _WHOLE.fullmatch(text)
    return (whole[1] if whole else text) or None


class LabelSet:
    """The classes of a corpus, and how the labels of any of its sources become their numbers.

    Args:
        classes: the labels of the training rows, as they are written.
        label_map: from labels as a source has them to those that are wanted; labels that are not in it stay.
        name: of the training data, in messages.

    Attributes:
        names: the classes, sorted; as numbers where all are.

    Raises:
        DataError: for fewer than two classes, or numbers with a fraction.

    Example:
        >>> labels = LabelSet(["entailment", "neutral", "contradiction"], {"neutral": "no", "contradiction": "no"}, "nli")
        >>> labels.names
        ['entailment', 'no']
        >>> labels.numbers(["neutral", "entailment"], np.array([0, 1, -1]), "more").tolist()
        [1, 0, -1]
    """

    def __init__(self, classes: Sequence[str], label_map: Mapping[str, str], name: str) -> None:
        self.label_map = {label_text(label) or label: wanted for label, wanted in label_map.items()}
        self._seen = set(classes)
        wanted = dict.fromkeys(
            self._mapped(label) for label in classes if not is_disagreement(label, classes, self.label_map)
        )
        for label in wanted:
            if _FRACTION.fullmatch(label):
                raise DataError(
                    f"{name} has the number {label} as a label, expected classes: names or whole numbers; is --label-column "
                    "right? --label-map gives numbers names"
                )
        if not wanted:
            raise DataError(f"{name}: no row has a label; a corpus without labels goes to --unlabelled")
        if len(wanted) < 2:
            raise DataError(f"{name} has one class only ({next(iter(wanted))!r}); expected at least 2")
        numeric = all(_NUMBER.fullmatch(label) for label in wanted)
        self.names = sorted(wanted, key=int) if numeric else sorted(wanted)
        self._numbers = {label: number for number, label in enumerate(self.names)}

    def numbers(self, classes: Sequence[str], labels: NDArray[np.integer[Any]], name: str) -> NDArray[np.int32]:
        """The class of each row.

        Args:
            classes: what a source calls its classes.
            labels: (n,) numbers of `classes`; −1 without a label.
            name: of the source, in messages.

        Returns:
            (n,) int32, numbers of `names`; −1 without a label, or where annotators did not agree.

        Raises:
            DataError: for a label that is no class.
        """
        self._seen.update(classes)
        table = np.full(len(classes) + 1, -1, dtype=np.int32)  # the last one is that of rows without a label
        for code, label in enumerate(classes):
            if is_disagreement(label, classes, self.label_map):
                continue
            known = self._numbers.get(self._mapped(label))
            if known is None:
                shown = ", ".join(self.names[:10]) + (", …" if len(self.names) > 10 else "")
                row = int(np.argmax(labels == code)) + 1
                raise DataError(
                    f"{name}: row {row} has the label {label!r}, which is not in the label set: {shown}; --label-map maps it"
                )
            table[code] = known
        found: NDArray[np.int32] = table[labels]
        return found

    def disagreements(self, classes: Sequence[str], labels: NDArray[np.integer[Any]]) -> int:
        """Rows of an NLI set on which the annotators did not agree."""
        codes = [code for code, label in enumerate(classes) if is_disagreement(label, classes, self.label_map)]
        return int(np.isin(labels, codes).sum())

    def check_map(self) -> None:
        """Refuse a map of labels that no source had; after all were read."""
        for label in self.label_map:
            if label not in self._seen:
                raise unknown_name("label in the label map", label, self._seen)

    def _mapped(self, label: str) -> str:
        return self.label_map.get(label, label)


def is_disagreement(label: str, classes: Sequence[str], label_map: Mapping[str, str]) -> bool:
    """Whether a label says that annotators did not agree; elsewhere than in NLI, or in the label map, `-` is one like any other.

    Example:
        >>> is_disagreement("-", ["-", "entailment"], {}), is_disagreement("-", ["-", "+"], {})
        (True, False)
    """
    return label == NO_AGREEMENT and label not in label_map and _ENTAILMENT in classes


def parse_label_map(entries: Sequence[str]) -> dict[str, str]:
    """`FROM=TO` entries as a map.

    Raises:
        DataError: for an entry that is none, or one label mapped twice.

    Example:
        >>> parse_label_map(["neutral=non-entailment", "contradiction=non-entailment"])["neutral"]
        'non-entailment'
    """
    made: dict[str, str] = {}
    for entry in entries:
        source, equals, target = (part.strip() for part in entry.partition("="))
        if not (source and equals and target):
            raise DataError(f"label map: got {entry!r}, expected FROM=TO, such as neutral=non-entailment")
        if made.setdefault(source, target) != target:
            raise DataError(f"label map: {source!r} is mapped twice, to {made[source]!r} and to {target!r}")
    return made
