"""`pydocs-qa`: questions about parameters, and the place in the documentation that answers them.

    qa = load_pydocs_qa()
    qa.train, qa.test, qa.shifted               # rows in SQuAD's shape
    qa.versions, qa.fingerprint                 # what was read, and a hash of what came of it
    qa.found, qa.dropped, qa.spared, qa.unread  # nothing is left out without being counted

A passage is the first paragraph of a docstring and what it says of some parameters, returned values and exceptions. A third
of the questions have no answer there, as in SQuAD v2.0: they ask for something that another passage of the module documents,
or for the default of a parameter that has none. `train` and `test` are of different modules of the same libraries;
`shifted` is of other libraries, about a third of it from docstrings in Google's style instead of NumPy's. The questions are made from
templates, so rules that know both styles would answer most of them: the corpus shows that training works, no more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from ssl_pdr.data.docstrings import Docstring, first_paragraph
from ssl_pdr.data.embedded import library_versions, modules_of, rank, read_modules, words_alone
from ssl_pdr.data.entries import Entry, read_entries
from ssl_pdr.data.pydocs_questions import Passage, Question, ask
from ssl_pdr.errors import DataError

Row: TypeAlias = dict[str, Any]

# Questions in each part. The main job of the command line has minutes on two cores, not hours.
TRAIN_ROWS, TEST_ROWS, SHIFTED_ROWS = 2000, 500, 500
UNANSWERABLE = 3  # one question in so many
# One module in so many is of the test part.
TEST_MODULES = 5
# Words that a passage has at least and at most; one in eight may be longer, so that some do not fit into one window. An entry
# of more than WORDS is left out.
FEW_WORDS, WORDS, MANY_WORDS, LONG_PASSAGES = 25, 130, 300, 8
PASSAGES = 2  # of one docstring, at most
# A passage with more of its words in entries that others have too is a near copy.
MAX_COPIED = 0.5

HOME = modules_of(
    numpy="lib linalg ma polynomial",
    scipy="cluster integrate interpolate io ndimage optimize signal spatial stats",
    sklearn="[!eu]* ensemble",
)
AWAY = modules_of(
    datasets="arrow_dataset dataset_dict features iterable_dataset load table",
    matplotlib="axes collections legend patches",
    networkx="algorithms.[a-d]* drawing generators",
    pandas="core.frame core.generic core.groupby core.series",
    torch="nn.init nn.modules nn.utils optim",
)


@dataclass(frozen=True)
class PydocsQA:
    """The corpus; see the module's docstring.

    Attributes:
        train: rows to learn from; how many keep their answer is the label budget's business. Each has `id`, `title` (the
            module), `question`, `context` and `answers`, the lists `text` and `answer_start`, empty without an answer.
        test: rows of other modules of the same libraries.
        shifted: rows of other libraries.
        versions: version of each library that was read.
        fingerprint: SHA-256 of the rows and their parts.
        found: functions, classes and methods seen; those in rows and `dropped` add up to it.
        dropped: how many of them are in no row, by reason.
        spared: entries, passages and questions that were left out of those that are in rows or could be, by reason.
        unread: modules that this version of their library does not have, and files that are not readable.
    """

    train: tuple[Row, ...]
    test: tuple[Row, ...]
    shifted: tuple[Row, ...]
    versions: dict[str, str]
    fingerprint: str
    found: int
    dropped: dict[str, int]
    spared: dict[str, int]
    unread: tuple[str, ...]


@cache
def load_pydocs_qa() -> PydocsQA:
    """Read the corpus from the installed libraries; the same versions give the same corpus, row for row.

    Raises:
        DataError: a library is missing, or too little was found.

    Example:
        >>> qa = load_pydocs_qa()
        >>> len(qa.train), sorted(qa.train[0])
        (2000, ['answers', 'context', 'id', 'question', 'title'])
    """
    return build_qa(HOME, AWAY)


def build_qa(home: Sequence[str], away: Sequence[str]) -> PydocsQA:
    """The corpus of the given modules; `load_pydocs_qa` does it for `HOME` and `AWAY` and remembers the result."""
    unread: list[str] = []
    dropped: Counter[str] = Counter()
    spared: Counter[str] = Counter()
    docs = [read_modules(patterns, unread) for patterns in (home, away)]
    seen: set[str] = set()
    passages = [_own(_passages(d, dropped, spared), seen, dropped, spared) for d in docs]
    at_home, away_from_it = (ask(found, spared) for found in passages)
    parts = _parts(at_home, away_from_it, spared)
    used = {question.passage.source for part in parts for question in part}
    dropped["not needed"] = len({p.source for found in passages for p in found} - used)
    # Those without an answer were chosen from later ranks: the ids shuffle again.
    train, test, shifted = (tuple(sorted(map(_row, part), key=lambda row: str(row["id"]))) for part in parts)
    return PydocsQA(
        train=train,
        test=test,
        shifted=shifted,
        versions=library_versions([*home, *away]),
        fingerprint=hashlib.sha256(json.dumps([train, test, shifted]).encode()).hexdigest(),
        found=sum(map(len, docs)),
        dropped=dict(sorted(dropped.items())),
        spared=dict(sorted(spared.items())),
        unread=tuple(unread),
    )


# --- passages

# A docstring that is filled in when its library is imported.
_PLACEHOLDER = re.compile(r"%\(\w+\)s|\$\w*\{|(?<!\{)\{[a-z]+_[a-z_]+\}|^\s*\{\w+\}\s*$", re.MULTILINE)


def _passages(
    docs: Iterable[Docstring], dropped: Counter[str], spared: Counter[str]
) -> dict[tuple[str, str], list[Passage]]:
    """The passages of each object that documents something one by one."""
    found: dict[tuple[str, str], list[Passage]] = {}
    for doc in docs:
        entries = [] if not (doc.public and doc.text) else read_entries(doc.text)
        if not doc.public:
            dropped["private"] += 1
        elif not doc.text:
            dropped["no docstring"] += 1
        elif _PLACEHOLDER.search(doc.text):
            dropped["has placeholders"] += 1
        elif not entries:
            dropped["no entries"] += 1
        elif (doc.module, doc.name) in found:
            dropped["duplicate"] += 1
        else:
            fit = [entry for entry in entries if len(entry.text.split()) <= WORDS]
            spared["long entries"] += len(entries) - len(fit)
            passages = list(_cut((doc.module, doc.name), first_paragraph(doc.text), fit))
            enough = [passage for passage in passages if len(passage.text.split()) >= FEW_WORDS]
            spared["passages beyond the first of a docstring"] += len(enough[PASSAGES:])
            if enough:
                spared["short passages"] += len(passages) - len(enough)
                found[doc.module, doc.name] = enough[:PASSAGES]
            else:
                dropped["no passage of fitting length"] += 1
    return found


def _cut(source: tuple[str, str], title: str, entries: list[Entry]) -> Iterator[Passage]:
    """Entries side by side, as many as the words allow; the first passage starts with the title."""
    many = int(rank(" ".join(entry.text for entry in entries))[:8], 16) % LONG_PASSAGES == 0
    longest = MANY_WORDS if many else WORDS
    text, section, inside = title, "", list[tuple[int, Entry]]()
    for entry in entries:
        if inside and len(text.split()) + len(entry.text.split()) > longest:
            yield Passage(source, text, tuple(inside))
            text, section, inside = "", "", []
        if entry.section != section:
            text, section = f"{text}\n\n{entry.section}".lstrip(), entry.section
        inside.append((len(text) + 1, entry))
        text = f"{text}\n{entry.text}"
    if inside:
        yield Passage(source, text, tuple(inside))


def _own(
    passages: dict[tuple[str, str], list[Passage]], seen: set[str], dropped: Counter[str], spared: Counter[str]
) -> list[Passage]:
    """The passages that do not repeat others; the entries of those are added to `seen`."""
    own: list[Passage] = []
    for found in passages.values():
        fresh = [passage for passage in found if _copied(passage, seen) <= MAX_COPIED]
        seen.update(words_alone(entry.text) for passage in found for _, entry in passage.entries)
        own += fresh
        spared["near copies of passages"] += len(found) - len(fresh) if fresh else 0
        dropped["duplicate"] += not fresh
    return own


def _copied(passage: Passage, seen: set[str]) -> float:
    lengths = [(len(entry.text.split()), words_alone(entry.text) in seen) for _, entry in passage.entries]
    return sum(length for length, copied in lengths if copied) / sum(length for length, _ in lengths)


# --- parts


def _parts(
    home: list[Question], away: list[Question], spared: Counter[str]
) -> tuple[list[Question], list[Question], list[Question]]:
    """Training, test and shifted questions; a module's own hash says whether it is of the test part."""
    tested = {q.passage.source[0] for q in home if int(rank(q.passage.source[0])[:8], 16) % TEST_MODULES == 0}
    train = [q for q in home if q.passage.source[0] not in tested]
    test = [q for q in home if q.passage.source[0] in tested]
    sizes = {"training": TRAIN_ROWS, "test": TEST_ROWS, "shifted": SHIFTED_ROWS}
    parts = []
    for (name, size), questions in zip(sizes.items(), (train, test, away), strict=True):
        part = _balanced(questions, size)
        if len(part) < size:
            raise DataError(
                f"pydocs-qa found {len(questions)} {name} questions, which give {len(part)} rows, expected {size}; "
                "are the libraries installed with their sources?"
            )
        spared["questions not needed"] += len(questions) - len(part)
        parts.append(part)
    return parts[0], parts[1], parts[2]


def _balanced(questions: list[Question], size: int) -> list[Question]:
    """As many questions as wanted: of every kind the same share has no answer, or the kind would say whether there is one."""
    ordered = sorted(questions, key=lambda q: q.rank)
    most = Counter(q.kind for q in ordered if not q.spans)
    kinds: Counter[str] = Counter()
    answered: list[Question] = []
    for q in ordered:
        enough = kinds[q.kind] + 1 >= most[q.kind] * (UNANSWERABLE - 1)  # for their share, however it is rounded
        if q.spans and not enough and len(answered) < size - size // UNANSWERABLE:
            kinds[q.kind] += 1
            answered.append(q)
    wanted = _shares(kinds, min(size // UNANSWERABLE, len(answered) // (UNANSWERABLE - 1)))
    unanswered = []
    for q in ordered:
        if not q.spans and wanted[q.kind] > 0:
            wanted[q.kind] -= 1
            unanswered.append(q)
    return answered + unanswered


def _shares(kinds: Counter[str], total: int) -> Counter[str]:
    """Whole numbers in the proportions of the counts that add up to the total."""
    shares, given, counted = Counter[str](), 0, 0
    for what in sorted(kinds):
        counted += kinds[what]
        upto = round(total * counted / kinds.total())
        shares[what], given = upto - given, upto
    return shares


def _row(question: Question) -> Row:
    context = question.passage.text
    content = json.dumps([context, question.text])
    return {
        "id": hashlib.sha256(content.encode()).hexdigest()[:16],
        "title": question.passage.source[0],
        "question": question.text,
        "context": context,
        "answers": {
            "text": [context[start:end] for start, end in question.spans],
            "answer_start": [start for start, _ in question.spans],
        },
    }
