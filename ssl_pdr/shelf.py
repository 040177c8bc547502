"""What several runs in one process share: data, features and weights that were read once are kept for the next run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Shelf:
    """Keeps the last few things of each kind that were made; what it gives out must not be changed.

    Args:
        keep: of each kind, unless `take` says otherwise; 0 keeps nothing, as a single run has it.

    Example:
        >>> shelf = Shelf()
        >>> shelf.take("corpus", "a.csv", lambda: "read"), shelf.take("corpus", "a.csv", lambda: "read again")
        ('read', 'read')
    """

    def __init__(self, keep: int = 8) -> None:
        self.keep = keep
        self._kinds: dict[str, OrderedDict[Hashable, Any]] = {}

    def take(self, kind: str, key: Hashable, make: Callable[[], T], keep: int | None = None) -> T:
        """What `make` returned when this kind and key were asked for before, or returns now.

        Args:
            kind: of thing.
            key: everything that it depends on.
            make: makes it.
            keep: how many of the kind are kept, never more than the shelf does.
        """
        kept = self._kinds.setdefault(kind, OrderedDict())
        if key in kept:
            kept.move_to_end(key)
            found: T = kept[key]
            return found
        made = kept[key] = make()
        while len(kept) > min(self.keep, self.keep if keep is None else keep):
            kept.popitem(last=False)
        return made
