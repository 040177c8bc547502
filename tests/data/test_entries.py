"""What a docstring documents one by one, in both styles."""

from __future__ import annotations

import pytest

from ssl_pdr.data.docstrings import clean
from ssl_pdr.data.entries import Entry, Span, defaults, first_sentence, kind, read_entries


def texts(entry: Entry, spans: list[Span] | None) -> list[str] | None:
    return None if spans is None else [entry.text[start:end] for start, end in spans]


def numpy_entry(item: str) -> Entry:
    (entry,) = read_entries(f"Do.\n\nParameters\n----------\n{item}\n\nNotes\n-----\ny : int\n    No entry.")
    return entry


def google_entry(item: str) -> Entry:
    (entry,) = read_entries(f"Do.\n\nArgs:\n    {item}\n\nNote:\n    y (int): No entry.")
    return entry


NUMPY = """Bake.

Parameters
----------
heat : float, default=1.5
    How hot the ``oven`` is,
    in :math:`K`.

    .. versionadded:: 1.2
        Not before.
shape, size : int
pan

Returns
-------
loaf : Bread of shape (n, 2)
    The loaf.
int
    Minutes.

Raises
------
ValueError
    If it burns.
"""

GOOGLE = """Bake.

Args:
    heat (float, optional): How hot the ``oven`` is,
        in Kelvin. Default: ``1.5``
    rise (dict[str, tuple(int, int)]): When.
    pan: The pan.

Returns:
    list[Bread]: The loaves,
        still warm.

Raises:
    ValueError: If it burns.
Outside: this ends the section.
"""


def test_numpy_style() -> None:
    found = read_entries(NUMPY)
    assert [(e.section, e.names, e.text) for e in found] == [
        ("Parameters", ("heat",), "heat : float, default=1.5\n    How hot the oven is, in …."),
        ("Parameters", ("shape", "size"), "shape, size : int"),
        ("Parameters", ("pan",), "pan"),
        ("Returns", ("loaf",), "loaf : Bread of shape (n, 2)\n    The loaf."),
        ("Returns", (), "int\n    Minutes."),
        ("Raises", ("ValueError",), "ValueError\n    If it burns."),
    ]
    assert [texts(e, [e.type]) for e in found] == [
        ["float, default=1.5"],
        ["int"],
        [""],
        ["Bread of shape (n, 2)"],
        ["int"],
        [""],
    ]
    assert texts(found[0], [found[0].description]) == ["How hot the oven is, in …."]


def test_google_style() -> None:
    found = read_entries(GOOGLE)
    assert [(e.section, e.names, e.text) for e in found] == [
        ("Parameters", ("heat",), "heat (float, optional): How hot the oven is, in Kelvin. Default: 1.5"),
        ("Parameters", ("rise",), "rise (dict[str, tuple(int, int)]): When."),
        ("Parameters", ("pan",), "pan: The pan."),
        ("Returns", (), "list[Bread]: The loaves, still warm."),
        ("Raises", ("ValueError",), "ValueError: If it burns."),
    ]
    assert [texts(e, [e.type]) for e in found[:4]] == [
        ["float, optional"],
        ["dict[str, tuple(int, int)]"],
        [""],
        ["list[Bread]"],
    ]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("x : int, default=3\n    Much.", ["3"]),
        ("x : int, default=3", ["3"]),
        ("x : float, default=1e-4\n    Much.", ["1e-4"]),
        ("x : int, default: -1\n    Much.", ["-1"]),
        ("x : str, optional (default = 'a b')", ["a b"]),
        ("x : bool, default True\n    Much.", ["True"]),
        ("x : tuple, default=(1, 2)\n    Much.", ["(1, 2)"]),
        ("x : any, default np.nan\n    Much.", ["np.nan"]),
        ("x : int, optional\n    Much. Default is 0.", ["0"]),
        ("x : int, optional\n    Much. Default is 0.5, which is little.", ["0.5"]),
        ("x : int, optional\n    Much (defaults to ``None``).", ["None"]),
        ("x : int, default=3\n    Much. Default is 3.", ["3", "3"]),
        ("x : int, default=None\n    Much. If None, defaults to n.", None),  # two values, of which one is conditional
        ("x : int, default=None\n    If None, the square root of n.", ["None"]),
        ("x : int\n    Much.", []),
        ("x : int, optional\n    Much.", []),
        ("x : int, optional\n    Much. The default is the number of rows.", None),
        ("x : int, optional\n    Default is 3 for trees, else default is 4.", None),
        ("x : int, default None\n    The default is 'left' for all but weeks.", None),
        ("x : int, optional\n    For integers the default is float64, for floats it is theirs.", None),
        ("x : int, optional\n    If not given, it is guessed.", None),
        ("x : int\n    0 (default): nothing.", None),
        ("x : str, default='a'", None),  # nothing is left where articles do not count
        ("x : str, default='-'", None),
        ("x : default optional", None),
        ("x : str\n    Of the default axis.", None),
        ("x : str\n    Drawn on the default axes. Default is 3.", None),
        ("default : int\n    Much.", []),
    ],
)
def test_a_default_is_taken_where_it_is_clear(item: str, expected: list[str] | None) -> None:
    entry = numpy_entry(item)
    assert texts(entry, defaults(entry)) == expected


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("x (int, optional): Much. Default: 0", ["0"]),
        ("x (int, optional): Much. Default: ``True``.", ["True"]),
        ('x (`str`, defaults to "mean"): Much.', ["mean"]),
        ("x (bool): Much. (default: False)", ["False"]),
        ("x (int): Much.", []),
        ('x (str): Default: ``"a"`` if square, ``"b"`` otherwise.', None),
    ],
)
def test_a_default_in_google_style(item: str, expected: list[str] | None) -> None:
    entry = google_entry(item)
    assert texts(entry, defaults(entry)) == expected


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("int", (["int"], [], [])),
        ("int or None, optional", (["int or None"], [], [])),
        ("int, required", (["int"], [], [])),
        ("list of str (default: None)", (["list of str"], [], [])),
        ("array of shape (n, 2), default=None", (["array of shape (n, 2)", "array"], ["(n, 2)"], [])),
        ("{array, sparse matrix} of shape (n,)", (["{array, sparse matrix} of shape (n,)", "{array, sparse matrix}"], ["(n,)"], [])),
        ("array_like, shape (n, m)", (["array_like, shape (n, m)", "array_like"], ["(n, m)"], [])),
        ("array of shape (n,) or (n, m)", (["array of shape (n,) or (n, m)"], [], [])),
        ("{'a b', 'c'}, default='c'", ([], [], ["'a b', 'c'"])),
        ("{0, 1}", ([], [], ["0, 1"])),
        ("[x0, y0]", (["[x0, y0]"], [], [])),
        ("{'a',", ([], [], [])),
        ("iterator of things. Each of them is new", ([], [], [])),
        ("optional", ([], [], [])),
    ],
)  # fmt: skip
def test_types_shapes_and_choices(type_: str, expected: tuple[list[str], list[str], list[str]]) -> None:
    entry = numpy_entry(f"x : {type_}\n    Much.")
    assert tuple(texts(entry, spans) for spans in kind(entry)) == expected


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("The left end. It moves.", ["The left end"]),
        ("The left end, e.g. The Hague. It moves.", ["The left end, e.g. The Hague"]),
        ("How to cut. * 'a': thin. * 'b': thick.", ["How to cut"]),
        ("Left end.", []),
        ("See the notes on ends.", []),
        ("If true, cut the end.", []),
        ("One of the following ends:", []),
        (" ".join(["long"] * 30), []),
    ],
)
def test_the_first_sentence_is_whole(description: str, expected: list[str]) -> None:
    entry = numpy_entry(f"x : int\n    {description}")
    assert texts(entry, first_sentence(entry)) == expected


def test_an_exception_has_its_condition() -> None:
    (entry,) = read_entries("Do.\n\nRaises\n------\nValueError\n    If it is too hot. Or cold.")
    assert texts(entry, first_sentence(entry)) == ["If it is too hot"]


def test_code_tables_and_directives_are_left_out() -> None:
    entry = numpy_entry(
        "x : int\n    Use it so::\n\n        f(x)\n\n    .. note:: Not here.\n\n    >>> f(3)\n\n    === ===\n    a   b\n    === ===\n\n    And more."
    )
    assert entry.text == "x : int\n    Use it so: And more."
    assert google_entry("x (int): Much.\n        <Added version='1'/>").text == "x (int): Much."


def test_what_is_no_entry() -> None:
    assert read_entries("") == []
    assert read_entries("Parameters\n----------\n") == []
    assert read_entries("Parameters\n----------\nNone of them, really.\n") == []
    assert read_entries("Do.\n\nArgs:\n    {input}\n    * stars\n") == []
    assert read_entries("Do.\n\nRaises\n------\nnothing at all\n") == []


def test_clean_takes_markup_away() -> None:
    assert clean("A :class:`~m.Tree` of\n  ``x`` in `.Axes`, [1]_ **not**") == "A Tree of x in Axes, not"
