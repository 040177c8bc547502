"""Passages of docstrings: what is prose, and where it ends."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_pdr.data.docstrings import MASK
from ssl_pdr.data.passages import passages

NUMPY = """Turn a wheel once around.

    The axle stays where it was before.

    Parameters
    ----------
    wheel : Wheel
        This one should not be taken.

    Returns
    -------
    angle : float
        The angle that is left over.

        A second paragraph is not taken.
    rest : int
        All that remains of the turn.

    See Also
    --------
    roll : Roll it down the whole hill.

    Notes
    -----
    A wheel without spokes turns as well.

    Examples
    --------
    This text explains how to do it.
    """

GOOGLE = """Turn a wheel once around.

    Args:
        wheel: This one should not be taken.

    Returns:
        tuple[float, int]: The angle that is left over.

    Note:
        A wheel without spokes turns as well.

    Example::

        This text explains how to do it.
    """


def test_sections_of_numpy_style() -> None:
    assert passages(NUMPY, 5, 30) == [
        ("description", "Turn a wheel once around."),
        ("description", "The axle stays where it was before."),
        ("returns", "The angle that is left over."),
        ("returns", "All that remains of the turn."),
        ("notes", "A wheel without spokes turns as well."),
    ]


def test_sections_of_google_style() -> None:
    assert passages(GOOGLE, 5, 30) == [
        ("description", "Turn a wheel once around."),
        ("returns", "The angle that is left over."),
        ("notes", "A wheel without spokes turns as well."),
    ]


@pytest.mark.parametrize(
    "docstring",
    [
        "",
        "  \n ",
        "A few words.",
        "no capital at the beginning of this sentence.",
        "The sentence comes to no end",
        "What follows is a list of things:",
        "The keys are those of the following table.",
        "- One item of a list of them.",
        "1. First item of a list of them.",
        ">>> This is no sentence but some code.",
        "| Row one of a table | and its cell.",
        ".. versionadded:: 1.2\n   This paragraph belongs to the directive above.",
        ".. note::\n   This paragraph belongs to the directive above.",
        "Short.\n\n    This line is indented as code is.\n\nThe end.",
        "The first line is at the margin.\n    The second is not, as in a definition.\n\nThe end.",
        "turn(wheel, times=1) -> The angle that is left over.",
        "See the other function for what it does.",
        "For more details read the long user guide.",
        "For an account of the method see elsewhere.",
        "This was added in version 1.2 of it.",
        "Deprecated since long ago, take another one.",
        "The method of turning is described in [1]_.",
        "The template %(name)s is filled in later on.",
        "Sum :math:`a` of :math:`b` and some other things there.",
        "Title of this text\n==================\n\nWhat stands under another title is not taken.",
    ],
)
def test_what_is_no_passage(docstring: str) -> None:
    assert passages(docstring, 5, 30) == []


@pytest.mark.parametrize(
    ("docstring", "text"),
    [
        ("Turn the :class:`~m.Wheel` of ``x``\nonce around.", "Turn the Wheel of x once around."),
        ("Turn it.\n\nExplanation\n===========\n\nTurn the wheel once around.", "Turn the wheel once around."),
        ("Turn it.\n\n-----\nNotes\n-----\nTurn the wheel once around.", "Turn the wheel once around."),
        ("Turn the wheel once around. See also roll.", "Turn the wheel once around."),
        ("Turn the wheel once around. Changed in version 2.", "Turn the wheel once around."),
        ("Turn, e.g. Twice, the wheel around.", "Turn, e.g. Twice, the wheel around."),
        ("The method of [1]_ turns it twice.", f"The method of {MASK} turns it twice."),
        ("Draw the `.Axes` in its own figure.", "Draw the Axes in its own figure."),
    ],
)
def test_one_passage(docstring: str, text: str) -> None:
    assert [passage.text for passage in passages(docstring, 5, 30)] == [text]


def test_a_sentence_is_whole_or_not_there() -> None:
    text = "One two three four five. Six seven eight nine. Ten."
    assert [passages(text, 5, longest) for longest in (4, 5, 8)] == [
        [],
        [("description", "One two three four five.")],
        [("description", "One two three four five.")],
    ]
    assert passages(text, 5, 9)[0].text == "One two three four five. Six seven eight nine."


LINES = st.sampled_from(
    ["", "", "Turn the wheel once around.", "    indented", "Returns", "-------", "Args:", ">>> x", "x : int", "``a``"]
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(LINES, max_size=20).map("\n".join), st.integers(1, 6), st.integers(0, 20))
def test_passages_of_any_docstring_are_lines_of_bounded_length(docstring: str, shortest: int, more: int) -> None:
    for section, text in passages(docstring, shortest, shortest + more):
        assert section in ("description", "notes", "returns")
        assert text == " ".join(text.split())
        assert shortest <= len(text.split()) <= shortest + more
        assert re.search(r"[.!?]$", text)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=200))
def test_no_text_is_too_odd(docstring: str) -> None:
    passages(docstring, 1, 10)
