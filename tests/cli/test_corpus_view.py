"""What the terminal shows of a corpus: all of it, within 80 columns, and never what text smuggles in."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from datasets import Dataset
from rich.cells import cell_len
from rich.console import Console

from ssl_pdr.cli.corpus_view import MANY_CLASSES, show_balance, show_report
from ssl_pdr.data.checks import CorpusReport, inspect_corpus


def shown(width: int = 80, *, report: CorpusReport | None = None, balance: Any = None, colour: bool = False) -> str:
    console = Console(
        width=width, file=io.StringIO(), force_terminal=colour, color_system="truecolor" if colour else None
    )
    if report is not None:
        show_report(report, console)
    if balance is not None:
        show_balance(balance, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def inspect(names: list[str], max_length: int = 16, near: bool = True, **parts: dict[str, list[Any]]) -> CorpusReport:
    return inspect_corpus(
        {name: Dataset.from_dict(columns) for name, columns in parts.items()},
        names,
        lengths_of=lambda texts, pairs: [len(text.split()) for text in texts],
        max_length=max_length,
        near=near,
        progress=lambda line: None,
    )


def corpus(**more: dict[str, list[Any]]) -> CorpusReport:
    texts = [" ".join(f"w{i}x{j}" for j in range(1 + i)) for i in range(40)]
    train = {"text": [*texts, texts[-1], f"{texts[-2]} more"], "label": [0] * 30 + [1] * 10 + [0, None]}
    test = {"text": [texts[25].upper(), f"{texts[30]}!", "another text"], "label": [0, 1, 1]}
    return inspect(["no", "yes"], **{"train": train, "in_domain": test, **more})


def lines_with(output: str, word: str) -> list[str]:
    return [" ".join(line.split()) for line in output.splitlines() if word in line]


def test_parts_are_in_a_table() -> None:
    output = shown(report=corpus(**{"unlabelled more.txt": {"text": ["a b", "a  B", "c d e"]}}))
    assert "train 42 41 2 21 40 61.9% 1 1" in lines_with(output, "train")
    assert "in_domain 3 all 2 26 31 66.7% 0 0" in lines_with(output, "in_domain")
    assert any(line.startswith("unlabelled 3 none – 2 3 0.0% 1 0") for line in lines_with(output, "unlabelled"))
    assert any("cut at" in line for line in output.splitlines())


def test_leaks_are_told_in_words_with_examples() -> None:
    output = shown(report=corpus(**{"unlabelled more.txt": {"text": ["w0x0", "something else"]}}))
    assert "LEAK in_domain train 1 of 3 1 1" in lines_with(output, "LEAK")
    assert "none in_domain unlabelled more.txt 0 of 3 0 0" in lines_with(output, "none")
    assert "note train unlabelled more.txt 1 of 42 1 0" in lines_with(output, "note")
    (same,) = (line for line in lines_with(output, "the same") if "in_domain" in line)
    assert same.startswith("the same in_domain 0 W25X0 W25X1")
    assert any(line.startswith("train 25 w25x0 w25x1") for line in lines_with(output, "train"))
    assert any(line.startswith("near 1.00 in_domain 1") for line in lines_with(output, "near"))
    assert "CAREFUL: train: 1 texts have more than one label" in output
    clean = shown(report=inspect(["a"], train={"text": ["x"], "label": [0]}, in_domain={"text": ["y"], "label": [0]}))
    assert "LEAK" not in clean
    assert "examples" not in clean


def test_without_near_duplicates_a_dash_stands_for_their_number() -> None:
    report = inspect(["a"], near=False, train={"text": ["x"], "label": [0]}, in_domain={"text": ["x"], "label": [0]})
    output = shown(report=report)
    assert "train 1 all 1 1 1 0.0% 0 –" in lines_with(output, "train")
    assert "LEAK in_domain train 1 of 1 1 –" in lines_with(output, "LEAK")


def test_near_alone_has_a_word_of_its_own() -> None:
    text = "there is only one film like this and it is a good one"
    report = inspect(["a"], train={"text": [text], "label": [0]}, in_domain={"text": [f"{text}."], "label": [0]})
    assert "NEAR in_domain train 0 of 1 0 1" in lines_with(shown(report=report), "NEAR")


def test_histograms_share_an_axis_with_a_mark_where_texts_are_cut() -> None:
    output = shown(report=inspect(["a"], train={"text": ["a " * 8] * 4 + ["a " * 64] * 2}, in_domain={"text": ["a"]}))
    lines = output.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("train  quartiles 8 8 64, mean 27"))
    axis = next(line for line in lines[at + 4 :] if " 8 " in line and " 64" in line)
    mark = lines[lines.index(axis) + 1]
    bars = lines[at + 1 : at + 4]
    assert [line[axis.index("8")] for line in bars] == ["█", "█", "█"]
    assert [line.ljust(80)[axis.index("64")] for line in bars] == [" ", "▄", "█"]
    assert axis.index("16") < mark.index("▲") < axis.index("64")
    assert "▲ cut at 16" in mark
    assert "60.0% of tokens lost" in lines[at]
    uncut = shown(report=inspect(["a"], max_length=512, train={"text": ["a " * 9]}))
    assert "▲" not in uncut


def test_balance_of_labelled_parts_is_drawn_to_one_scale() -> None:
    output = shown(report=inspect(["rare", "common"], train={"text": list("abcdefgh"), "label": [0] + [1] * 7}))
    rare, common = (
        next(line for line in output.splitlines() if line.strip().startswith(n)) for n in ("rare", "common")
    )
    assert "12.5%" in rare
    assert "87.5%" in common
    assert (common.count("█"), rare.count("█")) == (20, 2)  # and seven eighths of a third


def test_a_corpus_without_labels_has_no_balance() -> None:
    assert "share of the labelled rows" not in shown(report=inspect(["a"], **{"unlabelled x": {"text": ["x"]}}))


EVIL = "[bold red]x[/bold red] :warning: \x1b[31m\x07\u202e\r\nend \\[/]"


@pytest.mark.parametrize("colour", [False, True])
def test_text_cannot_style_hide_or_break_anything(colour: bool) -> None:
    report = inspect([EVIL, "b"], **{EVIL: {"text": ["q"], "label": [0]}}, train={"text": [EVIL], "label": [1]})
    leak = inspect([EVIL, "b"], train={"text": [EVIL] * 2, "label": [0, 1]}, in_domain={"text": [EVIL], "label": [1]})
    output = "".join([shown(200, report=r, colour=colour) for r in (report, leak)])
    output += shown(200, balance=[(EVIL, 1, 2)], colour=colour)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output) if colour else output
    assert not [c for c in plain if not (c.isprintable() or c == "\n")]
    assert plain.count("[bold red]x[/bold red]") >= 5
    assert ":warning:" in plain
    assert "\x1b[31mend" not in output


@pytest.mark.parametrize("width", [80, 120])
def test_lines_fit_even_for_long_names_many_rows_and_classes(width: int) -> None:
    names = [f"a class with quite a long name {i}" for i in range(45)]
    part = {"text": [f"t {i} " + "long " * (i * i) for i in range(90)], "label": list(range(45)) * 2}
    report = inspect(
        names,
        **{
            "train": part,
            "in_domain": part,
            "shifted": part,
            "another set": part,
            "unlabelled a-file-with-a-long-name.jsonl": part,
        },
    )
    output = shown(width, report=report)
    assert max(cell_len(line) for line in output.splitlines()) <= width
    assert "… 15 more" in output
    huge = shown(width, balance=[("一" * 60, 12_345_678, 98_765_432), ("b" * 60, 0, 1)])
    assert max(cell_len(line) for line in huge.splitlines()) <= width


def test_balance_bars_show_labelled_rows_among_all() -> None:
    output = shown(balance=[("good", 30, 60), ("bad", 0, 30), ("rare", 1, 1), ("none", 0, 0)])
    bars = {line.split()[0]: line for line in output.splitlines() if re.search(r"\d", line)}
    assert bars["good"].count("█") == pytest.approx(bars["good"].count("░"), abs=1)
    assert bars["bad"].count("░") == pytest.approx(bars["good"].count("█"), abs=1)
    assert (bars["bad"].count("█"), bars["rare"].count("█"), bars["rare"].count("░")) == (0, 1, 0)
    assert (bars["none"].count("█"), bars["none"].count("░")) == (0, 0)
    assert "30 60" in " ".join(bars["good"].split())


def test_of_many_classes_the_largest_and_smallest_are_shown_and_the_rest_counted() -> None:
    few = shown(balance=[(f"c{i}", 1, 10 + i) for i in range(MANY_CLASSES)])
    assert len(re.findall(r"\bc\d+", few)) == MANY_CLASSES
    many = shown(balance=[(f"c{i}", 1, 10 + i) for i in range(100)])
    seen = [int(i) for i in re.findall(r"\bc(\d+)", many)]
    assert seen == [*range(99, 79, -1), *range(9, -1, -1)]
    rest = sum(10 + i for i in range(10, 80))
    assert f"… 70 more 70 {rest:,}" in lines_with(many, "more")
