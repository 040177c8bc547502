r"""What a docstring documents one by one: parameters, returned values and exceptions, and what it says of each.

for entry in read_entries(docstring):               # Entry(section, names, text, type, description)
    entry.text                                      # "alpha : float, default=1.0\n    How strong the penalty is."
    [entry.text[a:b] for a, b in defaults(entry)]   # ["1.0"]
"""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import NamedTuple, TypeAlias

from ssl_pdr.data.docstrings import MASK, clean
from ssl_pdr.data.passages import sections

Span: TypeAlias = tuple[int, int]

# Headings in lower case, and what they are called in a passage.
SECTIONS = {
    "parameters": "Parameters",
    "other parameters": "Parameters",
    "args": "Parameters",
    "arguments": "Parameters",
    "keyword args": "Parameters",
    "keyword arguments": "Parameters",
    "returns": "Returns",
    "return": "Returns",
    "yields": "Returns",
    "raises": "Raises",
    "raise": "Raises",
}


class Entry(NamedTuple):
    """A parameter, a returned value or an exception, or some that are documented together.

    Attributes:
        section: `Parameters`, `Returns` or `Raises`.
        names: what is documented; nothing for a returned value without a name.
        text: name, type and description without markup; in NumPy's style the description has an indented line.
        type: where `text` has the type and what stands beside it (`int, optional`); an empty span if nowhere.
        description: where `text` has the description; an empty span if nowhere.
    """

    section: str
    names: tuple[str, ...]
    text: str
    type: Span
    description: Span


def read_entries(docstring: str) -> list[Entry]:
    r"""The entries of a docstring in NumPy's or Google's style, in its order.

    Directives, code and tables in a description are left out; its lines become one.

    Args:
        docstring: as written.

    Example:
        >>> read_entries("Add.\n\nArgs:\n    x (int, optional): One\n        number. Default: ``2``")[0].text
        'x (int, optional): One number. Default: 2'
    """
    found = []
    for heading, underlined, under in sections(inspect.cleandoc(docstring)):
        section = SECTIONS.get(heading.lower())
        if section:
            body = (
                under if underlined else re.split(r"\n(?=\S)", under)[0]
            )  # Google's sections end with the indentation
            body = textwrap.dedent(body).strip("\n")
            if section == "Returns" and not underlined:
                items = [_at_margin(body)]
            else:
                items = re.split(r"\n(?=[^\s)\]}])", body)
            parse = _numpy_entry if underlined else _google_entry
            found += [entry for item in items if item and (entry := parse(section, item))]
    return found


_NAMES = r"\*{0,2}[A-Za-z_]\w*(?:\s*,\s*\*{0,2}[A-Za-z_]\w*)*"
_NUMPY_HEAD = re.compile(rf"({_NAMES})(?:\s*:\s*(.*))?$")
_GOOGLE_HEAD = re.compile(rf"({_NAMES})\s*(?:\((.*?)\))?\s*:(?:\s+|$)(.*)$", re.DOTALL)
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*$")


def _numpy_entry(section: str, item: str) -> Entry | None:
    head, _, below = item.partition("\n")
    names, type_ = "", clean(head)
    if section == "Raises":
        names, type_ = type_, ""
        if not _EXCEPTION.match(names):
            return None
    elif match := _NUMPY_HEAD.match(type_):
        names, type_ = match[1], match[2] or ""
        if section == "Returns" and not type_:
            names, type_ = "", names
    elif section == "Parameters":
        return None
    head = f"{names} : {type_}" if names and type_ else names or type_
    start = len(head) - len(type_)
    description = _description(below)
    text = f"{head}\n    {description}" if description else head
    return Entry(section, _split(names), text, (start, len(head)), (len(text) - len(description), len(text)))


def _google_entry(section: str, item: str) -> Entry | None:
    first, _, below = item.partition("\n")
    whole = clean(f"{first}\n{_at_margin(below)}")
    if section == "Returns":
        match = re.match(r"((?:[\w.,|` ]|\[[^]]*\])+?):\s+(?=\S)", whole)
        end = len(match[1]) if match else 0
        return Entry(section, (), whole, (0, end), (match.end() if match else 0, len(whole)))
    match = _GOOGLE_HEAD.match(whole)
    if not match:
        return None
    type_ = match.span(2) if match[2] else (len(match[1]), len(match[1]))
    return Entry(section, _split(match[1]), whole, type_, match.span(3))


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",")) if names else ()


def _description(below: str) -> str:
    return clean(_at_margin(below))


# A paragraph that begins so is a directive, a table, code or a formula.
_NO_TEXT = re.compile(r"\.\. |>>>|[=+|-]{3}|<\w|```|\|")


def _at_margin(below: str) -> str:
    """The paragraphs of a description without directives, and without what is indented: code, and what those hold."""
    kept = []
    for paragraph in re.split(r"\n[ \t]*\n", textwrap.dedent(below).strip("\n")):
        text = re.split(r"^\s*(?:\.\. \w|>>>|<\w+ \w+=|```)", paragraph, maxsplit=1, flags=re.MULTILINE)[0]
        if text.strip() and not text[0].isspace() and not _NO_TEXT.match(text):
            kept.append(text)
    return "\n".join(kept)


_ELEMENT = r"""'[^'\n]*'|"[^"\n]*"|[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:\.?[eE][-+]?\d+)?j?(?!\w)|[A-Za-z_]\w*(?:\.\w+)*(?:\([^()]*\))?"""
_VALUE = rf"(?P<value>{_ELEMENT}|\([^()]*\)|\[[^\[\]]*\]|\{{[^{{}}]*\}})"
_END = r"(?=\s*(?:$|[,;)\]]|\.(?:\s|$)|\(\w)|\.?\n)"
_DEFAULT = re.compile(
    rf"\bdefault(?:s to|s?(?:\s+value)?(?P<verb>\s*[=:]|\s+is|\s+to|))\s*{_VALUE}{_END}", re.IGNORECASE
)
_UNSAID = re.compile(
    r"default|omitted|unspecified|\b(?:not|isn't|is none|are none) (?:given|provided|specified|supplied|set|"
    r"passed|present|defined)|\bif none\b|\bnone\b|otherwise|=",
    re.IGNORECASE,
)
_ANY = re.compile("default", re.IGNORECASE)
# What counts as another default beside one in the head.
_STATED = re.compile(r"(?:(?<=\bthe )|(?<=\bby ))default\b", re.IGNORECASE)
# What only some cases have as their default is no default.
_CONDITION = re.compile(r"\b(?:if|for|when|unless|where|while)\b(?:(?![.;:]\s).)*$", re.IGNORECASE)
_NO_VALUES = {"a", "an", "the", "optional", "value", "values", "required", "this", "that", "it", "and", "or"}


def defaults(entry: Entry) -> list[Span] | None:
    r"""Where the entry states its default: every place that does, all of the same value.

    Returns:
        Spans in `entry.text` without quotation marks. None if a default is stated, but it is not clear which, or if the
        entry says what happens without a value in other words; empty if nothing is said.

    Example:
        >>> (entry,) = read_entries("Parameters\n----------\naxis : int, default=-1\n    Where.")
        >>> [entry.text[a:b] for a, b in defaults(entry)]
        ['-1']
        >>> (entry,) = read_entries("Parameters\n----------\naxis : int\n    Where. By default last.")
        >>> defaults(entry) is None
        True
    """
    matches = [
        match
        for match in _DEFAULT.finditer(entry.text, entry.type[0])
        if match["verb"] != "" or match.start() < entry.type[1]  # `int, default 3`, but not "as the default axis"
    ]
    spans = [_unquoted(entry.text, match.span("value")) for match in matches]
    if not spans:
        return None if _UNSAID.search(entry.text, entry.type[0]) else []
    pattern = _STATED if matches[0].start() < entry.type[1] else _ANY
    places = {match.start() for match in pattern.finditer(entry.text, entry.type[1])}
    unclear = places - {match.start() for match in matches}
    unclear |= {m.start() for m in matches if _CONDITION.search(entry.text, entry.description[0], m.start())}
    texts = {entry.text[start:end] for start, end in spans}
    return spans if len(texts) == 1 and not unclear and is_answer(texts.pop()) else None


def is_answer(text: str) -> bool:
    """Whether something is left of a text where punctuation and articles do not count, and no markup was cut from it."""
    return bool(re.search(r"[^\W_]", text)) and text.lower() not in _NO_VALUES and MASK not in text


def _unquoted(text: str, span: Span) -> Span:
    start, end = span
    return (start + 1, end - 1) if end - start > 2 and text[start] in "'\"" else span


_BESIDE = re.compile(
    r",?\s*[\[(]?\s*\b(?:optional|required|by default|defaults?|keyword[- ]only|must\b|should\b).*$", re.IGNORECASE
)
_SHAPE = re.compile(r"(.*?\w[\])}]?),?\s*(?:of |with |, )?shape\s*[:=]?\s*(\([^()]*\))$")
_CHOICES = re.compile(r"(?:one of\s*)?\{(.*['\"\d].*)\}$", re.IGNORECASE)


class Kind(NamedTuple):
    """What the type of an entry says: spans in the entry's text, empty lists where it says nothing of the sort.

    Attributes:
        types: the type, with its shape and without.
        shapes: the shape.
        choices: the values that may be chosen from.
    """

    types: list[Span]
    shapes: list[Span]
    choices: list[Span]


def kind(entry: Entry) -> Kind:
    r"""The type, the shape or the choices of an entry, where its head states them.

    Example:
        >>> (entry,) = read_entries("Parameters\n----------\nX : ndarray of shape (n, 2), optional\n    Data.")
        >>> [[entry.text[a:b] for a, b in spans] for spans in kind(entry)]
        [['ndarray of shape (n, 2)', 'ndarray'], ['(n, 2)'], []]
    """
    start = entry.type[0]
    said = _BESIDE.sub("", entry.text[start : entry.type[1]]).rstrip(" ,;.")
    if not is_answer(said) or not _balanced(said) or len(said.split()) > 12 or ". " in said:
        return Kind([], [], [])
    if match := _CHOICES.match(said):
        return Kind([], [], [(start + match.start(1), start + match.end(1))])
    types = [(start, start + len(said))]
    match = _SHAPE.match(said)
    if not match:
        return Kind(types, [], [])
    return Kind([*types, (start, start + match.end(1))], [(start + match.start(2), start + match.end(2))], [])


def _balanced(text: str) -> bool:
    return all(text.count(a) == text.count(b) for a, b in ("()", "[]", "{}")) and text.count("'") % 2 == 0


_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!cf\.)(?<!vs\.)\s+(?=[\"'(*A-Z-])")
_NO_MEANING = re.compile(
    r"(?:see|default|if|for (?:more|details)|deprecated|same|ignored|not used)\b|.*\bdefaults?\b", re.IGNORECASE
)


def first_sentence(entry: Entry, shortest: int = 3, longest: int = 25) -> list[Span]:
    r"""Where the first sentence of the description is, if it says what the entry is for (or when it is raised); else nothing.

    Example:
        >>> (entry,) = read_entries("Cut.\n\nArgs:\n    x (int): The left end. Must be positive.")
        >>> [entry.text[a:b] for a, b in first_sentence(entry)]
        ['The left end']
    """
    start, end = entry.description
    sentence = _SENTENCE_END.split(entry.text[start:end], maxsplit=1)[0]
    if not shortest <= len(sentence.split()) <= longest or not is_answer(sentence) or sentence.endswith(":"):
        return []
    if entry.section != "Raises" and _NO_MEANING.match(sentence):
        return []
    return [(start, start + len(sentence.rstrip(". ")))]
