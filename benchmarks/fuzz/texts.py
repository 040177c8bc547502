"""Tables and texts: encodings, csv, tsv, txt, and labels."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from benchmarks.fuzz.case import EITHER, FINE, Case
from benchmarks.fuzz.ways import LABELLED, OUT, UNLABELLED, WAYS, Content, each, in_turn, put
from benchmarks.fuzz.world import TRAIN, rows, table

_GOOD = table()
_HEAD = "text,label\n"
_HOSTILE = (
    "[red]bad[/red]",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "<script>alert(1)</script>",
    "[/]",
    "{0} %s ${HOME}",
    ":smile: 🙂 \u202egnp",
)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _encodings()
    yield from _tables()
    yield from _columns()
    yield from _documents()
    yield from _labels()
    yield from _markup()


def _encodings() -> Iterator[Case]:
    accented = _GOOD.replace("film", "filmé ça")
    wrong: dict[str, Content] = {
        "latin-1": accented.encode("latin-1"),
        "cp1252": (_GOOD + "it was “fine”,pos\n").encode("cp1252"),
        "utf-16 with a mark": _GOOD.encode("utf-16"),
        "utf-16 without a mark": _GOOD.encode("utf-16-le"),
        "utf-32": _GOOD.encode("utf-32"),
        "shift-jis": (_GOOD + "映画,pos\n").encode("shift-jis"),
        "broken utf-8 at the end": _GOOD.encode() + b"a\xe2\x82,pos\n",
        "broken utf-8 in the header": b"te\xffxt,label\n" + _GOOD.encode()[11:],
        "overlong utf-8": _GOOD.encode() + b"a\xc0\xaf,pos\n",
        "utf-8 of surrogates": (_GOOD + "a\ud800b,pos\n").encode("utf-8", "surrogatepass"),
        "a null byte": _GOOD.encode() + b"a\x00b,pos\n",
        "null bytes alone": b"\x00" * 500,
        "random bytes": random.Random(1).randbytes(3000),
    }
    yield from in_turn("encoding", "bad.csv", wrong, [*LABELLED, "unlabelled", "stream"])
    right: dict[str, Content] = {
        "a byte order mark": b"\xef\xbb\xbf" + _GOOD.encode(),
        "CRLF": _GOOD.replace("\n", "\r\n").encode(),
        "no end of the last line": _GOOD.rstrip().encode(),
        "unicode of all planes": (_GOOD + "𝔊𝔬𝔬𝔡 \u200d\u0301 ﷽,pos\n").encode(),
    }
    yield from in_turn("encoding", "good.csv", right, LABELLED, ends=FINE)
    yield from each("encoding", "old.csv", {"CR alone": _GOOD.replace("\n", "\r").encode()}, WAYS, ends=EITHER)
    for encoding in (
        "utf-9",
        "",
        "idna",
        "base64",
        "rot13",
        "hex",
        "undefined",
        "utf_8_sig",
        "unicode_escape",
        "punycode",
        "zip",
        "raw_unicode_escape",
        "mbcs",
    ):
        yield Case(
            kind="encoding",
            name=f"--encoding {encoding or '(empty)'}",
            argv=("split", "--data", "reviews.csv", "--encoding", encoding, "--output", "out/s.json"),
            ends=EITHER,
        )
    for encoding in ("latin-1", "utf-16", "utf-16-le", "cp1252", "ascii", "utf-7"):
        yield Case(
            kind="encoding",
            name=f"a file in latin-1 read as {encoding}",
            argv=("split", "--data", "l.csv", "--encoding", encoding, "--output", "out/s.json"),
            make=put("l.csv", accented.encode("latin-1")),
            ends=FINE if encoding in ("latin-1", "cp1252") else EITHER if encoding == "utf-7" else (2,),
        )
    yield from each(
        "encoding",
        "b.csv",
        {"bad rows skipped": accented.encode("latin-1")},
        ["split", "train", "unlabelled"],
        ends=EITHER,
        more=("--skip-bad-rows",),
    )


def _tables() -> Iterator[Case]:
    """What no csv should be."""
    bad: dict[str, Content] = {
        "nothing": b"",
        "a line end": "\n",
        "blank lines": "\n\n \n\t\n",
        "a header alone": _HEAD,
        "no header": "".join(_GOOD.splitlines(keepends=True)[1:]),
        "a row that is too short": _GOOD + "short\n",
        "a row that is too long": _GOOD + "a,b,c,d\n",
        "an open quote": _GOOD + '"open,pos\n' + "x,neg\n" * 50,
        "a quote inside": _GOOD + 'a "b" c,pos\n"x"y,pos\n',
        "quotes alone": '"""""""""\n' * 20,
        "a column twice": "text,text,label\na,b,c\n",
        "a column without a name": "text,,label\na,b,c\n",
        "semicolons": _GOOD.replace(",", ";"),
        "tabs": _GOOD.replace(",", "\t"),
        "one enormous field": f"{_HEAD}{'x' * (17 * 2**20)},pos\n",
        "one enormous header": "x" * (17 * 2**20),
        "a million commas": _HEAD + "," * 10**6 + "\n",
        "a hundred thousand columns": ",".join(f"c{i}" for i in range(10**5)) + "\n" + "," * (10**5 - 1) + "\n",
        "a hundred thousand columns called alike": ",".join(["c"] * 10**5) + "\n",
        "an empty text": _GOOD + ",pos\n",
        "texts that are blank": _HEAD + "  ,pos\n\t,neg\n",
        "html": "<!DOCTYPE html><html><body>404, not found</body></html>",
        "a git lfs pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n",
    }
    yield from in_turn("csv", "bad.csv", bad, LABELLED)
    yield from each(
        "csv rows skipped",
        "skip.csv",
        {
            k: bad[k]
            for k in (
                "a row that is too short",
                "an open quote",
                "an empty text",
                "one enormous field",
                "a quote inside",
            )
        },
        ["split", "train", "evaluate"],
        ends=EITHER,
        more=("--skip-bad-rows",),
    )
    yield from in_turn(
        "csv",
        "unlabelled.csv",
        {
            k: bad[k]
            for k in (
                "nothing",
                "a header alone",
                "an open quote",
                "a column twice",
                "one enormous field",
                "blank lines",
            )
        },
        UNLABELLED,
    )
    shifted = {
        k: v.replace(",", "\t") if isinstance(v, str) else v
        for k, v in bad.items()
        if k
        not in (
            "tabs",
            "semicolons",
            "an open quote",
            "a quote inside",
            "quotes alone",
            "html",
            "one enormous field",
            "one enormous header",
        )
    }
    yield from in_turn("tsv", "bad.tsv", shifted, LABELLED, by=1)
    yield from each(
        "tsv",
        "quotes.tsv",
        {"quotes mean nothing in it": _GOOD.replace(",", "\t") + '"open\tpos\n'},
        ["split", "train"],
        ends=FINE,
    )


def _columns() -> Iterator[Case]:
    """Names of columns that are not there, or mean something else."""
    for option, value, says in (
        ("--text-column", "txet", "did you mean 'text'?"),
        ("--label-column", "lable", "did you mean 'label'?"),
        ("--pair-column", "nothing", "nothing"),
        ("--text-column", "", ""),
        ("--text-column", "label\n", ""),
        ("--label-column", "\x1b[31m", ""),
        ("--text-column", "x" * 10_000, ""),
    ):
        argv = ("split", "--data", "reviews.csv", option, value, "--output", "out/split.json")
        yield Case(kind="columns", name=f"{option} {value[:12]!r}", argv=argv, says=says)
    odd: dict[str, Content] = {
        "no text": "a,b\n1,2\n3,4\n",
        "no label": "text\na\nb\n",
        "text twice by case": "text,Text,label\n" + "a,b,c\n" * 3,
        "one column": "label\npos\nneg\n",
        "questions": "question,context,label\nq,c,a\nq2,c2,b\n",
    }
    yield from each("columns", "odd.csv", odd, ["split", "train", "eval"], ends=EITHER)
    groups = ("split", "--split-strategy", "group", "--group-column", "g", "--output", "out/s.json")
    for what, content in {
        "one group": "text,label,g\n" + "".join(f"{t},{label},1\n" for t, label in rows(20)),
        "an empty group": "text,label,g\n" + "".join(f"{t},{label},\n" for t, label in rows(20)),
        "no such column": _GOOD,
    }.items():
        argv = (*groups, "--data", "g.csv", "--labelled-frac", "0.5")
        yield Case(kind="columns", name=f"groups, {what}", argv=argv, make=put("g.csv", content), ends=EITHER)


def _documents() -> Iterator[Case]:
    """Texts alone."""
    bad: dict[str, Content] = {
        "nothing": b"",
        "blank lines": b"\n\n   \n",
        "null bytes": b"\x00" * 1000,
        "one enormous line": b"x" * (17 * 2**20),
        "broken utf-8": b"fine\n\xff\xfe\xfd\n",
        "utf-16": "fine\nfine too\n".encode("utf-16"),
    }
    yield from each("txt", "bad.txt", bad, UNLABELLED)
    paragraphs: dict[str, Content] = {**bad, "one enormous paragraph": b"word\n" * (4 * 2**20)}
    for what, content in paragraphs.items():
        argv = (*WAYS["unlabelled"]("p.txt"), "--split-documents", "paragraph")
        yield Case(kind="txt", name=f"{what}, by paragraph", argv=argv, make=put("p.txt", content))
    yield Case(
        kind="txt",
        name="a word of four million letters",
        argv=WAYS["unlabelled"]("w.txt"),
        make=put("w.txt", "a" * 4 * 10**6 + "\nfine\n"),
        ends=FINE,
    )
    yield Case(
        kind="txt",
        name="a text of 700,000 words",
        argv=WAYS["unlabelled"]("w.txt"),
        make=put("w.txt", "film " * (7 * 10**5) + "\n"),
        ends=FINE,
    )
    yield Case(
        kind="txt",
        name="a text of 700,000 words, in windows",
        argv=(*WAYS["unlabelled"]("w.txt"), "--long-documents", "windows"),
        make=put("w.txt", "film " * (7 * 10**5) + "\n"),
        ends=EITHER,
    )
    yield from each(
        "txt", "labelled.txt", {"as labelled data": "a text\nanother\n"}, ["train", "split", "eval", "evaluate"]
    )
    same = "".join(f"{text}\n" for text, _ in rows(40))
    yield from each("txt", "same.txt", {"nothing but training texts": same}, ["unlabelled"])


def _labels() -> Iterator[Case]:
    """Classes that are none."""

    def labelled(label: object) -> str:
        return _HEAD + "".join(
            f"{text},{label if not callable(label) else label(i)}\n" for i, (text, _) in enumerate(rows(24))
        )

    bad: dict[str, Content] = {
        "empty": labelled(""),
        "one class": labelled("pos"),
        "fractions": labelled(lambda i: i / 7),
        "nan": labelled("nan"),
        "inf": labelled(lambda i: ["inf", "-inf", "nan"][i % 3]),
        "one row of a second class": labelled(lambda i: "a" if i else "b"),
        "empty but for one row": labelled(lambda i: "" if i else "b"),
        "each row its own": labelled(lambda i: f"c{i}"),
        "huge whole numbers": labelled(lambda i: 10**400 + i % 2),
        "whole numbers with too many digits": labelled(lambda i: "1" * 5000 + str(i % 2)),
        "unicode digits": labelled(lambda i: "１２３"[i % 3]),
        "superscripts": labelled(lambda i: "¹²³"[i % 3]),
        "1 and 1.0 and 01": labelled(lambda i: ["1", "1.0", "01"][i % 3]),
        "plus and minus signs": labelled(lambda i: ["+", "-", "++1", "-+2"][i % 4]),
        "very long names": labelled(lambda i: "x" * 100_000 + str(i % 2)),
        "control characters": labelled(lambda i: "\x1b[2J" + "ab"[i % 2]),
        "markup": labelled(lambda i: ["[red]", "[/red]"][i % 2]),
        "an entailment without agreement": labelled(lambda i: ["-", "entailment"][i % 2]),
        "true and false": labelled(lambda i: bool(i % 2)),
    }
    yield from in_turn("labels", "bad.csv", bad, ["train", "split", "data"], ends=EITHER)
    yield from in_turn("labels", "bad.csv", bad, ["eval", "eval-on", "evaluate"], ends=EITHER, by=1)
    for number in (99_000, 150_000):
        yield Case(
            kind="labels",
            name=f"{number:,} classes",
            argv=("split", "--data", "many.csv", "--output", "out/s.json"),
            make=put("many.csv", _many(number)),
            ends=EITHER,
        )
    yield Case(
        kind="labels",
        name="3,000 classes, train",
        argv=(*TRAIN, "--data", "many.csv", *OUT),
        make=put("many.csv", _many(3_000)),
        ends=EITHER,
    )
    for entry in ("pos", "=", "pos=", "=neg", "nothing=neg", "pos=neg", "pos=a=b", "\x1b=x"):
        yield Case(
            kind="labels",
            name=f"--label-map {entry!r}",
            argv=("split", "--data", "reviews.csv", "--label-map", entry, "--output", "out/s.json"),
            ends=EITHER,
        )
    twice = ("split", "--data", "reviews.csv", "--label-map", "pos=a", "--label-map", "pos=b", "--output", "out/s.json")
    yield Case(kind="labels", name="--label-map of one label twice", argv=twice, says="twice")
    for option, value in (
        ("--labelled-count", "33"),
        ("--labelled-count", "1"),
        ("--labelled-per-class", "17"),
        ("--labelled-frac", "1e-9"),
    ):
        argv = ("split", "--data", "reviews.csv", option, value, "--output", "out/s.json")
        yield Case(kind="labels", name=f"a budget that cannot be, {option} {value}", argv=argv)


def _many(number: int) -> Content:
    def make(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            file.write(_HEAD)
            file.writelines(f"text number {i},{10**12 + i // 2}\n" for i in range(2 * number))

    return make


def _markup() -> Iterator[Case]:
    """Texts and names that a terminal or a page may take for its own."""
    for number, hostile in enumerate(_HOSTILE):
        content = _HEAD + "".join(f"{text} {hostile},{hostile}{label}\n" for text, label in rows(24))
        argvs = [WAYS["data"]("h.csv")[:-1], WAYS["train"]("h.csv"), WAYS["split"]("h.csv")]
        for argv in argvs:
            yield Case(
                kind="markup", name=f"number {number}, {argv[0]}", argv=argv, make=put("h.csv", content), ends=FINE
            )
        yield Case(
            kind="markup",
            name=f"number {number}, as a label that is not known",
            argv=WAYS["evaluate"]("h.csv"),
            make=put("h.csv", content),
        )
        header = put("h.csv", f"{hostile},b\n1,2\n")
        yield Case(kind="markup", name=f"number {number}, as a column", argv=WAYS["split"]("h.csv"), make=header)
        name = f"{hostile.replace('/', '')}.csv"
        yield Case(
            kind="markup",
            name=f"number {number}, as a file",
            argv=WAYS["data"](name)[:-1],
            make=put(name, _GOOD),
            ends=FINE,
        )
        yield Case(kind="markup", name=f"number {number}, as a file that is not there", argv=WAYS["train"](name))
        yield Case(
            kind="markup",
            name=f"number {number}, as a set",
            argv=("evaluate", "run", "--on", name, "--output", "out"),
            make=put(name, _GOOD),
            ends=FINE,
        )
