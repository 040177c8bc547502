"""The shelf: what was made is given out again, as long as there is room for it."""

from __future__ import annotations

import pytest

from ssl_pdr.shelf import Shelf


def taken(shelf: Shelf, kind: str, *keys: object, keep: int | None = None) -> list[object]:
    """The keys of what had to be made."""
    made: list[object] = []

    def make(key: object) -> object:
        made.append(key)
        return [key]

    for key in keys:
        assert shelf.take(kind, key, lambda key=key: make(key), keep) == [key]
    return made


def test_it_makes_a_thing_once() -> None:
    shelf = Shelf()
    first = shelf.take("corpus", "a", list)
    assert shelf.take("corpus", "a", list) is first
    assert shelf.take("model", "a", list) is not first
    assert shelf.take("corpus", "b", list) is not first


def test_nothing_that_was_made_is_made_again_even_where_it_is_none() -> None:
    shelf = Shelf()
    assert shelf.take("notes", "a", lambda: None) is None
    assert shelf.take("notes", "a", lambda: "again") is None


def test_it_lets_go_of_what_was_not_asked_for_longest() -> None:
    shelf = Shelf(keep=2)
    assert taken(shelf, "corpus", "a", "b", "a", "c") == ["a", "b", "c"]
    assert taken(shelf, "corpus", "a", "c") == []
    assert taken(shelf, "corpus", "b") == ["b"]


def test_a_kind_may_have_less_room_and_never_more() -> None:
    shelf = Shelf(keep=2)
    assert taken(shelf, "model", 1, 1, 2, 1, keep=1) == [1, 2, 1]
    assert taken(shelf, "corpus", 1, 2, 3, 1, keep=9) == [1, 2, 3, 1]


@pytest.mark.parametrize("keep", [None, 5])
def test_without_room_it_keeps_nothing(keep: int | None) -> None:
    assert taken(Shelf(keep=0), "corpus", "a", "a", keep=keep) == ["a", "a"]


def test_what_could_not_be_made_is_tried_again() -> None:
    shelf = Shelf()
    with pytest.raises(ZeroDivisionError):
        shelf.take("corpus", "a", lambda: 1 / 0)
    assert shelf.take("corpus", "a", lambda: "made") == "made"
