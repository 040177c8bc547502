"""The paper's figures against a second transcription, and its average gains against their own columns."""

from __future__ import annotations

import pytest

from ssl_pdr.paper.figures import average_gain, paper_figure, paper_tables, relative_drop

# As the tables stand in print, row by row: F1/EM pairs apart, the average gain last where there is one.
PRINTED = {
    "table2": """
        none 88.5 76.5 84.5 92.3 0.0
        jr 88.5 74.2 84.5 92.0 -0.7
        rpt-kl 89.3 77.6 84.8 93.0 +0.7
        rpt-shl 89.7 77.6 85.2 93.0 +0.9
        rpt-jsd 89.8 77.5 85.4 93.5 +1.1
        vat-kl 89.9 78.9 85.3 93.1 +1.4
        vat-shl 90.2 79.2 85.5 93.2 +1.6
        vat-jsd 90.2 79.3 85.7 93.6 +1.8
        large 90.9 81.8 86.3 93.5 +2.7""",
    "table3": """
        none 57.1/41.7 87.7 0.0
        jr 60.8/46.0 87.4 +1.7
        rpt-kl 59.2/43.6 88.7 +1.6
        rpt-shl 60.0/44.8 88.7 +1.9
        rpt-jsd 58.3/43.2 88.3 +0.9
        vat-kl 60.1/45.7 86.7 +1.0
        vat-shl 60.7/45.9 87.4 +1.7
        vat-jsd 61.8/47.0 88.3 +2.6
        large 63.5/49.5 88.3 +3.5""",
    "table4": """
        none 54.0/48.9 64.8/59.0 58.4 0.0
        jr 55.5/49.3 65.3/58.4 62.6 +2.1
        rpt-kl 55.2/49.2 66.4/59.8 59.9 +1.4
        rpt-shl 57.8/52.2 68.9/62.7 60.0 +3.1
        rpt-jsd 56.0/49.9 67.1/61.1 61.5 +2.5
        vat-kl 60.6/55.0 69.4/62.9 67.7 +6.8
        vat-shl 60.1/55.1 69.1/63.1 63.2 +5.1
        vat-jsd 58.5/53.2 67.4/61.4 64.6 +4.4
        large 59.3/54.3 69.1/63.6 67.9 +6.4""",
    "table5": """
        full 92.3 87.7 84.5 58.4
        none 91.2 86.3 82.7 51.5
        rpt-kl 91.3 87.0 83.6 53.8
        rpt-shl 91.9 86.6 83.8 53.3
        rpt-jsd 91.7 86.5 83.7 51.8
        vat-kl 92.1 86.3 83.1 54.3
        vat-shl 92.4 86.5 84.4 51.8
        vat-jsd 92.2 86.6 84.1 52.6""",
}
COLUMNS = {
    "table2": ["squad.f1", "squad_v2.f1", "mnli.accuracy", "sst2.accuracy", "gain"],
    "table3": ["bioasq.f1", "bioasq.exact", "imdb.accuracy", "gain"],
    "table4": ["addsent.f1", "addsent.exact", "addonesent.f1", "addonesent.exact", "hans.accuracy", "gain"],
    "table5": ["sst2.accuracy", "imdb.accuracy", "mnli.accuracy", "hans.accuracy"],
}


@pytest.mark.parametrize("name", PRINTED)
def test_every_figure_is_the_printed_one(name: str) -> None:
    printed = {}
    for line in PRINTED[name].strip().splitlines():
        method, *figures = line.replace("/", " ").split()
        printed[method] = dict(zip(COLUMNS[name], map(float, figures), strict=True))
    assert paper_tables()[name].rows == printed
    assert paper_tables()[name].number == int(name[-1])


@pytest.mark.parametrize("name", ["table2", "table3", "table4"])
def test_average_gains_follow_from_the_columns(name: str) -> None:
    table = paper_tables()[name]
    off = {}
    for method, row in table.rows.items():
        gain = average_gain(row, table.rows["none"], table.gain)
        assert gain is not None
        if abs(gain - row["gain"]) > 0.05 + 1e-9:
            off[method] = round(gain, 1)
    # One of them does not: 3.8, 4.1 and 1.6 are 3.17 on average, printed as 3.1.
    assert off == ({"rpt-shl": 3.2} if name == "table4" else {})


def test_the_first_table_that_has_a_figure_gives_it() -> None:
    assert paper_figure(["table2"], "vat-shl", "sst2.accuracy") == 93.2
    assert paper_figure(["table5", "table2"], "vat-shl", "sst2.accuracy") == 92.4
    assert paper_figure(["mine"], "vat-shl", "sst2.accuracy") is None
    assert paper_figure(["table2"], "at", "sst2.accuracy") is None


def test_a_gain_needs_every_column() -> None:
    assert average_gain({"a": 1.0, "b": None}, {"a": 0.0, "b": 0.0}, ["a", "b"]) is None
    assert average_gain({"a": 1.0}, {}, ["a"]) is None
    assert average_gain({"a": 1.0}, {"a": 0.5}, []) is None


def test_relative_drops_are_those_of_the_introduction() -> None:
    rows2, rows4 = paper_tables()["table2"].rows["none"], paper_tables()["table4"].rows["none"]
    hans = relative_drop(rows2["mnli.accuracy"], rows4["hans.accuracy"])
    assert hans is not None
    assert hans > 0.25  # "more than 25 % relative performance reduction"
    assert relative_drop(0.0, 0.5) is None
    assert relative_drop(0.5, None) is None
