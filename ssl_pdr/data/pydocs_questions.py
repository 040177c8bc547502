"""Questions to a passage of documentation: those that it answers, with the places, and those that it does not.

    for question in ask(passages, spared):
        question.kind, question.text   # "default", "What does `alpha` default to?"
        question.spans                 # where the passage has the answer; nothing if it has none

What a passage does not answer are the questions that other passages of its module answer, and that for the default of a
parameter where nothing is said of it.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple, TypeAlias

from ssl_pdr.data.embedded import rank, words_alone
from ssl_pdr.data.entries import Entry, Span, defaults, first_sentence, kind

# Of one passage with an answer, and as many without, at most.
QUESTIONS = 2
TEMPLATES = {
    "default": (
        "What is the default of {}?",
        "Which value does {} have by default?",
        "What does {} default to?",
        "Which value is used for {} unless another one is given?",
    ),
    "type": ("What type does {} have?", "Of which type is {}?", "What kind of object is {}?"),
    "shape": ("What shape does {} have?", "Of which shape is {}?"),
    "choices": ("Which values can {} take?", "What are the options for {}?", "Which values may be chosen for {}?"),
    "meaning": ("What does {} mean?", "How is {} described?", "What is {} for?"),
    "returned": ("What type is returned?", "Of which type is the returned value?", "What type does the call return?"),
    "raised": ("When is {} raised?", "In which case is {} raised?", "What leads to {}?"),
}
# How much of each kind a passage is asked for, where it has an answer to it.
WEIGHTS = {"default": 8, "type": 2, "shape": 3, "choices": 5, "meaning": 3, "returned": 2, "raised": 6}

# For each kind the names that a module answers it for, and how a question calls them.
_Subjects: TypeAlias = dict[str, dict[str, str]]
# (kind, subject, answers); no answers: there are none.
_Candidate: TypeAlias = tuple[str, str, tuple[Span, ...]]


class Passage(NamedTuple):
    """What one row shows of a docstring.

    Attributes:
        source: module and name of the object.
        text: the passage.
        entries: what it documents, each with the place where it starts in `text`.
    """

    source: tuple[str, str]
    text: str
    entries: tuple[tuple[int, Entry], ...]


class Question(NamedTuple):
    """A question to a passage.

    Attributes:
        passage: the passage.
        kind: a key of `TEMPLATES`.
        text: the question.
        spans: every place in the passage that answers it; nothing if none does.
    """

    passage: Passage
    kind: str
    text: str
    spans: tuple[Span, ...]

    @property
    def rank(self) -> str:
        """Place in a shuffled order."""
        return rank(f"{words_alone(self.passage.text)} {self.text}")


def ask(passages: list[Passage], spared: Counter[str]) -> list[Question]:
    r"""Some questions to each passage, with and without an answer.

    Args:
        passages: all passages of some modules; what one of a module documents may be asked of the others.
        spared: questions that were left out are counted here.

    Example:
        >>> from ssl_pdr.data.entries import read_entries
        >>> (entry,) = read_entries("Dig.\n\nArgs:\n    depth (int): How deep it is.")
        >>> for question in ask([Passage(("m", "f"), entry.text, ((0, entry),))], Counter()):
        ...     print(question.text, [entry.text[start:end] for start, end in question.spans])
        What does `depth` mean? ['How deep it is']
        What type does `depth` have? ['int']
        Which value does `depth` have by default? []
    """
    modules: dict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        modules[passage.source[0]].append(passage)
    found: list[Question] = []
    for members in modules.values():
        facts = [list(_facts(passage, spared)) for passage in members]
        subjects: _Subjects = defaultdict(dict)
        for what, subject in sorted({fact[:2] for passage_facts in facts for fact in passage_facts}):
            subjects[what][subject.rstrip("`").rpartition("`")[2]] = subject
        for passage, passage_facts in zip(members, facts, strict=True):
            asked = [*_not_there(passage, subjects), *(("default", subject) for subject in _without_default(passage))]
            candidates: list[_Candidate] = [*passage_facts, *((what, subject, ()) for what, subject in asked)]
            chosen = _chosen(passage, candidates)
            spared["questions beyond the first of a passage"] += len(candidates) - len(chosen)
            found += chosen
    return found


def _facts(passage: Passage, spared: Counter[str]) -> Iterator[_Candidate]:
    """(kind, subject, answers) of all that a passage says of its entries."""
    counts = Counter(name for _, entry in passage.entries for name in entry.names)
    returned = [entry for _, entry in passage.entries if entry.section == "Returns"]
    for start, entry in passage.entries:
        said: dict[str, list[Span]] = {}
        if entry.section == "Raises":
            said["raised"] = first_sentence(entry)
        else:
            said["type"], said["shape"], said["choices"] = kind(entry)
        if entry.section == "Parameters":
            stated = defaults(entry)
            said["default"] = stated or []
            spared["defaults that are not clear"] += stated is None
        if entry.section != "Raises" and len(entry.names) == 1:
            said["meaning"] = first_sentence(entry)
        if len(returned) == 1 and entry is returned[0] and len(entry.names) < 2:
            said["returned"] = said["type"]
        names = [name for name in entry.names if counts[name] == 1 and "*" not in name]
        before = "the returned " if entry.section == "Returns" else ""
        for what, spans in said.items():
            answers = tuple((start + a, start + b) for a, b in spans)
            subjects = [""] if what == "returned" else [f"{before}`{name}`" for name in names]
            if answers:
                yield from ((what, subject, answers) for subject in subjects)


def _not_there(passage: Passage, subjects: _Subjects) -> Iterator[tuple[str, str]]:
    """For each kind a subject that other passages of the module answer and this one does not document."""
    sections = {entry.section for _, entry in passage.entries}
    documented = {name for _, entry in passage.entries for name in entry.names}
    words = {word.lower() for word in re.findall(r"\w+", passage.text)}
    place = rank(passage.text)
    for what, names in subjects.items():
        if what == "returned":
            if "Returns" not in sections and not any(re.match("return|yield|output|result", word) for word in words):
                yield what, ""
            continue
        free: Iterable[str] = (name for name in _from_anywhere(names, f"{place} {what}") if name.lower() not in words)
        if what == "default":  # a name that is mentioned is harder to tell from one that is documented
            mentioned = sorted((words - documented).intersection(names))
            free = chain((name for name in mentioned if _silent(passage, name)), free)
        name = next(iter(free), None)
        if name:
            yield what, names[name]


def _from_anywhere(names: dict[str, str], place: str) -> Iterator[str]:
    """The names in their order, from one on that the place decides."""
    ordered = list(names)
    start = int(rank(place)[:12], 16) % len(ordered)
    return chain(ordered[start:], ordered[:start])


def _silent(passage: Passage, name: str, own: Entry | None = None) -> bool:
    """Whether nothing in the passage beside the name's own entry may state its default."""
    others = (line for line in passage.text.split("\n") if not own or line not in own.text.split("\n"))
    return not any(
        re.search(rf"\b{re.escape(name)}\b", line) and re.search("default|=", line, re.IGNORECASE) for line in others
    )


def _without_default(passage: Passage) -> Iterator[str]:
    """Parameters that the passage documents without a word on what happens where they are not given."""
    for _, entry in passage.entries:
        if entry.section == "Parameters" and defaults(entry) == []:
            for name in entry.names:
                if "*" not in name and _silent(passage, name, entry):
                    yield f"`{name}`"


def _chosen(passage: Passage, candidates: list[_Candidate]) -> list[Question]:
    """The first of those with an answer and of those without, in an order in which the kinds come by their weights."""
    counts = Counter((what, bool(spans)) for what, _, spans in candidates)
    place = rank(words_alone(passage.text))

    def late(candidate: _Candidate) -> float:
        what, subject, spans = candidate
        chance = (int(rank(f"{place} {what} {subject}")[:12], 16) + 1) / 16**12
        return -math.log(chance) * counts[what, bool(spans)] / WEIGHTS[what]

    ordered = sorted(candidates, key=late)
    answered = [candidate for candidate in ordered if candidate[2]]
    unanswered = [candidate for candidate in ordered if not candidate[2]]
    return [_question(passage, *candidate) for candidate in answered[:QUESTIONS] + unanswered[:QUESTIONS]]


def _question(passage: Passage, what: str, subject: str, spans: tuple[Span, ...]) -> Question:
    templates = TEMPLATES[what]
    number = int(rank(f"{subject} {words_alone(passage.text)}")[:8], 16)
    return Question(passage, what, templates[number % len(templates)].format(subject), spans)
