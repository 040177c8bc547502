"""Passages of a docstring: whole sentences of prose, each with the section that it is from.

for passage in passages(docstring, shortest=6, longest=32):
    passage.section, passage.text  # "returns", "Samples from the half-open unit interval, one in each row."
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from ssl_pdr.data.docstrings import MASK, clean

# Headings of the sections that hold passages. What is said of one parameter fits many objects, and is none.
_SECTIONS = {
    "": "description",
    "description": "description",
    "explanation": "description",
    "extended summary": "description",
    "note": "notes",
    "notes": "notes",
    "returns": "returns",
    "yields": "returns",
}
# A line above dashes or the like, and maybe below some; or `Returns:` above an indented line.
_HEADING = re.compile(
    r"^(?:[ \t]*[-=~^]{3,}[ \t]*\n)?[ \t]*(\S.*?)[ \t]*\n[ \t]*[-=~^]{3,}[ \t]*$|^([A-Z][a-z]+(?: [A-Za-z]+)?):{1,2}[ \t]*\n(?=[ \t]|\n[ \t])",
    re.MULTILINE,
)


class Passage(NamedTuple):
    """A piece of a docstring on one line without markup.

    Attributes:
        section: `description`, `notes` or `returns`.
        text: whole sentences.
    """

    section: str
    text: str


def passages(docstring: str, shortest: int, longest: int) -> list[Passage]:
    r"""The passages of a docstring in NumPy's or Google's style, in its order.

    A passage is the beginning of a paragraph, or of what is said of a returned value: as many whole sentences as
    `longest` words allow, up to the first that speaks of versions or refers to other documentation. Lists, code,
    formulas, titles and directives are none.

    Args:
        docstring: as written.
        shortest: words that a passage has at least; numbers and symbols do not count.
        longest: words that it has at most.

    Example:
        >>> passages("Sum of a list.\n\nReturns:\n    float: The sum, which may be negative.", 3, 8)
        [Passage(section='description', text='Sum of a list.'),
         Passage(section='returns', text='The sum, which may be negative.')]
    """
    found = []
    for section, paragraph in _paragraphs(inspect.cleandoc(docstring)):
        if paragraph.count(" ") + paragraph.count("\n") >= shortest - 1:
            text = _leading_sentences(_clean(paragraph), longest)
            if _is_prose(text, shortest):
                found.append(Passage(section, text))
    return found


def _paragraphs(text: str) -> Iterator[tuple[str, str]]:
    for heading, underlined, under in sections(text):
        section = _SECTIONS.get(heading.lower())
        if section is None:
            continue
        body = textwrap.dedent(under).strip("\n")
        if section == "returns":
            found = _items(body) if underlined else map(_without_type, _at_the_margin(body))
        else:
            found = _at_the_margin(body)
        for paragraph in found:
            yield section, paragraph


def sections(text: str) -> Iterator[tuple[str, bool, str]]:
    """Each heading, whether it is underlined, and what stands under it; first what stands before any heading."""
    heading, underlined, start = "", False, 0
    for match in _HEADING.finditer(text):
        yield heading, underlined, text[start : match.start()]
        heading, underlined, start = match[1] or match[2], match[1] is not None, match.end()
    yield heading, underlined, text[start:]


# A paragraph that begins so is a list, a table, code, a signature or a directive.
_NO_PROSE = re.compile(r"\.\. |>>>|[-*+|@:] |:\w|\(?\w{1,3}[.)] |\+[-=]|[\w.]+\(.*\)(?:\s*->.*)?$")


def _at_the_margin(body: str) -> Iterator[str]:
    """Paragraphs none of whose lines is indented: the rest is code, formulas and what belongs to a list."""
    for paragraph in re.split(r"\n[ \t]*\n", body):
        if paragraph and not re.search(r"^\s", paragraph, re.MULTILINE) and not _NO_PROSE.match(paragraph):
            yield paragraph


def _items(body: str) -> Iterator[str]:
    """The first paragraph under each `name : type`."""
    for item in re.split(r"\n(?=\S)", body):
        _, _, text = item.partition("\n")
        yield from list(_at_the_margin(textwrap.dedent(text).strip("\n")))[:1]


def _without_type(paragraph: str) -> str:
    """The paragraph without the `type:` that Google's style has before it."""
    return re.sub(r"[\w.,\[\]`~: ]{1,40}?:\s+(?=[A-Z])", "", paragraph, count=1)


def _clean(paragraph: str) -> str:
    text = re.sub(r"(?<=\b(?:in|of|by|to) )\[[^]]{1,12}\]_", MASK, " ".join(paragraph.split()))  # "as in [1]_ with"
    return clean(text)


_SENTENCE_END = re.compile(
    rf"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!cf\.)(?<!vs\.)(?<!al\.)\s+(?=[\"'(A-Z{MASK}])"
)
# Sentences about versions, and those that send the reader elsewhere or announce a list.
_ELSEWHERE = re.compile(
    r".*(?:\bversions? v?\d|deprecat|\b(?:added|new|changed|removed) in\b|\d+\.\d+\.\d+)"
    r"|.*\b(?:see|refer to|cf|below|read more|user.guide|tutorial|glossary|docstring|documentation)\b"
    r"|for (?:more|further|details|an? .{0,20}example)\b"
    r"|.*\b(?:as follows|(?:the )?following \w+)\.$",
    re.IGNORECASE,
)


def _leading_sentences(text: str, longest: int) -> str:
    words: list[str] = []
    for sentence in _SENTENCE_END.split(text):
        more = sentence.split()
        if len(words) + len(more) > longest or _ELSEWHERE.match(sentence):
            break
        words += more
    return " ".join(words)


_SPOKEN = re.compile(r"(?<!\S)[(\"']?[A-Za-z][a-z]*[-a-z]*[)\"'.,;:!?]*(?!\S)")
# What is left of a citation, a template, code or a formula.
_DEBRIS = re.compile(
    r"\b(?:in|by|of|from|see|and|to|on|with|or)\s*[.,;:)]|%\(|[{}<>\\=_^|~`]{2}|[{}\\]|>>>|\( |\s[,.;:]|\[\]|\):"
)


def _is_prose(text: str, shortest: int) -> bool:
    return (
        len(_SPOKEN.findall(text)) >= max(shortest, 0.75 * len(text.split()))
        and text[-1] in ".!?"
        and (text[0].isupper() or text[0] == MASK)
        and text.count(MASK) <= 1
        and not text.endswith(f"{MASK}.")
        and not _DEBRIS.search(text)
    )
