"""TOML: recipes, grids of curves and of the paper's tables."""

from __future__ import annotations

import os
from collections.abc import Iterator

from benchmarks.fuzz.case import EITHER, FINE, Case
from benchmarks.fuzz.ways import OUT, Content, put
from benchmarks.fuzz.world import GRID, PAPER, RECIPE

_READ = {
    "recipe": ("train", "--recipe", "bad.toml", *OUT),
    "grid": ("curve", "--grid", "bad.toml", "--dry-run", *OUT),
    "paper": ("reproduce", "half", "--grid", "bad.toml", "--dry-run"),
}
_VALUES = (
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e400",
    "9" * 400,
    "9" * 5000,
    "true",
    "''",
    "[]",
    "{}",
    "[[]]",
    "1979-05-27",
    "07:32:00",
    "'\\u0000'",
    '"\\u0000"',
    "'nan'",
    "[1, 'a']",
    '"\\u001b[31m"',
    "0x" + "f" * 40,
    '"""\n\n"""',
)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _files()
    yield from _keys()


def _files() -> Iterator[Case]:
    """What is no TOML, or holds nothing that is wanted."""
    bad: dict[str, Content] = {
        "a csv": "text,label\na,b\n",
        "json": '{"data": "reviews.csv"}',
        "latin-1": RECIPE.replace("reviews", "r\u00e9views").encode("latin-1"),
        "utf-16": RECIPE.encode("utf-16"),
        "a byte order mark": b"\xef\xbb\xbf" + RECIPE.encode(),
        "null bytes": RECIPE.encode() + b"\x00",
        "cut": RECIPE[:-8] + '"',
        "a key twice": "seed = 1\nseed = 2\n",
        "a table twice": "[base]\n[base]\n",
        "no value": "seed =\n",
        "lists in lists": "data = " + "[" * 100_000,
        "tables in tables": "data = " + "{a=" * 20_000,
        "a dotted key that is deep": "a." * 2_000 + "a = 1\n",
        "a number of many digits": "seed = " + "9" * 100_000,
        "an open text": 'data = "' + "x" * 10**6,
        "control characters": "data = 'a\x1b[31m'\n",
        "20 MB of comments": "# comment\n" * (2 * 2**20) + "seed = x\n",
        "half of a character": 'data = "\\ud800"\n',
        "a table in place of a key": "[data]\nx = 1\n",
        "a key that is no name": '"" = 1\n',
        "an enormous key": "k" * 10**6 + " = 1\n",
        "a yaml": "data: reviews.csv\n",
        "a folder": lambda path: path.mkdir(),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "a fifo": lambda path: os.mkfifo(path),
        "forbidden": lambda path: (path.write_text(RECIPE), path.chmod(0)),
    }
    for what, content in bad.items():
        for way in _READ:
            yield Case(
                kind="toml",
                name=f"{what}, {way}",
                argv=_READ[way],
                make=put("bad.toml", content),
                light=way == "recipe",
            )
    for way, argv in _READ.items():
        for what, text in {"nothing": "", "comments": "# nothing\n"}.items():
            ends = (2,) if way == "paper" else EITHER
            more = ("--model", "model", "--data", "reviews.csv", "--max-length", "12") if way != "paper" else ()
            more = (*more, "--max-steps", "1", "--reg", "none") if way == "recipe" else more
            yield Case(kind="toml", name=f"{what}, {way}", argv=(*argv, *more), make=put("bad.toml", text), ends=ends)
    for way, text in (("recipe", RECIPE), ("grid", GRID), ("paper", PAPER)):
        crlf = text.replace("\n", "\r\n")
        yield Case(kind="toml", name=f"CRLF, {way}", argv=_READ[way], make=put("bad.toml", crlf), ends=FINE)
        argv = tuple("nothing.toml" if word == "bad.toml" else word for word in _READ[way])
        yield Case(kind="toml", name=f"absent, {way}", argv=argv, light=way != "paper")


def _keys() -> Iterator[Case]:
    """Keys that there are not, and values that they do not take."""
    typos = (
        ("recipe", "labeled_frac = 0.5", "did you mean 'labelled_frac'?"),
        ("recipe", "lerning_rate = 1", ""),
        ("recipe", "epoch = 1", "'epochs'"),
    )
    typos += (
        ("grid", "budget = [1]", "'budgets'"),
        ("grid", "method = ['none']", "'methods'"),
        ("grid", "sed = 1", "'seeds'"),
    )
    for way, line, says in typos:
        yield Case(
            kind="toml keys",
            name=f"{line}, {way}",
            argv=_READ[way],
            make=put("bad.toml", line + "\n"),
            says=says,
            light=True,
        )
    keys = (
        "seed",
        "alpha",
        "data",
        "eval_on",
        "skip_bad_rows",
        "labelled_frac",
        "ratio",
        "max_length",
        "batch_size",
        "unlabelled",
        "label_map",
        "encoding",
        "precision",
    )
    for number, key in enumerate(keys):
        for place in range(5):
            value = _VALUES[(number * 5 + place) % len(_VALUES)]
            text = (
                "\n".join(line for line in RECIPE.splitlines() if not line.startswith(f"{key} ="))
                + f"\n{key} = {value}\n"
            )
            yield Case(
                kind="toml keys",
                name=f"{key} = {value[:20]!r} ({len(value)}), recipe",
                argv=_READ["recipe"],
                make=put("bad.toml", text),
                ends=EITHER,
            )
    keys = (
        "name",
        "budgets",
        "methods",
        "seeds",
        "batch",
        "steps",
        "output",
        "base",
        "search",
        "ratio",
        "match",
        "epochs",
        "select",
        "test",
        "jobs",
    )
    for number, key in enumerate(keys):
        for place in range(3):
            value = _VALUES[(number * 3 + place) % len(_VALUES)]
            text = f"{key} = {value}\n" + "\n".join(
                line for line in GRID.splitlines() if not line.startswith((f"{key} =", f"[{key}]"))
            )
            yield Case(
                kind="toml keys",
                name=f"{key} = {value[:20]!r} ({len(value)}), grid",
                argv=_READ["grid"][:-2],
                make=put("bad.toml", text.replace('output = "out"', "") if key == "output" else text),
                ends=EITHER,
            )
    changes = {
        "a task without data": ('data = "reviews.csv", ', ""),
        "a score without a dot": ('"in_domain.accuracy"', '"accuracy"'),
        "a cost of nan": ("cost = 2", "cost = nan"),
        "a cost of 0": ("cost = 2", "cost = 0"),
        "rows of a text": ("rows = 64", "rows = 'x'"),
        "a method that is not there": ('["none", "rpt"]', '["none", "vat"]'),
        "a task that is not there": ('task = "reviews"', 'task = "imdb"'),
        "a pair of one": ('[["reviews.accuracy", "reviews.macro_f1"]]', '[["reviews.accuracy"]]'),
        "a search of nothing": ("alpha = [1, 2.0]", "alpha = []"),
        "a search of a text": ("alpha = [1, 2.0]", "alpha = 'x'"),
        "a search of many": ("alpha = [1, 2.0]", "alpha = [" + ",".join(f"{i}.5" for i in range(5000)) + "]"),
        "a search of nan": ("alpha = [1, 2.0]", "alpha = [nan]"),
        "an unknown regularizer": ('reg = "rpt"', 'reg = "rptt"'),
        "an unknown key": ("label =", "lable ="),
        "a title with markup": ('"half of the labels"', '"[red]half[/nothing] \\u001b[31m"'),
        "a label with a line end": ('label = "RPT"', 'label = "R\\nPT"'),
        "a seed in the base": ("max_length = 12", "seed = 3"),
        "max_length 1e9": ("max_length = 12", "max_length = 1000000000"),
        "epochs of 1e300": ("epochs = 1", "epochs = 1e300"),
        "a name that is empty": ("[methods.rpt]", '[methods.""]'),
    }
    for what, (old, new) in changes.items():
        ends = FINE if "title" in what or "line end" in what else EITHER
        yield Case(
            kind="toml keys",
            name=f"{what}, paper",
            argv=_READ["paper"],
            make=put("bad.toml", PAPER.replace(old, new)),
            ends=ends,
        )
